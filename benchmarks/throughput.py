"""Warm epochs: each store and kind of worker against the kernel alone and plain PyTorch."""

import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, TensorDataset

from benchmarks.protocol import MIN_SECONDS, ROUNDS, Result, interleaved, ratio, timed
from benchmarks.stores import KINDS, store_of
from galahstream.store import open_store
from galahstream.store.readers import RowSpan
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.kernels import best_backend, choose_kernel
from galahstream.stream.loader import SpectraLoader
from galahstream.stream.options import WorkerType

BATCH = 32
_PUBLISHED, _MAPPED = "published way, all in memory", "mapped Dataset in a DataLoader"
# The loader may not write over a batch that is in use; so many are under way at a time.
_OUTPUTS = 8


def run(source: Path, work: Path, rounds: int = ROUNDS, times: int = 1) -> Result:
    """Measure spectra/s of a training epoch in every way; of a repeated survey in npy alone."""
    kinds = [kind for kind in KINDS if times == 1 or kind.startswith("npy")]
    stores = {kind: open_store(store_of(source, work, kind, times)) for kind in kinds}
    datasets = {kind: SpectraDataset(store) for kind, store in stores.items()}
    plain = datasets["npy float32"]
    contenders: dict[str, Callable[[int], float]] = {}
    for dtype in ("float32", "uint16"):
        known = datasets[f"npy {dtype}"]
        contenders[f"kernel, {dtype}, 2 threads"] = partial(bare_kernel, known, 2, 1)
    contenders["kernel, float32, 2 threads, 8 outputs each"] = partial(
        bare_kernel, plain, 2, _OUTPUTS
    )
    loaders = {}
    for kind, dataset in datasets.items():
        loaders[f"{kind}, 2 threads"] = SpectraLoader(dataset, BATCH, shuffle=True)
    pools: list[tuple[int, WorkerType]] = [(0, "thread"), (1, "thread"), (2, "process")]
    for workers, worker_type in pools:
        plural = "" if workers == 1 else "es" if worker_type == "process" else "s"
        loaders[f"npy float32, {workers} {worker_type}{plural}"] = SpectraLoader(
            plain, BATCH, shuffle=True, num_workers=workers, worker_type=worker_type
        )
    contenders |= {name: partial(_epoch, loader) for name, loader in loaders.items()}
    if times == 1:
        contenders[_PUBLISHED] = partial(_epoch, _published(plain))
    for workers in (0, 2):
        mapped = DataLoader(
            _MappedDataset(plain), BATCH, shuffle=True, num_workers=workers,
            persistent_workers=workers > 0, multiprocessing_context="fork" if workers else None,
        )  # fmt: skip
        contenders[f"{_MAPPED}, {workers} workers"] = partial(_epoch, mapped)
    figures = interleaved(contenders, rounds, warm_up=2)
    for loader in loaders.values():
        loader.close()
    best = "npy float32, 2 threads"
    ratios = [
        ratio(figures, best, "kernel, float32, 2 threads", 0.85),
        ratio(figures, best, "kernel, float32, 2 threads, 8 outputs each"),
        ratio(figures, "npy uint16, 2 threads", best, 1.15),
        ratio(figures, "npy uint16, 2 threads", "kernel, uint16, 2 threads"),
        ratio(figures, best, f"{_MAPPED}, 0 workers"),
    ]
    if times == 1:
        ratios.append(ratio(figures, "hdf5 float32, 2 threads", best, 0.9))
        ratios.append(ratio(figures, best, _PUBLISHED))
    settings = {
        "batch": BATCH,
        "stars": len(plain),
        "pixels": plain.n_pixels,
        "rounds": rounds,
        "kernels": best_backend().name,
    }
    name = "throughput" if times == 1 else f"throughput-{times}"
    title = f"Warm training epochs of {len(plain):,} stars"
    return Result(name, title, "spectra/s", figures, ratios, settings)


def _epoch(loader: Iterable[Any], _: int) -> float:
    return timed(lambda: sum(len(batch[0]) for batch in loader), MIN_SECONDS)


def bare_kernel(dataset: SpectraDataset, n_threads: int, n_outputs: int, number: int) -> float:
    """Return spectra/s of the loader's kernel with nothing around it but its threads."""
    flux = open_store(dataset.store.path, verify="open").flux
    kernel = choose_kernel(flux.encoding, dataset.transform)
    order = dataset.rows[np.random.default_rng(number).permutation(len(dataset))]
    batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]

    def transform_span(out: NDArray[np.float32], span: RowSpan) -> None:
        kernel(span.buffer, span.starts, out[span.positions])

    def work(first: int) -> None:
        outputs = [np.empty((BATCH, flux.shape[1]), np.float32) for _ in range(n_outputs)]
        for place, rows in enumerate(batches[first::n_threads]):
            out = outputs[place % n_outputs][: len(rows)]
            flux.read(rows, partial(transform_span, out))

    def all_threads() -> int:
        threads = [threading.Thread(target=work, args=(first,)) for first in range(n_threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(order)

    return timed(all_threads, MIN_SECONDS)


def _published(dataset: SpectraDataset) -> DataLoader[Any]:
    """Return what the published script does: everything read and logged before the first batch."""
    flux = np.log(np.maximum(dataset.store.flux[dataset.rows], 0.2))
    labels = np.asarray(dataset.scaled_targets)
    tensors = TensorDataset(torch.from_numpy(flux), torch.from_numpy(labels))
    return DataLoader(tensors, BATCH, shuffle=True)


class _MappedDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """What one writes first: np.load with mmap_mode, one spectrum at a time."""

    def __init__(self, dataset: SpectraDataset) -> None:
        self._flux = np.load(dataset.store.path / "flux.npy", mmap_mode="r")
        self._labels = torch.from_numpy(dataset.scaled_targets)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.from_numpy(np.log(np.maximum(self._flux[index], 0.2))), self._labels[index]
