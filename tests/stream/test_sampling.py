import copy
import itertools
import json
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from galahstream.errors import OptionError, OrderError
from galahstream.stream.sampling import (
    EpochSampler,
    block_order,
    can_measure_shuffle,
    epoch_order,
    shuffle_quality,
)


def test_the_order_is_the_same_for_ever() -> None:
    """A golden vector: a change of it would break every saved position."""
    assert epoch_order(10, 42, 3).tolist() == GOLDEN


def test_epochs_and_seeds_differ_and_do_not_add_up() -> None:
    assert not np.array_equal(epoch_order(50, 0, 1), epoch_order(50, 1, 0))
    assert not np.array_equal(epoch_order(50, 0, 0), epoch_order(50, 0, 1))


def test_each_iteration_of_a_sampler_begins_the_next_epoch() -> None:
    sampler = EpochSampler(20, shuffle=True, seed=1)
    for epoch in range(3):
        assert list(sampler) == sampler.rows(epoch).tolist()
        assert sampler.position == (epoch + 1, 0)
    next(iter(sampler))
    assert list(sampler) == sampler.rows(4).tolist()
    sampler.set_epoch(1)
    assert list(sampler) == sampler.rows(1).tolist()
    assert len(sampler) == 20


def test_a_sampler_gives_what_remains_of_an_epoch_and_keeps_its_length() -> None:
    sampler = EpochSampler(20_000, shuffle=True, seed=1)
    sampler.set_position(3, 9_000)
    assert sampler.next_position == sampler.position == (3, 9_000)
    assert list(sampler) == sampler.rows(3)[9_000:].tolist()
    assert len(sampler) == 20_000
    assert sampler.epoch == 4
    sampler.set_position(5, 20_000)
    assert list(sampler) == []
    assert sampler.position == (6, 0)


def test_the_position_is_taken_when_iter_is_called() -> None:
    """A trainer that resumes calls iter() first and set_epoch() afterwards."""
    sampler = EpochSampler(20, shuffle=True, seed=1)
    sampler.set_position(2, 6)
    resumed = iter(sampler)
    sampler.set_epoch(2)
    assert sampler.position == (2, 6)
    assert list(resumed) == sampler.rows(2)[6:].tolist()
    assert sampler.position == (3, 0)
    running = iter(sampler)
    sampler.set_epoch(7)
    assert list(running) == sampler.rows(3).tolist()
    assert sampler.position == (7, 0)
    assert list(sampler) == sampler.rows(7).tolist()


def test_an_epoch_that_was_left_early_can_be_set_again() -> None:
    sampler = EpochSampler(20, shuffle=True, seed=1)
    next(iter(sampler))
    sampler.set_epoch(0)
    assert sampler.position == (0, 0)
    assert list(sampler) == sampler.rows(0).tolist()


def test_a_plain_data_loader_and_its_copies_follow_the_rule_of_epochs() -> None:
    sampler = EpochSampler(20, shuffle=True, seed=1)
    rows: Any = list(range(20))
    loader: DataLoader[int] = DataLoader(rows, batch_size=6, sampler=sampler)
    for epoch in range(2):
        assert [int(row) for batch in loader for row in batch] == sampler.rows(epoch).tolist()
    running = iter(sampler)
    for other in (copy.copy(sampler), copy.deepcopy(sampler), pickle.loads(pickle.dumps(sampler))):
        assert list(other) == sampler.rows(3).tolist()
    assert list(running) == sampler.rows(2).tolist()


STEP = st.one_of(
    st.tuples(st.just("iterate"), st.integers(0, 8)),
    st.tuples(st.just("set_epoch"), st.integers(0, 4)),
    st.tuples(st.just("set_position"), st.integers(0, 8)),
)


@pytest.mark.slow
@given(steps=st.lists(STEP, max_size=12))
def test_any_sequence_of_steps_gives_the_rows_of_a_plain_model(
    steps: list[tuple[str, int]],
) -> None:
    sampler = EpochSampler(8, shuffle=True, seed=1)
    epoch, served = 0, 0
    for step, count in steps:
        if step == "iterate":
            expected = sampler.rows(epoch)[served:][:count].tolist()
            assert list(itertools.islice(sampler, count)) == expected
            epoch, served = epoch + 1, 0
        elif step == "set_epoch":
            epoch, served = count, 0
            sampler.set_epoch(epoch)
        else:
            served = count
            sampler.set_position(epoch, served)
        assert sampler.next_position == (epoch, served)


def test_numpy_numbers_are_accepted() -> None:
    numbers: dict[str, Any] = {
        "shuffle": np.bool_(True),
        "seed": np.int64(7),
        "block": np.int32(4),
    }
    sampler = EpochSampler(20, **numbers)
    assert (type(sampler.shuffle), type(sampler.seed), type(sampler.block)) == (bool, int, int)
    epoch: Any = np.int64(2)
    sampler.set_epoch(epoch)
    assert json.dumps(sampler.position) == "[2, 0]"


@pytest.mark.parametrize("seed", [-1, 2**63, 2**200, 1.5, True, "7", None])
def test_a_seed_that_cannot_be_stored_is_refused(seed: Any) -> None:
    with pytest.raises(OptionError, match=r"seed .*expected an integer from 0 to"):
        EpochSampler(20, shuffle=True, seed=seed)
    assert EpochSampler(20, shuffle=True, seed=2**63 - 1).rows(2**40).tolist() != list(range(20))


def test_a_position_outside_the_epoch_is_refused() -> None:
    sampler = EpochSampler(20, shuffle=True, seed=1)
    with pytest.raises(OrderError, match="rows_served 21 is beyond the 20 rows"):
        sampler.set_position(0, 21)
    for epoch, served in ((-1, 0), (0, -1), (0, 2.5)):
        with pytest.raises(OptionError):
            sampler.set_position(epoch, served)  # type: ignore[arg-type]
    assert sampler.position == (0, 0)


GOLDEN = [0, 8, 6, 5, 1, 3, 7, 4, 2, 9]


@pytest.mark.slow
@given(
    n_rows=st.integers(1, 3000),
    block=st.integers(1, 100),
    seed=st.integers(0, 5),
    epoch=st.integers(0, 3),
)
def test_a_block_order_has_every_row_once(n_rows: int, block: int, seed: int, epoch: int) -> None:
    order = block_order(n_rows, block, seed, epoch)
    assert np.array_equal(np.sort(order), np.arange(n_rows))
    assert np.array_equal(order, block_order(n_rows, block, seed, epoch))


def test_a_block_order_is_the_same_for_ever() -> None:
    assert block_order(10, 3, 42, 3).tolist() == GOLDEN_BLOCKS


def test_a_window_of_a_block_order_is_made_of_whole_blocks() -> None:
    order = block_order(8 * 32 * 5, 8, seed=1, epoch=0)
    for window in order.reshape(5, -1):
        blocks, counts = np.unique(window // 8, return_counts=True)
        assert len(blocks) == 32
        assert (counts == 8).all()


def test_quality_tells_a_global_shuffle_from_blocks_and_from_none() -> None:
    n_rows = 100_000
    shuffled = shuffle_quality(epoch_order(n_rows, 1, 0), 32)
    assert abs(shuffled.neighbours) < 0.02
    assert 0.9 < shuffled.batch_spread < 1.1
    blocks = shuffle_quality(block_order(n_rows, 32, 1, 0), 32)
    assert shuffled.batch_spread < blocks.batch_spread < 2
    none = shuffle_quality(np.arange(n_rows), 32)
    assert none.neighbours > 0.999
    assert none.batch_spread > 5
    assert "+1.000" in str(none)


def test_quality_of_one_batch_is_refused() -> None:
    with pytest.raises(OptionError, match="at least two batches"):
        shuffle_quality(np.arange(40), 32)


@given(n_rows=st.integers(1, 80), batch_size=st.integers(1, 40))
def test_quality_is_a_number_wherever_it_can_be_measured(n_rows: int, batch_size: int) -> None:
    if can_measure_shuffle(n_rows, batch_size):
        quality = shuffle_quality(block_order(n_rows, 2, 1, 0), batch_size)
        assert np.isfinite([quality.neighbours, quality.batch_spread]).all()
    else:
        with pytest.raises(OptionError, match="quality needs"):
            shuffle_quality(np.arange(n_rows), batch_size)


@pytest.mark.parametrize(
    "options",
    [
        {"shuffle": True, "block": 21},
        {"shuffle": True, "block": 0},
        {"shuffle": False, "block": 4},
    ],
)
def test_a_block_that_cannot_be_shuffled_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match="shuffle_block"):
        EpochSampler(20, seed=1, **options)


GOLDEN_BLOCKS = [9, 3, 0, 1, 6, 7, 5, 8, 4, 2]
