"""Add stars to a store, whose spectra stay where they are."""

import shutil
from dataclasses import replace
from typing import Any

from galahstream.conversion.collection import all_rows, write_collection
from galahstream.conversion.convert import convert
from galahstream.conversion.staging import check_apart, named_paths, resolved, staging
from galahstream.conversion.store_source import AnySource
from galahstream.errors import OptionError
from galahstream.sources.open import PathLike
from galahstream.store import Store, open_store
from galahstream.store.manifest import encoding_of
from galahstream.store.quantization import Quantized16


def append(store: PathLike, source: AnySource, *, progress: bool = True, **options: Any) -> Store:
    """Convert the stars of a source and add them to a store, which becomes a collection.

    The spectra that the store has are not copied, and its stars stay in their splits. The new ones
    are split among themselves with the fractions and the seed of the store, unless `options` say
    otherwise, and come after the old ones in each split. An interrupted conversion is resumed when
    it is started again.

    Parameters
    ----------
    store : path-like
        A folder: a store or a collection.
    source : path-like, pair of path-like, array, Source, or Store
        The new stars, as for :func:`convert`. None of them may be in the store.
    progress : bool
        Show progress bars on a terminal when it takes longer than a second.
    **options
        Options of :func:`convert` for the source; what the store decides, such as the dtype, need
        not be given.

    Returns
    -------
    Store
        The collection, at the path of the store.

    Raises
    ------
    OptionError
        If the store is one file, the new stars do not fit to it, or one of them is in it.
    GalahStreamError
        As for :func:`convert`; the store is left as it was.
    """
    destination = resolved(store)
    check_apart(destination, named_paths(source))
    old = open_store(destination)
    if not destination.is_dir():
        msg = (
            f"{destination} is one file, which no stars can be added to; convert the new ones, and "
            f"make a collection of both (galahstream merge)"
        )
        raise OptionError(msg)
    added = destination.with_name(f".{destination.name}.added")
    settings = {**_settings_of(old), **options, "progress": progress, "overwrite": True}
    new = convert(source, added, **settings)
    first = int(old.source_row.max()) + 1
    parts = [all_rows(old), replace(all_rows(new), source_row=new.source_row + first)]
    try:
        with staging(destination, overwrite=True) as area:
            write_collection(area, parts, progress=progress)
    finally:
        shutil.rmtree(added, ignore_errors=True)
    return open_store(destination)


def _settings_of(store: Store) -> dict[str, Any]:
    """Return the options with which new stars are stored as those of a store are."""
    manifest = store.manifest
    settings: dict[str, Any] = {
        "dtype": manifest.dtype,
        "split": manifest.split,
        "seed": manifest.split_seed,
    }
    encoding = encoding_of(manifest)
    if isinstance(encoding, Quantized16):
        settings["flux_range"] = (encoding.bzero, encoding.high)
    return settings
