"""Tables of stars, written in parts: CSV, ECSV, FITS, Parquet and .npy.

Memory is that of one part. What is written here is read by :mod:`catalogue_formats`, except .npy.

Examples
--------
>>> import tempfile
>>> columns = (TableColumn("id", "i8"), TableColumn("teff", "f8", "K"))
>>> path = Path(tempfile.mkdtemp()) / "labels.csv"
>>> with writing_table(path, TableLayout(columns, n_rows=1)) as table:
...     table.write([np.array([7]), np.array([5777.0])])
>>> print(path.read_text())
id,teff
7,5777
<BLANKLINE>
"""

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, Protocol, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from galahstream.errors import ExtraMissingError, OptionError
from galahstream.survey.units import ascii_unit
from galahstream.system.atomic import atomic_write, is_special_file
from galahstream.validation import shown

TableFormat: TypeAlias = Literal["csv", "ecsv", "fits", "parquet", "npy"]
"""The formats of tables, which are also the suffixes of their files."""

_Columns: TypeAlias = Sequence[npt.NDArray[Any]]

_FITS_BLOCK, _FITS_CARD, _FITS_TEXT = 2880, 80, 68
_FITS_TYPES = {"i4": "J", "i8": "K", "f8": "D"}
_ECSV_TYPES = {"i4": "int32", "i8": "int64", "f8": "float64"}


class TableColumn(NamedTuple):
    """A column of a table.

    Attributes
    ----------
    name : str
    dtype : {"i4", "i8", "f8"}
        NumPy's name of the type, without byte order.
    unit : str
        Empty if there is none.
    """

    name: str
    dtype: Literal["i4", "i8", "f8"]
    unit: str = ""


@dataclass(frozen=True)
class TableLayout:
    """What a table holds besides its rows.

    Attributes
    ----------
    columns : tuple of TableColumn
    n_rows : int
        The number of rows that will be written, at least 1.
    comments : tuple of str
        Lines for a reader, which CSV and .npy have no place for.

    Raises
    ------
    OptionError
        If two columns have the same name.
    """

    columns: tuple[TableColumn, ...]
    n_rows: int
    comments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        for name in names:
            if names.count(name) > 1:
                msg = f"a table cannot have two columns {name!r}; give the label another name"
                raise OptionError(msg)


class TextFile(Protocol):
    """What text is written to."""

    def write(self, text: str, /) -> object:
        """Write a text."""


class TableWriter(ABC):
    """The rows of a table, written in parts."""

    @abstractmethod
    def write(self, columns: _Columns) -> None:
        """Write the next rows.

        Parameters
        ----------
        columns : sequence of ndarray, shape (n,)
            The values of each column of the layout.
        """


def table_format(out: Path) -> TableFormat:
    """Return the format of a table from the suffix of its file.

    Devices and pipes without a suffix get CSV.

    Raises
    ------
    OptionError
        If the suffix is not that of a format.
    """
    suffix = out.suffix.lower().removeprefix(".")
    if not suffix and is_special_file(out):
        return "csv"
    for name in get_args(TableFormat):
        if suffix == name:
            return name  # type: ignore[no-any-return]
    endings = ", ".join(f".{name}" for name in get_args(TableFormat))
    msg = f"{out}: the format of a table is chosen by the suffix; expected one of {endings}"
    raise OptionError(msg)


@contextmanager
def writing_table(out: Path, layout: TableLayout) -> Iterator[TableWriter]:
    """Yield the writer of a file that appears under its name when the table is complete.

    Parameters
    ----------
    out : Path
        Its suffix chooses the format.
    layout : TableLayout

    Raises
    ------
    OptionError
        If the suffix is not that of a format, or FITS cannot hold a name or a unit.
    ExtraMissingError
        If pyarrow, for Parquet, is not installed.
    DestinationExistsError, SourceMissingError
        If the path is a folder, or its own folder does not exist.
    """
    open_writer = _WRITERS[table_format(out)]
    with atomic_write(out) as temporary, open_writer(temporary, layout) as writer:
        yield writer


class CsvWriter(TableWriter):
    """Write a table as text, numbers to six significant digits.

    Parameters
    ----------
    file : TextFile
    layout : TableLayout
    header : str
        Lines in front of the names of the columns.
    """

    def __init__(self, file: TextFile, layout: TableLayout, header: str = "") -> None:
        self._file, self._layout = file, layout
        file.write(header + _csv_lines([[column.name for column in layout.columns]]))

    def write(self, columns: _Columns) -> None:
        """Write the next rows."""
        texts = [
            [f"{value:.6g}" for value in values.tolist()]
            if column.dtype == "f8"
            else values.tolist()
            for column, values in zip(self._layout.columns, columns, strict=True)
        ]
        # At once, since the file may be a terminal or a pipe, which is flushed after each text.
        self._file.write(_csv_lines(zip(*texts, strict=True)))


@contextmanager
def _write_csv(path: Path, layout: TableLayout) -> Iterator[TableWriter]:
    with path.open("w", newline="", encoding="utf-8") as file:
        yield CsvWriter(file, layout)


@contextmanager
def _write_ecsv(path: Path, layout: TableLayout) -> Iterator[TableWriter]:
    with path.open("w", newline="", encoding="utf-8") as file:
        yield CsvWriter(file, layout, _ecsv_header(layout))


def _csv_lines(rows: Any) -> str:
    lines = io.StringIO(newline="")
    csv.writer(lines, lineterminator="\n").writerows(rows)
    return lines.getvalue()


def _ecsv_header(layout: TableLayout) -> str:
    # JSON is YAML too, on one line.
    columns = [
        {"name": column.name, "datatype": _ECSV_TYPES[column.dtype]}
        | ({"unit": ascii_unit(column.unit)} if column.unit else {})
        for column in layout.columns
    ]
    lines = ["%ECSV 1.0", "---", "delimiter: ','", "datatype:"]
    lines += [f"- {json.dumps(column)}" for column in columns]
    lines += [f"meta: {json.dumps({'comments': layout.comments})}", "schema: astropy-2.0"]
    return "".join(f"# {line}\n" for line in lines)


class _RecordWriter(TableWriter):
    """Write rows as records of fixed length, one behind the other."""

    def __init__(self, file: BinaryIO, layout: TableLayout, byte_order: Literal["<", ">"]) -> None:
        self._file, self._layout, self._byte_order = file, layout, byte_order

    def write(self, columns: _Columns) -> None:
        """Write the next rows."""
        records = np.empty(len(columns[0]), _record_type(self._layout, self._byte_order))
        for column, values in zip(self._layout.columns, columns, strict=True):
            records[column.name] = values
        self._file.write(records.tobytes())


def _record_type(layout: TableLayout, byte_order: Literal["<", ">"]) -> np.dtype[np.void]:
    fields = [(column.name, byte_order + column.dtype) for column in layout.columns]
    return np.dtype(fields)


@contextmanager
def _write_npy(path: Path, layout: TableLayout) -> Iterator[TableWriter]:
    # It writes a header of the version that the names of the columns need.
    array = np.lib.format.open_memmap(path, "w+", _record_type(layout, "<"), (layout.n_rows,))
    start = array.offset
    del array
    with path.open("rb+") as file:
        file.seek(start)
        yield _RecordWriter(file, layout, "<")


@contextmanager
def _write_fits(path: Path, layout: TableLayout) -> Iterator[TableWriter]:
    _check_fits(layout)
    with path.open("wb") as file:
        file.write(_fits_header(_PRIMARY_CARDS) + _fits_header(_table_cards(layout)))
        yield _RecordWriter(file, layout, ">")
        file.write(b"\0" * (-file.tell() % _FITS_BLOCK))


_PRIMARY_CARDS = {"SIMPLE": True, "BITPIX": 8, "NAXIS": 0, "EXTEND": True}


def _table_cards(layout: TableLayout) -> dict[str, str | int | tuple[str, ...]]:
    cards: dict[str, str | int | tuple[str, ...]] = {
        "XTENSION": "BINTABLE",
        "BITPIX": 8,
        "NAXIS": 2,
        "NAXIS1": _record_type(layout, ">").itemsize,
        "NAXIS2": layout.n_rows,
        "PCOUNT": 0,
        "GCOUNT": 1,
        "TFIELDS": len(layout.columns),
        "EXTNAME": "LABELS",
    }
    for number, column in enumerate(layout.columns, start=1):
        cards |= {f"TTYPE{number}": column.name, f"TFORM{number}": _FITS_TYPES[column.dtype]}
        if column.unit:
            cards[f"TUNIT{number}"] = ascii_unit(column.unit)
    return {**cards, "COMMENT": layout.comments}


def _fits_header(cards: Mapping[str, Any]) -> bytes:
    lines = []
    for keyword, value in cards.items():
        if isinstance(value, tuple):
            width = _FITS_CARD - 8
            lines += [
                f"{keyword:<8}{text[start : start + width]}"
                for text in value
                for start in range(0, len(text), width)
            ]
        elif isinstance(value, str):
            escaped = value.replace("'", "''")
            lines.append(f"{keyword:<8}= '{escaped:<8}'")
        else:
            text = ("T" if value else "F") if isinstance(value, bool) else str(value)
            lines.append(f"{keyword:<8}= {text:>20}")
    header = "".join(f"{line:<{_FITS_CARD}}" for line in [*lines, "END"])
    return header.ljust(-(-len(header) // _FITS_BLOCK) * _FITS_BLOCK).encode("ascii")


def _check_fits(layout: TableLayout) -> None:
    """Raise an error for a text that a FITS header cannot hold."""
    for column in layout.columns:
        for text in (column.name, ascii_unit(column.unit)):
            n_characters = len(text.replace("'", "''"))
            if not text.isascii() or not text.isprintable() or n_characters > _FITS_TEXT:
                msg = (
                    f"FITS tables have names and units of up to {_FITS_TEXT} ASCII characters, and "
                    f"cannot hold {shown(text)}; choose another format, such as .ecsv (out=, --out)"
                )
                raise OptionError(msg)


class _ParquetWriter(TableWriter):
    """Write a Parquet file, each part as a row group."""

    def __init__(self, path: Path, layout: TableLayout) -> None:
        try:
            self._arrow = import_module("pyarrow")
            parquet = import_module("pyarrow.parquet")
        except ImportError as error:
            msg = "writing Parquet files needs pyarrow: pip install 'galahstream[parquet]'"
            raise ExtraMissingError(msg) from error
        types = {"i4": self._arrow.int32(), "i8": self._arrow.int64(), "f8": self._arrow.float64()}
        fields = [
            self._arrow.field(
                column.name,
                types[column.dtype],
                metadata={"unit": column.unit} if column.unit else None,
            )
            for column in layout.columns
        ]
        metadata = {"comments": json.dumps(layout.comments)}
        self._schema = self._arrow.schema(fields, metadata=metadata)
        self._file = parquet.ParquetWriter(path, self._schema)

    def close(self) -> None:
        """Write what tells a reader where the columns are."""
        self._file.close()

    def write(self, columns: _Columns) -> None:
        """Write the next rows."""
        arrays = [self._arrow.array(values) for values in columns]
        self._file.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))


_WRITERS: dict[TableFormat, Callable[[Path, TableLayout], AbstractContextManager[TableWriter]]] = {
    "csv": _write_csv,
    "ecsv": _write_ecsv,
    "fits": _write_fits,
    "parquet": lambda path, layout: closing(_ParquetWriter(path, layout)),
    "npy": _write_npy,
}
