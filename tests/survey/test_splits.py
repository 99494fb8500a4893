import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from galahstream.errors import SplitError
from galahstream.survey.splits import permutation, split_rows

FRACTIONS = (0.70, 0.15, 0.15)


@given(st.integers(14, 3000), st.integers(0, 2**40))
def test_sizes_are_those_of_the_published_runs(rows: int, seed: int) -> None:
    sizes = np.bincount(split_rows(rows, FRACTIONS, seed), minlength=3)
    assert sizes.tolist()[:2] == [int(0.70 * rows), int(0.15 * rows)]
    assert sizes.sum() == rows


@given(st.integers(0, 500), st.integers(0, 99), st.integers(0, 99))
def test_a_permutation_holds_each_number_once(n: int, seed: int, epoch: int) -> None:
    assert np.array_equal(np.sort(permutation(n, seed, epoch)), np.arange(n))


@given(st.lists(st.integers(1, 9), min_size=30, max_size=90), st.integers(0, 99))
def test_groups_stay_together_and_sizes_hold_to_one_group(sizes: list[int], seed: int) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    split = split_rows(len(groups), FRACTIONS, seed, groups)
    assert all(len(np.unique(split[groups == group])) == 1 for group in range(len(sizes)))
    wanted = np.array([int(0.70 * len(groups)), int(0.15 * len(groups))])
    found = np.bincount(split, minlength=3)[:2]
    assert (abs(found - wanted) <= max(sizes)).all()


def test_the_split_depends_on_the_seed_alone() -> None:
    assert np.array_equal(split_rows(99, FRACTIONS, 1), split_rows(99, FRACTIONS, 1))
    assert not np.array_equal(split_rows(99, FRACTIONS, 1), split_rows(99, FRACTIONS, 2))


@pytest.mark.parametrize("fractions", [(0.5, 0.2, 0.2), (1, 0), (1.2, -0.2, 0), (np.nan, 0, 1)])
def test_parts_that_are_no_split_are_refused(fractions: tuple[float, ...]) -> None:
    with pytest.raises(SplitError):
        split_rows(100, fractions, 0)


def test_an_empty_part_is_refused_by_name_unless_allowed() -> None:
    with pytest.raises(SplitError, match="'val'"):
        split_rows(5, FRACTIONS, 0)
    assert len(split_rows(2, FRACTIONS, 0, allow_empty=True)) == 2


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(SplitError, match="seed -1"):
        split_rows(100, FRACTIONS, -1)
