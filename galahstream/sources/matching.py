"""Which row of a catalogue belongs to each star of a source, by the ids of both."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from galahstream.errors import LabelError, OptionError, SourceShapeError
from galahstream.sources.base import Source
from galahstream.sources.catalogue import Catalogue, plain_keys
from galahstream.sources.catalogue_formats import RawColumn

Join: TypeAlias = Literal["sobject_id", "tmass_id", "gaiadr3_source_id"]
"""The id by which spectra and catalogue are matched: of the observation, or of the star."""

JOIN_COLUMNS: dict[Join, tuple[str, ...]] = {
    "sobject_id": ("sobject_id",),
    "tmass_id": ("tmass_id", "star_id", "2mass"),
    "gaiadr3_source_id": ("gaiadr3_source_id", "dr3_source_id", "gaia_id"),
}
"""What the columns are called in DR4's catalogue, DR3's, and the reduction's table."""

_MAX_LISTED = 5


@dataclass(frozen=True)
class Match:
    """Stars of a source, and where the catalogue has them.

    Attributes
    ----------
    rows : ndarray, shape (n,), int64
        Increasing rows of the source.
    catalogue_rows : ndarray, shape (n,), int64
        Row of the catalogue of each; -1 for a star that it does not have.
    """

    rows: npt.NDArray[np.int64]
    catalogue_rows: npt.NDArray[np.int64]

    @property
    def is_matched(self) -> npt.NDArray[np.bool_]:
        """Which stars the catalogue has, shape (n,)."""
        return self.catalogue_rows >= 0

    def selected(self, is_kept: npt.NDArray[np.bool_]) -> "Match":
        """Return the same with some of the stars."""
        return Match(self.rows[is_kept], self.catalogue_rows[is_kept])


def match_stars(source: Source, catalogue: Catalogue, join: Join) -> Match:
    """Find all stars of a source in a catalogue.

    Parameters
    ----------
    source : Source
        Matched by its ids for ``"sobject_id"``, else by its column of the same name.
    catalogue : Catalogue
        Each of its ids may be in one row only.
    join : {"sobject_id", "tmass_id", "gaiadr3_source_id"}

    Raises
    ------
    OptionError
        If the catalogue or the source has no such ids, or no star is in both.
    SourceShapeError
        If ids of the catalogue are floating-point numbers, are missing (of sobject_id) or
        are in several rows.
    """
    column = catalogue.first_of(JOIN_COLUMNS[join])
    if column is None:
        others = [name for name in get_args(Join) if catalogue.first_of(JOIN_COLUMNS[name])]
        cure = f"join by {' or '.join(others)} (join=, --join)" if others else "it needs star ids"
        msg = f"{catalogue.path}: no column {' or '.join(JOIN_COLUMNS[join])}; {cure}"
        raise OptionError(msg)
    theirs = catalogue.keys(column)
    _check_ids(theirs, f"{catalogue.path}, column {column!r}", may_be_missing=join != "sobject_id")
    ours = _source_keys(source, join)
    if ours.values.dtype.kind != theirs.values.dtype.kind:
        msg = (
            f"{catalogue.path}: column {column!r} holds {_shown_keys(theirs)}, and {join} in "
            f"{source.name} is {_shown_keys(ours)}; expected the same kind of id in both"
        )
        raise OptionError(msg)
    rows = np.flatnonzero(~theirs.is_missing)
    order = rows[np.argsort(theirs.values[rows], kind="stable")]
    found = np.full(len(source), -1, dtype=np.int64)
    if len(order):
        place = np.searchsorted(theirs.values[order], ours.values)
        candidates = order[np.minimum(place, len(order) - 1)]
        is_same = (theirs.values[candidates] == ours.values) & ~ours.is_missing
        found[is_same] = candidates[is_same]
    if (found < 0).all():
        msg = (
            f"none of the {len(source):,} stars of {source.name} ({join} {_shown_keys(ours)}) is "
            f"in {catalogue.path} ({column} {_shown_keys(theirs)}); check whether they belong "
            f"together, or join by another id (join=, --join)"
        )
        raise OptionError(msg)
    return Match(np.arange(len(source), dtype=np.int64), found)


def _source_keys(source: Source, join: Join) -> RawColumn:
    if join == "sobject_id":
        return RawColumn(source.ids, np.zeros(len(source), dtype=bool))
    try:
        values = source.read_column(join)
    except LabelError as error:
        msg = (
            f"{source.name}: its stars have no {join} to join a catalogue by; expected GALAH's DR4 "
            f"files, which have it in their headers, or a source with such a column"
        )
        raise OptionError(msg) from error
    column = RawColumn(np.asarray(values), np.zeros(len(source), dtype=bool))
    return plain_keys(column, f"{source.name}, column {join!r}")


def _check_ids(keys: RawColumn, name: str, *, may_be_missing: bool) -> None:
    if keys.is_missing.any() and not may_be_missing:
        rows = np.flatnonzero(keys.is_missing) + 1
        msg = (
            f"{name}: no id in {len(rows):,} of {len(keys.values):,} rows (row {_listed(rows)}, "
            f"counted from 1); expected a positive integer in each"
        )
        raise SourceShapeError(msg)
    values = keys.values[~keys.is_missing]
    unique, counts = np.unique(values, return_counts=True)
    if len(unique) < len(values):
        doubles = unique[counts > 1]
        rows = np.flatnonzero((keys.values == doubles[0]) & ~keys.is_missing) + 1
        msg = (
            f"{name}: {len(doubles):,} ids are in several rows ({_listed(doubles)}; the first in "
            f"rows {_listed(rows)}, counted from 1); keep one row of each"
        )
        raise SourceShapeError(msg)


def _listed(values: npt.NDArray[Any]) -> str:
    more = f" and {len(values) - _MAX_LISTED:,} more" if len(values) > _MAX_LISTED else ""
    return ", ".join(map(str, values[:_MAX_LISTED].tolist())) + more


def _shown_keys(keys: RawColumn) -> str:
    values = keys.values[~keys.is_missing]
    kind = "text" if values.dtype.kind == "U" else "integers"
    return f"{kind} such as {values[0]}" if len(values) else "missing in all rows"
