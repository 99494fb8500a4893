"""The interface of a worker pool, what it is asked for, and the order in which it answers."""

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import torch

from galahstream.errors import WorkerError
from galahstream.stream.draws import EpochDraws
from galahstream.stream.items import SpectraItems

Indices: TypeAlias = npt.NDArray[np.int64]
SpectraBuffer: TypeAlias = npt.NDArray[np.float32]
BatchTensors: TypeAlias = tuple[torch.Tensor, ...]
"""Flux (n, L), and as far as the dataset gives them errors, labels (n, K), their errors and ids."""

NO_INDICES: Indices = np.empty(0, dtype=np.int64)

# Bytes that the kernel maps around each page that is touched (fault-around).
_FAULT_AROUND_BYTES = 64 * 1024
_WAIT_STEP_S = 0.5


class ReadItems(Protocol):
    """The method of a dataset that reads items, into given buffers."""

    def __call__(
        self, indices: Indices, /, *out: SpectraBuffer, draws: EpochDraws | None
    ) -> BatchTensors:
        """Return the tensors of items."""


class BatchRequest(NamedTuple):
    """Items of a dataset to be read together.

    Attributes
    ----------
    indices : ndarray, shape (n,), int64
        The items, those of one batch or of several consecutive ones.
    prefetch : ndarray, shape (m,), int64
        Items whose spectra the disk is asked for before the items are read.
    draws : EpochDraws or None
        How the spectra are augmented.
    """

    indices: Indices
    prefetch: Indices = NO_INDICES
    draws: EpochDraws | None = None


class WorkerPool(Protocol):
    """Workers that read batches ahead and return them in the order of the requests."""

    @property
    def is_alive(self) -> bool:
        """Whether the pool can take requests in this process."""

    def run(
        self, requests: Iterable[BatchRequest], batches_per_request: int = 1
    ) -> Iterator[BatchTensors]:
        """Return the tensors of each request, in order; workers begin with them at once.

        An exception in a worker is raised when its tensors are asked for, with its traceback
        and a note that names the batch. Requests that are under way when the iteration ends
        early are dropped.

        Parameters
        ----------
        requests : iterable of BatchRequest
            Taken as late as the read-ahead of the pool allows.
        batches_per_request : int
            Batches that each request stands for, to name them in errors.
        """

    def close(self) -> None:
        """End the workers."""


class PendingBatch(Protocol):
    """A request that a worker has been given."""

    def wait(self) -> BatchTensors:
        """Return the tensors when they are there, or raise the error of the worker."""

    def cancel(self) -> None:
        """Skip the request if no worker has begun with it."""


class BatchReader:
    """Reads the items of requests into buffers, within a budget of resident pages.

    Parameters
    ----------
    dataset : SpectraItems
    read_items : callable
        The method of the dataset that reads: ``read_valid_batch`` for requests that prefetch
        and hold valid indices, otherwise ``read_batch``, which checks and prefetches itself.
    memory_budget : int, optional
        Bytes of a mapped store to touch before its pages are released.
    """

    def __init__(
        self, dataset: SpectraItems, read_items: ReadItems, memory_budget: int | None = None
    ) -> None:
        self.dataset = dataset
        self._read_items = read_items
        self._memory_budget = memory_budget
        self._touched_bytes = 0

    @property
    def n_buffers(self) -> int:
        """Number of buffers of a request: one for the flux, and one for the errors if any."""
        return 1 + self.dataset.return_error

    def read(self, request: BatchRequest, *out: SpectraBuffer) -> BatchTensors:
        """Return the tensors of a request, in `out` unless a transform allocates."""
        if len(request.prefetch):
            self.dataset.prefetch(request.prefetch)
        tensors = self._read_items(request.indices, *out, draws=request.draws)
        if self._memory_budget is not None:
            self._release_pages(len(request.indices), self._memory_budget)
        return tensors

    def _release_pages(self, n_rows: int, budget: int) -> None:
        self._touched_bytes += n_rows * (self.dataset.stored_row_bytes + _FAULT_AROUND_BYTES)
        if self._touched_bytes > budget:
            self.dataset.release_pages()
            self._touched_bytes = 0


class InlinePool:
    """No workers: each request is read when the consumer asks for its batch.

    Parameters
    ----------
    read : callable
        Returns the tensors of a request.
    """

    is_alive = True

    def __init__(self, read: Callable[[BatchRequest], BatchTensors]) -> None:
        self._read = read

    def run(
        self, requests: Iterable[BatchRequest], batches_per_request: int = 1
    ) -> Iterator[BatchTensors]:
        """Yield the tensors of each request, in order."""
        return map(self._read, requests)

    def close(self) -> None:
        """Do nothing: there is no worker to end."""


def run_ahead(
    submit: Callable[[BatchRequest, str], PendingBatch],
    requests: Iterable[BatchRequest],
    depth: int,
    batches_per_request: int,
) -> Iterator[BatchTensors]:
    """Return the tensors of each request in order, with up to `depth` requests submitted ahead.

    The first ones are submitted before anything is asked for.

    Parameters
    ----------
    submit : callable
        Gives a worker a request and the name of its batches.
    """
    results = _run_ahead(submit, requests, depth, batches_per_request)
    next(results)
    return results


def _run_ahead(
    submit: Callable[[BatchRequest, str], PendingBatch],
    requests: Iterable[BatchRequest],
    depth: int,
    batches_per_request: int,
) -> Iterator[BatchTensors]:
    """Submit the first requests, yield nothing, and then the tensors of each request."""
    names = (batch_name(number, batches_per_request) for number in itertools.count())
    upcoming = zip(requests, names, strict=False)
    pending: deque[PendingBatch] = deque()
    try:
        for request, name in itertools.islice(upcoming, depth):
            pending.append(submit(request, name))
        yield ()
        while pending:
            tensors = pending.popleft().wait()
            for request, name in itertools.islice(upcoming, 1):
                pending.append(submit(request, name))
            yield tensors
            del tensors  # the buffer returns to its pool as soon as the consumer drops the batch
    finally:
        for batch in pending:
            batch.cancel()


def batch_name(number: int, batches_per_request: int) -> str:
    """Name the batches of a request, counted from 0 since the iteration began."""
    first, last = number * batches_per_request, (number + 1) * batches_per_request - 1
    which = f"batch {first}" if first == last else f"one of batches {first} to {last}"
    return f"{which} of this iteration"


def closed_error() -> WorkerError:
    """Return the error of a loop whose loader was closed while it ran."""
    return WorkerError("the loader was closed while a batch was being read; iterate over it again")


def wait_in_steps(wait: Callable[[float], bool], timeout: float) -> bool:
    """Wait for a worker and return whether it is done, noticing an interrupt within a second.

    An interrupt that comes just before Python waits for a lock is only noticed after the
    wait, which can take as long as a slow transform.

    Parameters
    ----------
    wait : callable
        Waits for at most the given seconds and returns whether the worker is done.
    timeout : float
        Seconds to wait in all; 0 waits as long as it takes.
    """
    remaining = timeout or math.inf
    while not wait(min(remaining, _WAIT_STEP_S)):
        remaining -= _WAIT_STEP_S
        if remaining <= 0:
            return False
    return True


def timeout_error(name: str, timeout: float) -> WorkerError:
    """Return the error of a batch that did not arrive within `timeout` seconds."""
    return WorkerError(
        f"{name} did not arrive within {timeout:g} s (timeout=); allow more time, or make the "
        f"transform or the storage faster"
    )
