"""Run work on the blocks of a source in parallel, with few blocks in memory."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def ordered_thread_map(
    work: Callable[[_Item], _Result], items: Iterator[_Item], n_threads: int | None = None
) -> Iterator[_Result]:
    """Yield the result of `work` for each item, in order.

    Parameters
    ----------
    work : callable
        Called in worker threads. An error ends the iteration at its item.
    items : iterator
        Advanced in the calling thread, at most `n_threads` + 1 items ahead.
    n_threads : int, optional
        Number of worker threads; default: one per core.
    """
    n_threads = n_threads or os.cpu_count() or 1
    pending: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(n_threads, thread_name_prefix="galahstream-convert") as threads:
        try:
            for item in islice(items, n_threads + 1):
                pending.append(threads.submit(work, item))
            while pending:
                yield pending.popleft().result()
                for item in islice(items, 1):
                    pending.append(threads.submit(work, item))
        finally:
            for future in pending:
                future.cancel()


@contextmanager
def closing_iterator(iterator: Iterator[_Item]) -> Iterator[Iterator[_Item]]:
    """Close an iterator at the end, if it can be closed, so that what it holds is released.

    An iterator that is left early may otherwise live on in the traceback of an error, and
    its processes with it.
    """
    try:
        yield iterator
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
