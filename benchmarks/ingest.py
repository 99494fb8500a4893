"""Conversion of a release's FITS files, against reading them with fitsio and astropy.

The stars are synthetic, in DR3's layout over 20 nights, and in the page cache. fitsio,
astropy and plain reading of the bytes run in one thread, on the first stars only. The two
read the flux alone: fitsio takes ten times longer to read a header.
"""

import multiprocessing
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.protocol import Contenders, Result, interleaved, ratio, timed
from benchmarks.star_files import star_files
from galahstream.conversion.convert import convert
from galahstream.sources.galah_fits import FitsSource
from galahstream.survey.wavelength import CAMERAS

NATIVE, PREPARED = "convert", "convert, rest frame, grid and errors"
FITSIO = "fitsio, flux alone"
_OPTIONS: dict[str, dict[str, Any]] = {
    NATIVE: {},
    PREPARED: {"frame": "rest", "grid": "hermes", "errors": True},
}
# Of 400 and 200 stars/s where one thread of fitsio alone reads 400.
_GOALS = {NATIVE: 1.0, PREPARED: 0.5}
_SAMPLE = 300  # stars that are read with what is compared


def run(source: Path, work: Path, rounds: int = 3, stars: int = 2000) -> Result:
    """Measure stars/s, and the memory of conversions of half and of all stars."""
    folder = star_files(source, work, stars)
    files = sorted(folder.rglob("*.fits"))
    readers: dict[str, Callable[[Path], object]] = {
        "reading the bytes": Path.read_bytes,
        "astropy, flux alone": _read_with_astropy,
    }
    notes = []
    try:
        readers[FITSIO] = partial(_read_with_fitsio, import_module("fitsio").FITS)
    except ImportError as error:
        notes.append(f"skipped: {FITSIO} ({error}; pip install 'galahstream[bench]')")
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
    memory = {count: _memory(folder, work / "ingested", count) for count in (stars // 2, stars)}
    notes += [
        f"private memory of a conversion of {count:,} stars, all processes: {before:.0f} MB before "
        f"and at most {most:.0f} MB"
        for count, (before, most) in memory.items()
    ]
    settings = {"rounds": rounds, "stars": stars, "memory_mb": memory}
    return Result("ingest", "Star files", "stars/s", figures, ratios, settings, notes)


def _read_all(files: Sequence[Path], read: Callable[[Path], object], _: int) -> float:
    def run() -> int:
        for path in files:
            read(path)
        return len(files) // len(CAMERAS)

    return timed(run)


def _read_with_fitsio(open_file: Callable[[str], Any], path: Path) -> object:
    with open_file(str(path)) as file:
        return file[4].read()


def _read_with_astropy(path: Path) -> object:
    from astropy.io import fits

    with fits.open(path, memmap=False) as file:
        return np.array(file[4].data)


def _convert(folder: Path, store: Path, options: dict[str, Any], _: int) -> float:
    def run() -> int:
        with convert(folder, store, progress=False, **options) as converted:
            return len(converted)

    try:
        return timed(run)
    finally:
        shutil.rmtree(store, ignore_errors=True)


def _memory(folder: Path, store: Path, n_stars: int) -> tuple[float, float]:
    """Return the memory in MB before and during a conversion in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool:
        return pool.submit(convert_some, folder, store, n_stars).result()


def convert_some(folder: Path, store: Path, n_stars: int) -> tuple[float, float]:
    """Convert the first stars, and return the private memory before and the most of it, MB."""
    before = _private_memory()
    try:
        source = FitsSource(folder).selected(np.arange(n_stars))
        with _watched_memory() as sizes:
            convert(source, store, progress=False, **_OPTIONS[PREPARED]).close()
    finally:
        shutil.rmtree(store, ignore_errors=True)
    return before, max(sizes)


@contextmanager
def _watched_memory() -> Iterator[list[float]]:
    """Yield a list that grows by the memory of this process and its children, all the time."""
    sizes = [_private_memory()]
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            sizes.append(_private_memory())

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield sizes
    finally:
        ended.set()
        watching.join()


def _private_memory() -> float:
    """Return the memory in MB that this process and its children share with no other."""
    process, size = psutil.Process(), 0.0
    for each in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            size += each.memory_full_info().uss / 1e6
    return size
