"""Worker processes that write batches directly into memory shared with their parent."""

import mmap
import multiprocessing
import os
import signal
import weakref
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.context import BaseContext
from multiprocessing.reduction import ForkingPickler
from multiprocessing.sharedctypes import Synchronized
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import psutil
import torch

from galahstream.errors import OptionError, StorageFullError, WorkerError
from galahstream.stream.items import SpectraItems
from galahstream.stream.options import StreamOptions, WorkerInit
from galahstream.stream.workers.base import (
    BatchReader,
    BatchRequest,
    BatchTensors,
    SpectraBuffer,
    closed_error,
    run_ahead,
    timeout_error,
    wait_in_steps,
)
from galahstream.stream.workers.buffers import BufferPool
from galahstream.system.shared_memory import anonymous_shared_file

_OtherArrays: TypeAlias = list[npt.NDArray[Any]]

# Slots that a worker keeps mapped: mapping one again costs a page fault per 4 KiB.
_MAX_MAPPED_SLOTS = 32
# Slots of the first mapping; the memory of a slot is taken when it is first used.
_FIRST_SLOTS = 8


class _SlotLocation(NamedTuple):
    """Where a slot is: its mapping, where that begins in the file, and the offset in it."""

    mapping: mmap.mmap
    mapping_offset: int
    offset: int


class SharedBufferArena:
    """An anonymous shared file divided into slots, one per batch in flight.

    It grows when all slots are taken, so that a consumer may keep its batches.

    Parameters
    ----------
    shape : (int, int)
        Rows and pixels of the largest batch.

    Attributes
    ----------
    path : str
        Path by which worker processes open the file.
    pool : BufferPool
        The slots, as float32 arrays.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        descriptor, self.path = anonymous_shared_file(self)
        self._closing = weakref.finalize(self, os.close, descriptor)
        self._descriptor = descriptor
        self._size = 0
        # Each mapping holds a file descriptor: few mappings that double in length, cut into slots.
        self._mapping: mmap.mmap | None = None
        self._mapping_offset = self._mapping_slots = 0
        self._locations: dict[int, _SlotLocation] = {}
        self._emptied: list[SpectraBuffer] = []
        self.pool = BufferPool(shape, self._allocate, self._empty)

    def offset(self, array: SpectraBuffer) -> int:
        """Return the offset in the file of an array that was acquired from the pool."""
        location = self._locations[_address(array)]
        return location.mapping_offset + location.offset

    def close(self) -> None:
        """Close the file; slots that are in use stay valid."""
        self._closing()
        del self.pool

    def _allocate(self, shape: tuple[int, int]) -> SpectraBuffer:
        if self._emptied and len(self._emptied[-1]) >= shape[0]:
            return self._emptied.pop()
        size = slot_bytes(shape)
        if self._mapping is None or self._mapping_offset + len(self._mapping) < self._size + size:
            self._mapping_slots = max(2 * self._mapping_slots, _FIRST_SLOTS)
            self._mapping_offset = self._size
            length = self._mapping_slots * size
            os.ftruncate(self._descriptor, self._mapping_offset + length)
            self._mapping = mmap.mmap(self._descriptor, length, offset=self._mapping_offset)
        offset = self._size - self._mapping_offset
        self._size += size
        array = _as_batch(self._mapping, offset, shape)
        self._locations[_address(array)] = _SlotLocation(
            self._mapping, self._mapping_offset, offset
        )
        return array

    def _empty(self, array: SpectraBuffer) -> None:
        """Give the memory of a slot back to the system; its offset in the file stays reserved."""
        location = self._locations[_address(array)]
        if hasattr(mmap, "MADV_REMOVE"):
            size = slot_bytes((len(array), array.shape[1]))
            location.mapping.madvise(mmap.MADV_REMOVE, location.offset, size)
        self._emptied.append(array)


def slot_bytes(shape: tuple[int, int]) -> int:
    """Return the bytes of a slot that holds float32 of a shape, rounded up to whole pages."""
    return -(-4 * shape[0] * shape[1] // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY


def _as_batch(mapping: mmap.mmap, offset: int, shape: tuple[int, int]) -> SpectraBuffer:
    return np.frombuffer(mapping, np.float32, shape[0] * shape[1], offset).reshape(shape)


def _address(array: SpectraBuffer) -> int:
    return int(array.__array_interface__["data"][0])


class _Task:
    """A request that a worker process has been given, and the slots for its spectra."""

    def __init__(
        self,
        spectra: Sequence[SpectraBuffer],
        future: "Future[_OtherArrays]",
        name: str,
        timeout: float,
    ) -> None:
        self._spectra = spectra
        self._future = future
        self._name = name
        self._timeout = timeout

    def wait(self) -> BatchTensors:
        """Return the tensors, or raise the error of the worker."""
        if not wait_in_steps(self._is_done_in, self._timeout):
            raise timeout_error(self._name, self._timeout)
        try:
            others = self._future.result()
        except BrokenProcessPool as error:
            raise lost_worker_error(self._name) from error
        except BaseException as error:
            error.add_note(f"while a worker process made {self._name}")
            raise
        return tuple(torch.from_numpy(array) for array in (*self._spectra, *others))

    def cancel(self) -> None:
        """Skip the request if no process has begun with it."""
        self._future.cancel()

    def _is_done_in(self, seconds: float) -> bool:
        try:
            self._future.exception(seconds)
        except (CancelledError, TimeoutError):
            return self._future.done()
        return True


class ProcessWorkerPool:
    """Worker processes that run until `close()`.

    Parameters
    ----------
    reader : BatchReader
        Sent to each process; its dataset goes there as its path and options.
    shape : (int, int)
        Rows and pixels of the largest request.
    depth : int
        Maximum number of requests in flight beyond the one handed over.
    options : StreamOptions
        Number of processes, how they start, and what they run first.

    Raises
    ------
    OptionError
        Inside a daemonic process, which may not start others, or if the transform or
        `worker_init_fn` cannot be pickled.
    StorageFullError
        If there is too little memory for the batches of that many processes.
    """

    def __init__(
        self, reader: BatchReader, shape: tuple[int, int], depth: int, options: StreamOptions
    ) -> None:
        context = options.start_context()
        _check_processes_can_start(reader.dataset, options, context)
        _check_memory(shape, reader.n_buffers * (depth + 2), options.num_workers)
        self._depth = depth
        self._timeout = options.timeout
        self._n_buffers = reader.n_buffers
        self._arena = SharedBufferArena(shape)
        self._is_closed = False
        init = options.worker_init_fn
        numbers = context.Value("i", 0) if init is not None else None
        self._executor = ProcessPoolExecutor(
            options.num_workers, context, _begin, (reader, self._arena.path, init, numbers)
        )

    @property
    def is_alive(self) -> bool:
        """Whether the pool was not closed and none of its processes was lost."""
        # Only the executor's own flag says so without a round trip to a process.
        return not self._is_closed and not self._executor._broken

    def run(
        self, requests: Iterable[BatchRequest], batches_per_request: int = 1
    ) -> Iterator[BatchTensors]:
        """Return the tensors of each request, in order; workers begin with them at once.

        Raises
        ------
        WorkerError
            If a process ended while it made a batch, the pool was closed, or a
            request took longer than the timeout.
        """
        return run_ahead(self._submit, requests, self._depth, batches_per_request)

    def close(self) -> None:
        """End the processes."""
        if not self._is_closed:
            self._is_closed = True
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._arena.close()

    def _submit(self, request: BatchRequest, name: str) -> _Task:
        if self._is_closed:
            raise closed_error()
        n_rows = len(request.indices)
        spectra = [self._arena.pool.acquire(n_rows) for _ in range(self._n_buffers)]
        offsets = [self._arena.offset(array) for array in spectra]
        try:
            future = self._executor.submit(_read, request, offsets)
        except BrokenProcessPool as error:
            raise lost_worker_error(name) from error
        # A slot must not be lent again before its process has written it, even if the
        # consumer left the loop: the callback refers to the slot until then.
        future.add_done_callback(partial(_release, spectra))
        return _Task(spectra, future, name, self._timeout)


def _release(spectra: Sequence[SpectraBuffer], future: "Future[Any]") -> None:
    """Keep arrays alive for as long as they are bound to this function."""


def _check_processes_can_start(
    dataset: SpectraItems, options: StreamOptions, context: BaseContext
) -> None:
    if multiprocessing.current_process().daemon:
        msg = (
            "worker processes cannot be started inside a daemonic process, such as a worker of "
            "multiprocessing.Pool or of a DataLoader; use worker_type='thread' or num_workers=0"
        )
        raise OptionError(msg)
    if context.get_start_method() == "fork":
        return
    for name, value in (
        ("transform", dataset.transform),
        ("target_transform", dataset.target_transform),
        ("worker_init_fn", options.worker_init_fn),
    ):
        try:
            ForkingPickler.dumps(value)
        except Exception as error:  # whatever the user's object raises
            msg = (
                f"the {name} {value!r} cannot be sent to worker processes ({error}); define it at "
                f"the top level of a module, or use worker_type='thread'"
            )
            raise OptionError(msg) from error


def _check_memory(shape: tuple[int, int], n_slots: int, num_workers: int) -> None:
    needed = n_slots * slot_bytes(shape)
    free = psutil.virtual_memory().available
    if needed > free:
        msg = (
            f"{num_workers} worker processes share {needed:,} bytes for {n_slots} arrays of "
            f"{shape[0]} x {shape[1]} float32, and {free:,} bytes of memory are free; take "
            f"fewer workers or a smaller batch"
        )
        raise StorageFullError(msg)


def lost_worker_error(name: str) -> WorkerError:
    """Return the error of a batch whose worker process ended before it was made."""
    return WorkerError(
        f"a worker process ended before {name} was read: it was killed, as the system does when "
        f"memory runs out (take fewer workers or smaller batches), or could not start (a script "
        f"needs its 'if __name__ == \"__main__\":')"
    )


class _Worker:
    """The state of a worker process: what it reads with, and the slots that it has mapped."""

    def __init__(self, reader: BatchReader, path: str) -> None:
        self._reader = reader
        self._n_pixels = reader.dataset.n_pixels
        self._descriptor = os.open(path, os.O_RDWR)
        self._slots: dict[tuple[int, int], SpectraBuffer] = {}

    def read(self, request: BatchRequest, offsets: Sequence[int]) -> _OtherArrays:
        """Write the spectra into the slots at some offsets; return the labels and ids."""
        out = [self._slot(offset, len(request.indices)) for offset in offsets]
        arrays = [tensor.numpy() for tensor in self._reader.read(request, *out)]
        for slot, array in zip(out, arrays[: len(out)], strict=True):
            if _address(array) != _address(slot):  # a transform that allocated its result
                slot[:] = array
        return arrays[len(out) :]

    def _slot(self, offset: int, n_rows: int) -> SpectraBuffer:
        if (offset, n_rows) not in self._slots:
            if len(self._slots) == _MAX_MAPPED_SLOTS:
                del self._slots[next(iter(self._slots))]
            shape = (n_rows, self._n_pixels)
            mapping = mmap.mmap(self._descriptor, slot_bytes(shape), offset=offset)
            self._slots[offset, n_rows] = _as_batch(mapping, 0, shape)
        return self._slots[offset, n_rows]


_worker: _Worker | None = None


def _begin(
    reader: BatchReader,
    path: str,
    init: WorkerInit | None,
    numbers: "Synchronized[int] | None",
) -> None:
    """Prepare a worker process."""
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    torch.set_num_threads(1)
    if init is not None and numbers is not None:
        with numbers.get_lock():
            number = numbers.value
            numbers.value += 1
        init(number)
    _worker = _Worker(reader, path)


def _read(request: BatchRequest, offsets: Sequence[int]) -> _OtherArrays:
    assert _worker is not None
    return _worker.read(request, offsets)
