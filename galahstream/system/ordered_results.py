"""Results of work that is done elsewhere, in the order in which it was given."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from itertools import islice
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def ordered_results(
    submit: Callable[[_Item], Future[_Result]], items: Iterator[_Item], n_pending: int
) -> Iterator[_Result]:
    """Yield the result for each item, in order; what is still waiting at the end is cancelled.

    Parameters
    ----------
    submit : callable
        Has an item worked on, in another thread or process.
    items : iterator
        Advanced in the calling thread, at most `n_pending` items ahead.
    n_pending : int
        Number of items that wait or are worked on.
    """
    pending: deque[Future[_Result]] = deque()
    try:
        for item in islice(items, n_pending):
            pending.append(submit(item))
        while pending:
            yield pending.popleft().result()
            for item in islice(items, 1):
                pending.append(submit(item))
    finally:
        for future in pending:
            future.cancel()
