import numpy as np

from galahstream.stream.order import EpochOrder, epoch_order


def test_the_order_is_the_same_for_ever() -> None:
    """A golden vector: a change of it would break every saved position."""
    assert epoch_order(10, 42, 3).tolist() == GOLDEN


def test_epochs_and_seeds_differ_and_do_not_add_up() -> None:
    assert not np.array_equal(epoch_order(50, 0, 1), epoch_order(50, 1, 0))
    assert not np.array_equal(epoch_order(50, 0, 0), epoch_order(50, 0, 1))


def test_rows_served_are_left_out() -> None:
    order = EpochOrder(20, shuffle=True, seed=1)
    whole = list(order)
    order.served = 7
    assert list(order) == whole[7:]
    assert len(order) == 13


GOLDEN = [0, 8, 6, 5, 1, 3, 7, 4, 2, 9]
