"""The rows of one or more Parquet files as one table, read with pyarrow in bounded memory."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from galahstream.errors import (
    ExtraMissingError,
    GalahStreamError,
    LabelError,
    SourceFormatError,
    SourceMissingError,
    SourceShapeError,
)
from galahstream.sources.arrays import holds_large_integers
from galahstream.sources.base import explain_access_errors, pointer_reason
from galahstream.sources.parquet_folder import find_parquet_files
from galahstream.survey.units import unit_attribute

PARQUET_MAGIC = b"PAR1"
"""First bytes of a Parquet file."""

_BUFFER_BYTES = 1024 * 1024
_MAX_REASON_LENGTH = 300


class Rows(NamedTuple):
    """Consecutive rows of a table.

    Attributes
    ----------
    path : Path
        The file that they are in.
    row_in_file : int
        Row of the file that they begin with.
    batch : pyarrow.RecordBatch
        The columns that were asked for.
    """

    path: Path
    row_in_file: int
    batch: Any


class _Part(NamedTuple):
    """A file, its first row, the row behind its last one, and its schema."""

    path: Path
    start: int
    stop: int
    schema: Any


class ParquetTable:
    """The rows of a file, or of the files of a folder in alphabetical order.

    Columns are named as in ``"teff"``, or, for a field of a struct, ``"spectrum.flux"``.

    Parameters
    ----------
    path : Path

    Raises
    ------
    ExtraMissingError
        If pyarrow is not installed.
    SourceMissingError, SourceAccessError, SourceFormatError
        If there is nothing to read, a file is damaged, or rows are missing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._arrow = import_module("pyarrow")
            self._parquet = import_module("pyarrow.parquet")
        except ImportError as error:
            msg = "reading Parquet files needs pyarrow: pip install 'galahstream[parquet]'"
            raise ExtraMissingError(msg) from error
        if not path.exists():
            msg = f"{path} does not exist; expected a Parquet file, or a folder of them"
            raise SourceMissingError(msg)
        paths, stated = [path], None
        if path.is_dir():
            names, stated = find_parquet_files(path)
            paths = [path / name for name in names]
        self._parts = tuple(self._open_parts(paths))
        if stated is not None and len(self) != stated:
            msg = (
                f"{path}: its files hold {len(self):,} rows, and its hats.properties says "
                f"{stated:,}; some files are missing or not its own: copy or download it again"
            )
            raise SourceFormatError(msg)

    def __len__(self) -> int:
        return self._parts[-1].stop

    @property
    def files(self) -> tuple[Path, ...]:
        """All files of the table."""
        return tuple(part.path for part in self._parts)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, and of the fields of those that are structs."""
        names: list[str] = []
        for field in self._parts[0].schema:
            names.append(field.name)
            if self._arrow.types.is_struct(field.type):
                names += [f"{field.name}.{inner.name}" for inner in field.type]
        return tuple(names)

    def type_of(self, column: str) -> Any:
        """Return the pyarrow type of a column, or None if there is no such column."""
        field = self._field(self._parts[0].schema, column)
        return None if field is None else field.type

    def unit_of(self, column: str) -> str | None:
        """Return the unit that a column's metadata states, or None."""
        metadata = self._field(self._parts[0].schema, column).metadata or {}
        stated = unit_attribute({key.decode(errors="replace"): metadata[key] for key in metadata})
        return None if stated is None else stated.unit

    def check_types(self, columns: Sequence[str]) -> None:
        """Raise `SourceShapeError` if a column is not of the same type in all files."""
        for column in columns:
            expected = self.type_of(column)
            for part in self._parts:
                field = self._field(part.schema, column)
                if field is None or not field.type.equals(expected):
                    found = "is not there" if field is None else f"is {field.type}"
                    msg = (
                        f"{part.path}: column {column!r} {found}, and {expected} in "
                        f"{self._parts[0].path}; all files of a table need the same columns"
                    )
                    raise SourceShapeError(msg)

    def read_column(self, column: str) -> Any:
        """Return a column that is not a field of a struct, of all rows, as one pyarrow array."""
        self.check_types([column])
        chunks = []
        for part in self._parts:
            with self._reading(part.path), self._open(part.path) as file:
                chunks += file.read(columns=[column], use_threads=False).column(column).chunks
        return self._arrow.chunked_array(chunks, type=self.type_of(column)).combine_chunks()

    def iter_rows(self, columns: Sequence[str], n_rows: int, first_row: int = 0) -> Iterator[Rows]:
        """Yield at most `n_rows` rows at a time; no more of a file than that is decoded at once."""
        for part in self._parts:
            if max(first_row, part.start) < part.stop:
                with self._reading(part.path), self._open(part.path) as file:
                    yield from self._iter_part(file, part, columns, n_rows, first_row)

    def _iter_part(
        self, file: Any, part: _Part, columns: Sequence[str], n_rows: int, first_row: int
    ) -> Iterator[Rows]:
        row, groups = 0, range(file.metadata.num_row_groups)
        first_row_in_file = max(first_row - part.start, 0)
        for group in groups:
            size = file.metadata.row_group(group).num_rows
            if row + size > first_row_in_file:
                break
            row += size
        batches = file.iter_batches(
            n_rows, row_groups=groups[group:], columns=list(columns), use_threads=False
        )
        for batch in batches:
            n_skipped = min(max(first_row_in_file - row, 0), len(batch))
            if n_skipped < len(batch):
                yield Rows(part.path, row + n_skipped, batch.slice(n_skipped))
            row += len(batch)

    def _open_parts(self, paths: Sequence[Path]) -> Iterator[_Part]:
        start, first_schema = 0, None
        for path in paths:
            with self._reading(path):
                _check_magic(path)
                with self._open(path) as file:
                    schema, n_rows = file.schema_arrow, file.metadata.num_rows
            if first_schema is None:
                first_schema = schema
            # Hundreds of files share one schema.
            shared = first_schema if schema.equals(first_schema, check_metadata=True) else schema
            yield _Part(path, start, start + n_rows, shared)
            start += n_rows

    def _open(self, path: Path) -> Any:
        return self._parquet.ParquetFile(
            path, buffer_size=_BUFFER_BYTES, pre_buffer=False, page_checksum_verification=True
        )

    def _field(self, schema: Any, column: str) -> Any:
        if column in schema.names:
            return schema.field(column)
        outer, _, inner = column.partition(".")
        if outer in schema.names and self._arrow.types.is_struct(schema.field(outer).type):
            struct = schema.field(outer).type
            index = struct.get_field_index(inner)
            return struct.field(index) if index >= 0 else None
        return None

    @contextmanager
    def _reading(self, path: Path) -> Iterator[None]:
        """Name the file in whatever pyarrow raises."""
        try:
            with explain_access_errors(path):
                yield
        except GalahStreamError:
            raise
        except (self._arrow.ArrowException, OSError, ValueError) as error:
            reason = " ".join(str(error).split())[:_MAX_REASON_LENGTH]
            msg = f"{path}: pyarrow cannot read this file ({reason}); copy or download it again"
            raise SourceFormatError(msg) from error


def list_dtype(arrow_type: Any) -> np.dtype[Any] | None:
    """Return the NumPy dtype of a list of numbers, or None for another type."""
    types = import_module("pyarrow").types
    kinds = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    is_list = arrow_type is not None and any(is_kind(arrow_type) for is_kind in kinds)
    if not is_list or not is_number(arrow_type.value_type):
        return None
    dtype: np.dtype[Any] = np.dtype(arrow_type.value_type.to_pandas_dtype())
    return dtype


def is_number(arrow_type: Any) -> bool:
    """Return whether a pyarrow type is that of integers or floats."""
    types = import_module("pyarrow").types
    return bool(types.is_integer(arrow_type) or types.is_floating(arrow_type))


def is_text(arrow_type: Any) -> bool:
    """Return whether a pyarrow type is that of texts, which may be stored as bytes."""
    types = import_module("pyarrow").types
    kinds = (types.is_string, types.is_large_string, types.is_binary, types.is_large_binary)
    return any(is_kind(arrow_type) for is_kind in kinds)


def is_integer(arrow_type: Any) -> bool:
    """Return whether a pyarrow type is that of integers."""
    return bool(import_module("pyarrow").types.is_integer(arrow_type))


def as_numbers(values: Any, name: str) -> npt.NDArray[Any]:
    """Return a pyarrow array of numbers in its own dtype; float64 with NaN if some are null.

    Raises
    ------
    LabelError
        If some are null, and others are integers that float64 cannot hold exactly.
    """
    if values.null_count == 0:
        numbers: npt.NDArray[Any] = values.to_numpy(zero_copy_only=False)
        return numbers
    known = values.drop_null().to_numpy(zero_copy_only=False)
    if holds_large_integers(known):
        msg = (
            f"{name} holds integers beyond 2**53, and {values.null_count} rows have none; float64 "
            f"cannot hold them beside missing values: give every star an integer"
        )
        raise LabelError(msg)
    numbers = np.full(len(values), np.nan)
    numbers[values.is_valid().to_numpy(zero_copy_only=False)] = known
    return numbers


def _check_magic(path: Path) -> None:
    with path.open("rb") as file:
        first_bytes = file.read(64)
    pointer = pointer_reason(first_bytes)
    if pointer is not None:
        msg = f"{path} is {pointer}"
        raise SourceFormatError(msg)
    if not first_bytes.startswith(PARQUET_MAGIC):
        content = f"begins with {first_bytes[:8]!r}" if first_bytes else "is empty"
        msg = f"{path} {content} and is not a Parquet file; copy or download it again"
        raise SourceFormatError(msg)
