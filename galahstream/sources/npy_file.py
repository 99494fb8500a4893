""".npy files as input: every claim of the header is checked before anything is read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from galahstream.errors import SourceFormatError, SourceMissingError, SourceShapeError
from galahstream.sources.base import as_float32

# What a Fortran-ordered file may cost: its rows lie scattered, and are gathered in tiles.
_TILE_BYTES = 128 * 1024 * 1024
_TILE_PIXELS = 256
_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class NpyFile:
    """An array in a .npy file, opened without pickle and without reading its data.

    Raises
    ------
    SourceMissingError
        If the file is not there.
    SourceFormatError
        If it is empty, truncated, holds pickled objects, or is no .npy file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                self._version, self.shape, self._fortran, self.dtype = _read_header(file, path)
                self._offset = file.tell()
                size = file.seek(0, 2)
        except (FileNotFoundError, IsADirectoryError) as error:
            msg = f"{path} is not there, or is no file; expected a .npy file"
            raise SourceMissingError(msg) from error
        if self.dtype.hasobject:
            msg = f"{path}: an array of Python objects (pickled), which is never loaded; "
            raise SourceFormatError(msg + "save it again as an array of numbers")
        expected = self._offset + self.dtype.itemsize * int(np.prod(self.shape, dtype=object))
        if size < expected:
            msg = (
                f"{path}: the header claims {self.dtype} of shape {self.shape}, which ends at byte "
                f"{expected}; the file has {size}: it was truncated, copy or make it again"
            )
            raise SourceFormatError(msg)

    def mapped(self) -> npt.NDArray[Any]:
        """Return the array as a read-only mapping."""
        if 0 in self.shape:
            return np.empty(self.shape, dtype=self.dtype)
        flat = np.memmap(
            self.path,
            self.dtype,
            "r",
            self._offset,
            self.shape[::-1] if self._fortran else self.shape,
        )
        return flat.T if self._fortran else flat

    def linkable(self) -> Path:
        """Return the file's path where a store can use the file as it is.

        Raises
        ------
        SourceShapeError
            If it is not C-ordered little-endian float32 and nothing else.
        """
        order = "Fortran" if self._fortran else "C"
        size = self.path.stat().st_size
        extra = size - self._offset - self.dtype.itemsize * int(np.prod(self.shape))
        if self.dtype != np.dtype("<f4") or self._fortran or self._version != (1, 0) or extra:
            msg = (
                f"{self.path}: {self.dtype.str} in {order} order, .npy version {self._version[0]}, "
                f"{extra} bytes behind the array; a store in place needs C-ordered '<f4' in "
                f"version 1 with none: convert without in_place (--in-place)"
            )
            raise SourceShapeError(msg)
        return self.path

    def iter_blocks(self, block_rows: int, first_row: int = 0) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the rows of a 2-D array in order as float32 blocks (n <= block_rows, L)."""
        tall_rows = block_rows
        if self._fortran:
            tall_rows = max(block_rows, _TILE_BYTES // (4 * self.shape[1]))
        for start in range(first_row, self.shape[0], tall_rows):
            # A mapping for each block: its pages can go when the block is done.
            tall = self.mapped()[start : start + tall_rows]
            if self._fortran:
                tall = _gathered(tall, str(self.path), start)
            for first in range(0, len(tall), block_rows):
                block = tall[first : first + block_rows]
                yield as_float32(block, str(self.path), start + first)


def check_flux_shape(shape: tuple[int, ...], dtype: np.dtype[Any], name: str) -> None:
    """Raise `SourceShapeError` where an array cannot hold spectra."""
    if len(shape) != 2 or 0 in shape:
        msg = (
            f"{name}: an array of shape {shape}; spectra need shape (stars, pixels), none of them 0"
        )
        raise SourceShapeError(msg)
    allowed = {"f": (2, 4, 8), "i": (1, 2, 4), "u": (1, 2, 4)}
    if dtype.itemsize not in allowed.get(dtype.kind, ()):
        msg = (
            f"{name}: flux of dtype {dtype}; expected float16, float32, float64 or integers of up "
            f"to 32 bits: save it again as float32"
        )
        raise SourceShapeError(msg)


def check_label_shape(shape: tuple[int, ...], dtype: np.dtype[Any], rows: int, name: str) -> None:
    """Raise `SourceShapeError` where an array cannot hold the labels of so many stars."""
    if len(shape) != 2 or dtype.kind not in "fiu":
        msg = f"{name}: {dtype} of shape {shape}; labels need numbers of shape (stars, columns)"
        raise SourceShapeError(msg)
    if shape[0] != rows:
        msg = (
            f"{name} has {shape[0]} rows and the spectra have {rows}; each star needs one row in "
            f"both, in the same order"
        )
        raise SourceShapeError(msg)


def _read_header(
    file: Any, path: Path
) -> tuple[tuple[int, int], tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(file)
        shape, fortran, dtype = _HEADER_READERS[version](file)
    except Exception as error:  # numpy's reader of headers lets errors of its parser through
        size = path.stat().st_size
        found = "the file is empty" if size == 0 else "its first bytes are no .npy header"
        msg = f"{path}: {found}, expected an array saved by numpy.save; make or copy it again"
        raise SourceFormatError(msg) from error
    if any(length < 0 for length in shape):
        msg = f"{path}: the header claims the impossible shape {shape}; make the file again"
        raise SourceFormatError(msg)
    return version, shape, fortran, dtype


def _gathered(tall: npt.NDArray[Any], name: str, first_row: int) -> npt.NDArray[np.float32]:
    flux = np.empty(tall.shape, dtype=np.float32)
    for pixel in range(0, tall.shape[1], _TILE_PIXELS):
        tile = slice(pixel, pixel + _TILE_PIXELS)
        flux[:, tile] = as_float32(tall[:, tile], name, first_row, pixel)
    return flux
