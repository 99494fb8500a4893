"""Where the arrays of a store lie in its files, and the writer that fills them.

Both formats are laid out first, as files of their final size, and filled
afterwards with ``pwrite``: the bytes do not depend on the order of writing.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

FLUX_DTYPE = np.dtype("<f4")


@dataclass(frozen=True)
class ArrayPlace:
    """An array in C order at a byte offset of a file; `row_stride` bytes from row to row."""

    path: Path
    offset: int
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]

    @property
    def row_stride(self) -> int:
        """Bytes from one row to the next."""
        return self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=np.int64))

    @property
    def stop(self) -> int:
        """First byte behind the array."""
        return self.offset + self.row_stride * self.shape[0]


def array_shapes(
    n_stars: int, n_pixels: int, n_labels: int
) -> dict[str, tuple[tuple[int, ...], np.dtype[np.generic]]]:
    """Return shape and dtype of every array of a store, the flux last."""
    return {
        "labels": ((n_stars, n_labels), np.dtype("<f8")),
        "wavelength": ((n_pixels,), np.dtype("<f8")),
        "ids": ((n_stars,), np.dtype("<i8")),
        "source_row": ((n_stars,), np.dtype("<i8")),
        "split": ((n_stars,), np.dtype("u1")),
        "digests": ((n_stars,), np.dtype("<u8")),
        "flux": ((n_stars, n_pixels), FLUX_DTYPE),
    }


class FluxWriter(Protocol):
    """Takes consecutive rows of flux at any stored row."""

    def write(self, first_row: int, flux: npt.NDArray[np.float32]) -> None:
        """Write rows from `first_row` on; `flux` is C-ordered little-endian, shape (n, L)."""

    def close(self) -> None:
        """Finish writing."""


class PlacedFluxWriter:
    """Writes rows with ``pwrite`` at the place that a laid-out file has for them."""

    def __init__(self, place: ArrayPlace) -> None:
        self._place = place
        self._descriptor = os.open(place.path, os.O_WRONLY)

    def write(self, first_row: int, flux: npt.NDArray[np.float32]) -> None:
        """Write rows from `first_row` on."""
        offset = self._place.offset + first_row * self._place.row_stride
        write_all(self._descriptor, flux, offset)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def write_array(place: ArrayPlace, array: npt.NDArray[np.generic]) -> None:
    """Write a whole array at its place."""
    if array.shape != place.shape:
        msg = f"array of shape {array.shape} for a place of shape {place.shape}"
        raise AssertionError(msg)
    descriptor = os.open(place.path, os.O_WRONLY)
    try:
        write_all(descriptor, np.ascontiguousarray(array, dtype=place.dtype), place.offset)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, array: npt.NDArray[np.generic], offset: int) -> None:
    """Write an array's bytes at an offset, however many calls the system takes for it."""
    data = memoryview(array.reshape(-1).view(np.uint8).data)
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


def reserve(path: Path, size: int) -> None:
    """Create a file of a size, with its space taken on disk where the system can do so."""
    with path.open("xb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        else:
            file.truncate(size)
