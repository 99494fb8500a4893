"""Worker processes that write batches straight into memory shared with their parent."""

import mmap
import os
import signal
import tempfile
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
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
from galahstream.stream.pool import BatchPool

_Indices: TypeAlias = Sequence[int]
_Array: TypeAlias = npt.NDArray[np.float32]


class SharedSlots:
    """A nameless file in memory, of which each batch in flight maps a part.

    It grows by a part whenever all are taken, so that a user may keep what they get.
    Where the system has no such files, a temporary one that ends with this object.
    """

    def __init__(self, shape: tuple[int, int]) -> None:
        bytes_needed = 4 * shape[0] * shape[1]
        self.slot_bytes = -(-bytes_needed // mmap.ALLOCATIONGRANULARITY)
        self.slot_bytes *= mmap.ALLOCATIONGRANULARITY
        if hasattr(os, "memfd_create"):
            descriptor = os.memfd_create("galahstream")
            self.path = f"/proc/{os.getpid()}/fd/{descriptor}"
            weakref.finalize(self, os.close, descriptor)
        else:
            descriptor, self.path = tempfile.mkstemp(prefix="galahstream-")
            weakref.finalize(self, os.close, descriptor)
            weakref.finalize(self, os.unlink, self.path)
        self._descriptor = descriptor
        self._offsets: dict[int, int] = {}
        self._size = 0
        self.pool = BatchPool(shape, self._grow)

    def offset(self, array: _Array) -> int:
        """Return where in the file an array of the pool begins."""
        return self._offsets[array.__array_interface__["data"][0]]

    def _grow(self, shape: tuple[int, int]) -> _Array:
        offset, self._size = self._size, self._size + self.slot_bytes
        os.ftruncate(self._descriptor, self._size)
        array = map_slot(self._descriptor, self.slot_bytes, offset, shape)
        self._offsets[array.__array_interface__["data"][0]] = offset
        return array


def map_slot(descriptor: int, size: int, offset: int, shape: tuple[int, int]) -> _Array:
    """Return a part of a shared file as an array."""
    part = mmap.mmap(descriptor, size, offset=offset)
    count = shape[0] * shape[1]
    return np.frombuffer(part, dtype=np.float32, count=count).reshape(shape)


class ProcessCrew:
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
        self._slots = SharedSlots(shape)
        needed = (depth + 2) * self._slots.slot_bytes
        free = psutil.virtual_memory().available
        if needed > free:
            msg = (
                f"{size} worker processes share {needed:,} bytes for {depth + 2} batches of "
                f"{shape[0]} x {shape[1]} float32, and {free:,} bytes of memory are free; take "
                f"fewer workers or a smaller batch"
            )
            raise StorageFullError(msg)
        self._executor = ProcessPoolExecutor(
            size, context, _begin, (dataset, self._slots.path, self._slots.slot_bytes, shape)
        )

    def run(self, asked: Iterable[tuple[_Indices, _Indices]]) -> Iterator[tuple[Any, ...]]:
        """Yield the tensors of each batch asked for, (indices, indices to announce), in order.

        Raises
        ------
        WorkerError
            If a process ended while it made a batch.
        """
        coming = enumerate(asked)
        pending: deque[tuple[int, _Array, Future[list[npt.NDArray[Any]]]]] = deque()
        try:
            for number, wanted in islice(coming, self._depth):
                pending.append((number, *self._start(number, *wanted)))
            while pending:
                number, flux, future = pending.popleft()
                whole = (torch.from_numpy(flux), *_rest(future, number))
                del flux, future
                for following, wanted in islice(coming, 1):
                    pending.append((following, *self._start(following, *wanted)))
                yield whole
                del whole
        finally:
            for _, _, future in pending:
                future.cancel()

    @property
    def is_alive(self) -> bool:
        """Whether it was not closed, and no process of it was lost."""
        return not self._executor._shutdown_thread and not self._executor._broken

    def close(self) -> None:
        """End the processes."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _start(
        self, number: int, indices: _Indices, ahead: _Indices
    ) -> tuple[_Array, Future[list[npt.NDArray[Any]]]]:
        flux = self._slots.pool.take(len(indices))
        try:
            future = self._executor.submit(_make, indices, ahead, self._slots.offset(flux))
        except (BrokenProcessPool, RuntimeError) as error:
            raise _lost(number) from error
        # Kept until it is written, even by a loop that was left: nobody else may get it before.
        future.add_done_callback(partial(_release, flux))
        return flux, future


def _release(flux: _Array, future: "Future[Any]") -> None:
    """Hold on to an array for as long as it is bound to this function."""


def _rest(future: "Future[list[npt.NDArray[Any]]]", number: int) -> tuple[torch.Tensor, ...]:
    try:
        return tuple(torch.from_numpy(array) for array in future.result())
    except BrokenProcessPool as error:
        raise _lost(number) from error
    except BaseException as error:
        error.add_note(f"while batch {number} of this iteration was made by a worker process")
        raise


def _lost(number: int) -> WorkerError:
    return WorkerError(
        f"a worker process ended before batch {number} was made; it was killed, as the system "
        f"does when memory runs out, or could not start: take fewer workers or smaller batches"
    )


class _Worker:
    """What a worker process works with."""

    def __init__(
        self, dataset: SpectraDataset, path: str, slot_bytes: int, shape: tuple[int, int]
    ) -> None:
        self._dataset, self._slot_bytes, self._shape = dataset, slot_bytes, shape
        self._descriptor = os.open(path, os.O_RDWR)
        self._arrays: dict[int, _Array] = {}

    def make(self, indices: _Indices, ahead: _Indices, offset: int) -> list[npt.NDArray[Any]]:
        if offset not in self._arrays:
            self._arrays[offset] = map_slot(
                self._descriptor, self._slot_bytes, offset, self._shape
            )
        self._dataset.announce(ahead)
        out = self._arrays[offset][: len(indices)]
        flux, *rest = (tensor.numpy() for tensor in self._dataset.read_batch(indices, out))
        if flux.ctypes.data != out.ctypes.data:  # a transform that made an array of its own
            out[:] = flux
        return rest


_worker: _Worker | None = None


def _begin(
    dataset: SpectraDataset, path: str, slot_bytes: int, shape: tuple[int, int]
) -> None:
    global _worker  # noqa: PLW0603  one a process, as its initializer can leave nothing else
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    torch.set_num_threads(1)
    _worker = _Worker(dataset, path, slot_bytes, shape)


def _make(indices: _Indices, ahead: _Indices, offset: int) -> list[npt.NDArray[Any]]:
    assert _worker is not None
    return _worker.make(indices, ahead, offset)
