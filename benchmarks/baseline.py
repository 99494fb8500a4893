"""The data of ten epochs of training and validation, against the run that started the project."""

import gc
import multiprocessing
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from benchmarks.plain import published_script
from benchmarks.protocol import ROUNDS, Contenders, Result, interleaved, median
from benchmarks.side_by_side import OURS
from benchmarks.stores import store_of
from benchmarks.throughput import BATCH, PUBLISHED
from galahstream.store import open_store
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.loader import SpectraLoader

EPOCHS = 10
REFERENCE_SECONDS = 150.0
"""Training and validation of the published run: 10 epochs, batch 32, on a laptop's GPU."""
_WORKER_COUNTS = (0, 2)


def run(source: Path, work: Path, rounds: int = ROUNDS) -> Result:
    """Measure seconds for batches of 32, without workers and with two threads."""
    path = store_of(source, work, "npy float32")
    spectra: dict[int, int] = {}
    contenders: Contenders = {
        f"{workers} threads": partial(_seconds, path, workers, spectra)
        for workers in _WORKER_COUNTS
    }
    figures = interleaved(contenders, rounds, warm_up=0)
    private = {name: _in_a_fresh_process(name, path) for name in (OURS, PUBLISHED)}
    notes = [
        f"{spectra[workers]:,} spectra with {workers} threads: {median(values):.3g} s, 1/"
        f"{REFERENCE_SECONDS / median(values):.0f} of the {REFERENCE_SECONDS:.0f} s of the "
        f"published run"
        for workers, values in zip(_WORKER_COUNTS, figures.values(), strict=True)
    ]
    notes += [
        f"private memory of a process after one epoch: {megabytes:,.0f} MB, {name}"
        for name, megabytes in private.items()
    ]
    settings = {
        "epochs": EPOCHS,
        "spectra": spectra[0],
        "reference_seconds": REFERENCE_SECONDS,
        "private_mb": private,
    }
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


def _in_a_fresh_process(name: str, path: Path) -> float:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(private_megabytes_after_an_epoch, (name, str(path)))


def private_megabytes_after_an_epoch(name: str, path: str) -> float:
    """Return the private memory of this process after one training epoch, in MB."""
    dataset = SpectraDataset(open_store(path))
    loader: Iterable[Any] = (
        SpectraLoader(dataset, BATCH, shuffle=True)
        if name == OURS
        else published_script(dataset, BATCH)
    )
    for _flux, _labels in loader:
        pass
    gc.collect()
    return _private_megabytes()


def _private_megabytes() -> float:
    """Return the memory of this process that is not backed by a file, in MB."""
    memory = psutil.Process().memory_info()
    if hasattr(memory, "shared"):  # on Linux, which counts mapped files there
        return float(memory.rss - memory.shared) / 1e6
    return float(psutil.Process().memory_full_info().uss) / 1e6
