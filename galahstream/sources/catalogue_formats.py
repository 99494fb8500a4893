"""Tables of stars in their formats, told apart by content: which columns, and some of them.

Text formats are read line by line, FITS and Parquet column by column, so that memory is that
of the columns that are needed. (astropy reads a VOTable row by row too.)
"""

import csv
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, TextIO, TypeAlias
from xml.etree import ElementTree

import numpy as np
import numpy.typing as npt

from galahstream.errors import (
    ExtraMissingError,
    GalahStreamError,
    SourceFormatError,
    SourceMissingError,
)
from galahstream.sources.base import explain_access_errors, pointer_reason
from galahstream.survey.units import unit_attribute

_FIRST_BYTES = 4096
_CHUNK_ROWS = 65_536
_ECSV_START = "# %ECSV"
MISSING_TEXTS = ("", "nan", "NaN", "NAN", "null", "NULL", "None", "none", "N/A", "--")
"""Spellings of a missing number or id in text; of any other missing text only the empty one is."""


class RawColumn(NamedTuple):
    """Values as a file holds them, shape (n, ...), and which are missing, shape (n,)."""

    values: npt.NDArray[Any]
    is_missing: npt.NDArray[np.bool_]


Columns: TypeAlias = dict[str, RawColumn]


class TableFormat(NamedTuple):
    """One format: its name, and how its columns are listed (name and unit) and read."""

    name: str
    list_columns: Callable[[Path], list[tuple[str, str]]]
    read_columns: Callable[[Path, Sequence[str]], Columns]


def table_format(path: Path) -> TableFormat:
    """Return the format of a table, by its first bytes.

    Raises
    ------
    SourceMissingError, SourceAccessError, SourceFormatError
        If there is no file, it cannot be read, or it is not a table.
    """
    if not path.is_file():
        msg = f"{path} does not exist, or is not a file; expected a catalogue of stars"
        raise SourceMissingError(msg)
    with explain_access_errors(path), path.open("rb") as file:
        first_bytes = file.read(_FIRST_BYTES)
    start = first_bytes.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith(b"SIMPLE  ="):
        return FITS
    if start.startswith(b"PAR1"):
        return PARQUET
    if start.startswith((b"<?xml", b"<VOTABLE", b"<!--")) and b"VOTABLE" in start:
        return VOTABLE
    pointer = pointer_reason(first_bytes)
    if pointer is not None:
        msg = f"{path} is {pointer}"
        raise SourceFormatError(msg)
    if start and b"\0" not in first_bytes and not start.startswith((b"<", b"\x1f\x8b", b"PK")):
        return ECSV if start.startswith(_ECSV_START.encode()) else CSV
    content = f"begins with {first_bytes[:8]!r}" if first_bytes else "is empty"
    msg = (
        f"{path} {content}: not a table in FITS, CSV, ECSV, VOTable or Parquet, whatever its name "
        f"says; unpack it if it is compressed, or save it in one of these formats"
    )
    raise SourceFormatError(msg)


@contextmanager
def explain_table_errors(path: Path, name: str) -> Iterator[None]:
    """Raise every error of a package that reads tables as one of ours, which names the file."""
    try:
        # What astropy warns of is in the error, or changes no value.
        with explain_access_errors(path), warnings.catch_warnings(action="ignore"):
            yield
    except GalahStreamError:
        raise
    except Exception as error:  # the packages raise errors of many kinds
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        msg = f"{path}: not a table in {name}, or a damaged one ({reason}); copy the file again"
        raise SourceFormatError(msg) from error


def _package(module: str, what: str, extra: str) -> Any:
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        msg = f"reading {what} catalogues needs {package}: pip install 'galahstream[{extra}]'"
        raise ExtraMissingError(msg) from error


# FITS ----------------------------------------------------------------------------------------


def _list_fits(path: Path) -> list[tuple[str, str]]:
    with _fits_table(path) as table:
        return [(column.name, (column.unit or "").strip()) for column in table.columns]


def _read_fits(path: Path, names: Sequence[str]) -> Columns:
    with _fits_table(path) as table:
        return {name: _fits_column(table, name) for name in names}


@contextmanager
def _fits_table(path: Path) -> Iterator[Any]:
    """Open a file and yield its first table, mapped, so that only what is used is read."""
    fits = _package("astropy.io.fits", "FITS", "fits")
    with fits.open(path, memmap=True) as extensions:
        tables = (each for each in extensions if isinstance(each, fits.BinTableHDU | fits.TableHDU))
        table = next(tables, None)
        if table is None:
            msg = f"{path}: it has no table, only images; expected a catalogue of stars"
            raise SourceFormatError(msg)
        header = table.header
        end = table.fileinfo()["datLoc"] + header["NAXIS1"] * header["NAXIS2"]
        if path.stat().st_size < end:
            msg = f"{path}: truncated: its table ends at byte {end:,}; copy the file again"
            raise SourceFormatError(msg)
        yield table


def _fits_column(table: Any, name: str) -> RawColumn:
    values = np.array(table.data.field(name))
    if values.dtype.kind in "SU":
        texts = np.char.strip(values.astype(np.str_))
        return RawColumn(texts, texts == "" if texts.ndim == 1 else np.zeros(len(texts), bool))
    values = values.astype(values.dtype.newbyteorder("="), copy=False)
    return RawColumn(values, _fits_nulls(table, name))


def _fits_nulls(table: Any, name: str) -> npt.NDArray[np.bool_]:
    """Return where the stored value is the declared null, which TSCAL and TZERO would change."""
    column, stored = table.columns[name], table.data.view(np.ndarray)[name]
    if stored.ndim == 1 and stored.dtype.kind in "SU":  # numbers of an ASCII table
        texts = np.char.strip(stored.astype(np.str_))
        return np.isin(texts, ["", str(column.null or "").strip()])
    if stored.ndim == 1 and stored.dtype.kind in "iu" and column.null not in (None, ""):
        return np.asarray(stored == column.null)
    return np.zeros(len(stored), dtype=bool)


# Text ----------------------------------------------------------------------------------------


def _list_csv(path: Path) -> list[tuple[str, str]]:
    with _csv_table(path) as (names, _):
        return [(name, "") for name in names]


def _read_csv(path: Path, names: Sequence[str]) -> Columns:
    return {name: _typed(texts) for name, texts in _read_text(path, names, ",").items()}


def _list_ecsv(path: Path) -> list[tuple[str, str]]:
    header = _ecsv_header(path)
    return [(str(each["name"]), str(each.get("unit", ""))) for each in header["datatype"]]


def _read_ecsv(path: Path, names: Sequence[str]) -> Columns:
    header = _ecsv_header(path)
    dtypes = {column["name"]: str(column["datatype"]) for column in header["datatype"]}
    texts = _read_text(path, names, header.get("delimiter", " "))
    return {name: _declared(texts[name], dtypes[name]) for name in names}


def _declared(texts: npt.NDArray[np.str_], dtype: str) -> RawColumn:
    """Return a column of its declared kind: floats may be whole numbers, and texts digits alone."""
    if dtype == "string":
        stripped = np.char.strip(texts)
        return RawColumn(stripped, stripped == "")
    values, is_missing = _typed(texts)
    if dtype.startswith("float") and values.dtype.kind == "i":
        values = values.astype(np.float64)
    return RawColumn(values, is_missing)


def _ecsv_header(path: Path) -> Any:
    meta = _package("astropy.table.meta", "ECSV", "fits")
    with path.open(encoding="utf-8-sig") as file:
        lines = [line[2:].rstrip("\n") for line in _leading_comments(file)]
    return meta.get_header_from_yaml([line for line in lines if not line.startswith("%")])


def _leading_comments(file: TextIO) -> Iterator[str]:
    for line in file:
        if not line.startswith("#"):
            return
        yield line


@contextmanager
def _csv_table(path: Path, delimiter: str = ",") -> Iterator[tuple[list[str], Iterator[list[str]]]]:
    """Open a file and yield the names of its columns, and its rows without blank lines."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        first_line = next((line for line in file if line.strip() and line[0] != "#"), "")
        (names,) = list(csv.reader([first_line], delimiter=delimiter)) or [[]]
        names = [name.strip() for name in names]
        yield names, (row for row in csv.reader(file, delimiter=delimiter) if row)


def _read_text(path: Path, names: Sequence[str], delimiter: str) -> dict[str, npt.NDArray[np.str_]]:
    with _csv_table(path, delimiter) as (header, rows):
        indices = [header.index(name) for name in names]
        chunks: list[list[npt.NDArray[np.str_]]] = [[] for _ in names]
        n_rows = 0
        while chunk := list(islice(rows, _CHUNK_ROWS)):
            for number, row in enumerate(chunk, n_rows + 1):
                if len(row) != len(header):
                    msg = (
                        f"{path}: row {number} has {len(row)} values, and there are {len(header)} "
                        f"columns; each row needs one value per column, texts with a comma quotes"
                    )
                    raise SourceFormatError(msg)
            for index, parts in zip(indices, chunks, strict=True):
                parts.append(np.array(list(map(itemgetter(index), chunk)), dtype=np.str_))
            n_rows += len(chunk)
    empty = np.empty(0, dtype=np.str_)
    return {
        name: np.concatenate([empty, *parts]) for name, parts in zip(names, chunks, strict=True)
    }


def _typed(texts: npt.NDArray[np.str_]) -> RawColumn:
    """Return the values of a column of texts as int64 if all are integers, or float64, or text."""
    texts = np.char.strip(texts)
    is_missing = np.isin(texts, MISSING_TEXTS)
    # Python and NumPy read 1_000 as a number, which no table means by it.
    dtypes = () if (np.char.find(texts, "_") >= 0).any() else (np.int64, np.float64)
    for dtype in dtypes:
        try:
            return RawColumn(np.where(is_missing, "0", texts).astype(dtype), is_missing)
        except (ValueError, OverflowError):
            continue
    return RawColumn(texts, texts == "")


# VOTable -------------------------------------------------------------------------------------


def _list_votable(path: Path) -> list[tuple[str, str]]:
    """Return the fields of the first table, from the XML before its data."""
    columns: list[tuple[str, str]] = []
    for _, element in ElementTree.iterparse(path, events=("start",)):
        tag = element.tag.rpartition("}")[2]
        if tag == "FIELD":
            name = element.get("name") or element.get("ID") or ""
            columns.append((name, (element.get("unit") or "").strip()))
        elif tag == "DATA" or (tag == "TABLE" and columns):
            break
    return columns


def _read_votable(path: Path, names: Sequence[str]) -> Columns:
    votable = _package("astropy.io.votable", "VOTable", "fits")
    numbers = {name: number for number, (name, _) in enumerate(_list_votable(path))}
    ordered = sorted(names, key=numbers.__getitem__)
    if not ordered:
        return {}
    parsed = votable.parse(str(path), columns=[numbers[name] for name in ordered], verify="ignore")
    table = parsed.get_first_table()
    return {
        name: _votable_column(table.array[field.ID])
        for name, field in zip(ordered, table.fields, strict=True)
    }


def _votable_column(column: Any) -> RawColumn:
    values, mask = np.asarray(np.ma.getdata(column)), np.ma.getmaskarray(column)
    is_missing = np.asarray(mask.reshape(len(values), -1).all(axis=1))
    if values.dtype.kind == "O" and all(isinstance(value, str | bytes) for value in values):
        values = np.char.strip(values.astype(np.str_))
        is_missing = is_missing | (values == "")
    return RawColumn(values, is_missing)


# Parquet -------------------------------------------------------------------------------------


def _list_parquet(path: Path) -> list[tuple[str, str]]:
    schema = _package("pyarrow.parquet", "Parquet", "parquet").read_schema(path)
    astropy_units = _astropy_units(schema.metadata or {})
    columns = []
    for field in schema:
        attributes = {
            key.decode(errors="replace"): value for key, value in (field.metadata or {}).items()
        }
        stated = unit_attribute(attributes)
        unit = astropy_units.get(field.name, "") if stated is None else stated.unit
        columns.append((field.name, unit))
    return columns


def _astropy_units(metadata: Mapping[bytes, bytes]) -> dict[str, str]:
    """Return the units that astropy writes into a Parquet file, by column."""
    text = metadata.get(b"table_meta_yaml")
    if text is None:
        return {}
    meta = _package("astropy.table.meta", "astropy's Parquet", "fits")
    header = meta.get_header_from_yaml(text.decode().split("\n"))
    return {str(each["name"]): str(each["unit"]) for each in header["datatype"] if "unit" in each}


def _read_parquet(path: Path, names: Sequence[str]) -> Columns:
    parquet = _package("pyarrow.parquet", "Parquet", "parquet")
    table = parquet.ParquetFile(path).read(columns=list(names))
    return {name: _arrow_column(table.column(name)) for name in names}


def _arrow_column(column: Any) -> RawColumn:
    """Return a column without a detour over float64, which pyarrow takes for missing integers."""
    is_missing = np.asarray(column.is_null().to_numpy(), dtype=bool)
    kind = str(column.type)
    if kind.startswith("dictionary"):
        column = column.cast(column.type.value_type)
        kind = str(column.type)
    if kind in ("string", "large_string", "string_view"):
        texts = np.char.strip(np.array(column.fill_null("").to_pylist(), dtype=np.str_))
        return RawColumn(texts, is_missing | (texts == ""))
    if kind.startswith(("int", "uint", "float", "double", "halffloat", "bool")):
        filled = column.fill_null(False if kind == "bool" else 0)
        return RawColumn(np.asarray(filled.to_numpy()), is_missing)
    return RawColumn(np.empty((len(column), 0), dtype=object), is_missing)


FITS = TableFormat("FITS", _list_fits, _read_fits)
CSV = TableFormat("CSV", _list_csv, _read_csv)
ECSV = TableFormat("ECSV", _list_ecsv, _read_ecsv)
VOTABLE = TableFormat("VOTable", _list_votable, _read_votable)
PARQUET = TableFormat("Parquet", _list_parquet, _read_parquet)
