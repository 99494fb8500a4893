"""Make a store of some of the stars of another, without copying their spectra."""

from functools import partial

import numpy as np
import numpy.typing as npt

from galahstream.conversion.collection import Part, all_rows, write_collection
from galahstream.conversion.staging import check_apart, resolved, staging
from galahstream.errors import LabelError, OptionError
from galahstream.sources.open import PathLike
from galahstream.store import Store, open_store
from galahstream.survey.expressions import Numbers, parse_conditions
from galahstream.survey.selection import Cut

IDS = "id"
"""What conditions call the star ids."""


def select(
    store: PathLike, dest: PathLike, where: str, *, overwrite: bool = False, progress: bool = True
) -> Store:
    """Make a collection of the stars of a store that meet conditions on their labels.

    The files of the store get second names in the collection, as with :func:`merge`: they are as
    large as before. Convert the collection into another store to have a small one. Each star
    stays in its split.

    Parameters
    ----------
    store : path-like
        A store or a collection.
    dest : path-like
        The folder to create.
    where : str
        Conditions on labels, and on the star ids as ``id``, such as ``"teff > 4000 and snr > 30"``;
        :mod:`galahstream.survey.expressions` says what they may hold. A star without a value does
        not pass.
    overwrite : bool
        Replace a store at `dest`, once the collection is complete.
    progress : bool
        Show a progress bar on a terminal when it takes longer than a second.

    Returns
    -------
    Store
        The collection.

    Raises
    ------
    OptionError
        If the conditions cannot be read, the store lacks a label, or no star meets them.
    """
    destination, source = resolved(dest), resolved(store)
    check_apart(destination, [source])
    conditions = parse_conditions(where)
    opened = open_store(source)
    rows, cuts = np.arange(len(opened)), []
    for condition in conditions:
        outcome = condition.evaluate(partial(_column, opened, rows))
        removed, unknown = int((~outcome.passes).sum()), int(outcome.is_unknown.sum())
        cuts.append(Cut(condition.text, removed, unknown))
        rows = rows[outcome.passes]
    if len(rows) == 0:
        steps = "; ".join(f"{cut.condition}: {cut.removed:,} removed" for cut in cuts)
        msg = f"{source}: none of its {len(opened):,} stars is left ({steps}); choose other cuts"
        raise OptionError(f"{msg} (where=, --where)")
    complete = all_rows(opened)
    part = Part(opened, rows, complete.source_row[rows], complete.split[rows])
    with staging(destination, overwrite=overwrite) as area:
        write_collection(area, [part], cuts=tuple(cuts), progress=progress)
    return open_store(destination)


def _column(store: Store, rows: npt.NDArray[np.int64], name: str) -> Numbers:
    if name == IDS:
        return Numbers(store.ids[rows], np.zeros(len(rows), bool))
    if name not in store.labels:
        msg = (
            f"{store.path}: no label {name!r}; the store has {', '.join(store.labels) or 'none'}, "
            f"and the star ids as {IDS!r} (where=, --where)"
        )
        raise LabelError(msg)
    values = store.labels[name][rows]
    return Numbers(values, ~np.isfinite(values))
