"""Memory for batches that is used again once nobody sees it any more."""

import weakref
from collections import deque
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

# Batches that come back beyond these are freed: a user who kept many does not own them for ever.
_SPARE = 8


class BatchPool:
    """Arrays of one shape, each given out again when the last view of it is gone.

    Fresh memory costs a page fault for each 4 KiB, as much as reading the batch.
    The array that came back last is given out first: the cache still holds it.

    Parameters
    ----------
    shape : (int, int)
        Rows and pixels of the largest batch.
    allocate : callable
        Makes a float32 array of a shape; pinned memory for a CUDA device.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        allocate: Callable[[tuple[int, int]], npt.NDArray[np.float32]],
    ) -> None:
        self._shape = shape
        self._allocate = allocate
        self._free: deque[npt.NDArray[np.float32]] = deque(maxlen=_SPARE)

    def take(self, n_rows: int) -> npt.NDArray[np.float32]:
        """Return an array of shape (n_rows, L); the pool has it back when its views are gone."""
        try:
            whole = self._free.pop()
        except IndexError:
            whole = self._allocate(self._shape)
        view = whole[:n_rows]
        # Tensors made of the view keep it; the finalizer alone keeps the memory behind it.
        weakref.finalize(view, self._free.append, whole).atexit = False
        return view
