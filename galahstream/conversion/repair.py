"""Making a damaged store anew: from its sound rows and, for the damaged ones, its source."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from galahstream.errors import LabelError, RepairError
from galahstream.sources.base import Source
from galahstream.sources.open import PathLike, open_source
from galahstream.store import Store, open_store
from galahstream.store.formats import hdf5, npy
from galahstream.store.layout import FluxWriter, OffsetFluxWriter, write_array
from galahstream.system.atomic import publish_on_success
from galahstream.system.digest import row_digests
from galahstream.system.disk import explain_disk_full

_BLOCK_BYTES = 8 * 1024 * 1024


def repair(
    path: PathLike, source: PathLike | tuple[PathLike, PathLike] | Source, *, progress: bool = True
) -> npt.NDArray[np.int64]:
    """Restore the damaged rows of a store from the source that it was made of.

    The store is made anew beside itself, byte for byte as it was before it was
    damaged, and takes the old one's place when it is whole.

    Parameters
    ----------
    path : path-like
        A store whose manifest and small arrays are sound: one that opens.
    source : path-like, pair of path-like, or Source
        What the store was converted from.
    progress : bool
        Show progress bars on a terminal when it takes longer than a second.

    Returns
    -------
    ndarray of int64
        The rows that were restored; empty for a sound store, which is left alone.

    Raises
    ------
    RepairError
        If the source's spectra are not those that the store was made of.
    StoreFormatError
        If the store cannot be opened.
    """
    with open_store(path, verify="open") as store:
        damaged = store.verify(progress=progress)
        if len(damaged):
            opened = _spectra_of(source, store)
            restored = {int(row): _restored(store, opened, int(row)) for row in damaged}
            _make_anew(store, restored, progress)
    return damaged


def _spectra_of(source: PathLike | tuple[PathLike, PathLike] | Source, store: Store) -> Source:
    try:
        return open_source(source, on_bad="skip")
    except LabelError:  # columns without names, which the store's may fit
        return open_source(source, list(store.labels), on_bad="skip")


def _restored(store: Store, source: Source, row: int) -> npt.NDArray[Any]:
    """Return a row as it was stored, from the source."""
    place = int(store.source_row[row])
    star = int(store.ids[row])
    expected = f"{store.path}: row {row} (star {star}) was made of row {place} of its source, and "
    if place >= len(source) or source.n_pixels != store.n_pixels or source.ids[place] != star:
        msg = expected + f"{source.name} has no such spectrum there; give the store's own source"
        raise RepairError(msg)
    flux = next(iter(source.iter_blocks(1, place)))[:1]
    stored = store.flux.encoding.encode(flux)
    digest = row_digests(stored.reshape(-1), np.zeros(1, dtype=np.int64), store.n_pixels)
    if digest[0] != store.digests[row]:
        msg = expected + (
            f"the spectrum in {source.name} is another one by its digest; give the source that "
            f"the store was made of, or convert again"
        )
        raise RepairError(msg)
    row_of_source: npt.NDArray[Any] = stored[0]
    return row_of_source


def _make_anew(store: Store, restored: dict[int, npt.NDArray[Any]], progress: bool) -> None:
    manifest = store.manifest
    shape = (len(store), store.n_pixels, len(manifest.labels), manifest.dtype)
    with publish_on_success(store.path, overwrite=True) as path, explain_disk_full(path):
        writer: FluxWriter
        if store.format == "npy":
            places = npy.create_files(path, *shape)
        else:
            layout = hdf5.layout_of_store(store.path)
            places = hdf5.create_files(path, *shape, **layout)
        if "flux" in places:
            writer = OffsetFluxWriter(places["flux"])
        else:
            writer = hdf5.CompressedFluxWriter(
                path, layout["chunk_rows"], store.n_pixels, manifest.dtype
            )
        try:
            for first_row, stored in _rows_of(store, restored, progress):
                writer.write(first_row, stored)
        finally:
            writer.close()
        for name, array in store.arrays.items():
            write_array(places[name], array)
        text = store.manifest.to_json()
        if store.format == "npy":
            npy.write_manifest(path, text)
        else:
            hdf5.write_manifest(path, text, places)


def _rows_of(
    store: Store, restored: dict[int, npt.NDArray[Any]], progress: bool
) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Yield first row and rows of each block as they are stored, the damaged ones restored."""
    block_rows = max(_BLOCK_BYTES // (store.n_pixels * store.flux.dtype.itemsize), 1)
    with tqdm(
        total=len(store),
        desc="repairing",
        unit=" stars",
        delay=1,
        disable=None if progress else True,
    ) as bar:
        for start in range(0, len(store), block_rows):
            rows = np.arange(start, min(start + block_rows, len(store)))
            sound = np.array([row not in restored for row in rows.tolist()])
            stored = np.empty((len(rows), store.n_pixels), dtype=store.flux.dtype)
            stored[sound] = store.flux.read_stored(rows[sound])
            for number in np.flatnonzero(~sound):
                stored[number] = restored[int(rows[number])]
            yield start, stored
            bar.update(len(rows))
