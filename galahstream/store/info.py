"""The contents of a store in numbers, for people and programs."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from galahstream.store.manifest import ErrorCounts, LabelColumn, PixelCounts, Quantization
from galahstream.store.readers import Access
from galahstream.survey.fill_values import FillValue, as_typed
from galahstream.survey.provenance import Provenance
from galahstream.survey.selection import Cut, FlagCount
from galahstream.survey.wavelength import LYMAN_LIMIT
from galahstream.system.notebook import facts

_LABEL_STATISTICS = ("unit", "minimum", "maximum", "mean", "std", "missing")


@dataclass(frozen=True)
class StoreInfo:
    """The contents of a store.

    Attributes
    ----------
    path : Path
        Folder or file.
    format : str
        ``"npy"``, ``"hdf5"`` or ``"collection"``, in format version `version`.
    stars, pixels : int
        Shape of the flux.
    dtype : str
        ``"float32"`` or ``"uint16"``, as stored.
    quantization : Quantization or None
        How 16-bit values become flux, and the number of clipped pixels.
    row_order : str
        ``"split"``, or ``"source"`` for a store made in place.
    chunk_rows : int or None
        Rows per HDF5 chunk; None for npy.
    compression : str or None
        Filter of the flux in HDF5: ``"gzip"`` or ``"lzf"``.
    provenance : Provenance
        Survey, release, frame, grid and resampling, as far as the source says.
    access, access_reason : str
        How flux is read, and why.
    wavelength : str
        ``"nominal"``, ``"given"`` or ``"unknown"``.
    wavelength_range : (float, float) or None
        First and last wavelength in Å.
    split : tuple of (str, int)
        Name and number of stars of each split.
    split_seed : int
        Seed that drew the split.
    groups : str or None
        Column of which equal values stay in one split.
    labels : tuple of LabelColumn
        Names, units and statistics.
    missing_values : tuple of float
        Label values of the source that were made missing.
    likely_fill_values : tuple of FillValue
        Label values that look as if they stood for a missing one, and were not named.
    pixel_counts : PixelCounts
        Pixels that need care when read.
    error_counts : ErrorCounts or None
        Pixels whose error is unknown, of a store with an error of each pixel; None for
        one without.
    skipped : tuple of (int, str)
        Id and reason of each star that was not converted.
    notes : tuple of str
        What the source says of its stars and files.
    cuts : tuple of Cut
        Conditions that removed stars, in the order in which they were applied.
    flags : tuple of FlagCount
        How many of the stars have a quality flag of the catalogue set.
    bytes : int
        Size of all files.
    members : int
        Number of stores that a collection is made of; 0 for other stores.
    """

    path: Path
    format: str
    version: int
    stars: int
    pixels: int
    dtype: str
    quantization: Quantization | None
    row_order: str
    chunk_rows: int | None
    compression: str | None
    provenance: Provenance
    access: Access
    access_reason: str
    wavelength: str
    wavelength_range: tuple[float, float] | None
    split: tuple[tuple[str, int], ...]
    split_seed: int
    groups: str | None
    labels: tuple[LabelColumn, ...]
    missing_values: tuple[float, ...]
    likely_fill_values: tuple[FillValue, ...]
    pixel_counts: PixelCounts
    error_counts: ErrorCounts | None
    skipped: tuple[tuple[int, str], ...]
    notes: tuple[str, ...]
    cuts: tuple[Cut, ...]
    flags: tuple[FlagCount, ...]
    bytes: int
    members: int = 0

    @property
    def warnings(self) -> list[str]:
        """What to know of values that are allowed, but are hardly what they seem to be."""
        found = [
            f"{each.label}: {as_typed(each.value)} in {each.rows:,} rows looks like a missing value"
            for each in self.likely_fill_values
        ]
        if found:
            values = dict.fromkeys(as_typed(each.value) for each in self.likely_fill_values)
            found.append(
                f"if so, convert again with --missing-values {' '.join(values)} (missing_values=)"
            )
        if self.wavelength_range is not None and self.wavelength_range[1] < LYMAN_LIMIT:
            found.append(
                f"hydrogen absorbs starlight below {LYMAN_LIMIT:g} Å: if the wavelengths are in nm "
                f"or µm, convert again with wavelengths in Å (--wavelength, wavelength=)"
            )
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON; split and labels by name."""
        quantization = self.quantization
        return {
            **vars(self),
            "path": str(self.path),
            "quantization": None if quantization is None else asdict(quantization),
            "provenance": asdict(self.provenance),
            "wavelength_range": None
            if self.wavelength_range is None
            else list(self.wavelength_range),
            "split": dict(self.split),
            "labels": {
                column.name: {name: getattr(column, name) for name in _LABEL_STATISTICS}
                for column in self.labels
            },
            "missing_values": list(self.missing_values),
            "likely_fill_values": [asdict(found) for found in self.likely_fill_values],
            "pixel_counts": asdict(self.pixel_counts),
            "error_counts": None if self.error_counts is None else asdict(self.error_counts),
            "skipped": [list(star) for star in self.skipped],
            "notes": list(self.notes),
            "cuts": [asdict(cut) for cut in self.cuts],
            "flags": [asdict(count) for count in self.flags],
        }


def store_facts(info: StoreInfo) -> str:
    """Return what notebooks show of a store."""
    covered = info.wavelength_range
    limits = "" if covered is None else f", {covered[0]:.1f} to {covered[1]:.1f} Å"
    labels = (f"{one.name} [{one.unit}]" if one.unit else one.name for one in info.labels)
    values = {
        "path": str(info.path),
        "stars": f"{info.stars:,} ({', '.join(f'{n:,} {name}' for name, n in info.split)})",
        "pixels": f"{info.pixels:,}, wavelengths {info.wavelength}{limits}",
        "labels": ", ".join(labels) or "none",
        "format": f"{info.format}, {info.dtype}, {info.bytes / 1e6:,.1f} MB",
        "read": f"{info.access}: {info.access_reason}",
    }
    if info.warnings:
        values["warning"] = "; ".join(info.warnings)
    return facts("Store", values)
