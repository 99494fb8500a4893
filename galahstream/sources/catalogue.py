r"""A catalogue of stars: a table whose columns are read by name, only those that are needed.

Examples
--------
>>> from pathlib import Path
>>> from tempfile import TemporaryDirectory
>>> from galahstream.sources.catalogue import Catalogue
>>> with TemporaryDirectory() as folder:
...     path = Path(folder, "stars.csv")
...     _ = path.write_text("sobject_id,teff\n131217003901002,6025.8\n131217003901022,999999\n")
...     numbers = Catalogue(path).numbers("teff")
>>> numbers.values.tolist(), numbers.is_missing.tolist()
([6025.8, nan], [False, True])
"""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from galahstream.errors import LabelError, SourceShapeError
from galahstream.sources.catalogue_formats import (
    MISSING_TEXTS,
    RawColumn,
    explain_table_errors,
    table_format,
)
from galahstream.survey.expressions import Numbers
from galahstream.survey.fill_values import customary_fill_values, without_values

# A flag is a sum of bits, which can be any number.
_FLAG_PREFIX = "flag"
_MAX_LISTED = 5
_MAX_SHOWN_COLUMNS = 8


class Catalogue:
    """A table with one row per star, in FITS, CSV, ECSV, VOTable or Parquet.

    The format is told by the file's content. Missing are values that the table masks or
    declares as null, values that are not finite, `missing_values`, and numbers that
    certainly stand for a missing value, such as -9999, 999999 and 1e20
    (:func:`~galahstream.survey.fill_values.customary_fill_values`; not in flags).

    Parameters
    ----------
    path : Path
        The file. Of a FITS file the first table is read, of a VOTable too.
    missing_values : sequence of float
        Numbers that stand for a missing one in every column.

    Attributes
    ----------
    path : Path
    names : tuple of str
        The columns.
    fill_values : dict
        Numbers that were taken as missing without being named, by column: (value, rows).

    Raises
    ------
    SourceMissingError, SourceAccessError, SourceFormatError
        If the file is not such a table.
    ExtraMissingError
        If the package that reads the format is not installed.
    """

    def __init__(self, path: Path, missing_values: Sequence[float] = ()) -> None:
        self.path = path
        self._missing_values = tuple(missing_values)
        self._format = table_format(path)
        with explain_table_errors(path, self._format.name):
            columns = self._format.list_columns(path)
        self.names = tuple(name for name, _ in columns)
        self._units = dict(columns)
        self._loaded: dict[str, RawColumn] = {}
        self._numbers: dict[str, Numbers] = {}
        self.fill_values: dict[str, tuple[tuple[float, int], ...]] = {}

    def find(self, name: str) -> str | None:
        """Return a column's name as the catalogue spells it, or None if it has no such column.

        Case does not matter, unless the catalogue has two columns that differ in it alone.

        Raises
        ------
        LabelError
            If two columns have this name.
        """
        same = [other for other in self.names if other == name]
        same = same or [other for other in self.names if other.casefold() == name.casefold()]
        if len(same) > 1:
            msg = f"{self.path}: {len(same)} columns are called {name!r} ({', '.join(same)}); "
            raise LabelError(msg + "write it as the catalogue does, or rename one of them")
        return same[0] if same else None

    def first_of(self, names: Iterable[str]) -> str | None:
        """Return the first of some columns that the catalogue has, as it spells it, or None."""
        return next((found for name in names if (found := self.find(name)) is not None), None)

    def column_name(self, name: str) -> str:
        """Return a column's name as the catalogue spells it.

        Raises
        ------
        LabelError
            If it has no such column; the most similar ones are named.
        """
        found = self.find(name)
        if found is None:
            msg = f"{self.path}: no column {name!r}; {self._similar(name)}"
            raise LabelError(msg)
        return found

    def unit(self, name: str) -> str:
        """Return the unit that the catalogue states for a column; empty for none."""
        return self._units[self.column_name(name)]

    def load(self, names: Iterable[str]) -> None:
        """Read columns that will be needed, all in one pass over the file."""
        wanted = dict.fromkeys(map(self.column_name, names))
        missing = [name for name in wanted if name not in self._loaded]
        if missing:
            with explain_table_errors(self.path, self._format.name):
                self._loaded |= self._format.read_columns(self.path, missing)

    def raw_column(self, name: str) -> RawColumn:
        """Return a column as the file holds it."""
        name = self.column_name(name)
        self.load([name])
        return self._loaded[name]

    def numbers(self, name: str) -> Numbers:
        """Return a column of numbers as int64 or float64, and which of them are missing.

        Raises
        ------
        LabelError
            If there is no such column, or it is not one of real numbers.
        """
        name = self.column_name(name)
        if name not in self._numbers:
            self._numbers[name] = self._read_numbers(name)
        return self._numbers[name]

    def keys(self, name: str) -> RawColumn:
        """Return a column of ids, as int64 if they are whole numbers, else as text.

        Missing are ids that are masked, empty, or integers below 1.

        Raises
        ------
        SourceShapeError
            If they are stored as floating-point numbers, which do not hold 64-bit ids.
        LabelError
            If the column is neither of integers nor of text.
        """
        return plain_keys(self.raw_column(name), f"{self.path}, column {name!r}")

    def _read_numbers(self, name: str) -> Numbers:
        values, is_missing = self.raw_column(name)
        where = f"{self.path}, column {name!r}"
        if values.ndim != 1:
            msg = f"{where}: not one real number per star; choose another column"
            raise LabelError(msg)
        if values.dtype.kind not in "fiub":
            example = next((str(value) for value in values.tolist() if str(value)), "")
            msg = f"{where}: text, such as {example[:40]!r}, not numbers; choose another column"
            raise LabelError(msg)
        floats = values.astype(np.float64)
        floats[is_missing] = np.nan
        floats = without_values(floats, self._missing_values)
        if not name.casefold().startswith(_FLAG_PREFIX):
            found = customary_fill_values(floats)
            if found:
                self.fill_values[name] = found
                floats[np.isin(floats, [value for value, _ in found])] = np.nan
        missing = ~np.isfinite(floats)
        if values.dtype.kind == "f":
            return Numbers(floats, missing)
        if values.dtype.kind == "u" and values.size and values.max() > np.iinfo(np.int64).max:
            msg = f"{where}: {values.max()} does not fit into a signed 64-bit integer"
            raise LabelError(msg)
        return Numbers(values.astype(np.int64), missing)

    def _similar(self, name: str) -> str:
        folded = {other.casefold(): other for other in self.names}
        longer = [other for other in folded if name.casefold() in other]
        close = difflib.get_close_matches(name.casefold(), folded, n=_MAX_LISTED, cutoff=0.5)
        near = [folded[each] for each in dict.fromkeys((*close, *longer))]
        if near:
            return f"similar are {', '.join(near[:_MAX_LISTED])}"
        shown = ", ".join(self.names[:_MAX_SHOWN_COLUMNS])
        return f"it has {shown}{', ...' if len(self.names) > _MAX_SHOWN_COLUMNS else ''}"


def plain_keys(column: RawColumn, name: str) -> RawColumn:
    """Return ids as int64 if they are whole numbers, else as text; see :meth:`Catalogue.keys`."""
    values, is_missing = column
    if values.dtype.kind == "f":
        msg = (
            f"{name}: ids of dtype {values.dtype}, which does not hold 64-bit ids exactly: two "
            f"stars may have one id; write the table again with ids as 64-bit integers"
        )
        raise SourceShapeError(msg)
    if values.ndim != 1 or values.dtype.kind not in "iuU":
        msg = f"{name}: values of dtype {values.dtype} and shape {values.shape}; expected one id "
        raise LabelError(msg + "per row, an integer or text")
    if values.dtype.kind == "U":
        is_missing = is_missing | np.isin(values, MISSING_TEXTS)
        if not np.char.isdecimal(values[~is_missing]).all() or is_missing.all():
            return RawColumn(values, is_missing)
        values = _integers(np.where(is_missing, "0", values), name)
    elif values.size and values.max() > np.iinfo(np.int64).max:
        msg = f"{name}: id {values.max()} does not fit into a signed 64-bit integer"
        raise SourceShapeError(msg)
    integers = values.astype(np.int64)
    return RawColumn(integers, is_missing | (integers < 1))


def _integers(texts: npt.NDArray[Any], name: str) -> npt.NDArray[np.int64]:
    try:
        return texts.astype(np.int64)
    except OverflowError as error:
        msg = f"{name}: an id does not fit into a signed 64-bit integer"
        raise SourceShapeError(msg) from error
