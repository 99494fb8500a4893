"""Ten epochs of training and validation data, against what training on them took at first."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil

from benchmarks.protocol import ROUNDS, Result, interleaved, median
from benchmarks.stores import store_of
from galahstream.store import open_store
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.loader import SpectraLoader

EPOCHS = 10
REFERENCE_SECONDS = 150.0
"""Time of the run that the project is measured against: 10 epochs, batches of 32."""

WORKER_COUNTS = (0, 2)


def run(source: Path, work: Path, rounds: int = ROUNDS) -> Result:
    """Measure seconds for batches of 32, without workers and with two threads."""
    path = store_of(source, work, "npy float32")
    spectra: dict[int, int] = {}
    contenders: dict[str, Callable[[int], float]] = {
        f"{workers} threads": partial(_seconds, path, workers, spectra) for workers in WORKER_COUNTS
    }
    before = _private_megabytes()
    figures = interleaved(contenders, rounds, warm_up=0)
    notes = [
        f"{spectra[workers]:,} spectra with {workers} threads: {median(values):.3g} s, 1/"
        f"{REFERENCE_SECONDS / median(values):.0f} of the {REFERENCE_SECONDS:.0f} s of the run "
        f"this project starts from"
        for workers, values in zip(WORKER_COUNTS, figures.values(), strict=True)
    ]
    notes.append(
        f"private memory of the process: {before:.0f} MB with torch imported, "
        f"{_private_megabytes():.0f} MB after the last epoch"
    )
    settings = {"epochs": EPOCHS, "spectra": spectra[0], "reference_seconds": REFERENCE_SECONDS}
    return Result("baseline", "Data of ten epochs", "s", figures, [], settings, notes)


def _seconds(path: Path, workers: int, spectra: dict[int, int], _: int) -> float:
    with open_store(path) as store:
        loaders = [
            SpectraLoader(
                SpectraDataset(store, split), shuffle=split == "train", num_workers=workers
            )
            for split in ("train", "val")
        ]
        start = time.perf_counter()
        spectra[workers] = sum(
            len(flux) for _ in range(EPOCHS) for loader in loaders for flux, _labels in loader
        )
        seconds = time.perf_counter() - start
        for loader in loaders:
            loader.close()
    return seconds


def _private_megabytes() -> float:
    """Return the memory of this process that no file lies behind, in MB."""
    memory = psutil.Process().memory_info()
    if hasattr(memory, "shared"):  # Linux: mapped files are counted there, used or not
        return float(memory.rss - memory.shared) / 1e6
    return float(psutil.Process().memory_full_info().uss) / 1e6
