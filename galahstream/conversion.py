"""From a source to a store: in blocks, in memory that does not grow, published whole.

Examples
--------
>>> import galahstream as gs
>>> store = gs.convert("raw", "store")  # doctest: +SKIP
>>> store.flux[:2].shape  # doctest: +SKIP
(2, 16384)
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from galahstream.errors import BadSpectraError, LabelError, OptionError
from galahstream.options import check_count
from galahstream.sources.base import LeftOut, Source
from galahstream.sources.labels import LabelChoice
from galahstream.sources.npy_file import NpyFile
from galahstream.sources.opening import PathLike, open_source
from galahstream.splits import split_rows
from galahstream.store import Store, hdf5, npy, open_store
from galahstream.store.atomic import check_destination, publishing
from galahstream.store.digest import array_digest, row_digests
from galahstream.store.layout import ArrayPlace, FluxWriter, PlacedFluxWriter, write_array
from galahstream.store.manifest import LabelColumn, Manifest, OddPixels
from galahstream.wavelength import NOMINAL_PIXELS, check_grid, nominal_grid

FORMATS = ("npy", "hdf5")
DTYPES = ("float32",)
_BLOCK_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True)
class _Plan:
    """All of a store but its flux, fixed before the first row is written."""

    manifest: Manifest
    labels: npt.NDArray[np.float64]
    wavelength: npt.NDArray[np.float64]
    ids: npt.NDArray[np.int64]
    source_row: npt.NDArray[np.int64]
    split: npt.NDArray[np.uint8]
    stored_row: npt.NDArray[np.int64]  # of each source row; -1 for one that is left out


def convert(
    source: PathLike | tuple[PathLike, PathLike] | Source,
    dest: PathLike,
    *,
    format: str = "npy",
    dtype: str = "float32",
    compression: str | None = None,
    chunk_rows: int = 1,
    labels: LabelChoice = None,
    wavelength: PathLike | npt.ArrayLike | None = None,
    groups: str | None = None,
    split: Sequence[float] = (0.70, 0.15, 0.15),
    seed: int = 42,
    on_bad: str = "refuse",
    overwrite: bool = False,
    progress: bool = True,
) -> Store:
    """Write the spectra of a source into a store and open it.

    Parameters
    ----------
    source : path-like, pair of path-like, or Source
        What :func:`galahstream.sources.opening.open_source` takes.
    dest : path-like
        The store to make: a folder for ``"npy"``, a file for ``"hdf5"``.
    format : {"npy", "hdf5"}
    dtype : {"float32"}
        How flux is stored.
    compression : {"gzip", "lzf"}, optional
        For ``"hdf5"``: smaller, and read through h5py instead of a mapping.
    chunk_rows : int
        For ``"hdf5"``: rows a chunk.
    labels : sequence of str, mapping, optional
        Names of the label columns where they are not the known eight:
        ``["teff", "logg", "feh[dex]"]`` in their order, or ``{"teff": "T_EFF"}``.
    wavelength : path-like or array_like, shape (L,), optional
        Å. Else the source's own; else, for 16,384 pixels, the nominal grid.
    groups : str, optional
        A label column, or ``"ids"``: rows with equal values stay in one part.
    split : three floats
        Parts of training, validation and test.
    seed : int
        Of the split.
    on_bad : {"refuse", "skip"}
        What to do with spectra without any usable pixel (all zero or not
        finite) and with stars whose files do not fit. Those left out stand in
        ``store.manifest.left_out``.
    overwrite : bool
        Replace a store that is there, once the new one is complete.
    progress : bool
        Show a progress bar on a terminal when it takes longer than a second.

    Returns
    -------
    Store

    Raises
    ------
    GalahStreamError
        For input that cannot be converted; nothing is left at the destination.
    """
    destination = Path(dest)
    _check_options(format, dtype, compression, chunk_rows, on_bad)
    check_destination(destination, overwrite=overwrite)
    opened = open_source(source, labels, on_bad)
    bad = _bad_rows(opened, progress) if on_bad == "skip" else np.zeros(len(opened), dtype=bool)
    plan = _plan(opened, bad, wavelength, groups, split, seed)
    with publishing(destination, overwrite=overwrite) as path:
        if format == "npy":
            places = npy.lay_out(path, *_shape(plan))
        else:
            places = hdf5.lay_out(
                path,
                *_shape(plan),
                chunk_rows=chunk_rows,
                compression=compression,
                manifest_bytes=len(plan.manifest.to_json().encode()) + 4096,
            )
        writer: FluxWriter = (
            PlacedFluxWriter(places["flux"])
            if "flux" in places
            else hdf5.CompressedFluxWriter(path, chunk_rows, opened.n_pixels)
        )
        try:
            digests, odd_pixels = _write_flux(opened, plan, writer, progress)
        finally:
            writer.close()
        text = _write_arrays(plan, places, digests, odd_pixels)
        (npy if format == "npy" else hdf5).write_manifest(path, text)
    return open_store(destination)


def _check_options(
    format: str, dtype: str, compression: str | None, chunk_rows: int, on_bad: str
) -> None:
    for name, value, allowed in (
        ("format", format, FORMATS),
        ("dtype", dtype, DTYPES),
        ("on_bad", on_bad, ("refuse", "skip")),
    ):
        if value not in allowed:
            msg = f"{name} {value!r} is not known; expected {' or '.join(allowed)}"
            raise OptionError(msg)
    hdf5.check_compression(compression)
    check_count("chunk_rows", chunk_rows, least=1)
    if format == "npy" and (compression is not None or chunk_rows != 1):
        msg = "compression and chunk_rows are for HDF5 stores; give format='hdf5' (--format hdf5)"
        raise OptionError(msg)


def _shape(plan: _Plan) -> tuple[int, int, int, str]:
    return len(plan.ids), len(plan.wavelength), plan.labels.shape[1], plan.manifest.dtype


def flux_blocks(
    source: Source, block_bytes: int, doing: str, progress: bool
) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """Yield first source row and flux of each block, and move a progress bar on."""
    block_rows = max(block_bytes // (4 * source.n_pixels), 1)
    first_row = 0
    with tqdm(
        total=len(source), desc=doing, unit=" stars", delay=1, disable=None if progress else True
    ) as bar:
        for flux in source.iter_blocks(block_rows):
            yield first_row, flux
            first_row += len(flux)
            bar.update(len(flux))


def _without_flux(flux: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    usable: npt.NDArray[np.bool_] = (np.isfinite(flux) & (flux != 0)).any(axis=1)
    return ~usable


def _bad_rows(source: Source, progress: bool) -> npt.NDArray[np.bool_]:
    # The split depends on which stars remain, so they are known before any is written.
    return np.concatenate(
        [_without_flux(flux) for _, flux in flux_blocks(source, _BLOCK_BYTES, "checking", progress)]
    )


def _plan(
    source: Source,
    bad: npt.NDArray[np.bool_],
    wavelength: PathLike | npt.ArrayLike | None,
    groups: str | None,
    split: Sequence[float],
    seed: int,
) -> _Plan:
    kept = np.flatnonzero(~bad)
    if len(kept) == 0:
        msg = f"{source.name}: none of its {len(source)} spectra can be used; check the source"
        raise BadSpectraError(msg)
    grid, grid_kind = _wavelength(source, wavelength)
    labels = source.read_labels()[kept]
    part = split_rows(
        len(kept),
        split,
        seed,
        _group_values(source, labels, source.ids[kept], groups),
        allow_empty=not source.label_names,
    )
    order = np.argsort(part, kind="stable")
    stored_row = np.full(len(source), -1, dtype=np.int64)
    stored_row[kept[order]] = np.arange(len(kept))
    n_train, n_val, n_test = (int(count) for count in np.bincount(part, minlength=3))
    left_out = [
        *source.left_out,
        *(
            LeftOut(int(source.ids[row]), f"row {row}: no usable pixel")
            for row in np.flatnonzero(bad)
        ),
    ]
    manifest = Manifest(
        n_stars=len(kept),
        n_pixels=source.n_pixels,
        dtype="float32",
        wavelength=grid_kind,
        labels=_label_columns(source, labels[order], n_train),
        split=(float(split[0]), float(split[1]), float(split[2])),
        split_sizes=(n_train, n_val, n_test),
        split_seed=int(seed),
        groups=groups,
        odd_pixels=OddPixels(),
        left_out=tuple((star.star_id, star.reason) for star in left_out),
        digests={},
    )
    return _Plan(
        manifest, labels[order], grid, source.ids[kept][order], kept[order], part[order], stored_row
    )


def _wavelength(
    source: Source, given: PathLike | npt.ArrayLike | None
) -> tuple[npt.NDArray[np.float64], str]:
    if isinstance(given, str | os.PathLike):
        return check_grid(NpyFile(Path(given)).mapped(), source.n_pixels, str(given)), "given"
    if given is not None:
        return check_grid(given, source.n_pixels, "wavelength"), "given"
    if source.wavelength is not None:
        name = f"{source.name}: its wavelength"
        return check_grid(source.wavelength, source.n_pixels, name), "given"
    if source.n_pixels == NOMINAL_PIXELS:
        return nominal_grid(), "nominal"
    return np.full(source.n_pixels, np.nan), "unknown"


def _group_values(
    source: Source,
    labels: npt.NDArray[np.float64],
    ids: npt.NDArray[np.int64],
    groups: str | None,
) -> npt.NDArray[np.generic] | None:
    if groups is None:
        return None
    if groups == "ids":
        return ids
    if groups not in source.label_names:
        msg = (
            f"{source.name}: no column {groups!r} to group by; expected 'ids' or one of "
            f"{', '.join(source.label_names) or 'no labels'}"
        )
        raise LabelError(msg)
    values = labels[:, source.label_names.index(groups)]
    if np.isnan(values).any():
        row = int(np.flatnonzero(np.isnan(values))[0])
        msg = (
            f"{source.name}: column {groups!r} has no value for star {ids[row]}; each row needs one"
        )
        raise LabelError(msg)
    return values


def _label_columns(
    source: Source, labels: npt.NDArray[np.float64], n_train: int
) -> tuple[LabelColumn, ...]:
    columns = []
    for name, unit, values in zip(source.label_names, source.label_units, labels.T, strict=True):
        finite = values[np.isfinite(values)]
        train = values[:n_train][np.isfinite(values[:n_train])]
        columns.append(
            LabelColumn(
                name=name,
                unit=unit,
                missing=len(values) - len(finite),
                minimum=float(finite.min()) if len(finite) else None,
                maximum=float(finite.max()) if len(finite) else None,
                mean=float(finite.mean()) if len(finite) else None,
                std=float(finite.std()) if len(finite) else None,
                train_mean=float(train.mean()) if len(train) else None,
                train_std=float(train.std()) if len(train) else None,
            )
        )
    return tuple(columns)


def _write_flux(
    source: Source, plan: _Plan, writer: FluxWriter, progress: bool
) -> tuple[npt.NDArray[np.uint64], OddPixels]:
    digests = np.zeros(len(plan.ids), dtype=np.uint64)
    odd_pixels = OddPixels()
    n_read = 0
    for first_row, flux in flux_blocks(source, _BLOCK_BYTES, "converting", progress):
        n_read += len(flux)
        rows = plan.stored_row[first_row : first_row + len(flux)]
        _refuse_bad(source, first_row, rows, flux)
        # Within a block the rows of one part of the split lie one after another.
        order = np.argsort(rows, kind="stable")[np.count_nonzero(rows < 0) :]
        for run in np.split(order, np.flatnonzero(np.diff(rows[order]) != 1) + 1):
            if len(run):
                stored = np.ascontiguousarray(flux[run], dtype="<f4")
                writer.write(int(rows[run[0]]), stored)
                digests[rows[run]] = row_digests(stored)
                odd_pixels += _odd_pixels(stored)
    if n_read != len(source):
        msg = f"{source.name}: {n_read} of {len(source)} spectra could be read; check the source"
        raise BadSpectraError(msg)
    return digests, odd_pixels


def _refuse_bad(
    source: Source, first_row: int, rows: npt.NDArray[np.int64], flux: npt.NDArray[np.float32]
) -> None:
    bad = np.flatnonzero(_without_flux(flux) & (rows >= 0))
    if len(bad):
        row = first_row + int(bad[0])
        msg = (
            f"{source.name}: the spectrum of row {row} (star {source.ids[row]}) has no usable "
            f"pixel, all are zero or not finite; leave such stars out with on_bad='skip' "
            f"(--on-bad skip)"
        )
        raise BadSpectraError(msg)


def _odd_pixels(flux: npt.NDArray[np.float32]) -> OddPixels:
    n_nan = int(np.count_nonzero(np.isnan(flux)))
    return OddPixels(
        nan=n_nan,
        infinite=flux.size - int(np.count_nonzero(np.isfinite(flux))) - n_nan,
        negative=int(np.count_nonzero(flux < 0)),
        zero=flux.size - int(np.count_nonzero(flux)),
    )


def _write_arrays(
    plan: _Plan,
    places: dict[str, ArrayPlace],
    digests: npt.NDArray[np.uint64],
    odd_pixels: OddPixels,
) -> str:
    """Write everything but the flux, and return the text of the manifest."""
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "labels": plan.labels,
        "wavelength": plan.wavelength,
        "ids": plan.ids,
        "source_row": plan.source_row,
        "split": plan.split,
        "digests": digests,
    }
    for name, array in arrays.items():
        write_array(places[name], array)
    found = {
        name: array_digest(array.astype(places[name].dtype, copy=False))
        for name, array in arrays.items()
    }
    return replace(plan.manifest, odd_pixels=odd_pixels, digests=found).to_json()
