import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from galahstream.errors import SplitError
from galahstream.survey.splits import check_fractions, check_seed, permutation, split_rows
from galahstream.validation import MAX_SEED

FRACTIONS = (0.70, 0.15, 0.15)


@given(st.integers(14, 3000), st.integers(0, 2**40))
def test_sizes_are_those_of_the_published_runs(rows: int, seed: int) -> None:
    sizes = np.bincount(split_rows(rows, FRACTIONS, seed), minlength=3)
    assert sizes.tolist()[:2] == [int(0.70 * rows), int(0.15 * rows)]
    assert sizes.sum() == rows


@given(st.integers(0, 500), st.integers(0, 99), st.integers(0, 99))
def test_a_permutation_holds_each_number_once(n: int, seed: int, epoch: int) -> None:
    assert np.array_equal(np.sort(permutation(n, seed, epoch)), np.arange(n))


@pytest.mark.slow
@given(st.lists(st.integers(1, 9), min_size=30, max_size=90), st.integers(0, 99))
def test_groups_stay_together_and_sizes_hold_to_one_group(sizes: list[int], seed: int) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    # A large group can take all of a small split, which has its own test.
    split = split_rows(len(groups), FRACTIONS, seed, groups, allow_empty=True)
    assert all(len(np.unique(split[groups == group])) == 1 for group in range(len(sizes)))
    wanted = np.array([int(0.70 * len(groups)), int(0.15 * len(groups))])
    found = np.bincount(split, minlength=3)[:2]
    assert (abs(found - wanted) <= max(sizes)).all()


def test_the_split_depends_on_the_seed_alone() -> None:
    assert np.array_equal(split_rows(99, FRACTIONS, 1), split_rows(99, FRACTIONS, 1))
    assert not np.array_equal(split_rows(99, FRACTIONS, 1), split_rows(99, FRACTIONS, 2))


@pytest.mark.parametrize("fractions", [(0.5, 0.2, 0.2), (1, 0), (1.2, -0.2, 0), (np.nan, 0, 1), 7])
def test_parts_that_are_no_split_are_refused(fractions: tuple[float, ...]) -> None:
    with pytest.raises(SplitError):
        split_rows(100, fractions, 0)


def test_an_empty_part_is_refused_by_name_unless_allowed() -> None:
    with pytest.raises(SplitError, match="'val'"):
        split_rows(5, FRACTIONS, 0)
    assert len(split_rows(2, FRACTIONS, 0, allow_empty=True)) == 2


@given(st.integers(1, 60), st.sampled_from([(0, 0, 1), (0, 1, 0), (1, 0, 0), (0.7, 0.3, 0)]))
def test_a_fraction_of_0_gives_an_empty_split(
    n_rows: int, fractions: tuple[float, float, float]
) -> None:
    for groups in (None, np.arange(n_rows) // 3):
        split = split_rows(n_rows, fractions, 0, groups, allow_empty=True)
        assert not set(split.tolist()) & {k for k in range(3) if fractions[k] == 0}
    if 1 in fractions:
        assert len(split_rows(n_rows, fractions, 0)) == n_rows


@pytest.mark.parametrize("fractions", [(0.01, 0, 0.99), (0, 0.05, 0.95), (1 - 1e-12, 0, 1e-12)])
def test_a_small_fraction_may_not_be_empty(fractions: tuple[float, float, float]) -> None:
    with pytest.raises(SplitError, match="leaves no row for"):
        split_rows(9, fractions, 0, np.zeros(9))


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1, 1.0, "1", None, True, np.float64(1)])
def test_a_seed_is_an_integer_that_files_can_hold(seed: object) -> None:
    with pytest.raises(SplitError, match=f"seed .* from 0 to {MAX_SEED}"):
        check_seed(seed)


@pytest.mark.parametrize("seed", [0, 42, MAX_SEED, np.int64(42), np.uint8(7), np.array(42)])
def test_numpy_integers_are_seeds_too(seed: int) -> None:
    assert type(check_seed(seed)) is int
    assert np.array_equal(split_rows(99, FRACTIONS, seed), split_rows(99, FRACTIONS, int(seed)))


def test_fractions_become_plain_floats() -> None:
    fractions = check_fractions(np.array(FRACTIONS))
    assert fractions == FRACTIONS
    assert [type(fraction) for fraction in fractions] == [float] * 3


def test_integer_groups_are_told_apart_beyond_what_float64_holds() -> None:
    groups = 2**60 + np.repeat(np.arange(40), 3)
    split = split_rows(len(groups), FRACTIONS, 0, groups)
    assert np.bincount(split).tolist() == [84, 18, 18]
