"""Ten epochs of training and validation data, against what training on them took at first."""

import time
from pathlib import Path

import psutil

from galahstream.learn.train import REFERENCE_SECONDS
from galahstream.store import open_store
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.loader import SpectraLoader

EPOCHS = 10
WORKER_COUNTS = (0, 2)


def run(store: Path) -> list[dict[str, float]]:
    """Print and return, for each number of workers, seconds, spectra/s and private memory in MB."""
    results = [_measure(store, workers) for workers in WORKER_COUNTS]
    print(
        f"{EPOCHS} epochs of training + validation batches of 32; reference {REFERENCE_SECONDS} s"
    )
    print("workers  spectra  seconds  of the reference  spectra/s  private MB")
    for row in results:
        print(
            f"{row['workers']:7.0f}  {row['spectra']:7.0f}  {row['seconds']:7.2f}  "
            f"{row['seconds'] / REFERENCE_SECONDS:16.4f}  {row['spectra_per_s']:9.0f}  "
            f"{row['private_mb']:10.0f}"
        )
    return results


def _measure(path: Path, workers: int) -> dict[str, float]:
    with open_store(path) as store:
        loaders = [
            SpectraLoader(
                SpectraDataset(store, split), shuffle=split == "train", num_workers=workers
            )
            for split in ("train", "val")
        ]
        spectra, private = 0, 0.0
        start = time.perf_counter()
        for _ in range(EPOCHS):
            for loader in loaders:
                for flux, _labels in loader:
                    spectra += len(flux)
            # Outside the loop over batches: asking the system costs more than a batch.
            private = max(private, _private_megabytes())
        seconds = time.perf_counter() - start
        for loader in loaders:
            loader.close()
    return {
        "workers": workers,
        "spectra": spectra,
        "seconds": seconds,
        "spectra_per_s": spectra / seconds,
        "private_mb": private,
    }


def _private_megabytes() -> float:
    """Return the memory of this process and its workers that no file lies behind, in MB."""
    process = psutil.Process()
    return sum(_anonymous(one) for one in (process, *process.children(recursive=True))) / 1e6


def _anonymous(process: psutil.Process) -> float:
    memory = process.memory_info()
    if hasattr(memory, "shared"):  # Linux: mapped files are counted there, used or not
        return float(memory.rss - memory.shared)
    return float(process.memory_full_info().uss)
