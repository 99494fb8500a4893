"""The page of a store: what it holds, where it comes from, and what it looks like."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from galahstream.plots import figures
from galahstream.report.page import Picture, Table, significant, write_page
from galahstream.report.star import can_draw_kiel, draw_kiel, draw_star
from galahstream.store import Store
from galahstream.store.info import StoreInfo

_N_STARS = 3


def write_store_page(store: Store, out: Path) -> None:
    """Write the page of a store; of its flux, three stars are read.

    Parameters
    ----------
    store : Store
    out : Path
        The page to write.
    """
    info = store.describe()
    provenance = info.provenance
    survey = " ".join(filter(None, (provenance.survey, provenance.release)))
    labels = ", ".join(column.name for column in info.labels) or "none"
    write_page(
        "store.html",
        out,
        title=f"Store {store.path.name}",
        lead=f"{survey or 'Spectra'}: {info.stars:,} stars, labels {labels}.",
        cards=[
            ("stars", f"{info.stars:,}"),
            ("pixels", f"{info.pixels:,}"),
            ("labels", str(len(info.labels))),
            ("on disk", f"{info.bytes / 1e6:,.1f} MB"),
        ],
        warnings=info.warnings,
        store=list(_facts(store, info)),
        labels=_labels(info),
        cuts=Table(
            ("condition", "stars removed", "of them without a value"),
            [(cut.condition, f"{cut.removed:,}", f"{cut.unknown:,}") for cut in info.cuts],
        ),
        flags=Table(
            ("flag", "bit", "stars"),
            [
                (f"{flag.column}: {flag.meaning}", str(flag.bit), f"{flag.stars:,}")
                for flag in info.flags
            ],
        ),
        figures=_pictures(store) if figures.has_matplotlib() else [],
        notes=info.notes,
    )


def _facts(store: Store, info: StoreInfo) -> Iterator[tuple[str, str]]:
    yield "path", str(info.path)
    yield "format", f"{info.format}, version {info.version}, {info.dtype}"
    if info.quantization is not None:
        yield "16 bits", f"error of at most {info.quantization.largest_error:.2g} per pixel"
    covered = info.wavelength_range
    limits = "" if covered is None else f", {covered[0]:.2f} to {covered[1]:.2f} Å"
    yield "wavelengths", f"{info.wavelength}{limits}"
    for name in ("frame", "grid", "resampling", "velocities"):
        value = getattr(info.provenance, name)
        if value is not None:
            yield name, value
    split = ", ".join(f"{count:,} {name}" for name, count in info.split)
    yield "split", f"{split} (seed {info.split_seed})"
    if info.groups is not None:
        yield "groups", f"stars with equal {info.groups} are in one split"
    counts = vars(info.pixel_counts).items()
    yield "pixels that need care", ", ".join(f"{n:,} {name}" for name, n in counts)
    if info.error_counts is not None:
        yield "errors", f"one per pixel, unknown for {info.error_counts.unknown:,}"
    if info.skipped:
        yield "skipped", f"{len(info.skipped):,} stars that could not be converted"
    yield "fingerprint", store.fingerprint


def _labels(info: StoreInfo) -> Table:
    header = ("label", "unit", "lowest", "highest", "mean", "standard deviation", "missing")
    rows = [
        (
            column.name,
            column.unit,
            significant(column.minimum),
            significant(column.maximum),
            significant(column.mean),
            significant(column.std),
            f"{column.missing:,}",
        )
        for column in info.labels
    ]
    return Table(header, rows)


def _pictures(store: Store) -> list[Picture]:
    with tempfile.TemporaryDirectory(prefix="galahstream.") as folder:
        out = Path(folder) / "picture.png"
        pictures = []
        if can_draw_kiel(store):
            shown = draw_kiel(store, out)
            alt = f"Gravity against temperature of {shown}, coloured by metallicity."
            pictures.append(Picture.of_file(out, "Kiel diagram", alt))
        for row in _rows_to_show(store):
            title = draw_star(store, row, out)
            alt = f"Flux against wavelength of row {row}: {title}."
            pictures.append(Picture.of_file(out, "Spectrum", alt))
    return pictures


def _rows_to_show(store: Store) -> list[int]:
    """Return rows of a few stars, of the lowest to the highest value of the first label."""
    order = np.arange(len(store))
    if store.labels:
        order = np.argsort(next(iter(store.labels.values())), kind="stable")
    places = np.linspace(0, len(order) - 1, min(_N_STARS, len(order))).round().astype(int)
    return [int(row) for row in order[places]]
