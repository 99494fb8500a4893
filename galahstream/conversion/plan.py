"""The plan of a conversion: which rows in which order, labels and grid, before any flux."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from galahstream.conversion.journal import Setting
from galahstream.conversion.options import ConvertOptions
from galahstream.conversion.store_source import RecordedSplit, StoreSource
from galahstream.errors import BadSpectraError, LabelError
from galahstream.sources.attributes import read_grid
from galahstream.sources.base import Source
from galahstream.sources.joined import JoinedSource
from galahstream.sources.npy import NpyFile
from galahstream.store.layout import DIGEST_NAMES
from galahstream.store.manifest import (
    ErrorCounts,
    LabelColumn,
    Manifest,
    PixelCounts,
    Quantization,
)
from galahstream.store.quantization import NO_VALUE, Encoding, Quantized16
from galahstream.survey.fill_values import without_values
from galahstream.survey.splits import split_rows
from galahstream.survey.units import stated_unit
from galahstream.survey.wavelength import NOMINAL_PIXELS, check_grid, nominal_grid
from galahstream.system.digest import array_digest, text_digest

# What a source did to its spectra, by the names of the options that ask for it.
_MADE_SO = ("frame", "grid", "resampling")


@dataclass(frozen=True)
class ConversionPlan:
    """Everything of a store but its spectra, fixed before the first row is written.

    Attributes
    ----------
    manifest : Manifest
        Complete but for counts of pixels and digests.
    labels : ndarray, shape (n, K), float64
    wavelength : ndarray, shape (L,), float64
    ids, source_row : ndarray, shape (n,), int64
    split : ndarray, shape (n,), uint8
    stored_row : ndarray, shape (N,), int64
        Row in the store of each source row; -1 for one that is skipped.
    """

    manifest: Manifest
    labels: npt.NDArray[np.float64]
    wavelength: npt.NDArray[np.float64]
    ids: npt.NDArray[np.int64]
    source_row: npt.NDArray[np.int64]
    split: npt.NDArray[np.uint8]
    stored_row: npt.NDArray[np.int64]

    def arrays(
        self, digests: Mapping[str, npt.NDArray[np.uint64]]
    ) -> dict[str, npt.NDArray[np.generic]]:
        """Return the arrays of the store but the spectra, given the digests of those by name."""
        of_rows = {DIGEST_NAMES[name]: values for name, values in digests.items()}
        names = [name for name in self.manifest.spec.arrays() if name not in of_rows]
        return {**{name: getattr(self, name) for name in names}, **of_rows}

    def settings(self, source: Source) -> tuple[Setting, ...]:
        """Return what of source and plan decides about the bytes of the store."""
        # In the source's order, which does not change with the split.
        order = np.argsort(self.source_row)
        columns = [f"{column.name}[{column.unit}]" for column in self.manifest.labels]
        kept = [Setting("the splits of the stars", array_digest(self.split[order]), is_digest=True)]
        return (
            *(kept if isinstance(source, StoreSource) else ()),
            *source_settings(source),
            Setting("labels", tuple(columns)),
            Setting("the label values", array_digest(self.labels[order]), is_digest=True),
            Setting("the star ids", array_digest(self.ids[order]), is_digest=True),
            Setting("the rows to convert", array_digest(self.source_row[order]), is_digest=True),
            Setting("the wavelengths", array_digest(self.wavelength), is_digest=True),
        )


def source_settings(source: Source) -> tuple[Setting, ...]:
    """Return what tells whether the spectra of a source changed."""
    states = [(str(file.absolute()), file.stat()) for file in source.files]
    files = json.dumps([(name, state.st_size, state.st_mtime_ns) for name, state in states])
    return (
        Setting("source", str(Path(source.name).absolute()) if states else source.name),
        *(Setting(name, getattr(source.provenance, name)) for name in _MADE_SO),
        Setting("errors", source.has_errors),
        Setting("the source files", text_digest(files), is_digest=True),
        Setting("the spectra", source.fingerprint, is_digest=True),
    )


def checked_digest(source: Source, options: ConvertOptions) -> str:
    """Return a digest of what decides which rows can be used; empty if it cannot be told."""
    if not source.files and not source.fingerprint:
        return ""
    settings = (*options.settings, *source_settings(source))
    ids = array_digest(source.ids)
    return text_digest(json.dumps([ids, *([each.name, each.value] for each in settings)]))


def plan_conversion(
    source: Source, options: ConvertOptions, unusable: Mapping[int, str]
) -> ConversionPlan:
    """Choose rows, split and order, labels and wavelengths of a store.

    Parameters
    ----------
    source : Source
    options : ConvertOptions
    unusable : mapping of int to str
        Source rows to skip, and why they cannot be used.

    Raises
    ------
    BadSpectraError, LabelError, SplitError, WavelengthError
        If the source cannot be converted in this way.
    """
    kept = np.delete(np.arange(len(source)), [*unusable])
    if len(kept) == 0:
        reasons = "; ".join(f"{source.ids[row]}: {unusable[row]}" for row in [*unusable][:10])
        msg = (
            f"{source.name}: none of its {len(source):,} spectra can be used ({reasons}); check "
            f"the source"
        )
        raise BadSpectraError(msg)
    grid, grid_kind = _wavelength(source, options)
    labels = without_values(_plain_labels(source)[kept], options.missing_values)
    ids = source.ids[kept]
    drawn = _split(source, options, kept)
    split = drawn.of_star
    order = np.arange(len(kept)) if options.in_place else np.argsort(split, kind="stable")
    stored_row = np.full(len(source), -1, dtype=np.int64)
    stored_row[kept[order]] = np.arange(len(kept))
    n_train, n_val, n_test = (int(count) for count in np.bincount(split, minlength=3))
    manifest = Manifest(
        n_stars=len(kept),
        n_pixels=source.n_pixels,
        dtype=options.dtype,
        wavelength=grid_kind,
        labels=label_columns(
            list(zip(source.label_names, source.label_units, strict=True)), labels, split == 0
        ),
        split=drawn.fractions,
        split_sizes=(n_train, n_val, n_test),
        split_seed=drawn.seed,
        groups=drawn.groups,
        missing_values=tuple(options.missing_values),
        pixel_counts=PixelCounts(),
        skipped=_skipped(source, unusable),
        notes=source.notes,
        digests={},
        quantization=_quantization(options.encoding),
        row_order="source" if options.in_place else "split",
        chunk_rows=options.chunk_rows,
        compression=options.compression,
        provenance=replace(source.provenance, reader=_reader_name(source)),
        cuts=source.cuts,
        flags=source.count_flags(kept),
        error_counts=ErrorCounts() if source.has_errors else None,
    )
    return ConversionPlan(
        manifest, labels[order], grid, ids[order], kept[order], split[order], stored_row
    )


def _plain_labels(source: Source) -> npt.NDArray[np.float64]:
    """Return the labels of a source, which anyone may have written, as a plain array."""
    labels = source.read_labels()
    unit = stated_unit(labels)
    if unit is not None:
        msg = (
            f"{source.name}: its labels are in {unit!r}; expected plain numbers, and their units "
            f"in label_units"
        )
        raise LabelError(msg)
    if isinstance(labels, np.ma.MaskedArray):
        labels = np.ma.filled(labels.astype(np.float64), np.nan)
    return labels


def _split(source: Source, options: ConvertOptions, kept: npt.NDArray[np.int64]) -> RecordedSplit:
    if isinstance(source, StoreSource) and options.keeps_split:
        recorded = source.recorded_split
        return replace(recorded, of_star=recorded.of_star[kept])
    groups = source.group_column if options.groups is None else options.groups
    of_star = split_rows(
        len(kept),
        options.fractions,
        options.split_seed,
        group_values(source, kept, groups),
        allow_empty=not source.label_names,
    )
    return RecordedSplit(of_star, options.fractions, options.split_seed, groups)


def _quantization(encoding: Encoding) -> Quantization | None:
    if not isinstance(encoding, Quantized16):
        return None
    return Quantization(
        bscale=encoding.bscale,
        bzero=encoding.bzero,
        no_value=NO_VALUE,
        clipped=0,
        largest_error=encoding.bscale / 2,
    )


def _reader_name(source: Source) -> str | None:
    """Return the class of this library that read the source; None for a class of the user."""
    source = source.original if isinstance(source, JoinedSource) else source
    for cls in type(source).__mro__:
        if cls.__module__.startswith("galahstream.") and cls is not Source:
            return cls.__name__
    return None


def _skipped(source: Source, unusable: Mapping[int, str]) -> tuple[tuple[int, str], ...]:
    by_source = [(int(star.star_id), star.reason) for star in source.skipped]
    return (*by_source, *((int(source.ids[row]), reason) for row, reason in unusable.items()))


def _wavelength(source: Source, options: ConvertOptions) -> tuple[npt.NDArray[np.float64], str]:
    given = options.wavelength
    if isinstance(given, str | os.PathLike):
        return check_grid(NpyFile(Path(given)).mapped(), source.n_pixels, str(given)), "given"
    if isinstance(given, h5py.Dataset):
        return read_grid(given, source.n_pixels, f"wavelength {given.name!r}"), "given"
    if given is not None:
        return check_grid(given, source.n_pixels, "wavelength"), "given"
    if source.wavelength is not None:
        name = f"{source.name}: its wavelength"
        return check_grid(source.wavelength, source.n_pixels, name), "given"
    if source.n_pixels == NOMINAL_PIXELS:
        return nominal_grid(), "nominal"
    return np.full(source.n_pixels, np.nan), "unknown"


def group_values(
    source: Source, kept: npt.NDArray[np.int64], groups: str | None
) -> npt.NDArray[np.generic] | None:
    """Return the values of a column that tells which of the rows `kept` belong together."""
    if groups is None:
        return None
    values = source.read_column(groups)[kept]
    if values.dtype.kind == "f" and np.isnan(values).any():
        row = kept[int(np.flatnonzero(np.isnan(values))[0])]
        msg = (
            f"{source.name}: column {groups!r} has no value for star {source.ids[row]}; each row "
            f"needs one"
        )
        raise LabelError(msg)
    return values


def label_columns(
    names_and_units: Sequence[tuple[str, str]],
    labels: npt.NDArray[np.float64],
    is_train: npt.NDArray[np.bool_],
) -> tuple[LabelColumn, ...]:
    """Return what a manifest says of labels (N, K), of which some rows are training stars."""
    columns = []
    for (name, unit), values in zip(names_and_units, labels.T, strict=True):
        finite = values[np.isfinite(values)]
        train = values[is_train & np.isfinite(values)]
        with np.errstate(over="ignore", invalid="ignore"):  # the writer rejects what overflows
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
