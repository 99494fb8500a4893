"""Worker threads that make batches ahead and hand them over in their order."""

import itertools
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import Any, TypeAlias

from galahstream.errors import WorkerError

# How long the end of the program waits for threads that are in a user's transform.
_JOIN_TIMEOUT_S = 1.0


class _Task:
    """A batch to be made; its lock is released when it is."""

    __slots__ = ("cancelled", "done", "error", "make", "result")

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make
        self.result: Any = None
        self.error: BaseException | None = None
        self.cancelled = False
        self.done = threading.Lock()
        self.done.acquire()


_Tasks: TypeAlias = "SimpleQueue[_Task | None]"


class ThreadWorkerPool:
    """Threads that live until they are closed, or nobody refers to the crew any more.

    Parameters
    ----------
    size : int
        Number of threads, from 1 up.
    depth : int
        Batches that are made, or being made, beyond the one handed over.
    """

    def __init__(self, size: int, depth: int) -> None:
        self._depth = depth
        self._tasks: _Tasks = SimpleQueue()
        self._process = os.getpid()
        threads = [
            threading.Thread(
                target=_work, args=(self._tasks,), name=f"galahstream-{number}", daemon=True
            )
            for number in range(size)
        ]
        for thread in threads:
            thread.start()
        self._closing = weakref.finalize(self, _close, self._tasks, threads, os.getpid())

    @property
    def is_alive(self) -> bool:
        """Whether its threads run in this process; a fork leaves them behind."""
        return self._closing.alive and self._process == os.getpid()

    def run(self, makers: Iterable[Callable[[], Any]], each: int = 1) -> Iterator[Any]:
        """Yield what the makers return, in their order; each makes `each` batches.

        An exception of a maker is raised here with its own traceback and a note
        that names the batch. Ending the iteration early drops what is under way.
        """
        coming = enumerate(makers)
        pending: deque[tuple[int, _Task]] = deque()
        try:
            for number, make in itertools.islice(coming, self._depth):
                pending.append((number, self._start(make)))
            while pending:
                number, task = pending.popleft()
                task.done.acquire()
                if task.error is not None:
                    task.error.add_note(f"while a worker thread made {batch_name(number, each)}")
                    raise task.error
                result = task.result
                del task
                for following, make in itertools.islice(coming, 1):
                    pending.append((following, self._start(make)))
                yield result
                del result
        finally:
            for _, task in pending:
                task.cancelled = True

    def close(self) -> None:
        """End the threads."""
        self._closing()

    def _start(self, make: Callable[[], Any]) -> _Task:
        if not self.is_alive:
            raise closed_error()
        task = _Task(make)
        self._tasks.put(task)
        return task


def _work(tasks: _Tasks) -> None:
    # A function, not a method: a thread must not keep its crew alive.
    while (task := tasks.get()) is not None:
        if not task.cancelled:
            try:
                task.result = task.make()
            except BaseException as error:
                task.error = error
        task.done.release()
        del task


def closed_error() -> WorkerError:
    """Return what a loop meets whose loader was closed inside it."""
    return WorkerError("the loader was closed while a batch was asked for; iterate anew")


def batch_name(number: int, each: int) -> str:
    """Name the batches of a task, counted from 0 since the iteration began."""
    first, last = number * each, number * each + each - 1
    which = f"batch {first}" if each == 1 else f"one of batches {first} to {last}"
    return f"{which} of this iteration"


def _close(tasks: _Tasks, threads: list[threading.Thread], process: int) -> None:
    if process != os.getpid():  # a forked child has no such threads
        return
    for _ in threads:
        tasks.put(None)
    for thread in threads:
        if thread is not threading.current_thread():
            thread.join(_JOIN_TIMEOUT_S / len(threads))
