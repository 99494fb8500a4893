"""Where the arrays of a store lie in its files, and the writer that fills them.

Both formats are laid out first, as files of their final size, and filled
afterwards with ``pwrite``: the bytes do not depend on the order of writing.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from galahstream.system.disk import write_at

FLUX_DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "uint16": np.dtype("<u2")}


@dataclass(frozen=True)
class ArrayLocation:
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


@dataclass(frozen=True)
class RowIndex:
    """Rows of flux that lie whole in a file: in one run, or in chunks of several rows each.

    `chunk_offsets` holds the first byte of each chunk of `chunk_rows` rows, int64.
    """

    path: Path
    dtype: np.dtype[Any]
    n_pixels: int
    chunk_rows: int
    chunk_offsets: npt.NDArray[np.int64]

    @classmethod
    def of(cls, place: ArrayLocation) -> "RowIndex":
        """Return the rows of an array that lies in one run."""
        n_rows, n_pixels = place.shape
        return cls(place.path, place.dtype, n_pixels, max(n_rows, 1), np.array([place.offset]))

    @cached_property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return self.dtype.itemsize * self.n_pixels

    def in_items(self, first: int) -> "RowIndex":
        """Return the same places counted in items from byte `first`, instead of in bytes."""
        chunks = (self.chunk_offsets - first) // self.dtype.itemsize
        byte = np.dtype(np.uint8)
        return RowIndex(self.path, byte, self.n_pixels, self.chunk_rows, chunks)

    @property
    def stop(self) -> int:
        """First byte behind the last chunk."""
        return int(self.chunk_offsets.max()) + self.chunk_rows * self.row_bytes

    @cached_property
    def _one_run(self) -> int | None:
        """The first byte, where the chunks follow one another without gaps."""
        size = self.chunk_rows * self.row_bytes
        return int(self.chunk_offsets[0]) if (np.diff(self.chunk_offsets) == size).all() else None

    def offsets(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the first byte of each of the rows."""
        if self._one_run is not None:
            return np.asarray(rows * self.row_bytes + self._one_run)
        chunk, inside = np.divmod(rows, self.chunk_rows)
        return np.asarray(self.chunk_offsets[chunk] + inside * self.row_bytes)


def array_specs(
    n_stars: int, n_pixels: int, n_labels: int, flux_dtype: str
) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Return shape and dtype of every array of a store, the flux last."""
    return {
        "labels": ((n_stars, n_labels), np.dtype("<f8")),
        "wavelength": ((n_pixels,), np.dtype("<f8")),
        "ids": ((n_stars,), np.dtype("<i8")),
        "source_row": ((n_stars,), np.dtype("<i8")),
        "split": ((n_stars,), np.dtype("u1")),
        "digests": ((n_stars,), np.dtype("<u8")),
        "flux": ((n_stars, n_pixels), FLUX_DTYPES[flux_dtype]),
    }


class FluxWriter(Protocol):
    """Takes consecutive rows of flux at any stored row, from any thread."""

    def write(self, first_row: int, flux: npt.NDArray[np.generic]) -> None:
        """Write rows from `first_row` on; C-ordered, little-endian, as they are stored, (n, L)."""

    def close(self) -> None:
        """Finish writing."""


class OffsetFluxWriter:
    """Writes rows with ``pwrite`` at the place that a laid-out file has for them."""

    def __init__(self, place: ArrayLocation) -> None:
        self._place = place
        self._descriptor = os.open(place.path, os.O_WRONLY)

    def write(self, first_row: int, flux: npt.NDArray[np.generic]) -> None:
        """Write rows from `first_row` on."""
        offset = self._place.offset + first_row * self._place.row_stride
        write_at(self._descriptor, flux, offset)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


class NullFluxWriter:
    """Stands for a writer where the rows are in the store's file already."""

    def write(self, first_row: int, flux: npt.NDArray[np.generic]) -> None:
        """Do nothing: these rows were read from the very file."""

    def close(self) -> None:
        """Do nothing."""


def map_array(place: ArrayLocation) -> npt.NDArray[Any]:
    """Return an array of a store as a read-only mapping."""
    if 0 in place.shape:
        return np.empty(place.shape, dtype=place.dtype)
    return np.memmap(place.path, place.dtype, "r", place.offset, place.shape)


def write_array(place: ArrayLocation, array: npt.NDArray[np.generic]) -> None:
    """Write a whole array at its place."""
    if array.shape != place.shape:
        msg = f"array of shape {array.shape} for a place of shape {place.shape}"
        raise AssertionError(msg)
    descriptor = os.open(place.path, os.O_WRONLY)
    try:
        write_at(descriptor, np.ascontiguousarray(array, dtype=place.dtype), place.offset)
    finally:
        os.close(descriptor)
