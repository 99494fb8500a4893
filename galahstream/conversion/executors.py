"""Run work on the blocks of a source in parallel, with few blocks in memory."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from galahstream.system.ordered_results import ordered_results

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
    with ThreadPoolExecutor(n_threads, thread_name_prefix="galahstream-convert") as threads:
        yield from ordered_results(lambda item: threads.submit(work, item), items, n_threads + 1)


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
