"""Ordered work on the blocks of a source in threads."""

import threading
import time
from collections.abc import Iterator

import pytest

from galahstream.conversion.executors import ordered_thread_map


@pytest.mark.parametrize("n_threads", [1, 2, 7, None])
def test_results_come_in_the_order_of_the_items(n_threads: int | None) -> None:
    def work(item: int) -> int:
        time.sleep(0.002 * (item % 3))
        return item * item

    expected = [item * item for item in range(30)]
    assert list(ordered_thread_map(work, iter(range(30)), n_threads)) == expected


def test_few_items_are_taken_before_their_results_are_used() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(50):
            taken.append(item)
            yield item

    for n_used, _ in enumerate(ordered_thread_map(abs, items(), 2)):
        assert len(taken) <= n_used + 3


def test_an_error_is_raised_at_its_item_and_ends_the_work() -> None:
    started: list[int] = []

    def work(item: int) -> int:
        started.append(item)
        if item == 5:
            msg = "item 5"
            raise RuntimeError(msg)
        return item

    results = ordered_thread_map(work, iter(range(1000)), 2)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(RuntimeError, match="item 5"):
        next(results)
    assert len(started) < 20
    names = [thread.name for thread in threading.enumerate()]
    assert not any(name.startswith("galahstream-convert") for name in names)
