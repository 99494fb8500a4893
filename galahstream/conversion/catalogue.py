"""The source of a conversion joined with a catalogue: which stars, with which labels."""

from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from galahstream.conversion.options import CatalogueOptions, ConvertOptions
from galahstream.conversion.spectra import with_spectrum_options
from galahstream.conversion.store_source import AnySource, open_input
from galahstream.errors import BadSpectraError, LabelError
from galahstream.sources.base import Source
from galahstream.sources.catalogue import Catalogue
from galahstream.sources.joined import JoinedSource, catalogue_labels, joined_columns
from galahstream.sources.matching import Match, match_stars
from galahstream.survey.expressions import Condition, Numbers, parse_conditions
from galahstream.survey.flags import recommended_conditions, release_of
from galahstream.survey.selection import Cut

_MAX_LISTED = 20


def open_converted(source: AnySource, options: ConvertOptions, index: Path | None = None) -> Source:
    """Open a source, and join it with the catalogue of the options if there is one.

    Parameters
    ----------
    source : path-like, pair of path-like, array, Source, or Store
    options : ConvertOptions
    index : Path, optional
        Where the index of star files is kept for a run that resumes this one.

    Raises
    ------
    GalahStreamError
        If the source or the catalogue cannot be read, they do not fit each other, or no
        star is left.
    """
    opening = partial(
        open_input,
        source,
        on_bad=options.on_bad,
        index=index,
        progress=options.progress,
        columns=options.columns,
    )
    if options.catalogue.path is None:
        opened = opening(options.labels)
        return with_spectrum_options(opened, options.spectrum, options.jobs)
    # First, since finding the stars of a release takes much longer.
    catalogue = Catalogue(Path(options.catalogue.path), options.missing_values)
    try:
        opened = opening(None)
    except LabelError:  # labels of its own, which have no names and are not used
        opened = opening([])
    opened = with_spectrum_options(opened, options.spectrum, options.jobs)
    return _join(opened, catalogue, options)


def _join(source: Source, catalogue: Catalogue, options: ConvertOptions) -> JoinedSource:
    chosen = options.catalogue
    labels = catalogue_labels(catalogue, options.labels)
    conditions = _conditions(catalogue, chosen)
    needed = [name for condition in conditions for name in condition.names]
    if options.groups is not None:
        needed.append(options.groups)
    # All in one pass. Of an unknown column its user says more, such as where it is named.
    catalogue.load([
        *(label.column for label in labels),
        *joined_columns(catalogue, chosen.joined_by),
        *(name for name in needed if catalogue.find(name) is not None),
    ])  # fmt: skip
    everything = match_stars(source, catalogue, chosen.joined_by)
    match, cuts = _apply_cuts(catalogue, everything, conditions, chosen)
    if len(match.rows) == 0:
        steps = "; ".join(f"{cut.condition}: {cut.removed:,} removed" for cut in cuts)
        msg = (
            f"{source.name}: none of its {len(source):,} stars is left by the cuts on "
            f"{catalogue.path} ({steps}); choose other cuts (select=, where=)"
        )
        raise BadSpectraError(msg)
    for label in labels:
        catalogue.numbers(label.column)  # so that the notes tell of its fill values
    notes = _notes(source, catalogue, everything, chosen)
    return JoinedSource(source, catalogue, match, labels, cuts, notes)


def _conditions(catalogue: Catalogue, options: CatalogueOptions) -> tuple[Condition, ...]:
    texts: list[str] = []
    if options.select is not None:
        texts += recommended_conditions(catalogue.names, str(catalogue.path))
    if options.where is not None:
        texts.append(options.where)
    return tuple(condition for text in texts for condition in parse_conditions(text))


def _apply_cuts(
    catalogue: Catalogue,
    match: Match,
    conditions: tuple[Condition, ...],
    options: CatalogueOptions,
) -> tuple[Match, tuple[Cut, ...]]:
    """Return the stars that pass all cuts, and what each cut removed of those before it."""
    cuts = []
    if options.unmatched == "skip":
        is_kept = match.is_matched
        cuts.append(Cut("star is in the catalogue", int(np.count_nonzero(~is_kept))))
        match = match.selected(is_kept)
    for condition in conditions:
        outcome = condition.evaluate(partial(_of_stars, catalogue, match))
        cuts.append(
            Cut(
                condition.text,
                int(np.count_nonzero(~outcome.passes)),
                int(np.count_nonzero(outcome.is_unknown)),
            )
        )
        match = match.selected(outcome.passes)
    return match, tuple(cuts)


def _of_stars(catalogue: Catalogue, match: Match, name: str) -> Numbers:
    """Return a column for some stars; it is missing for those that the catalogue lacks."""
    numbers = catalogue.numbers(name)
    if len(numbers.values) == 0:
        return Numbers(np.zeros(len(match.rows)), np.ones(len(match.rows), dtype=bool))
    # Row -1 stands for no row, and its value counts as missing.
    values: npt.NDArray[np.generic] = numbers.values[match.catalogue_rows]
    return Numbers(values, numbers.is_missing[match.catalogue_rows] | ~match.is_matched)


def _notes(
    source: Source, catalogue: Catalogue, match: Match, options: CatalogueOptions
) -> tuple[str, ...]:
    """Return what a user should know of the join, in sentences that a manifest can hold."""
    name = catalogue.path.name if catalogue.path.name.isprintable() else ascii(catalogue.path.name)
    release = release_of(catalogue.names)
    of_release = f" (GALAH {release.name})" if release is not None else ""
    n_matched = int(np.count_nonzero(match.is_matched))
    notes = [
        f"catalogue {name[:200]}{of_release}: {n_matched:,} of {len(source):,} stars matched by "
        f"{options.joined_by}"
    ]
    unmatched = source.ids[match.rows[~match.is_matched]]
    if len(unmatched):
        listed = ", ".join(map(str, unmatched[:_MAX_LISTED].tolist()))
        more = len(unmatched) - _MAX_LISTED
        treated = "skipped" if options.unmatched == "skip" else "without labels"
        notes.append(
            f"stars that are not in the catalogue, {treated} ({len(unmatched):,}): {listed}"
            + (f" and {more:,} more" if more > 0 else "")
        )
    for column, found in catalogue.fill_values.items():
        values = ", ".join(f"{value:.10g} in {rows:,} rows" for value, rows in found)
        notes.append(f"catalogue column {column[:200]}: taken as missing: {values}")
    return tuple(notes)
