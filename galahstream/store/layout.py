"""Arrays of a store: their shapes and types, their byte offsets in files, and the row writers.

Uncompressed stores are created as files of their final size and then filled with
``pwrite``: the bytes do not depend on the order of writing.
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from galahstream import validation
from galahstream.system.disk import write_at
from galahstream.validation import checked

FormatName: TypeAlias = Literal["npy", "hdf5"]
"""The formats that a conversion writes."""

Dtype: TypeAlias = Literal["float32", "uint16"]
Compression: TypeAlias = Literal["gzip", "lzf"]

FLUX_DTYPES: dict[str, np.dtype[Any]] = {"float32": np.dtype("<f4"), "uint16": np.dtype("<u2")}

ERROR_DTYPE = np.dtype("<f2")

MEMBER_NAMES = ("member", "member_row")
"""The arrays that only collections have."""

DIGEST_NAMES = {"flux": "digests", "error": "error_digests"}
"""The array that holds the digests of the rows of flux, and of errors."""

MANIFEST_LIMIT = 64 * 1024 * 1024
"""Largest size of a manifest in bytes."""


class ArraySpec(NamedTuple):
    """Shape and type of an array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Size of the array in bytes."""
        return self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))


def _file_name(value: Any) -> str:
    name = validation.text(value, max_length=255)
    if not name or Path(name).name != name:
        msg = f"found {validation.shown(value)}, expected the name of a file"
        raise ValueError(msg)
    return name


@dataclass(frozen=True)
class Member:
    """A store in a collection.

    Attributes
    ----------
    name : str
        Its name in the folder of members.
    fingerprint : str
        Digest of its manifest.
    """

    name: str = checked(_file_name)
    fingerprint: str = checked(validation.text)


@dataclass(frozen=True)
class StoreSpec:
    """Size, flux type and HDF5 chunking of a store: all that decides about its files.

    `has_errors` says whether there is an error of each pixel beside the flux.
    `chunk_rows` and `compression` are for HDF5 only. The spectra of a collection are in its
    `members`.
    """

    n_stars: int
    n_pixels: int
    n_labels: int
    dtype: str
    chunk_rows: int = 1
    compression: str | None = None
    has_errors: bool = False
    members: tuple[Member, ...] = ()

    @property
    def flux(self) -> ArraySpec:
        """Shape and type of the stored flux."""
        return ArraySpec((self.n_stars, self.n_pixels), FLUX_DTYPES[self.dtype])

    def spectra(self) -> dict[str, ArraySpec]:
        """Return shape and type of the arrays with a spectrum per row: flux, and any errors."""
        if not self.has_errors:
            return {"flux": self.flux}
        return {"flux": self.flux, "error": ArraySpec(self.flux.shape, ERROR_DTYPE)}

    def arrays(self) -> dict[str, ArraySpec]:
        """Return shape and type of every array but the spectra, by name."""
        digests = ArraySpec((self.n_stars,), np.dtype("<u8"))
        return {
            "labels": ArraySpec((self.n_stars, self.n_labels), np.dtype("<f8")),
            "wavelength": ArraySpec((self.n_pixels,), np.dtype("<f8")),
            "ids": ArraySpec((self.n_stars,), np.dtype("<i8")),
            "source_row": ArraySpec((self.n_stars,), np.dtype("<i8")),
            "split": ArraySpec((self.n_stars,), np.dtype("u1")),
            **{DIGEST_NAMES[name]: digests for name in self.spectra()},
            **(self._member_arrays() if self.members else {}),
        }

    def _member_arrays(self) -> dict[str, ArraySpec]:
        """Return which member has each row, and the number of the row in it."""
        return {
            "member": ArraySpec((self.n_stars,), np.dtype("<u4")),
            "member_row": ArraySpec((self.n_stars,), np.dtype("<i8")),
        }


@dataclass(frozen=True)
class ArrayLocation:
    """A C-ordered array at a byte offset of a file."""

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
        """Offset of the first byte after the array."""
        return self.offset + self.row_stride * self.shape[0]


@dataclass(frozen=True)
class RowIndex:
    """Byte offsets of the rows of an array in a file, in chunks of several complete rows each.

    `chunk_offsets` holds the first byte of each chunk of `chunk_rows` rows, int64.
    """

    path: Path
    dtype: np.dtype[Any]
    n_pixels: int
    chunk_rows: int
    chunk_offsets: npt.NDArray[np.int64]

    @classmethod
    def of(cls, location: ArrayLocation) -> "RowIndex":
        """Return the index of a contiguous array."""
        n_rows, n_pixels = location.shape
        offsets = np.array([location.offset])
        return cls(location.path, location.dtype, n_pixels, max(n_rows, 1), offsets)

    @cached_property
    def row_bytes(self) -> int:
        """Bytes per row."""
        return self.dtype.itemsize * self.n_pixels

    def in_items(self, first: int) -> "RowIndex":
        """Return the same index in items counted from byte `first`, instead of in bytes."""
        chunks = (self.chunk_offsets - first) // self.dtype.itemsize
        byte = np.dtype(np.uint8)
        return RowIndex(self.path, byte, self.n_pixels, self.chunk_rows, chunks)

    @property
    def file_bytes(self) -> int:
        """Size of the file."""
        return self.path.stat().st_size

    @property
    def stop(self) -> int:
        """Offset of the first byte after the last chunk."""
        return int(self.chunk_offsets.max()) + self.chunk_rows * self.row_bytes

    @cached_property
    def _contiguous_offset(self) -> int | None:
        """Offset of the first byte if the chunks follow one another without gaps, else None."""
        size = self.chunk_rows * self.row_bytes
        return int(self.chunk_offsets[0]) if (np.diff(self.chunk_offsets) == size).all() else None

    def offsets(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the offset of the first byte of each of the rows."""
        if self._contiguous_offset is not None:
            return np.asarray(rows * self.row_bytes + self._contiguous_offset)
        chunk, inside = np.divmod(rows, self.chunk_rows)
        return np.asarray(self.chunk_offsets[chunk] + inside * self.row_bytes)


class RowWriter(Protocol):
    """Writes consecutive rows of stored flux or errors at any row.

    Attributes
    ----------
    location : ArrayLocation or None
        Where the rows are in a file, so that an interrupted run can verify and
        resume them; None if they have no fixed byte offset, or are not written.
    is_parallel : bool
        Whether several threads may write at the same time, in any order. If not,
        rows must be written in the order of the source.
    """

    location: ArrayLocation | None
    is_parallel: bool

    def write(self, first_row: int, stored: npt.NDArray[np.generic]) -> None:
        """Write encoded rows from `first_row` on: C-ordered, little-endian, shape (n, L)."""

    def close(self) -> None:
        """Finish writing."""


class OffsetRowWriter:
    """Writes rows with ``pwrite`` at their offset in a file of its final size."""

    is_parallel = True

    def __init__(self, location: ArrayLocation) -> None:
        self.location: ArrayLocation | None = location
        self._offset, self._row_stride = location.offset, location.row_stride
        self._descriptor = os.open(location.path, os.O_WRONLY)

    def write(self, first_row: int, stored: npt.NDArray[np.generic]) -> None:
        """Write rows from `first_row` on."""
        write_at(self._descriptor, stored, self._offset + first_row * self._row_stride)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


class NullRowWriter:
    """Writes nothing: the store's flux file is the source's own file."""

    location: ArrayLocation | None = None
    is_parallel = True

    def write(self, first_row: int, stored: npt.NDArray[np.generic]) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def map_array(location: ArrayLocation) -> npt.NDArray[Any]:
    """Return an array of a store as a read-only mapping."""
    if 0 in location.shape:
        return np.empty(location.shape, dtype=location.dtype)
    return np.memmap(location.path, location.dtype, "r", location.offset, location.shape)


def write_array(location: ArrayLocation, array: npt.NDArray[np.generic]) -> None:
    """Write a complete array at its location."""
    if array.shape != location.shape:
        msg = f"array of shape {array.shape} for a location of shape {location.shape}"
        raise AssertionError(msg)
    descriptor = os.open(location.path, os.O_WRONLY)
    try:
        write_at(descriptor, np.ascontiguousarray(array, dtype=location.dtype), location.offset)
    finally:
        os.close(descriptor)
