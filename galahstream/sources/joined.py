"""Spectra of a source with labels of a catalogue, matched by the ids of the stars."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from galahstream.errors import LabelError
from galahstream.sources.arrays import holds_large_integers
from galahstream.sources.base import Source, Spectra, unknown_column
from galahstream.sources.catalogue import Catalogue
from galahstream.sources.matching import JOIN_COLUMNS, Join, Match
from galahstream.sources.wrapper import Wrapper
from galahstream.sources.wrappers import Selected
from galahstream.survey.flags import (
    FLAG_COLUMN,
    GROUP_COLUMNS,
    VELOCITY_COLUMNS,
    count_flags,
    release_of,
)
from galahstream.survey.labels import (
    DEFAULT_LABELS,
    KNOWN_LABELS,
    LabelChoice,
    LabelColumnChoice,
    chosen_labels,
)
from galahstream.survey.selection import Cut, FlagCount
from galahstream.survey.units import is_velocity_unit, same_unit

_ID_COLUMNS = {*GROUP_COLUMNS, *(name for names in JOIN_COLUMNS.values() for name in names)}


@runtime_checkable
class SelectsStars(Protocol):
    """A source that can do without the files of stars that are not selected."""

    def selected(self, rows: npt.NDArray[np.int64]) -> Source:
        """Return the source with some of its rows, which increase."""


@runtime_checkable
class NeedsVelocities(Protocol):
    """A source that may shift its spectra to the stars' rest frame."""

    @property
    def needs_velocities(self) -> bool:
        """Whether it has to know the stars' velocities."""

    def with_velocities(self, velocities: npt.NDArray[np.float64]) -> Source:
        """Return the source with a velocity per star, shape (N,), km/s; NaN is unknown."""


class JoinedSource(Wrapper):
    """Stars of a source with the labels that a catalogue has for them.

    Labels of the source itself are not used. Cuts and unmatched stars that are to be
    skipped are applied by the `match`; of FITS files, those of other stars are not opened.

    Parameters
    ----------
    original : Source
        Where the spectra come from.
    catalogue : Catalogue
        Where the labels come from.
    match : Match
        The stars to take.
    labels : sequence of LabelColumnChoice
        Columns of the catalogue, as :func:`catalogue_labels` returns them.
    cuts : tuple of Cut
        What removed the other stars, for the record.
    notes : tuple of str
        What a user should know of the join.

    Attributes
    ----------
    original : Source
    """

    def __init__(
        self,
        original: Source,
        catalogue: Catalogue,
        match: Match,
        labels: Sequence[LabelColumnChoice],
        cuts: tuple[Cut, ...] = (),
        notes: tuple[str, ...] = (),
    ) -> None:
        source = _select(original, match.rows)
        super().__init__(with_velocities(source, catalogue, match))
        self.original = original
        self._catalogue, self._match = catalogue, match
        self._choices, self._cuts, self._join_notes = tuple(labels), cuts, notes

    def __len__(self) -> int:
        return len(self._match.rows)

    @property
    def name(self) -> str:
        """The name of the source."""
        return self.original.name

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """Ids of the stars in the source, shape (n,), int64."""
        return self._source.ids

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the chosen columns."""
        return tuple(choice.name for choice in self._choices)

    @property
    def label_units(self) -> tuple[str, ...]:
        """Units of the chosen columns."""
        return tuple(choice.unit for choice in self._choices)

    @property
    def group_column(self) -> str | None:
        """The catalogue's column that tells which observations are of one star, if it has one."""
        return self._catalogue.first_of(GROUP_COLUMNS)

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of the source, and of the join."""
        return (*self._source.notes, *self._join_notes)

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """Cuts of the source, and of the join, in the order in which they were applied."""
        return (*self._source.cuts, *self._cuts)

    @property
    def fingerprint(self) -> str:
        """What tells that the source's spectra changed."""
        return self.original.fingerprint

    def read_labels(self) -> npt.NDArray[np.float64]:
        """Return the chosen columns, shape (n, K); NaN for a missing value or no match.

        Raises
        ------
        LabelError
            If a column is not one of real numbers that float64 holds.
        """
        labels = np.full((len(self), len(self._choices)), np.nan)
        for index, choice in enumerate(self._choices):
            numbers = self._catalogue.numbers(choice.column)
            if holds_large_integers(numbers.values[~numbers.is_missing]):
                msg = (
                    f"{self._catalogue.path}: column {choice.column!r} holds integers beyond "
                    f"2**53, which labels of float64 cannot hold; do not choose it as a label: "
                    f"rows can be grouped by it all the same (groups={choice.column!r})"
                )
                raise LabelError(msg)
            values = np.where(numbers.is_missing, np.nan, numbers.values)
            matched = self._match.is_matched
            labels[matched, index] = values[self._match.catalogue_rows[matched]]
        return labels

    def read_column(self, name: str) -> npt.NDArray[Any]:
        """Return a label, a column of the catalogue or one of the source, shape (n,).

        A column of the catalogue comes as integers or text if it is not of floating-point
        numbers. A star without a value then gets one of its own, made of its id.
        """
        if name == "ids":
            return self.ids
        if name in self.label_names:
            return self.read_labels()[:, self.label_names.index(name)]
        column = self._catalogue.find(name)
        if column is None:
            try:
                return self._source.read_column(name)
            except LabelError:
                names = dict.fromkeys((*self.label_names, *self._catalogue.names))
                raise unknown_column(self.name, name, names) from None
        return self._values_of_stars(column)

    def _values_of_stars(self, name: str) -> npt.NDArray[Any]:
        raw = self._catalogue.raw_column(name)
        is_of_keys = raw.values.dtype.kind not in "fiub" or name.casefold() in _ID_COLUMNS
        values, is_missing = (
            self._catalogue.keys(name) if is_of_keys else self._catalogue.numbers(name)
        )
        known = self._match.is_matched.copy()
        known[known] = ~is_missing[self._match.catalogue_rows[known]]
        of_known = values[self._match.catalogue_rows[known]]
        if values.dtype.kind == "f":
            column: npt.NDArray[Any] = np.full(len(self), np.nan)
        elif values.dtype.kind == "U":
            column = np.char.add("star ", self.ids.astype(np.str_))
            column = column.astype(np.result_type(column, of_known))
        else:
            column = -1 - self.ids
        column[known] = of_known
        return column

    def count_flags(self, rows: npt.NDArray[np.int64]) -> tuple[FlagCount, ...]:
        """Return how many of some stars have each bit of the catalogue's flag_sp set."""
        release, name = release_of(self._catalogue.names), self._catalogue.find(FLAG_COLUMN)
        if release is None or name is None:
            return ()
        numbers = self._catalogue.numbers(name)
        catalogue_rows = self._match.catalogue_rows[rows]
        catalogue_rows = catalogue_rows[catalogue_rows >= 0]
        values = numbers.values[catalogue_rows][~numbers.is_missing[catalogue_rows]]
        return count_flags(values.astype(np.int64), release)

    def iter_blocks(self, block_rows: int, first_row: int = 0) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the flux of the stars in order."""
        return self._source.iter_blocks(block_rows, first_row)

    def iter_spectra(self, block_rows: int, first_row: int = 0) -> Iterator[Spectra]:
        """Yield the flux of the stars in order, with its errors if the source has them."""
        return self._source.iter_spectra(block_rows, first_row)


def joined_columns(catalogue: Catalogue, join: Join) -> tuple[str, ...]:
    """Return the columns of a catalogue that a join needs besides labels, as it spells them."""
    uses = (JOIN_COLUMNS[join], GROUP_COLUMNS, (FLAG_COLUMN,), VELOCITY_COLUMNS)
    found = (catalogue.first_of(names) for names in uses)
    return tuple(name for name in found if name is not None)


def catalogue_labels(catalogue: Catalogue, choice: LabelChoice) -> tuple[LabelColumnChoice, ...]:
    """Return the label columns of a catalogue, each followed by its error if there is one.

    Parameters
    ----------
    catalogue : Catalogue
    choice : label choice
        Entries name columns of the catalogue in any case. None for teff, logg and fe_h.

    Raises
    ------
    LabelError
        If there is no such column, or its unit is not that of the label.
    """
    choice = DEFAULT_LABELS if choice is None else choice
    usual = chosen_labels(choice, ())
    units = {label.column: catalogue.unit(label.column) for label in usual}
    names = {label.name for label in usual}
    columns = {catalogue.column_name(label.column) for label in usual}
    labels = []
    for label, expected in zip(chosen_labels(choice, (), units), usual, strict=True):
        if KNOWN_LABELS.get(label.name) and label.unit != expected.unit:
            msg = (
                f"{catalogue.path}, column {label.column!r}: its unit is {label.unit!r}, and "
                f"{label.name} is in {expected.unit}; convert the column, or choose it with its "
                f"unit: {label.name}[{label.unit}]={label.column}"
            )
            raise LabelError(msg)
        column = catalogue.column_name(label.column)
        labels.append(LabelColumnChoice(label.name, label.unit, column))
        error, name = catalogue.find(f"e_{column}"), f"e_{label.name}"
        if error is not None and error not in columns and name not in names:
            stated = catalogue.unit(error)
            unit = label.unit if not stated or same_unit(stated, label.unit) else stated
            labels.append(LabelColumnChoice(name, unit, error))
    return tuple(labels)


def _select(source: Source, rows: npt.NDArray[np.int64]) -> Source:
    if len(rows) == len(source):
        return source
    if isinstance(source, SelectsStars):
        return source.selected(rows)
    return Selected(source, rows)


def with_velocities(source: Source, catalogue: Catalogue, match: Match) -> Source:
    """Give a source the velocities of its stars, if it needs them and the catalogue has them.

    Parameters
    ----------
    source : Source
    catalogue : Catalogue
    match : Match
        All stars of the source, in their order.
    """
    if not isinstance(source, NeedsVelocities) or not source.needs_velocities:
        return source
    column = catalogue.first_of(VELOCITY_COLUMNS)
    if column is None:
        return source
    unit = catalogue.unit(column)
    if unit and not is_velocity_unit(unit):
        msg = f"{catalogue.path}, column {column!r}: its unit is {unit!r}; expected km/s"
        raise LabelError(msg)
    numbers = catalogue.numbers(column)
    values = np.where(numbers.is_missing, np.nan, numbers.values)
    velocities = np.full(len(match.rows), np.nan)
    velocities[match.is_matched] = values[match.catalogue_rows[match.is_matched]]
    return source.with_velocities(velocities)
