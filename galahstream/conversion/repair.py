"""Restore the damaged rows of a store from its source; all other rows are copied."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from galahstream.conversion.options import BLOCK_BYTES
from galahstream.conversion.spectra import with_spectrum_options
from galahstream.conversion.staging import check_apart, named_paths, resolved, staging
from galahstream.conversion.store_source import AnySource, open_input
from galahstream.errors import LabelError, RepairError
from galahstream.sources.base import Source
from galahstream.sources.catalogue import Catalogue
from galahstream.sources.galah_fits import FitsSource
from galahstream.sources.galah_layout import Frame
from galahstream.sources.huggingface import HubSource
from galahstream.sources.joined import joined_columns, with_velocities
from galahstream.sources.matching import Join, match_stars
from galahstream.sources.open import PathLike
from galahstream.sources.parquet import ColumnNames, ParquetSource
from galahstream.sources.spectrum_options import GridChoice, SpectrumOptions
from galahstream.store import Store, open_store
from galahstream.store.formats import format_of
from galahstream.store.formats.collection import MEMBERS
from galahstream.store.layout import DIGEST_NAMES
from galahstream.store.row_array import RowArray
from galahstream.store.writer import StoreWriter
from galahstream.survey.grids import GRIDS
from galahstream.survey.resampling import Resampling
from galahstream.system.digest import row_digests
from galahstream.system.disk import explain_disk_full
from galahstream.system.progress import progress_bar

_StoredRow = npt.NDArray[Any]


def repair(
    path: PathLike,
    source: AnySource,
    *,
    columns: ColumnNames | None = None,
    catalogue: PathLike | None = None,
    join: Join = "sobject_id",
    progress: bool = True,
) -> npt.NDArray[np.int64]:
    """Restore the damaged rows of a store from the source that it was converted from.

    The store is written again beside itself, byte for byte as it was before it was
    damaged, and replaces the old one when it is complete. (Compressed chunks may be
    in another order in the file.) An interrupted conversion into the same path is
    discarded.

    Parameters
    ----------
    path : path-like
        A store whose manifest and small arrays are intact: one that opens.
    source : path-like, pair of path-like, array, Source, or Store
        What the store was converted from, or another store of the same spectra. A
        spectrum is looked for at its ``source_row``, then among those of the same id; its
        digest decides.
    columns : ColumnNames, optional
        Those of Parquet files that were named in the conversion.
    catalogue : path-like, optional
        The catalogue of the conversion, if spectra were shifted to rest with its velocities.
    join : {"sobject_id", "tmass_id", "gaiadr3_source_id"}
        How its stars were matched.
    progress : bool
        Show progress bars on a terminal when it takes longer than a second.

    Returns
    -------
    ndarray of int64
        The rows that were restored; empty for an undamaged store, which is not touched.

    Raises
    ------
    RepairError
        If the source's spectra are not those that the store was converted from, or it takes the
        catalogue to tell.
    StoreFormatError
        If the store cannot be opened.
    OptionError
        If the store is, contains or is inside the source.
    """
    destination = resolved(path)
    check_apart(destination, named_paths(source))
    with open_store(destination, verify="open") as store:
        damaged = store.verify(progress=progress)
        if store.manifest.members:
            for member in _damaged_members(store, damaged):
                repair(
                    member, source,
                    columns=columns, catalogue=catalogue, join=join, progress=progress,
                )  # fmt: skip
        elif len(damaged):
            opened = _open_spectra(source, store, columns, progress)
            opened = _as_stored(opened, store)
            if catalogue is not None:
                opened = _with_velocities(opened, Path(catalogue), join)
            _check_velocities(opened, store)
            check_apart(destination, map(resolved, (*opened.files, *opened.folders)))
            restored: dict[str, dict[int, _StoredRow]] = {}
            for name, array in store.spectra.items():
                rows = array.find_damaged(damaged).tolist()
                restored[name] = {row: _restored_row(store, opened, row, name) for row in rows}
            _write_again(store, restored, progress)
    return damaged


def _damaged_members(store: Store, damaged: npt.NDArray[np.int64]) -> list[Path]:
    """Return the stores in a collection that have damaged rows."""
    numbers = np.unique(store.arrays["member"][damaged]).tolist()
    return [store.path / MEMBERS / store.manifest.members[number].name for number in numbers]


def _open_spectra(
    source: AnySource, store: Store, columns: ColumnNames | None, progress: bool
) -> Source:
    opening = partial(open_input, source, on_bad="skip", progress=progress, columns=columns)
    try:
        return opening()
    except LabelError:  # columns without names, which may have those of the store
        return opening(list(store.labels))


def _as_stored(source: Source, store: Store) -> Source:
    """Return a source with its spectra in the frame and on the grid of the store."""
    known = store.provenance
    grid: GridChoice | None = None
    if known.grid is not None and known.grid != source.provenance.grid:
        grid = known.grid if known.grid in GRIDS else store.wavelength
    files = source.original if isinstance(source, HubSource) else source
    is_of_files = isinstance(files, FitsSource)
    options = SpectrumOptions(
        frame=cast("Frame | None", known.frame) if is_of_files else None,
        grid=grid,
        resampling=cast("Resampling", known.resampling or "flux-conserving"),
        errors=isinstance(files, FitsSource | ParquetSource) and store.error is not None,
    )
    return with_spectrum_options(source, options, None)


def _with_velocities(source: Source, path: Path, join: Join) -> Source:
    catalogue = Catalogue(path)
    catalogue.load(joined_columns(catalogue, join))
    return with_velocities(source, catalogue, match_stars(source, catalogue, join))


def _check_velocities(source: Source, store: Store) -> None:
    """Raise `RepairError` if spectra would be shifted to rest with other velocities."""
    stored, found = store.provenance.velocities, source.provenance.velocities
    if stored == "catalogue" and found == "files":
        msg = (
            f"{store.path}: its spectra were shifted to rest with the velocities of a catalogue, "
            f"and {source.name} alone has others; give that catalogue too (catalogue=, "
            f"--catalogue FILE, and --join as it was)"
        )
        raise RepairError(msg)


def _restored_row(store: Store, source: Source, row: int, name: str) -> _StoredRow:
    """Return a row of the flux or of the errors as it was stored, from the source."""
    source_row, star = int(store.source_row[row]), int(store.ids[row])
    origin = (
        f"{store.path}: row {row} (star {star}) was converted from row {source_row} of its "
        f"source, and "
    )
    candidates = np.flatnonzero(source.ids == star)
    if source.n_pixels != store.n_pixels or len(candidates) == 0:
        msg = origin + f"{source.name} has no such spectrum; give the store's own source"
        raise RepairError(msg)
    if name == "error" and not source.has_errors:
        msg = origin + f"{source.name} has no errors of its pixels; give a source that has them"
        raise RepairError(msg)
    array = store.spectra[name]
    for candidate in candidates[np.argsort(candidates != source_row, kind="stable")].tolist():
        stored = array.encoding.encode(_read_row(source, candidate, name))
        digest = row_digests(stored.reshape(-1), np.zeros(1, dtype=np.int64), store.n_pixels)
        if digest[0] == store.arrays[DIGEST_NAMES[name]][row]:
            stored_row: _StoredRow = stored[0]
            return stored_row
    msg = origin + (
        f"the spectrum in {source.name} has another digest; give the source that the store was "
        f"converted from, or convert again"
    )
    raise RepairError(msg)


def _read_row(source: Source, row: int, name: str) -> npt.NDArray[np.float32]:
    """Return the flux of a row of a source, or its errors, shape (1, L)."""
    if name == "flux":
        return next(iter(source.iter_blocks(1, row)))[:1]
    error = next(iter(source.iter_spectra(1, row))).error
    if error is None:
        msg = f"{source.name}: it says that it has errors, and gives none; expected one per pixel"
        raise RepairError(msg)
    return error[:1]


def _write_again(
    store: Store, restored: Mapping[str, Mapping[int, _StoredRow]], progress: bool
) -> None:
    store_format = format_of(store.path)
    manifest = store_format.read_manifest(store.path).strip()
    spec, manifest_bytes = store_format.layout_of(store.path, store.manifest.spec)
    with staging(store.path, overwrite=True) as area, explain_disk_full(area.store):
        area.clear()
        with StoreWriter(area.store, store_format, spec, manifest_bytes) as writer:
            for name, array in store.spectra.items():
                for first_row, stored in _blocks(array, restored[name], progress):
                    writer.writers[name].write(first_row, stored)
            writer.finish(store.arrays, manifest)


def _blocks(
    array: RowArray, restored: Mapping[int, _StoredRow], progress: bool
) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Yield first row and stored rows of each block, with the damaged rows restored."""
    n_rows, n_pixels = array.shape
    block_rows = max(BLOCK_BYTES // (n_pixels * array.dtype.itemsize), 1)
    with progress_bar(n_rows, "repairing", enabled=progress) as bar:
        for start in range(0, n_rows, block_rows):
            rows = np.arange(start, min(start + block_rows, n_rows))
            is_intact = np.array([row not in restored for row in rows.tolist()])
            stored = np.empty((len(rows), n_pixels), dtype=array.dtype)
            stored[is_intact] = array.read_stored(rows[is_intact])
            for index in np.flatnonzero(~is_intact):
                stored[index] = restored[int(rows[index])]
            yield start, stored
            bar.update(len(rows))
