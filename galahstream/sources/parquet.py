"""Spectra in Parquet files: flux and wavelengths as list columns, labels as columns of numbers.

By default columns have the names of MultimodalUniverse: a struct ``spectrum`` with the lists
``flux``, ``lambda`` and ``ivar`` (the inverse variance of each pixel), and ``object_id``.

Examples
--------
>>> from galahstream.sources.parquet import ParquetSource
>>> source = ParquetSource(
...     "mmu_apogee_dr17", flux="spectrum.pseudo_continuum_flux"
... )  # doctest: +SKIP
"""

import copy
import os
import re
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from galahstream.errors import LabelError, SourceFormatError, SourceShapeError, WavelengthError
from galahstream.sources.arrays import (
    ID_NAMES,
    ArraySource,
    check_flux_shape,
    checked_ids,
    holds_large_integers,
)
from galahstream.sources.base import Spectra, as_float32
from galahstream.sources.parquet_table import (
    ParquetTable,
    Rows,
    as_numbers,
    is_integer,
    is_number,
    is_text,
    list_dtype,
)
from galahstream.survey.labels import LabelChoice, LabelColumnChoice, chosen_labels
from galahstream.survey.units import angstrom_per, is_relative
from galahstream.survey.wavelength import check_grid

_FLUX_NAMES = ("spectrum.flux", "spectrum_flux", "flux")
_WAVELENGTH_NAMES = ("spectrum.lambda", "spectrum_lambda", "lambda", "wavelength")
_ID_NAMES = ("object_id", *ID_NAMES)
# Columns of HATS and MultimodalUniverse that say in which file a row is.
_PLACES = ("_healpix_29", "healpix", "Norder", "Dir", "Npix")
_NUMBER_AS_TEXT = re.compile(r"\s*(?:b')?\s*(\d{1,18})\s*'?\s*", re.ASCII)
_ROWS_AT_FIRST = 16  # read at a time until one has a spectrum


class ColumnNames(NamedTuple):
    """Names that a user gives to the list columns of spectra; None for the usual ones.

    Attributes
    ----------
    flux, wavelength, ivar : str or None
        Flux, wavelengths, and inverse variances of the flux.
    """

    flux: str | None = None
    wavelength: str | None = None
    ivar: str | None = None


class SpectrumColumns(NamedTuple):
    """Names of the list columns of spectra; None for one that is not there or not wanted."""

    flux: str
    wavelength: str | None
    ivar: str | None


class ParquetSource(ArraySource):
    """A Parquet file, or a folder of them, such as a HATS catalogue.

    All spectra need the same wavelengths, which is checked for each row that is read. A
    row without a spectrum (null, or an empty list) is a spectrum of NaN. Columns of
    numbers are labels, without those that hold integers beyond 2**53 and those by which
    HATS divides the sky. Star ids are the column ``object_id``, ``ids`` or ``sobject_id``
    if it holds integers, also as text.

    Parameters
    ----------
    path : path-like
        The file, or the folder; in a folder, metadata, margins and indexes are not read.
    choice : label choice
        The label columns; None for all.
    flux, wavelength : str, optional
        Names of list columns with one value per pixel, or of fields of a struct, as in
        ``"spectrum.flux"``. Default: the first that is there of `spectrum.flux`,
        `spectrum_flux` and `flux`; of `spectrum.lambda`, `spectrum_lambda`, `lambda` and
        `wavelength`. Wavelengths are in Å unless their column states another unit.
    ivar : str, optional
        Name of the list column of inverse variances of `flux`, ``1 / error**2``; default:
        that of `flux` with ``ivar`` in place of ``flux``, if it is there.
    errors : bool
        Give the error of each pixel beside the flux.

    Raises
    ------
    ExtraMissingError
        If pyarrow is not installed.
    SourceMissingError, SourceAccessError, SourceFormatError, SourceShapeError, LabelError
        If there is nothing to read, or it cannot be read.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        choice: LabelChoice = None,
        *,
        flux: str | None = None,
        wavelength: str | None = None,
        ivar: str | None = None,
        errors: bool = False,
    ) -> None:
        self._table = table = ParquetTable(Path(path))
        self._given_ivar = ivar
        self._spectrum = _spectrum_columns(table, flux, wavelength)
        if errors:
            self._spectrum = self._spectrum._replace(ivar=self._ivar_column())
        table.check_types([name for name in self._spectrum if name is not None])
        self._grid, n_pixels = _first_grid(table, self._spectrum)
        dtype = list_dtype(table.type_of(self._spectrum.flux))
        name = f"{table.path}, column {self._spectrum.flux!r}"
        check_flux_shape((len(table), n_pixels), dtype or np.dtype(object), name)
        _check_flux_unit(table, self._spectrum.flux)
        self._id_column = next((name for name in _ID_NAMES if name in table.columns), None)
        ids, id_note = _read_ids(table, self._id_column)
        self._notes = (*_flux_notes(table, self._spectrum.flux, flux), *id_note)
        choices = _choose(table, choice, self._id_column)
        super().__init__(str(table.path), (len(table), n_pixels), choices, ids)

    @property
    def wavelength(self) -> npt.NDArray[np.float64] | None:
        """Wavelengths of the first spectrum, and so of all, Å, shape (L,); None without them."""
        column = self._spectrum.wavelength
        if column is None or self._grid is None:
            return None
        name = f"{self.name}, column {column!r}"
        grid = check_grid(self._grid, self.n_pixels, name)
        unit = self._table.unit_of(column)
        return grid if unit is None else grid * angstrom_per(unit, name)

    @property
    def has_errors(self) -> bool:
        """Whether errors were asked for."""
        return self._spectrum.ivar is not None

    def with_errors(self) -> Self:
        """Return the same spectra with the error of each pixel.

        Raises
        ------
        SourceShapeError
            If there is no column of inverse variances.
        """
        source = copy.copy(self)
        source._spectrum = self._spectrum._replace(ivar=self._ivar_column())
        return source

    @property
    def notes(self) -> tuple[str, ...]:
        """What was chosen among the columns where there was a choice."""
        return self._notes

    @property
    def files(self) -> tuple[Path, ...]:
        """All files with rows."""
        return self._table.files

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of numbers, and of the column of ids."""
        ids = () if self._id_column is None else (self._id_column,)
        return tuple(dict.fromkeys((*_number_columns(self._table), *ids)))

    def read_raw_column(self, column: str) -> npt.NDArray[Any]:
        """Return a column, shape (N,); of text, one integer for each different text."""
        values = self._table.read_column(column)
        if is_text(values.type):
            values = values.dictionary_encode().indices
        return as_numbers(values, f"{self.name}, column {column!r}")

    def iter_blocks(self, block_rows: int, first_row: int = 0) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the flux in order."""
        for rows in self._iter_rows(self._spectrum._replace(ivar=None), block_rows, first_row):
            yield rows.flux

    def iter_spectra(self, block_rows: int, first_row: int = 0) -> Iterator[Spectra]:
        """Yield the flux in order, with errors if they were asked for."""
        return self._iter_rows(self._spectrum, block_rows, first_row)

    def _ivar_column(self) -> str:
        table, flux = self._table, self._spectrum.flux
        usual = (flux.removesuffix("flux") + "ivar",) if flux.endswith("flux") else ()
        ivar = _list_column(table, "ivar_column", self._given_ivar, usual)
        if ivar is None:
            msg = (
                f"{table.path}: no list column of inverse variances of {flux!r} among "
                f"{', '.join(table.columns)}; name it (ivar_column=, --ivar-column), or convert "
                f"without errors"
            )
            raise SourceShapeError(msg)
        table.check_types([ivar])
        return ivar

    def _iter_rows(
        self, columns: SpectrumColumns, block_rows: int, first_row: int
    ) -> Iterator[Spectra]:
        wanted = [name for name in columns if name is not None]
        for rows in self._table.iter_rows(wanted, block_rows, first_row):
            flux = _stacked(rows, columns.flux, self.n_pixels)
            if columns.wavelength is not None and self._grid is not None:
                grids = _stacked(rows, columns.wavelength, self.n_pixels)
                _check_grids(rows, grids, self._grid, ~np.isnan(flux).all(axis=1))
            error = None
            if columns.ivar is not None:
                error = _error_of(_stacked(rows, columns.ivar, self.n_pixels))
            yield Spectra(as_float32(flux, str(rows.path), rows.row_in_file), error)


def _spectrum_columns(
    table: ParquetTable, flux: str | None, wavelength: str | None
) -> SpectrumColumns:
    flux = _list_column(table, "flux_column", flux, _FLUX_NAMES)
    if flux is None:
        msg = (
            f"{table.path}: no list column named {', '.join(_FLUX_NAMES)} among "
            f"{', '.join(table.columns)}; name the one with the flux "
            f"(flux_column=, --flux-column)"
        )
        raise SourceShapeError(msg)
    wavelength = _list_column(table, "wavelength_column", wavelength, _WAVELENGTH_NAMES)
    return SpectrumColumns(flux, wavelength, None)


def _list_column(
    table: ParquetTable, option: str, given: str | None, usual: Sequence[str]
) -> str | None:
    """Return a list column: the one that was named, or the first of the usual ones."""
    if given is None:
        return next((name for name in usual if list_dtype(table.type_of(name))), None)
    found = table.type_of(given)
    if list_dtype(found) is None:
        kind = f"is {found}" if found is not None else "is not there"
        msg = (
            f"{table.path}: column {given!r} {kind}; expected a list of numbers per star "
            f"({option}=, --{option.replace('_', '-')}); the columns are "
            f"{', '.join(table.columns)}"
        )
        raise SourceShapeError(msg)
    return given


def _first_grid(
    table: ParquetTable, columns: SpectrumColumns
) -> tuple[npt.NDArray[Any] | None, int]:
    """Return the wavelengths and the number of pixels of the first row that has a spectrum."""
    wanted = [name for name in columns[:2] if name is not None]
    for rows in table.iter_rows(wanted, _ROWS_AT_FIRST):
        fluxes = _column(rows, columns.flux)
        for index, length in enumerate(_lengths(fluxes).tolist()):
            if length > 0 and columns.wavelength is None:
                return None, length
            if length > 0:
                one = Rows(rows.path, rows.row_in_file + index, rows.batch.slice(index, 1))
                return _stacked(one, str(columns.wavelength), length)[0], length
    msg = f"{table.path}: column {columns.flux!r} holds no spectrum; check the file"
    raise SourceShapeError(msg)


def _column(rows: Rows, column: str) -> Any:
    if column in rows.batch.schema.names:
        return rows.batch.column(column)
    outer, _, inner = column.partition(".")
    return import_module("pyarrow.compute").struct_field(rows.batch.column(outer), inner)


def _check_grids(
    rows: Rows,
    grids: npt.NDArray[Any],
    expected: npt.NDArray[Any],
    has_flux: npt.NDArray[np.bool_],
) -> None:
    """Raise `WavelengthError` if a row with a spectrum has other wavelengths than the first."""
    differs = (grids != expected) & has_flux[:, np.newaxis]
    if differs.any():
        index, pixel = (int(place[0]) for place in np.nonzero(differs))
        msg = (
            f"{rows.path}: row {rows.row_in_file + index} has the wavelength {grids[index, pixel]} "
            f"at pixel {pixel}, and the first spectrum {expected[pixel]}; a store has one grid: "
            f"resample all spectra to it, or convert those of one grid"
        )
        raise WavelengthError(msg)


def _lengths(lists: Any) -> npt.NDArray[np.int64]:
    """Return the length of each list, 0 for one that is null."""
    lengths = import_module("pyarrow.compute").list_value_length(lists)
    counts: npt.NDArray[np.int64] = lengths.fill_null(0).to_numpy(zero_copy_only=False)
    return counts.astype(np.int64)


def _stacked(rows: Rows, column: str, n_pixels: int) -> npt.NDArray[Any]:
    """Return lists as the rows of an array (n, L); NaN for an empty or missing list.

    Raises
    ------
    SourceShapeError
        If a list has another length.
    """
    lists = _column(rows, column)
    lengths = _lengths(lists)
    wrong = (lengths != 0) & (lengths != n_pixels)
    if wrong.any():
        index = int(np.flatnonzero(wrong)[0])
        msg = (
            f"{rows.path}: row {rows.row_in_file + index} has {lengths[index]} values in column "
            f"{column!r}, and the first spectrum has {n_pixels} pixels; all spectra need the same"
        )
        raise SourceShapeError(msg)
    values: npt.NDArray[Any] = lists.flatten().to_numpy(zero_copy_only=False)
    is_there = lengths == n_pixels
    if is_there.all():
        return values.reshape(-1, n_pixels)
    stacked = np.full((len(lengths), n_pixels), np.nan, np.result_type(values.dtype, np.float16))
    stacked[is_there] = values.reshape(-1, n_pixels)
    return stacked


def _error_of(ivar: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Return 1 / sqrt(ivar), NaN where the inverse variance is not finite and positive."""
    error = np.full(ivar.shape, np.nan, dtype=np.float32)
    usable = np.isfinite(ivar) & (ivar > 0)
    error[usable] = 1 / np.sqrt(ivar[usable].astype(np.float64))
    return error


def _check_flux_unit(table: ParquetTable, column: str) -> None:
    unit = table.unit_of(column)
    if unit is not None and not is_relative(unit):
        msg = (
            f"{table.path}, column {column!r}: its unit is {unit!r}; expected flux relative to a "
            f"continuum of 1, without a unit: choose the normalised flux, or normalise the spectra"
        )
        raise SourceFormatError(msg)


def _flux_notes(table: ParquetTable, flux: str, given: str | None) -> list[str]:
    """Return a note if the flux was not named, and there is one relative to the continuum."""
    place = flux.removesuffix("flux")
    others = [
        name
        for name in table.columns
        if name.startswith(place) and "continuum" in name and name.endswith("flux")
    ]
    if given is not None or not others:
        return []
    return [
        f"the flux is the column {flux!r}; flux_column={others[0]!r} (--flux-column {others[0]}) "
        f"takes the one relative to the continuum"
    ]


def _number_columns(table: ParquetTable) -> tuple[str, ...]:
    return tuple(
        name for name in table.columns if "." not in name and is_number(table.type_of(name))
    )


def _choose(
    table: ParquetTable, choice: LabelChoice, id_column: str | None
) -> tuple[LabelColumnChoice, ...]:
    usable = [name for name in _number_columns(table) if name != id_column]
    defaults = usable
    if choice is None:
        defaults = [name for name in usable if name not in _PLACES and not _holds_ids(table, name)]
    units = {name: unit for name in usable if (unit := table.unit_of(name)) is not None}
    choices = chosen_labels(choice, defaults, units)
    for chosen in choices:
        if chosen.column not in usable:
            found = table.type_of(chosen.column)
            kind = "no such column" if found is None else f"it is {found}, not a column of labels"
            msg = (
                f"{table.path}: label {chosen.column!r}: {kind}; choose among "
                f"{', '.join(usable) or 'none'} (labels=, --labels)"
            )
            raise LabelError(msg)
    table.check_types([chosen.column for chosen in choices])
    return choices


def _holds_ids(table: ParquetTable, column: str) -> bool:
    """Return whether a column holds integers beyond 2**53."""
    if table.type_of(column).bit_width < 64 or not is_integer(table.type_of(column)):
        return False
    values = table.read_column(column).drop_null().to_numpy(zero_copy_only=False)
    return holds_large_integers(values)


def _read_ids(
    table: ParquetTable, column: str | None
) -> tuple[npt.NDArray[np.int64] | None, list[str]]:
    """Return the star ids, and a note if they are text that is not a number."""
    if column is None:
        return None, []
    values, name = table.read_column(column), f"{table.path}, column {column!r}"
    if not is_text(values.type):
        return checked_ids(as_numbers(values, name), len(table), name), []
    texts = [
        text.decode(errors="replace") if isinstance(text, bytes) else text
        for text in values.to_pylist()
    ]
    found = [None if text is None else _NUMBER_AS_TEXT.fullmatch(text) for text in texts]
    if all(found):
        return np.array([int(one[1]) for one in found if one], dtype=np.int64), []
    example = next(text for text, one in zip(texts, found, strict=True) if not one)
    note = (
        f"{column!r} holds text such as {example!r}, and a star's id is a number: rows are "
        f"numbered; groups={column!r} keeps the rows of a star in one split"
    )
    return None, [note]
