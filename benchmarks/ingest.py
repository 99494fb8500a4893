"""Conversion of a release's FITS files, against reading them with fitsio and astropy.

The stars are synthetic, in DR3's layout over 20 nights, and in the page cache. fitsio,
astropy and plain reading of the bytes run in one thread, on the first stars only.
"""

import multiprocessing
import resource
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import fitsio
import numpy as np
from astropy.io import fits

from benchmarks.protocol import Contenders, Result, interleaved, ratio, timed
from benchmarks.star_files import star_files
from galahstream.conversion.convert import convert
from galahstream.sources.galah_fits import FitsSource
from galahstream.survey.wavelength import CAMERAS

NATIVE, PREPARED = "convert", "convert, rest frame, grid and errors"
FITSIO = "fitsio alone"
_OPTIONS: dict[str, dict[str, Any]] = {
    NATIVE: {},
    PREPARED: {"frame": "rest", "grid": "hermes", "errors": True},
}
# Of 400 and 200 stars/s where one thread of fitsio alone reads 400.
_GOALS = {NATIVE: 1.0, PREPARED: 0.5}
_SAMPLE = 300  # stars that are read with what is compared


def run(source: Path, work: Path, rounds: int = 3, stars: int = 2000) -> Result:
    """Measure stars/s, and the largest memory of a conversion of a tenth and of all stars."""
    folder = star_files(source, work, stars)
    files = sorted(folder.rglob("*.fits"))
    readers: dict[str, Callable[[Path], object]] = {
        "reading the bytes": Path.read_bytes,
        FITSIO: _read_with_fitsio,
        "astropy alone": _read_with_astropy,
    }
    sample = files[: len(CAMERAS) * _SAMPLE]
    contenders: Contenders = {
        name: partial(_read_all, sample, read) for name, read in readers.items()
    }
    contenders |= {
        name: partial(_convert, folder, work / "ingested", options)
        for name, options in _OPTIONS.items()
    }
    figures = interleaved(contenders, rounds)
    ratios = [
        ratio(figures, name, over, goal if over == FITSIO else None)
        for name, goal in _GOALS.items()
        for over in readers
    ]
    memory = {count: _memory(folder, work / "ingested", count) for count in (stars // 10, stars)}
    notes = [
        f"largest memory of a conversion of {count:,} stars: {size:.0f} MB, and {of_readers:.0f} "
        f"MB per process that reads"
        for count, (size, of_readers) in memory.items()
    ]
    settings = {"rounds": rounds, "stars": stars, "memory_mb": memory}
    return Result("ingest", "Star files", "stars/s", figures, ratios, settings, notes)


def _read_all(files: Sequence[Path], read: Callable[[Path], object], _: int) -> float:
    def run() -> int:
        for path in files:
            read(path)
        return len(files) // len(CAMERAS)

    return timed(run)


def _read_with_fitsio(path: Path) -> object:
    with fitsio.FITS(str(path)) as file:
        return file[0].read_header()["CRVAL1"], file[4].read()


def _read_with_astropy(path: Path) -> object:
    with fits.open(path, memmap=False) as file:
        return file[0].header["CRVAL1"], np.array(file[4].data)


def _convert(folder: Path, store: Path, options: dict[str, Any], _: int) -> float:
    def run() -> int:
        with convert(folder, store, progress=False, **options) as converted:
            return len(converted)

    try:
        return timed(run)
    finally:
        shutil.rmtree(store, ignore_errors=True)


def _memory(folder: Path, store: Path, n_stars: int) -> tuple[float, float]:
    """Return the largest memory in MB of a conversion in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(convert_some, folder, store, n_stars).result()


def convert_some(folder: Path, store: Path, n_stars: int) -> tuple[float, float]:
    """Convert the first stars, and return the largest memory of this process and of others, MB."""
    try:
        source = FitsSource(folder).selected(np.arange(n_stars))
        convert(source, store, progress=False, **_OPTIONS[PREPARED]).close()
    finally:
        shutil.rmtree(store, ignore_errors=True)
    ours, readers = (
        resource.getrusage(who).ru_maxrss / 1024
        for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    return ours, readers
