"""Conversion, against copying the same bytes with cp and fsync."""

import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.protocol import ROUNDS, Contenders, Result, interleaved, ratio, timed
from galahstream.conversion.convert import convert
from galahstream.sources.open import open_source

_OPTIONS: dict[str, dict[str, Any]] = {
    "npy float32": {},
    "npy float32, 1 thread": {"jobs": 1},
    "npy uint16": {"dtype": "uint16"},
    "hdf5 float32": {"format": "hdf5"},
    "npy in place": {"in_place": True},
}


def run(source: Path, work: Path, rounds: int = ROUNDS) -> Result:
    """Measure spectra/s of conversions of a source that is in the page cache."""
    contenders: Contenders = {"cp and fsync": partial(_copy, source, work / "copy.npy")}
    contenders |= {
        name: partial(_convert, source, work / "converted", options)
        for name, options in _OPTIONS.items()
    }
    figures = interleaved(contenders, rounds)
    ratios = [
        ratio(figures, name, "cp and fsync", 0.8 if name == "npy float32" else None)
        for name in _OPTIONS
    ]
    return Result("convert", "Conversion", "spectra/s", figures, ratios, {"rounds": rounds})


def _copy(source: Path, copy: Path, _: int) -> float:
    def run() -> int:
        shutil.copyfile(source / "spectra.npy", copy)
        descriptor = os.open(copy, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
        return len(open_source(source))

    try:
        return timed(run)
    finally:
        copy.unlink()


def _convert(source: Path, store: Path, options: dict[str, Any], _: int) -> float:
    def run() -> int:
        with convert(source, store, progress=False, **options) as converted:
            return len(converted)

    try:
        return timed(run)
    finally:
        shutil.rmtree(store) if store.is_dir() else store.unlink()
