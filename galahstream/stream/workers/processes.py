"""Worker processes that write batches straight into memory shared with their parent."""

import mmap
import os
import signal
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from itertools import islice
from multiprocessing.context import BaseContext
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import psutil
import torch

from galahstream.errors import StorageFullError, WorkerError
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.workers.buffers import BufferPool
from galahstream.stream.workers.threads import batch_name, closed_error
from galahstream.system.shared_memory import anonymous_shared_file

_Indices: TypeAlias = npt.NDArray[np.int64]
_Array: TypeAlias = npt.NDArray[np.float32]

# Parts that a process keeps mapped: mapping one anew costs a page fault for each 4 KiB.
_MAPPED_PARTS = 32
# Parts of the first mapping; the memory of a part is taken when it is first used.
_FIRST_PARTS = 8


class SharedBufferArena:
    """A nameless file in memory, of which each batch in flight takes a part.

    It grows whenever all parts are taken, so that a user may keep what they get.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        descriptor, self.path = anonymous_shared_file(self)
        self._closing = weakref.finalize(self, os.close, descriptor)
        self._descriptor = descriptor
        self._size = 0
        # Each mapping holds a descriptor of its own: ever longer ones, of which parts are cut.
        self._mapping: mmap.mmap | None = None
        self._begin = self._parts = 0
        self._places: dict[int, tuple[mmap.mmap, int, int]] = {}
        self._emptied: list[_Array] = []
        self.pool = BufferPool(shape, self._grow, self._empty)

    def offset(self, array: _Array) -> int:
        """Return where in the file an array of the pool begins."""
        _, begin, start = self._places[_address(array)]
        return begin + start

    def close(self) -> None:
        """Close the file; parts that are in use stay."""
        self._closing()
        del self.pool

    def _grow(self, shape: tuple[int, int]) -> _Array:
        if self._emptied and len(self._emptied[-1]) >= shape[0]:
            return self._emptied.pop()
        size = slot_bytes(shape)
        if self._mapping is None or self._begin + len(self._mapping) < self._size + size:
            self._parts = max(2 * self._parts, _FIRST_PARTS)
            self._begin = self._size
            os.ftruncate(self._descriptor, self._begin + self._parts * size)
            self._mapping = mmap.mmap(self._descriptor, self._parts * size, offset=self._begin)
        start = self._size - self._begin
        self._size += size
        array = _as_batch(self._mapping, start, shape)
        self._places[_address(array)] = self._mapping, self._begin, start
        return array

    def _empty(self, array: _Array) -> None:
        """Give the memory of a part back to the system; its place in the file stays."""
        mapping, _, start = self._places[_address(array)]
        if hasattr(mmap, "MADV_REMOVE"):
            mapping.madvise(mmap.MADV_REMOVE, start, slot_bytes((len(array), array.shape[1])))
        self._emptied.append(array)


def slot_bytes(shape: tuple[int, int]) -> int:
    """Return the bytes of a part that holds float32 of a shape."""
    return -(-4 * shape[0] * shape[1] // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY


def _as_batch(mapping: mmap.mmap, start: int, shape: tuple[int, int]) -> _Array:
    return np.frombuffer(mapping, np.float32, shape[0] * shape[1], start).reshape(shape)


def _address(array: _Array) -> int:
    return int(array.__array_interface__["data"][0])


class ProcessWorkerPool:
    """Processes that make batches ahead and hand them over in their order.

    Parameters
    ----------
    dataset : SpectraDataset
        Goes to each process as its path and options.
    size : int
        Number of processes, from 1 up.
    depth : int
        Batches that are made, or being made, beyond the one handed over.
    shape : (int, int)
        Rows and pixels of the largest batch.
    context : BaseContext
        How processes are started.

    Raises
    ------
    StorageFullError
        If there is too little memory for the batches of so many processes.
    """

    def __init__(
        self,
        dataset: SpectraDataset,
        size: int,
        depth: int,
        shape: tuple[int, int],
        context: BaseContext,
    ) -> None:
        self._depth = depth
        self._slots = SharedBufferArena(shape)
        needed = (depth + 2) * slot_bytes(shape)
        free = psutil.virtual_memory().available
        if needed > free:
            msg = (
                f"{size} worker processes share {needed:,} bytes for {depth + 2} batches of "
                f"{shape[0]} x {shape[1]} float32, and {free:,} bytes of memory are free; take "
                f"fewer workers or a smaller batch"
            )
            raise StorageFullError(msg)
        self._is_closed = False
        self._executor = ProcessPoolExecutor(size, context, _begin, (dataset, self._slots.path))

    def run(
        self, asked: Iterable[tuple[_Indices, _Indices]], each: int = 1
    ) -> Iterator[tuple[Any, ...]]:
        """Yield the tensors of each batch asked for, (indices, indices to prefetch), in order.

        Each asked for is `each` of the loader's batches.

        Raises
        ------
        WorkerError
            If a process ended while it made a batch.
        """
        coming = enumerate(asked)
        pending: deque[tuple[int, _Array, Future[list[npt.NDArray[Any]]]]] = deque()
        try:
            for number, wanted in islice(coming, self._depth):
                pending.append((number, *self._start(batch_name(number, each), *wanted)))
            while pending:
                number, flux, future = pending.popleft()
                whole = (torch.from_numpy(flux), *_rest(future, batch_name(number, each)))
                del flux, future
                for following, wanted in islice(coming, 1):
                    pending.append((following, *self._start(batch_name(following, each), *wanted)))
                yield whole
                del whole
        finally:
            for _, _, future in pending:
                future.cancel()

    @property
    def is_alive(self) -> bool:
        """Whether it was not closed, and no process of it was lost."""
        return not self._is_closed and not self._executor._broken

    def close(self) -> None:
        """End the processes."""
        if not self._is_closed:
            self._is_closed = True
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._slots.close()

    def _start(
        self, name: str, indices: _Indices, ahead: _Indices
    ) -> tuple[_Array, Future[list[npt.NDArray[Any]]]]:
        if self._is_closed:
            raise closed_error()
        flux = self._slots.pool.take(len(indices))
        try:
            future = self._executor.submit(_make, indices, ahead, self._slots.offset(flux))
        except BrokenProcessPool as error:
            raise _lost(name) from error
        # Kept until it is written, even by a loop that was left: nobody else may get it before.
        future.add_done_callback(partial(_release, flux))
        return flux, future


def _release(flux: _Array, future: "Future[Any]") -> None:
    """Hold on to an array for as long as it is bound to this function."""


def _rest(future: "Future[list[npt.NDArray[Any]]]", name: str) -> tuple[torch.Tensor, ...]:
    try:
        return tuple(torch.from_numpy(array) for array in future.result())
    except BrokenProcessPool as error:
        raise _lost(name) from error
    except BaseException as error:
        error.add_note(f"while a worker process made {name}")
        raise


def _lost(name: str) -> WorkerError:
    return WorkerError(
        f"a worker process ended before {name} was made; it was killed, as the system "
        f"does when memory runs out, or could not start: take fewer workers or smaller batches"
    )


class _Worker:
    """What a worker process works with."""

    def __init__(self, dataset: SpectraDataset, path: str) -> None:
        self._dataset = dataset
        self._descriptor = os.open(path, os.O_RDWR)
        self._parts: dict[tuple[int, int], _Array] = {}

    def make(self, indices: _Indices, ahead: _Indices, offset: int) -> list[npt.NDArray[Any]]:
        self._dataset.prefetch(ahead)
        out = self._part(offset, len(indices))
        flux, *rest = (tensor.numpy() for tensor in self._dataset.read_batch(indices, out))
        if _address(flux) != _address(out):  # a transform that made an array of its own
            out[:] = flux
        return rest

    def _part(self, offset: int, n_rows: int) -> _Array:
        if (offset, n_rows) not in self._parts:
            if len(self._parts) == _MAPPED_PARTS:
                del self._parts[next(iter(self._parts))]
            shape = (n_rows, self._dataset.n_pixels)
            part = mmap.mmap(self._descriptor, slot_bytes(shape), offset=offset)
            self._parts[offset, n_rows] = _as_batch(part, 0, shape)
        return self._parts[offset, n_rows]


_worker: _Worker | None = None


def _begin(dataset: SpectraDataset, path: str) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    torch.set_num_threads(1)
    _worker = _Worker(dataset, path)


def _make(indices: _Indices, ahead: _Indices, offset: int) -> list[npt.NDArray[Any]]:
    assert _worker is not None
    return _worker.make(indices, ahead, offset)
