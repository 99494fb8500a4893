"""Spectra in an HDF5 file with named datasets.

Only the datasets that are read are checked: text, scalars, links and groups beside
them are none of the source's business.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from galahstream.errors import GalahStreamError, LabelError, SourceFormatError, SourceShapeError
from galahstream.sources.arrays import (
    ID_NAMES,
    ArraySource,
    check_flux_shape,
    check_label_shape,
    checked_ids,
    choose_by_position,
    holds_large_integers,
)
from galahstream.sources.attributes import (
    column_units,
    is_dimension_only,
    is_dimension_scale,
    read_grid,
    read_packing,
)
from galahstream.sources.base import as_float32, explain_access_errors
from galahstream.survey.labels import LabelChoice, LabelColumnChoice, chosen_labels
from galahstream.survey.units import is_relative, unit_attribute
from galahstream.system.hdf5_safety import Locking, check_locking, rejection_reason

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MIN_USER_BLOCK = 512

MAX_READ_BYTES = 128 * 1024 * 1024
"""Largest number of bytes of complete chunks that are read at a time."""

_FLUX_NAMES = ("spectra", "flux")
_LABELS, _WAVELENGTH = "labels", "wavelength"


def is_hdf5_file(path: Path) -> bool:
    """Return whether a file has HDF5's signature at its beginning or behind a user block.

    A user block has 512 bytes, or 512 doubled any number of times.
    """
    size = path.stat().st_size
    offset = 0
    with path.open("rb") as file:
        while offset + len(HDF5_SIGNATURE) <= size:
            file.seek(offset)
            if file.read(len(HDF5_SIGNATURE)) == HDF5_SIGNATURE:
                return True
            offset = max(2 * offset, _MIN_USER_BLOCK)
    return False


class Hdf5Source(ArraySource):
    """An HDF5 file with named datasets.

    Spectra are the dataset ``spectra`` or ``flux``, or the only two-dimensional
    one besides ``labels``. Labels are the columns of a dataset ``labels`` (named
    by its attribute ``columns``, or the eight of the published set), or else every
    one-dimensional dataset of numbers with one value per star, without those that
    hold integers beyond 2**53 (these are ids, which rows can be grouped by) and
    without dimension scales, which number the rows.

    Attributes that say how values are stored are applied, as
    :mod:`galahstream.sources.attributes` describes, and units that are stated are
    used: wavelengths become Å, and a label gets the unit that its dataset states.

    Parameters
    ----------
    path : Path
        The file.
    choice : label choice
        The label columns; None for all.
    locking : bool, "best-effort" or None
        Whether HDF5 locks the file while it reads; None leaves it to the environment
        variable ``HDF5_USE_FILE_LOCKING``.

    Raises
    ------
    OptionError, SourceFormatError, SourceShapeError, SourceAccessError, LabelError
        Also for an attribute that would change values and is not known.
    """

    def __init__(self, path: Path, choice: LabelChoice = None, locking: Locking = None) -> None:
        check_locking(locking)
        self._path = path
        self._locking = locking
        with (
            _explain_errors(path, "HDF5 cannot read this file ({}); it is truncated or damaged"),
            self._open() as file,
        ):
            datasets = _Datasets(file, path)
            self._flux_name = _flux_name(datasets)
            flux = datasets.open(self._flux_name)
            name = datasets.describe(self._flux_name)
            check_flux_shape(flux.shape, flux.dtype, name)
            _check_flux_unit(flux, name)
            self._flux_packing = read_packing(flux, name)
            self._columns, choices = _label_columns(datasets, flux.shape[0], choice)
            self._has_wavelength = _WAVELENGTH in datasets
            super().__init__(str(path), flux.shape, choices, _read_ids(datasets, flux.shape[0]))

    @property
    def wavelength(self) -> npt.NDArray[np.float64] | None:
        """Wavelengths from the dataset ``wavelength``, Å, shape (L,), or None without it."""
        if not self._has_wavelength:
            return None
        with self._reading("the wavelengths cannot be read"), self._open() as file:
            datasets = _Datasets(file, self._path)
            dataset = datasets.open(_WAVELENGTH)
            return read_grid(dataset, self.n_pixels, datasets.describe(_WAVELENGTH))

    @property
    def files(self) -> tuple[Path, ...]:
        """The HDF5 file."""
        return (self._path,)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all columns of numbers, labels or not."""
        return self._columns.names

    def read_raw_column(self, column: str) -> npt.NDArray[Any]:
        """Return a column, shape (N,), in its own dtype, or float64 if it is scaled or has gaps."""
        with (
            self._reading(f"column {column!r} cannot be read"),
            self._open() as file,
        ):
            datasets = _Datasets(file, self._path)
            if self._columns.in_table:
                rows = (slice(None), self._columns.names.index(column))
                return _read_values(datasets, _LABELS, rows)
            return _read_values(datasets, column)

    def iter_blocks(self, block_rows: int, first_row: int = 0) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the flux in order; no chunk is decompressed twice unless it is very tall."""
        with self._reading("it cannot be opened"):
            file = self._open()
        with file:
            dataset = file[self._flux_name]
            row_bytes = self.n_pixels * dataset.dtype.itemsize
            chunk_rows = dataset.chunks[0] if dataset.chunks else 1
            if chunk_rows * row_bytes > MAX_READ_BYTES:
                chunk_rows = 1
            start = first_row
            while start < len(self):
                stop = (start + block_rows) // chunk_rows * chunk_rows  # the end of a chunk
                if stop <= start:
                    stop = (start // chunk_rows + 1) * chunk_rows
                with self._reading(f"rows from {start} on cannot be read"):
                    tall = dataset[start : min(stop, len(self))]
                for first in range(0, len(tall), block_rows):
                    block = tall[first : first + block_rows]
                    values = self._flux_packing.unpack(block)
                    yield as_float32(values, self.name, start + first)
                start += len(tall)

    def _open(self) -> h5py.File:
        return h5py.File(self._path, "r", locking=self._locking)

    @contextmanager
    def _reading(self, problem: str) -> Iterator[None]:
        with _explain_errors(self._path, problem + " ({}); the file is truncated or damaged"):
            yield


class _Datasets:
    """The objects at the root of an open file; only those that are opened are checked."""

    def __init__(self, file: h5py.File, path: Path) -> None:
        self._file = file
        self.path = path
        self.names: tuple[str, ...] = tuple(file)

    def __contains__(self, name: str) -> bool:
        if name not in self.names or rejection_reason(self._file, name, self.path) is not None:
            return name in self.names
        return not _is_placeholder(self._file[name])

    def describe(self, name: str) -> str:
        """Return what messages call a dataset."""
        return f"{self.path}, dataset {name!r}"

    def find(self, name: str) -> h5py.Dataset | None:
        """Return an object if it is a dataset that is safe to read, else None."""
        if rejection_reason(self._file, name, self.path) is not None:
            return None
        item = self._file[name]
        return item if isinstance(item, h5py.Dataset) and not _is_placeholder(item) else None

    def open(self, name: str) -> h5py.Dataset:
        """Return a dataset that is needed, or raise `SourceFormatError`."""
        reason = rejection_reason(self._file, name, self.path)
        if reason is None and not isinstance(self._file[name], h5py.Dataset):
            reason = "is not a dataset"
        if reason is not None:
            msg = (
                f"{self.path}: {name!r} {reason}; write the values themselves into one file, "
                f"uncompressed or with gzip"
            )
            raise SourceFormatError(msg)
        return self._file[name]


@dataclass(frozen=True)
class _Columns:
    """Names of the columns, which are those of the dataset ``labels`` or datasets themselves."""

    names: tuple[str, ...]
    in_table: bool


def _flux_name(datasets: _Datasets) -> str:
    for name in _FLUX_NAMES:
        if name in datasets:
            return name
    candidates = {name: datasets.find(name) for name in datasets.names if name != _LABELS}
    tables = [name for name, item in candidates.items() if item is not None and item.ndim == 2]
    if len(tables) != 1:
        msg = (
            f"{datasets.path}: no dataset named {' or '.join(_FLUX_NAMES)} among "
            f"{', '.join(datasets.names) or 'no datasets at all'}; rename the one with the spectra"
        )
        raise SourceShapeError(msg)
    return tables[0]


def _read_ids(datasets: _Datasets, rows: int) -> npt.NDArray[np.int64] | None:
    name = next((name for name in ID_NAMES if name in datasets), None)
    if name is None:
        return None
    dataset, described = datasets.open(name), datasets.describe(name)
    ids = checked_ids(dataset[()], rows, described)
    if read_packing(dataset, described).unpack(ids) is not ids:
        msg = (
            f"{described}: its attributes scale the ids, or name some as missing; expected one "
            f"integer for each of the {rows} spectra: correct the ids or remove the attributes"
        )
        raise SourceShapeError(msg)
    return ids


def _label_columns(
    datasets: _Datasets, rows: int, choice: LabelChoice
) -> tuple[_Columns, tuple[LabelColumnChoice, ...]]:
    wants_none = choice is not None and len(choice) == 0
    if _LABELS in datasets and not wants_none:
        names = _table_columns(datasets, rows, choice)
        columns, defaults = _Columns(names, in_table=True), names
        usable = names
        units = column_units(datasets.open(_LABELS), names, datasets.describe(_LABELS))
    else:
        numbers = _number_columns(datasets, rows)
        columns = _Columns(tuple(numbers), in_table=False)
        usable = tuple(name for name in numbers if name not in ID_NAMES)
        defaults = usable
        if choice is None:
            defaults = tuple(name for name in usable if _is_label(datasets, numbers[name], name))
        stated = {name: unit_attribute(dataset.attrs) for name, dataset in numbers.items()}
        units = {name: unit.unit for name, unit in stated.items() if unit is not None}
    choices = chosen_labels(choice, defaults, units)
    for chosen in choices:
        if chosen.column not in usable:
            raise _not_a_label(datasets, chosen.column, rows, usable)
    return columns, choices


def _number_columns(datasets: _Datasets, rows: int) -> dict[str, h5py.Dataset]:
    """Return the datasets with one number per star, by name."""
    columns = {}
    for name in datasets.names:
        dataset = datasets.find(name) if name != _WAVELENGTH else None
        if dataset is not None and dataset.shape == (rows,) and dataset.dtype.kind in "fiu":
            columns[name] = dataset
    return columns


def _table_columns(datasets: _Datasets, rows: int, choice: LabelChoice) -> tuple[str, ...]:
    """Return the names of the columns of the dataset ``labels``."""
    table = datasets.open(_LABELS)
    name = datasets.describe(_LABELS)
    check_label_shape(table.shape, table.dtype, rows, name)
    n_columns = table.shape[1]
    given = table.attrs.get("columns")
    if np.ndim(given) == 1 and len(given) == n_columns:
        return tuple(x.decode() if isinstance(x, bytes) else str(x) for x in given)
    by_position = choose_by_position(choice, n_columns, name)
    if choice is None:
        return tuple(chosen.name for chosen in by_position)
    names = [str(number) for number in range(n_columns)]
    for chosen, entry in zip(by_position, chosen_labels(choice, ()), strict=True):
        names[int(chosen.column)] = entry.column
    return tuple(names)


def _not_a_label(
    datasets: _Datasets, column: str, rows: int, usable: tuple[str, ...]
) -> LabelError:
    if column in datasets:
        dataset = datasets.open(column)
        return LabelError(
            f"{datasets.describe(column)} is {dataset.dtype} of shape {dataset.shape} and cannot "
            f"be a label; expected one number for each of the {rows} stars"
        )
    return LabelError(
        f"{datasets.path}: no label {column!r}; the file has {', '.join(usable) or 'none'}: map "
        f"names with --labels name=column"
    )


@contextmanager
def _explain_errors(path: Path, problem: str) -> Iterator[None]:
    """Name the file in whatever h5py raises; `problem` has room for the error itself."""
    try:
        with explain_access_errors(path):
            yield
    except GalahStreamError:
        raise
    except (OSError, RuntimeError, KeyError, TypeError, ValueError, AttributeError) as error:
        msg = f"{path}: {problem.format(error)}"
        raise SourceFormatError(msg) from error


def _is_placeholder(item: object) -> bool:
    return isinstance(item, h5py.Dataset) and is_dimension_only(item)


def _check_flux_unit(flux: h5py.Dataset, name: str) -> None:
    stated = unit_attribute(flux.attrs)
    if stated is not None and not is_relative(stated.unit):
        msg = (
            f"{name}: attribute {stated.name!r} is {stated.unit!r}; expected flux relative to a "
            f"continuum of 1, without a unit: normalise the spectra, or remove the attribute if "
            f"they are normalised"
        )
        raise SourceFormatError(msg)


def _read_values(datasets: _Datasets, name: str, rows: Any = ()) -> npt.NDArray[Any]:
    """Return the values of a dataset: in its own dtype, or float64 if scaled or with gaps."""
    dataset, described = datasets.open(name), datasets.describe(name)
    stored = np.asarray(dataset[rows])
    values = read_packing(dataset, described).unpack(stored)
    if values is not stored and holds_large_integers(stored[~np.isnan(values)]):
        msg = (
            f"{described} holds integers beyond 2**53 that its attributes scale, or of which some "
            f"are missing; float64 cannot hold them exactly: give every star an integer, without "
            f"scale_factor and add_offset"
        )
        raise LabelError(msg)
    return values


def _is_label(datasets: _Datasets, dataset: h5py.Dataset, name: str) -> bool:
    """Return whether a column is a label by default: neither ids nor numbers of rows."""
    if is_dimension_scale(dataset):
        return False
    if dataset.dtype.kind == "f" or dataset.dtype.itemsize < 8:
        return True
    stored = dataset[:]
    values = read_packing(dataset, datasets.describe(name)).unpack(stored)
    return not holds_large_integers(stored[~np.isnan(values)])
