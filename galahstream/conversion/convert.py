"""From a source to a store: in blocks, in memory that does not grow, published whole.

Examples
--------
>>> import galahstream as gs
>>> store = gs.convert("raw", "store")  # doctest: +SKIP
>>> store.flux[:2].shape  # doctest: +SKIP
(2, 16384)
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from galahstream._version import __version__
from galahstream.conversion.journal import Block, FluxSummary, Journal
from galahstream.conversion.pipeline import count_intact_blocks, find_empty_spectra, write_flux
from galahstream.conversion.staging import StagingArea, staging
from galahstream.errors import BadSpectraError, LabelError, OptionError
from galahstream.sources.base import OnBad, SkippedStar, Source
from galahstream.sources.npy import NpyFile, NpyPairSource
from galahstream.sources.open import PathLike, open_source
from galahstream.store import Store, open_store
from galahstream.store.formats import hdf5, npy
from galahstream.store.layout import (
    FLUX_DTYPES,
    ArrayLocation,
    FluxWriter,
    NullFluxWriter,
    OffsetFluxWriter,
    write_array,
)
from galahstream.store.manifest import FluxCode, LabelColumn, Manifest, PixelCounts
from galahstream.store.quantization import DEFAULT_RANGE, NO_VALUE, Quantized16
from galahstream.survey.labels import LabelChoice
from galahstream.survey.splits import split_rows
from galahstream.survey.wavelength import NOMINAL_PIXELS, check_grid, nominal_grid
from galahstream.system.digest import array_digest, text_digest
from galahstream.system.disk import explain_disk_full
from galahstream.validation import check_count

FORMATS = ("npy", "hdf5")
DTYPES = tuple(FLUX_DTYPES)


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
    flux_range: tuple[float, float] | None = None,
    compression: str | None = None,
    chunk_rows: int = 1,
    labels: LabelChoice = None,
    wavelength: PathLike | npt.ArrayLike | None = None,
    groups: str | None = None,
    split: Sequence[float] = (0.70, 0.15, 0.15),
    seed: int = 42,
    on_bad: OnBad = "raise",
    in_place: bool = False,
    jobs: int | None = None,
    resume: bool = True,
    take_over: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> Store:
    """Write the spectra of a source into a store and open it.

    Parameters
    ----------
    source : path-like, pair of path-like, or Source
        What :func:`galahstream.sources.open.open_source` takes.
    dest : path-like
        The store to make: a folder for ``"npy"``, a file for ``"hdf5"``.
    format : {"npy", "hdf5"}
    dtype : {"float32", "uint16"}
        How flux is stored: as it is, or in 16 bits: half the bytes, in equal steps
        over `flux_range`, of 5e-5 by default; ``store.info()["quantization"]`` tells the error.
    flux_range : (float, float), optional
        For ``"uint16"``: the lowest and the highest flux; (-0.5, 2.7767) if not given.
        Pixels outside are clipped and counted; more than 0.1 % of them are refused.
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
    on_bad : {"raise", "skip"}
        What to do with spectra without any usable pixel (all zero or not
        finite) and with stars whose files do not fit. Those left out stand in
        ``store.manifest.skipped``.
    in_place : bool
        Make the store around the source's .npy file without copying it: both names
        are then links to one file, whose rows keep their order. It must hold
        C-ordered little-endian float32 on the same file system.
    jobs : int, optional
        Threads that encode, hash and write; one a core if not given.
    resume : bool
        Go on where an earlier conversion into `dest` with the same settings was
        cut off; the bytes are those of an uninterrupted one. In place and with
        compression it begins anew. False begins anew in any case.
    take_over : bool
        Go on with what a process of another host began, which must be gone.
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
    LockedError
        If another process converts into `dest`.
    """
    destination = Path(dest)
    _check_options(format, dtype, flux_range, compression, chunk_rows, on_bad, jobs)
    with staging(destination, overwrite=overwrite, take_over=take_over) as made:
        opened = open_source(source, labels, on_bad)
        linked = _linkable(opened, format, dtype, on_bad) if in_place else None
        codec = Quantized16.over(*(flux_range or DEFAULT_RANGE)) if dtype == "uint16" else None
        bad = np.zeros(len(opened), dtype=bool)
        if on_bad == "skip":
            bad = find_empty_spectra(opened, jobs, progress)
        plan = _plan(opened, bad, wavelength, groups, split, seed, dtype, linked is not None)
        settings = {
            "format": format,
            "dtype": dtype,
            "flux_range": flux_range,
            "compression": compression,
            "chunk_rows": chunk_rows,
            "in_place": in_place,
            "on_bad": on_bad,
            **_settings_of(opened, plan),
        }
        if not resume:
            made.clear()
        journal = Journal(made.journal)
        journal.check_settings(settings, destination)
        with _kept_to_go_on_with(made, journal, destination, len(opened)):
            if format == "npy":
                places = npy.create_files(made.store, *_shape(plan), linked_flux=linked)
            else:
                places = hdf5.create_files(
                    made.store,
                    *_shape(plan),
                    chunk_rows=chunk_rows,
                    compression=compression,
                    manifest_bytes=len(plan.manifest.to_json().encode()) + 4096,
                )
            note: Callable[[Block], None] | None = None
            writer: FluxWriter
            if linked is not None:
                writer = NullFluxWriter()
            elif "flux" in places:
                # Only bytes at places of their own can be gone on with.
                sound = count_intact_blocks(journal.blocks, plan.stored_row, places["flux"])
                journal.begin(settings, sound)
                writer, note = OffsetFluxWriter(places["flux"]), journal.add
            else:
                writer = hdf5.CompressedFluxWriter(made.store, chunk_rows, opened.n_pixels, dtype)
                jobs = 1  # HDF5 lets one thread in at a time, and a chunk is written once in order
            try:
                digests, written = write_flux(
                    opened, plan.stored_row, writer, codec, jobs, progress, journal.blocks, note
                )
            finally:
                writer.close()
            text = _write_arrays(plan, places, digests, written, codec)
            if format == "npy":
                npy.write_manifest(made.store, text)
            else:
                hdf5.write_manifest(made.store, text, places)
    return open_store(destination)


@contextmanager
def _kept_to_go_on_with(
    made: StagingArea, journal: Journal, destination: Path, n_stars: int
) -> Iterator[None]:
    """Keep what was made when an error ends a conversion, unless it would be met again."""
    try:
        with explain_disk_full(made.store):
            yield
    except (BadSpectraError, OptionError):
        made.clear()
        raise
    except BaseException as error:
        n_done = sum(block.n_rows for block in journal.blocks)
        if n_done == 0:
            made.clear()
        else:
            error.add_note(
                f"{n_done:,} of {n_stars:,} stars are done and kept in {made.folder}: the same "
                f"conversion into {destination} goes on from there"
            )
        raise


def _settings_of(source: Source, plan: _Plan) -> dict[str, Any]:
    """Return what else decides about the bytes of a store, as plain values."""
    files = [(str(file.absolute()), file.stat()) for file in source.files]
    states = [(name, found.st_size, found.st_mtime_ns) for name, found in files]
    return {
        "source": str(Path(source.name).absolute()) if files else source.name,
        "files of the source": text_digest(json.dumps(states)),
        "labels": [[column.name, column.unit] for column in plan.manifest.labels],
        "values of the labels": array_digest(plan.labels),
        "ids": array_digest(plan.ids),
        "rows kept": array_digest(plan.source_row),
        "wavelength": array_digest(plan.wavelength),
        "split": list(plan.manifest.split),
        "seed": plan.manifest.split_seed,
        "groups": plan.manifest.groups,
        "galahstream": __version__,
    }


def _check_options(
    format: str,
    dtype: str,
    flux_range: tuple[float, float] | None,
    compression: str | None,
    chunk_rows: int,
    on_bad: str,
    jobs: int | None,
) -> None:
    for name, value, allowed in (
        ("format", format, FORMATS),
        ("dtype", dtype, DTYPES),
        ("on_bad", on_bad, ("raise", "skip")),
    ):
        if value not in allowed:
            msg = f"{name} {value!r} is not known; expected {' or '.join(allowed)}"
            raise OptionError(msg)
    hdf5.check_compression(compression)
    check_count("chunk_rows", chunk_rows, minimum=1)
    if jobs is not None:
        check_count("jobs", jobs, minimum=1)
    if flux_range is not None and dtype != "uint16":
        msg = f"flux_range is for 16-bit stores, and dtype is {dtype!r}; give dtype='uint16'"
        raise OptionError(msg + " (--dtype uint16)")
    if format == "npy" and (compression is not None or chunk_rows != 1):
        msg = "compression and chunk_rows are for HDF5 stores; give format='hdf5' (--format hdf5)"
        raise OptionError(msg)


def _shape(plan: _Plan) -> tuple[int, int, int, str]:
    return len(plan.ids), len(plan.wavelength), plan.labels.shape[1], plan.manifest.dtype


def _linkable(source: Source, format: str, dtype: str, on_bad: str) -> Path:
    """Return the file that a store can be made around, after checking that it can."""
    if format != "npy" or dtype != "float32" or on_bad != "raise":
        msg = (
            f"in_place cannot be used with format={format!r}, dtype={dtype!r}, on_bad={on_bad!r}: "
            f"it keeps the source's file as it is, in an npy store of float32 with all its rows"
        )
        raise OptionError(msg)
    if not isinstance(source, NpyPairSource):
        msg = f"{source.name}: in_place needs spectra in a .npy file; convert without it"
        raise OptionError(msg)
    return source.flux_file.linkable()


def _plan(
    source: Source,
    bad: npt.NDArray[np.bool_],
    wavelength: PathLike | npt.ArrayLike | None,
    groups: str | None,
    split: Sequence[float],
    seed: int,
    dtype: str,
    keeps_order: bool,
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
        _group_values(source, kept, source.ids[kept], groups),
        allow_empty=not source.label_names,
    )
    order = np.arange(len(kept)) if keeps_order else np.argsort(part, kind="stable")
    stored_row = np.full(len(source), -1, dtype=np.int64)
    stored_row[kept[order]] = np.arange(len(kept))
    n_train, n_val, n_test = (int(count) for count in np.bincount(part, minlength=3))
    skipped = [
        *source.skipped,
        *(
            SkippedStar(int(source.ids[row]), f"row {row}: no usable pixel")
            for row in np.flatnonzero(bad)
        ),
    ]
    manifest = Manifest(
        n_stars=len(kept),
        n_pixels=source.n_pixels,
        dtype=dtype,
        wavelength=grid_kind,
        labels=_label_columns(source, labels, part == 0),
        split=(float(split[0]), float(split[1]), float(split[2])),
        split_sizes=(n_train, n_val, n_test),
        split_seed=int(seed),
        groups=groups,
        pixel_counts=PixelCounts(),
        skipped=tuple((star.star_id, star.reason) for star in skipped),
        digests={},
        code=_code(Quantized16(1, 0), FluxSummary()) if dtype == "uint16" else None,
        row_order="source" if keeps_order else "split",
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
    kept: npt.NDArray[np.int64],
    ids: npt.NDArray[np.int64],
    groups: str | None,
) -> npt.NDArray[np.generic] | None:
    if groups is None:
        return None
    values = source.read_column(groups)[kept]
    if values.dtype.kind == "f" and np.isnan(values).any():
        row = int(np.flatnonzero(np.isnan(values))[0])
        msg = (
            f"{source.name}: column {groups!r} has no value for star {ids[row]}; each row needs one"
        )
        raise LabelError(msg)
    return values


def _label_columns(
    source: Source, labels: npt.NDArray[np.float64], is_train: npt.NDArray[np.bool_]
) -> tuple[LabelColumn, ...]:
    columns = []
    for name, unit, values in zip(source.label_names, source.label_units, labels.T, strict=True):
        finite = values[np.isfinite(values)]
        train = values[is_train & np.isfinite(values)]
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


def _write_arrays(
    plan: _Plan,
    places: dict[str, ArrayLocation],
    digests: npt.NDArray[np.uint64],
    written: FluxSummary,
    codec: Quantized16 | None,
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
    return replace(
        plan.manifest,
        pixel_counts=written.pixel_counts,
        digests=found,
        code=None if codec is None else _code(codec, written),
    ).to_json()


def _code(codec: Quantized16, written: FluxSummary) -> FluxCode:
    return FluxCode(codec.bscale, codec.bzero, NO_VALUE, written.clipped, codec.bscale / 2)
