from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from galahstream.errors import OptionError
from galahstream.stream.sampling import EpochSampler, block_order, epoch_order, shuffle_quality


def test_the_order_is_the_same_for_ever() -> None:
    """A golden vector: a change of it would break every saved position."""
    assert epoch_order(10, 42, 3).tolist() == GOLDEN


def test_epochs_and_seeds_differ_and_do_not_add_up() -> None:
    assert not np.array_equal(epoch_order(50, 0, 1), epoch_order(50, 1, 0))
    assert not np.array_equal(epoch_order(50, 0, 0), epoch_order(50, 0, 1))


def test_rows_served_are_left_out() -> None:
    order = EpochSampler(20, shuffle=True, seed=1)
    whole = list(order)
    order.served = 7
    assert list(order) == whole[7:]
    assert len(order) == 13


GOLDEN = [0, 8, 6, 5, 1, 3, 7, 4, 2, 9]


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
    with pytest.raises(OptionError, match="two batches"):
        shuffle_quality(np.arange(40), 32)


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
