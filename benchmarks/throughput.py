"""Warm epochs: each store and kind of worker against the kernel alone and plain PyTorch."""

import threading
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.plain import mapped_loader, published_script
from benchmarks.protocol import (
    MIN_SECONDS,
    ROUNDS,
    Contenders,
    Ratio,
    Result,
    interleaved,
    ratio,
    timed,
)
from benchmarks.stores import KINDS, store_of
from galahstream.store import open_store
from galahstream.store.readers import RowSpan
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.kernels import best_backend, choose_kernel
from galahstream.stream.loader import SpectraLoader
from galahstream.stream.options import WorkerType

BATCH = 32
BEST, SIXTEEN_BIT = "npy float32, 2 threads", "npy uint16, 2 threads"
PUBLISHED = "published way, all in memory"
MAPPED = "mapped Dataset in a DataLoader, 0 workers"
MAPPED_IN_PROCESSES = "mapped Dataset in a DataLoader, 2 workers"
AUGMENTED, AUGMENTED_16 = f"{BEST}, augmented", f"{SIXTEEN_BIT}, augmented"
_KERNEL, _KERNEL_16 = "kernel, float32, 2 threads", "kernel, uint16, 2 threads"
_KERNEL_8 = "kernel, float32, 2 threads, 8 outputs each"
# The loader may not write into a batch that is in use, so it cycles through this many buffers.
_OUTPUTS = 8


def run(source: Path, work: Path, rounds: int = ROUNDS, times: int = 1) -> Result:
    """Measure spectra/s of a training epoch; of a repeated survey in .npy stores only.

    The published way needs all spectra in memory, and is omitted for a repeated survey.
    """
    kinds = [kind for kind in KINDS if times == 1 or kind.startswith("npy")]
    datasets = {
        kind: SpectraDataset(open_store(store_of(source, work, kind, times))) for kind in kinds
    }
    plain = datasets["npy float32"]
    loaders = _loaders(datasets)
    contenders: Contenders = {
        _KERNEL: partial(bare_kernel, plain, 2, 1),
        _KERNEL_16: partial(bare_kernel, datasets["npy uint16"], 2, 1),
        _KERNEL_8: partial(bare_kernel, plain, 2, _OUTPUTS),
        **{name: partial(_epoch, loader) for name, loader in loaders.items()},
        MAPPED: partial(_epoch, mapped_loader(plain, BATCH)),
        MAPPED_IN_PROCESSES: partial(_epoch, mapped_loader(plain, BATCH, workers=2)),
    }
    if times == 1:
        contenders[PUBLISHED] = partial(_epoch, published_script(plain, BATCH))
    figures = interleaved(contenders, rounds, warm_up=2)
    for loader in loaders.values():
        loader.close()
    settings = {
        "batch": BATCH,
        "stars": len(plain),
        "pixels": plain.n_pixels,
        "rounds": rounds,
        "kernels": best_backend().name,
        "augment": _augment(plain),
    }
    name = "throughput" if times == 1 else f"throughput-{times}"
    title = f"Warm training epochs of {len(plain):,} stars"
    return Result(name, title, "spectra/s", figures, _ratios(figures), settings)


def _loaders(datasets: dict[str, SpectraDataset]) -> dict[str, SpectraLoader]:
    loaders = {
        f"{kind}, 2 threads": SpectraLoader(dataset, BATCH, shuffle=True)
        for kind, dataset in datasets.items()
    }
    workers_by_name: dict[str, tuple[int, WorkerType]] = {
        "npy float32, 0 threads": (0, "thread"),
        "npy float32, 1 thread": (1, "thread"),
        "npy float32, 2 processes": (2, "process"),
    }
    for name, (workers, worker_type) in workers_by_name.items():
        loaders[name] = SpectraLoader(
            datasets["npy float32"],
            BATCH,
            shuffle=True,
            num_workers=workers,
            worker_type=worker_type,
        )
    for name, kind in ((AUGMENTED, "npy float32"), (AUGMENTED_16, "npy uint16")):
        dataset = datasets[kind]
        loaders[name] = SpectraLoader(dataset, BATCH, shuffle=True, augment=_augment(dataset))
    return loaders


def _augment(dataset: SpectraDataset) -> str:
    """Return all augmentations that the wavelengths of a dataset allow."""
    is_known = np.isfinite(dataset.wavelength).all()
    return "velocity=2,noise=20:200,mask=0.02" if is_known else "noise=20:200,mask=0.02"


def _ratios(figures: dict[str, list[float]]) -> list[Ratio]:
    wanted: list[tuple[str, str, float | None]] = [
        (BEST, _KERNEL, 0.85),
        (BEST, _KERNEL_8, None),
        (SIXTEEN_BIT, BEST, 1.15),
        (SIXTEEN_BIT, _KERNEL_16, None),
        (AUGMENTED, BEST, 0.5),
        (AUGMENTED_16, SIXTEEN_BIT, 0.5),
        (BEST, MAPPED, None),
        ("hdf5 float32, 2 threads", BEST, 0.9),
        (BEST, PUBLISHED, None),
    ]
    return [
        ratio(figures, name, over, goal)
        for name, over, goal in wanted
        if name in figures and over in figures
    ]


def _epoch(loader: Iterable[Any], _: int) -> float:
    return timed(lambda: sum(len(batch[0]) for batch in loader), MIN_SECONDS)


def bare_kernel(
    dataset: SpectraDataset, n_threads: int, n_outputs: int, round_number: int
) -> float:
    """Return spectra/s of the loader's kernel with nothing around it but its threads."""
    flux = open_store(dataset.store.path, verify="open").flux
    kernel = choose_kernel(flux.encoding, dataset.transform)
    order = dataset.rows[np.random.default_rng(round_number).permutation(len(dataset))]
    batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]

    def transform_span(out: npt.NDArray[np.float32], span: RowSpan) -> None:
        positions = np.arange(span.positions.start, span.positions.stop)
        kernel(span.buffer, span.starts, out, positions)

    def work(first: int) -> None:
        outputs = [np.empty((BATCH, flux.shape[1]), np.float32) for _ in range(n_outputs)]
        for index, rows in enumerate(batches[first::n_threads]):
            out = outputs[index % n_outputs][: len(rows)]
            flux.read(rows, partial(transform_span, out))

    def all_threads() -> int:
        threads = [threading.Thread(target=work, args=(first,)) for first in range(n_threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(order)

    return timed(all_threads, MIN_SECONDS)
