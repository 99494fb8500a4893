"""Spectra in .npy files, such as the pair of the published set.

Every claim of a file's header is checked against the file before anything is read,
and nothing is unpickled.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from galahstream.errors import (
    LabelError,
    SourceFormatError,
    SourceMissingError,
    SourceShapeError,
)
from galahstream.sources.arrays import (
    ArraySource,
    check_flux_shape,
    check_label_shape,
    checked_ids,
    choose_by_position,
)
from galahstream.sources.base import as_float32, explain_access_errors, pointer_reason
from galahstream.survey.labels import LabelChoice, LabelColumnChoice
from galahstream.survey.wavelength import check_grid

NPY_MAGIC = np.lib.format.MAGIC_PREFIX

TILE_BYTES = 128 * 1024 * 1024
"""Memory in which the rows of a Fortran-ordered file are gathered, as float32."""

_TILE_PIXELS = 256  # transposed at a time, in the processor's cache
_MAP_BYTES = 64 * 1024 * 1024  # address space of the pixels that are mapped at a time
_HEADER_READERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class NpyPairSource(ArraySource):
    """`spectra.npy` (N, L) and `labels.npy` (N, K), with `ids.npy` and `wavelength.npy` beside it.

    Parameters
    ----------
    spectra : Path
        The spectra. Files called `ids.npy` and `wavelength.npy` in the same folder
        are read if they exist.
    labels : Path or None
        The labels; None for spectra without any.
    choice : label choice
        Columns by position or number; None for the eight of the published set.

    Raises
    ------
    SourceMissingError, SourceFormatError, SourceShapeError, LabelError
    """

    def __init__(self, spectra: Path, labels: Path | None, choice: LabelChoice = None) -> None:
        self.flux_file = NpyFile(spectra)
        shape = self.flux_file.shape
        check_flux_shape(shape, self.flux_file.dtype, str(spectra))
        self._labels: NpyFile | None = None
        choices: tuple[LabelColumnChoice, ...] = ()
        if labels is not None:
            self._labels = NpyFile(labels)
            check_label_shape(self._labels.shape, self._labels.dtype, shape[0], str(labels))
            choices = choose_by_position(choice, self._labels.shape[1], str(labels))
        elif choice is not None:
            msg = f"{spectra}: labels were chosen and there is no labels.npy beside the spectra"
            raise LabelError(msg)
        ids = spectra.parent / "ids.npy"
        super().__init__(
            str(spectra),
            shape,
            choices,
            checked_ids(NpyFile(ids).mapped(), shape[0], str(ids)) if ids.exists() else None,
        )

    @property
    def wavelength(self) -> npt.NDArray[np.float64] | None:
        """Wavelengths from `wavelength.npy`, Å, shape (L,); None without that file."""
        path = self.flux_file.path.parent / "wavelength.npy"
        if not path.exists():
            return None
        return check_grid(NpyFile(path).mapped(), self.n_pixels, str(path))

    @property
    def files(self) -> tuple[Path, ...]:
        """The file of the spectra."""
        return (self.flux_file.path,)

    @property
    def columns(self) -> tuple[str, ...]:
        """Numbers of the columns of `labels.npy`, as text."""
        n_columns = 0 if self._labels is None else self._labels.shape[1]
        return tuple(str(number) for number in range(n_columns))

    def read_raw_column(self, column: str) -> npt.NDArray[Any]:
        """Return a column of `labels.npy` in its own dtype, shape (N,)."""
        if self._labels is None:
            msg = f"{self.name}: there is no labels.npy beside the spectra"
            raise LabelError(msg)
        return np.array(self._labels.mapped()[:, int(column)])

    def iter_blocks(self, block_rows: int, first_row: int = 0) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the flux in order."""
        return self.flux_file.iter_blocks(block_rows, first_row)


class NpyFile:
    """An array in a .npy file, opened without pickle and without reading its data.

    Parameters
    ----------
    path : Path
        The file.

    Attributes
    ----------
    path : Path
    shape : tuple of int
    dtype : numpy.dtype

    Raises
    ------
    SourceMissingError
        If the file does not exist.
    SourceFormatError
        If it is empty, truncated, holds pickled objects, or is not a .npy file.
    SourceAccessError
        If the system does not let it be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with explain_access_errors(path), path.open("rb") as file:
                self._version, self.shape, self._is_fortran, self.dtype = _read_header(file, path)
                self._offset = file.tell()
                size = file.seek(0, 2)
        except (FileNotFoundError, IsADirectoryError) as error:
            msg = f"{path} does not exist, or is not a file; expected a .npy file"
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
        shape = self.shape[::-1] if self._is_fortran else self.shape
        array = self._map(self._offset, shape)
        return array.T if self._is_fortran else array

    def linkable(self) -> Path:
        """Return the file's path if a store can use the file as it is.

        Raises
        ------
        SourceShapeError
            If it holds anything but one C-ordered array of little-endian float32.
        """
        order = "Fortran" if self._is_fortran else "C"
        size = self.path.stat().st_size
        extra = size - self._offset - self.dtype.itemsize * int(np.prod(self.shape))
        if self.dtype != np.dtype("<f4") or self._is_fortran or self._version != (1, 0) or extra:
            msg = (
                f"{self.path}: {self.dtype.str} in {order} order, .npy version {self._version[0]}, "
                f"{extra} bytes behind the array; a store in place needs C-ordered '<f4' in "
                f"version 1 with none: convert without in_place (--in-place)"
            )
            raise SourceShapeError(msg)
        return self.path

    def iter_blocks(self, block_rows: int, first_row: int = 0) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the rows of a 2-D array in order as float32 blocks (n <= block_rows, L).

        Address space and memory are those of a block, or of `TILE_BYTES` for a
        Fortran-ordered file, whatever the size of the file.
        """
        if self._is_fortran:
            yield from self._iter_fortran_blocks(block_rows, first_row)
            return
        n_rows, n_pixels = self.shape
        for start in range(first_row, n_rows, block_rows):
            shape = (min(block_rows, n_rows - start), n_pixels)
            offset = self._offset + start * n_pixels * self.dtype.itemsize
            yield as_float32(self._map(offset, shape), str(self.path), start)

    def _map(self, offset: int, shape: tuple[int, ...]) -> npt.NDArray[Any]:
        try:
            with explain_access_errors(self.path):
                return np.memmap(self.path, self.dtype, "r", offset, shape)
        except ValueError as error:
            msg = f"{self.path}: the file became shorter while it was read; copy or make it again"
            raise SourceFormatError(msg) from error

    def _iter_fortran_blocks(
        self, block_rows: int, first_row: int
    ) -> Iterator[npt.NDArray[np.float32]]:
        n_rows, n_pixels = self.shape
        tall_rows = max(block_rows, TILE_BYTES // (4 * n_pixels))
        for start in range(first_row, n_rows, tall_rows):
            tall = self._gather_rows(start, min(tall_rows, n_rows - start))
            for first in range(0, len(tall), block_rows):
                yield tall[first : first + block_rows]

    def _gather_rows(self, first_row: int, n_rows: int) -> npt.NDArray[np.float32]:
        """Transpose rows of a Fortran-ordered array, in which the values of a pixel are contiguous.

        A few pixels of all rows are mapped at a time, not the complete file.
        """
        total_rows, n_pixels = self.shape
        column_bytes = total_rows * self.dtype.itemsize
        mapped_pixels = max(_MAP_BYTES // column_bytes, 1)
        flux = np.empty((n_rows, n_pixels), dtype=np.float32)
        for first in range(0, n_pixels, mapped_pixels):
            shape = (min(mapped_pixels, n_pixels - first), total_rows)
            columns = self._map(self._offset + first * column_bytes, shape)
            rows = columns[:, first_row : first_row + n_rows].T
            for start in range(0, shape[0], _TILE_PIXELS):
                tile = rows[:, start : start + _TILE_PIXELS]
                pixel = first + start
                flux[:, pixel : pixel + tile.shape[1]] = as_float32(
                    tile, str(self.path), first_row, pixel
                )
            del columns, rows, tile  # unmapped before the next pixels are mapped
        return flux


class _Header(NamedTuple):
    version: tuple[int, int]
    shape: tuple[int, ...]
    is_fortran: bool
    dtype: np.dtype[Any]


def _read_header(file: Any, path: Path) -> _Header:
    version = None
    try:
        version = np.lib.format.read_magic(file)
        header = _Header(version, *_HEADER_READERS[version](file))
    except OSError:
        raise
    except Exception as error:  # numpy's parser of headers raises errors of many kinds
        file.seek(0)
        raise _header_error(path, file.read(64), version) from error
    if any(length < 0 for length in header.shape):
        msg = f"{path}: the header claims the impossible shape {header.shape}; make the file again"
        raise SourceFormatError(msg)
    return header


def _header_error(
    path: Path, first_bytes: bytes, version: tuple[int, int] | None
) -> SourceFormatError:
    pointer = pointer_reason(first_bytes)
    if pointer is not None:
        return SourceFormatError(f"{path} is {pointer}")
    if not first_bytes:
        reason = "the file is empty"
    elif version == (3, 0):
        reason = "a .npy file of version 3.0, which numpy writes for tables with named fields"
    elif version is not None and version not in _HEADER_READERS:
        reason = f"a .npy file of the unknown version {version[0]}.{version[1]}"
    else:
        reason = "its first bytes hold no .npy header"
    return SourceFormatError(
        f"{path}: {reason}, expected an array saved by numpy.save; make or copy it again"
    )
