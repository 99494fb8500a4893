"""Sources made of other sources: a selection of rows, a repetition, a concatenation.

Each is a :class:`~galahstream.sources.base.Source` itself, so that they can be combined.
Flux and errors pass through block by block, and memory stays that of a block.

Examples
--------
>>> from galahstream.mock.source import MockSource
>>> from galahstream.sources.wrappers import Concatenated, Repeated, Selected
>>> mock = MockSource(5, jobs=1)
>>> len(Repeated(mock, 3)), len(Selected(mock, [0, 4])), len(Concatenated([mock, mock]))
(15, 2, 10)
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from galahstream.errors import (
    LabelError,
    OptionError,
    SourceFormatError,
    SourceShapeError,
    WavelengthError,
)
from galahstream.sources.base import SkippedStar, Source, Spectra, UnusableRow
from galahstream.sources.wrapper import Wrapper
from galahstream.survey.provenance import Provenance
from galahstream.survey.selection import Cut, FlagCount
from galahstream.validation import check_count

_Read: TypeAlias = Callable[[Source, int, int], Iterator[Spectra]]
"""Yields blocks of a source of at most some rows, from a row on."""

# Longer gaps between selected rows are skipped, shorter ones are read.
_MAX_GAP_ROWS = 1024


class _RowWrapper(Wrapper):
    """A wrapper that gives rows of its sources as they are."""

    def iter_blocks(self, block_rows: int, first_row: int = 0) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the flux of the rows."""
        return (spectra.flux for spectra in self._iter(_read_flux, block_rows, first_row))

    def iter_spectra(self, block_rows: int, first_row: int = 0) -> Iterator[Spectra]:
        """Yield the flux of the rows, with their errors if the source has them."""
        return self._iter(_read_spectra, block_rows, first_row)

    @abstractmethod
    def _iter(self, read: _Read, block_rows: int, first_row: int) -> Iterator[Spectra]:
        """Yield the rows in order, read with `read` from the sources."""


def _read_flux(source: Source, block_rows: int, first_row: int) -> Iterator[Spectra]:
    return (Spectra(flux, None) for flux in source.iter_blocks(block_rows, first_row))


def _read_spectra(source: Source, block_rows: int, first_row: int) -> Iterator[Spectra]:
    return source.iter_spectra(block_rows, first_row)


class Selected(_RowWrapper):
    """Some rows of a source.

    Parameters
    ----------
    source : Source
        Where the rows come from.
    rows : array_like, shape (n,), int; or shape (N,), bool
        Increasing row numbers from 0, or whether to take each row.

    Raises
    ------
    OptionError
        If `rows` is empty, does not increase, or has rows that the source does not have.
    """

    def __init__(self, source: Source, rows: npt.ArrayLike) -> None:
        super().__init__(source)
        self._rows = _checked_rows(rows, len(source), source.name)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def name(self) -> str:
        """The name of the source and the number of rows."""
        return f"{len(self)} rows of {self._source.name}"

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """Ids of the selected stars, shape (n,), int64."""
        return self._source.ids[self._rows]

    def original_row(self, row: int) -> int:
        """Return the number of a row in the source."""
        return self._source.original_row(int(self._rows[row]))

    def read_labels(self) -> npt.NDArray[np.float64]:
        """Return the labels of the selected stars, shape (n, K)."""
        return self._source.read_labels()[self._rows]

    def read_column(self, name: str) -> npt.NDArray[Any]:
        """Return a column for the selected stars, shape (n,)."""
        return self._source.read_column(name)[self._rows]

    def count_flags(self, rows: npt.NDArray[np.int64]) -> tuple[FlagCount, ...]:
        """Return the counts of the source for some of the selected stars."""
        return self._source.count_flags(self._rows[rows])

    def _iter(self, read: _Read, block_rows: int, first_row: int) -> Iterator[Spectra]:
        """Yield blocks of `block_rows` selected rows each; only the last one may be smaller."""
        kept: list[Spectra] = []
        n_kept = 0
        for piece in self._iter_pieces(read, block_rows, first_row):
            first, n_rows = 0, len(piece.flux)
            while first < n_rows:
                last = min(first + block_rows - n_kept, n_rows)
                kept.append(_take(piece, slice(first, last)))
                n_kept += last - first
                first = last
                if n_kept == block_rows:
                    yield _joined(kept)
                    kept, n_kept = [], 0
        if kept:
            yield _joined(kept)

    def _iter_pieces(self, read: _Read, block_rows: int, first_row: int) -> Iterator[Spectra]:
        """Yield the selected rows, in order, as each block of the source has them."""
        rows = self._rows[first_row:]
        if len(rows) == 0:
            return
        for run in np.split(rows, np.flatnonzero(np.diff(rows) > _MAX_GAP_ROWS) + 1):
            start = int(run[0])
            for block in read(self._source, block_rows, start):
                first, last = np.searchsorted(run, (start, start + len(block.flux)))
                if last > first:
                    yield _take(block, run[first:last] - start)
                start += len(block.flux)
                if last == len(run):
                    break
            else:
                msg = f"{self._source.name}: it ends at row {start} of {len(self._source)}"
                raise SourceFormatError(msg + "; check the source")


def _take(spectra: Spectra, rows: slice | npt.NDArray[np.int64]) -> Spectra:
    error = None if spectra.error is None else spectra.error[rows]
    taken = np.arange(len(spectra.flux))[rows].tolist() if spectra.unusable else []
    unusable = (
        each._replace(row=taken.index(each.row)) for each in spectra.unusable if each.row in taken
    )
    return Spectra(spectra.flux[rows], error, tuple(unusable))


def _joined(pieces: Sequence[Spectra]) -> Spectra:
    errors = [piece.error for piece in pieces if piece.error is not None]
    error = np.concatenate(errors) if errors else None
    unusable, n_rows = list[UnusableRow](), 0
    for piece in pieces:
        unusable += (each._replace(row=n_rows + each.row) for each in piece.unusable)
        n_rows += len(piece.flux)
    flux = np.concatenate([piece.flux for piece in pieces])
    return Spectra(flux, error, tuple(unusable))


class Repeated(_RowWrapper):
    """All rows of a source several times over: a large survey without the time to make it.

    Parameters
    ----------
    source : Source
        Where the rows come from.
    times : int
        How often each row comes, at least once. Row ``i`` of the source is row
        ``i``, ``N + i``, ``2 * N + i`` and so on.
    """

    def __init__(self, source: Source, times: int) -> None:
        super().__init__(source)
        self._times = check_count("times", times, minimum=1)

    def __len__(self) -> int:
        return len(self._source) * self._times

    @property
    def name(self) -> str:
        """The name of the source and the number of repetitions."""
        return f"{self._source.name}, {self._times} times"

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """Ids of the source, repeated: a star keeps its id."""
        return np.tile(self._source.ids, self._times)

    def read_labels(self) -> npt.NDArray[np.float64]:
        """Return the labels of the source, repeated."""
        return np.tile(self._source.read_labels(), (self._times, 1))

    def read_column(self, name: str) -> npt.NDArray[Any]:
        """Return a column of the source, repeated."""
        return np.tile(self._source.read_column(name), self._times)

    def _iter(self, read: _Read, block_rows: int, first_row: int) -> Iterator[Spectra]:
        """Yield the rows, reading the source from its beginning each time."""
        done, first = divmod(first_row, len(self._source))
        for _ in range(done, self._times):
            yield from read(self._source, block_rows, first)
            first = 0


class Concatenated(_RowWrapper):
    """The rows of several sources, one source after the other.

    Parameters
    ----------
    sources : sequence of Source
        At least one; all with the same pixels, wavelengths, labels and units, and all with
        errors or all without.

    Raises
    ------
    OptionError
        If there is no source.
    SourceShapeError, WavelengthError, LabelError
        If a source does not fit the first one; both are named.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        if len(sources) == 0:
            msg = "no sources to concatenate; expected at least one"
            raise OptionError(msg)
        super().__init__(sources[0])
        self._sources = tuple(sources)
        for source in self._sources[1:]:
            _check_fit(self._sources[0], source)

    def __len__(self) -> int:
        return sum(len(source) for source in self._sources)

    @property
    def name(self) -> str:
        """The names of all sources."""
        return " + ".join(source.name for source in self._sources)

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """Ids of all stars, shape (N,), int64; row numbers if no source has ids of its own."""
        ids = [source.ids for source in self._sources]
        if all(np.array_equal(part, np.arange(len(part))) for part in ids):
            return np.arange(len(self), dtype=np.int64)
        return np.concatenate(ids)

    @property
    def skipped(self) -> tuple[SkippedStar, ...]:
        """Stars that the sources skipped."""
        return tuple(star for source in self._sources for star in source.skipped)

    @property
    def provenance(self) -> Provenance:
        """Where all spectra come from; unknown if the sources differ in it."""
        known = {source.provenance for source in self._sources}
        return known.pop() if len(known) == 1 else Provenance()

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """Conditions that removed stars of each source."""
        return tuple(cut for source in self._sources for cut in source.cuts)

    @property
    def group_column(self) -> str | None:
        """The column of all sources that tells which rows are of one star."""
        columns = {source.group_column for source in self._sources}
        return columns.pop() if len(columns) == 1 else None

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of all sources."""
        return tuple(note for source in self._sources for note in source.notes)

    @property
    def files(self) -> tuple[Path, ...]:
        """Files of all sources."""
        return tuple(path for source in self._sources for path in source.files)

    @property
    def folders(self) -> tuple[Path, ...]:
        """Folders of all sources."""
        return tuple(path for source in self._sources for path in source.folders)

    @property
    def fingerprint(self) -> str:
        """What tells that the spectra of any source changed."""
        fingerprints = [source.fingerprint for source in self._sources]
        return " ".join(fingerprints) if any(fingerprints) else ""

    def read_labels(self) -> npt.NDArray[np.float64]:
        """Return the labels of all stars, shape (N, K)."""
        return np.concatenate([source.read_labels() for source in self._sources])

    def read_column(self, name: str) -> npt.NDArray[Any]:
        """Return a column of all stars, shape (N,).

        Raises
        ------
        LabelError
            If a source does not have it, or their dtypes have no common one that
            keeps integers as they are.
        """
        if name == "ids":
            return self.ids
        columns = [source.read_column(name) for source in self._sources]
        common = np.result_type(*columns)
        for source, column in zip(self._sources, columns, strict=True):
            if column.dtype.kind in "iu" and common.kind == "f":
                dtypes = ", ".join(str(column.dtype) for column in columns)
                msg = (
                    f"{source.name}: column {name!r} is {column.dtype}, and float64 in common "
                    f"({dtypes}); give it the same integer dtype in all sources"
                )
                raise LabelError(msg)
        return np.concatenate(columns)

    def _iter(self, read: _Read, block_rows: int, first_row: int) -> Iterator[Spectra]:
        """Yield the rows of one source after the other; no block is of two of them."""
        for source in self._sources:
            if first_row < len(source):
                yield from read(source, block_rows, first_row)
            first_row = max(first_row - len(source), 0)


def _checked_rows(rows: npt.ArrayLike, n_rows: int, name: str) -> npt.NDArray[np.int64]:
    selected = np.asarray(rows)
    if selected.dtype == bool and selected.shape == (n_rows,):
        selected = np.flatnonzero(selected)
    is_usable = selected.ndim == 1 and selected.size > 0 and selected.dtype.kind in "iu"
    if is_usable:
        is_inside = int(selected.min()) >= 0 and int(selected.max()) < n_rows
        is_usable = is_inside and bool((np.diff(selected.astype(np.int64)) > 0).all())
    if not is_usable:
        msg = (
            f"{name}: rows of dtype {selected.dtype} and shape {selected.shape} cannot be "
            f"selected; expected at least one of the row numbers 0 to {n_rows - 1}, increasing, or "
            f"{n_rows} booleans"
        )
        raise OptionError(msg)
    return selected.astype(np.int64)


def _check_fit(first: Source, other: Source) -> None:
    """Raise an error that names both sources if they cannot be concatenated."""
    if other.n_pixels != first.n_pixels:
        msg = (
            f"{other.name} has {other.n_pixels} pixels and {first.name} has {first.n_pixels}; "
            f"sources with other pixels cannot be concatenated"
        )
        raise SourceShapeError(msg)
    if other.has_errors != first.has_errors:
        with_errors, without = (other, first) if other.has_errors else (first, other)
        msg = (
            f"{with_errors.name} has errors of its pixels and {without.name} has none; "
            f"concatenate sources that both have them, or read both without (errors=, --errors)"
        )
        raise SourceShapeError(msg)
    for what, ours, theirs in (
        ("labels", first.label_names, other.label_names),
        ("units", first.label_units, other.label_units),
    ):
        if theirs != ours:
            msg = (
                f"{other.name} has the {what} {', '.join(theirs) or 'none'} and {first.name} has "
                f"{', '.join(ours) or 'none'}; choose the same ones in the same order (labels=)"
            )
            raise LabelError(msg)
    ours_grid, theirs_grid = first.wavelength, other.wavelength
    if ours_grid is None or theirs_grid is None:
        is_same = ours_grid is theirs_grid
    else:
        is_same = np.array_equal(ours_grid, theirs_grid)
    if not is_same:
        msg = (
            f"{other.name} and {first.name} have different wavelengths; resample them to a common "
            f"grid before they are concatenated"
        )
        raise WavelengthError(msg)
