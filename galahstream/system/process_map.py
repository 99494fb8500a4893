"""Work on items in processes, in order, with few items in memory."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import Any, TypeVar

from galahstream.errors import WorkerError
from galahstream.system.ordered_results import ordered_results
from galahstream.system.processes import safe_start_method

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def ordered_process_map(
    work: Callable[[_Item], _Result], items: Iterator[_Item], n_processes: int
) -> Iterator[_Result]:
    """Yield the result of `work` for each item, in order.

    The processes end with the iteration: when the items do, at an error, when the
    iterator is closed, and when the process that started them ends, however it does.

    Parameters
    ----------
    work : callable
        Sent once to each process, with all that it refers to.
    items : iterator
        Advanced in the calling thread, at most `n_processes` + 1 items ahead.
    n_processes : int
        Number of processes.

    Raises
    ------
    WorkerError
        If a process ended before it was done.
    """
    context = multiprocessing.get_context(safe_start_method())
    pool = ProcessPoolExecutor(n_processes, context, _begin, (work,))
    try:
        yield from ordered_results(lambda item: pool.submit(_do, item), items, n_processes + 1)
    except BrokenProcessPool as error:
        msg = (
            "a process that reads the source ended before it was done: it was killed, as the "
            "system does when memory runs out (take fewer: jobs=, --jobs), or could not start (a "
            "script needs its 'if __name__ == \"__main__\":', or jobs=1)"
        )
        raise WorkerError(msg) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_work: Callable[[Any], Any] | None = None


def _begin(work: Callable[[Any], Any]) -> None:
    """Prepare a process."""
    global _work
    _work = work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its processes
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent does, even if that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _do(item: Any) -> Any:
    assert _work is not None
    return _work(item)
