"""Memory for batches that is used again once nobody sees it any more."""

import weakref
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

_Array: TypeAlias = npt.NDArray[np.float32]

# Batches that come back beyond these are freed: a user who kept many does not own them for ever.
_MAX_FREE_BUFFERS = 8


class BufferPool:
    """Arrays of one shape, each given out again when the last view of it is gone.

    Fresh memory costs a page fault for each 4 KiB, as much as reading the batch.
    The array that came back last is given out first: the cache still holds it.

    Parameters
    ----------
    shape : (int, int)
        Rows and pixels of the largest batch.
    allocate : callable
        Makes a float32 array of a shape; pinned memory for a CUDA device.
    dispose : callable
        Takes an array that the pool has enough of.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        allocate: Callable[[tuple[int, int]], _Array],
        dispose: Callable[[_Array], None] = lambda array: None,
    ) -> None:
        self._shape = shape
        self._allocate = allocate
        self._free = _Free(dispose)

    def take(self, n_rows: int) -> _Array:
        """Return an array of shape (n_rows, L); the pool has it back when its views are gone."""
        if n_rows > self._shape[0]:  # a sampler of the user's made a larger batch
            self._shape = (n_rows, self._shape[1])
        whole = self._free.pop()
        if whole is None or len(whole) < n_rows:
            whole = self._allocate(self._shape)
        view = whole[:n_rows]
        self._free.lend(view, whole)
        return view


class _Free:
    """The arrays that nobody sees; apart from the pool, which may end before its arrays."""

    def __init__(self, dispose: Callable[[_Array], None]) -> None:
        self._arrays: deque[_Array] = deque()
        self._lent: dict[int, tuple[weakref.ref[_Array], _Array]] = {}
        self._dispose = dispose

    def lend(self, view: _Array, whole: _Array) -> None:
        # Tensors made of the view keep it; this table alone keeps the memory behind it.
        reference = weakref.ref(view, self._take_back)
        self._lent[id(reference)] = reference, whole

    def _take_back(self, reference: "weakref.ref[_Array]") -> None:
        _, array = self._lent.pop(id(reference))
        if len(self._arrays) < _MAX_FREE_BUFFERS:
            self._arrays.append(array)
        else:
            self._dispose(array)

    def pop(self) -> _Array | None:
        try:
            return self._arrays.pop()
        except IndexError:
            return None
