"""Memory for batches that is reused when no tensor refers to it any more."""

import weakref
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_Array: TypeAlias = npt.NDArray[np.float32]

MAX_FREE_BUFFERS = 8
"""Maximum number of free buffers that a pool keeps; it disposes of those beyond."""


class BufferPool:
    """Arrays of one shape, each lent again when the last view of it is gone.

    Fresh memory costs a page fault per 4 KiB, as much as reading the batch. The
    buffer that was returned last is lent first, while it is still in the CPU cache.

    Parameters
    ----------
    shape : (int, int)
        Rows and pixels of the largest batch.
    allocate : callable
        Returns a float32 array of a shape; pinned memory for a CUDA device.
    dispose : callable
        Called with each returned array that the pool does not keep.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        allocate: Callable[[tuple[int, int]], _Array],
        dispose: Callable[[_Array], None] = lambda array: None,
    ) -> None:
        self._shape = shape
        self._allocate = allocate
        self._free = _FreeBuffers(dispose)

    def acquire(self, n_rows: int) -> _Array:
        """Return an array of shape (n_rows, L); it is returned when its views are gone."""
        if n_rows > self._shape[0]:  # a user's sampler can ask for a larger batch
            self._shape = (n_rows, self._shape[1])
        buffer = self._free.pop()
        if buffer is None or len(buffer) < n_rows:
            buffer = self._allocate(self._shape)
        view = buffer[:n_rows]
        self._free.lend(view, buffer)
        return view


class _FreeBuffers:
    """Free and lent buffers; a separate object, because buffers can outlive their pool."""

    def __init__(self, dispose: Callable[[_Array], None]) -> None:
        self._buffers: deque[_Array] = deque()
        self._lent: dict[int, tuple[weakref.ref[_Array], _Array]] = {}
        self._dispose = dispose

    def lend(self, view: _Array, buffer: _Array) -> None:
        # Tensors refer to the view; only this table refers to the buffer behind it.
        reference = weakref.ref(view, self._take_back)
        self._lent[id(reference)] = reference, buffer

    def _take_back(self, reference: "weakref.ref[_Array]") -> None:
        _, buffer = self._lent.pop(id(reference))
        if len(self._buffers) < MAX_FREE_BUFFERS:
            self._buffers.append(buffer)
        else:
            self._dispose(buffer)

    def pop(self) -> _Array | None:
        try:
            return self._buffers.pop()
        except IndexError:
            return None
