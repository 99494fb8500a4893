"""Worker threads that read batches ahead and return them in order."""

import os
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import TypeAlias

from galahstream.stream.workers.base import (
    BatchRequest,
    BatchTensors,
    closed_error,
    run_ahead,
    timeout_error,
    wait_in_steps,
)

# Seconds to wait at exit for threads that are still running a user transform.
_JOIN_TIMEOUT_S = 1.0


class _Task:
    """A request for a worker thread; its lock is released when the thread is done with it."""

    __slots__ = ("_done", "_error", "_is_cancelled", "_name", "_request", "_tensors", "_timeout")

    def __init__(self, request: BatchRequest, name: str, timeout: float) -> None:
        self._request = request
        self._name = name
        self._timeout = timeout
        self._tensors: BatchTensors = ()
        self._error: BaseException | None = None
        self._is_cancelled = False
        self._done = threading.Lock()
        self._done.acquire()

    def run(self, read: Callable[[BatchRequest], BatchTensors]) -> None:
        """Read the request in the worker thread."""
        if not self._is_cancelled:
            try:
                self._tensors = read(self._request)
            except BaseException as error:
                self._error = error
        self._done.release()

    def wait(self) -> BatchTensors:
        """Return the tensors, or raise the error of the worker."""
        if not wait_in_steps(lambda seconds: self._done.acquire(timeout=seconds), self._timeout):
            raise timeout_error(self._name, self._timeout)
        if self._error is not None:
            self._error.add_note(f"while a worker thread made {self._name}")
            raise self._error
        return self._tensors

    def cancel(self) -> None:
        """Skip the request if no thread has begun with it."""
        self._is_cancelled = True


_Tasks: TypeAlias = "SimpleQueue[_Task | None]"


class ThreadWorkerPool:
    """Worker threads that run until `close()` or until the pool is garbage-collected.

    Parameters
    ----------
    read : callable
        Returns the tensors of a request; called in the threads. It must not refer to
        the pool, which would then never be collected.
    size : int
        Number of threads, at least 1.
    depth : int
        Maximum number of requests in flight beyond the one handed over.
    timeout : float
        Seconds to wait for a request; 0 waits as long as it takes.
    """

    def __init__(
        self,
        read: Callable[[BatchRequest], BatchTensors],
        size: int,
        depth: int,
        timeout: float = 0.0,
    ) -> None:
        self._depth = depth
        self._timeout = timeout
        self._tasks: _Tasks = SimpleQueue()
        self._process = os.getpid()
        threads = [
            threading.Thread(
                target=_work, args=(self._tasks, read), name=f"galahstream-{number}", daemon=True
            )
            for number in range(size)
        ]
        for thread in threads:
            thread.start()
        self._closing = weakref.finalize(self, _close, self._tasks, threads, os.getpid())

    @property
    def is_alive(self) -> bool:
        """Whether the threads run in this process; a forked child does not have them."""
        return self._closing.alive and self._process == os.getpid()

    def run(
        self, requests: Iterable[BatchRequest], batches_per_request: int = 1
    ) -> Iterator[BatchTensors]:
        """Return the tensors of each request, in order; workers begin with them at once.

        Raises
        ------
        WorkerError
            If the pool was closed, or a request took longer than the timeout.
        """
        return run_ahead(self._submit, requests, self._depth, batches_per_request)

    def close(self) -> None:
        """End the threads."""
        self._closing()

    def _submit(self, request: BatchRequest, name: str) -> _Task:
        if not self.is_alive:
            raise closed_error()
        task = _Task(request, name, self._timeout)
        self._tasks.put(task)
        return task


def _work(tasks: _Tasks, read: Callable[[BatchRequest], BatchTensors]) -> None:
    # A function, not a method: a thread must not keep its pool alive.
    while (task := tasks.get()) is not None:
        task.run(read)
        del task


def _close(tasks: _Tasks, threads: list[threading.Thread], process: int) -> None:
    if process != os.getpid():  # a forked child does not have these threads
        return
    for _ in threads:
        tasks.put(None)
    for thread in threads:
        if thread is not threading.current_thread():
            thread.join(_JOIN_TIMEOUT_S / len(threads))
