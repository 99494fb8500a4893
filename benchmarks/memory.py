"""A store larger than the page cache left to it: speed, and memory over time.

A helper process drops the file's pages beyond a budget all the while, so that no
control group is needed. The system drops no page that a mapping holds: those who
map the file let go of its pages twenty times a second.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from benchmarks.disk import evict, resident_pages
from benchmarks.protocol import ROUNDS, Result, interleaved, ratio
from benchmarks.stores import store_of
from galahstream.store import open_store
from galahstream.store.readahead import advise
from galahstream.store.readers import Reading
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.loader import SpectraLoader

BATCH, BLOCK = 32, 32
_PLAIN = "plain mapped Dataset"
_SLICE = 32 * 1024 * 1024


def run(
    source: Path,
    work: Path,
    rounds: int = ROUNDS,
    times: int = 12,
    budget: int = 1_000_000_000,
    seconds: float = 4.0,
) -> Result:
    """Measure spectra/s of `seconds` of a shuffled epoch while at most `budget` bytes stay."""
    path = store_of(source, work, "npy float32", times)
    contenders: dict[str, Callable[[int], float]] = {_PLAIN: partial(_plain, path, budget, seconds)}
    for reading in ("mapped", "pread"):
        for order, block in (("block", BLOCK), ("global", None)):
            contenders[f"{order} shuffle, {reading}"] = partial(
                _loader, path, budget, seconds, reading, block
            )
    figures = interleaved(contenders, rounds, warm_up=0)
    ratios = [
        ratio(figures, name, _PLAIN, 80 if name.startswith("block") else 50)
        for name in figures
        if name != _PLAIN
    ]
    growth, notes = _growth(source, work, times, budget)
    settings = {
        "bytes": (path / "flux.npy").stat().st_size,
        "budget": budget,
        "rounds": rounds,
        "seconds": seconds,
        "shuffle_block": BLOCK,
        "memory_mb": growth,
    }
    return Result(
        "memory", "Store larger than the cache left to it", "spectra/s", figures, ratios,
        settings, notes,
    )  # fmt: skip


def _loader(
    path: Path, budget: int, seconds: float, reading: Reading, block: int | None, number: int
) -> float:
    flux = path / "flux.npy"
    evict(flux)
    with open_store(path, reading=reading) as store, _kept_below(flux, budget):
        loader = SpectraLoader(
            SpectraDataset(store), BATCH, shuffle=True, seed=number, shuffle_block=block,
            memory_budget=budget // 4,
        )  # fmt: skip
        with loader:
            return _rate(loader, seconds)


def _plain(path: Path, budget: int, seconds: float, number: int) -> float:
    """Measure np.load with mmap_mode and one spectrum at a time, as one writes it first."""
    evict(path / "flux.npy")
    flux = np.load(path / "flux.npy", mmap_mode="r")
    ended = threading.Event()

    def release_pages() -> None:
        while not ended.wait(0.05):
            advise(flux._mmap, "MADV_DONTNEED")

    def batches() -> Iterator[list[torch.Tensor]]:
        order = np.random.default_rng(number).permutation(len(flux))
        for start in range(0, len(order), BATCH):
            rows = order[start : start + BATCH]
            yield [
                torch.stack([torch.from_numpy(np.log(np.maximum(flux[row], 0.2))) for row in rows])
            ]

    letting_go = threading.Thread(target=release_pages)
    letting_go.start()
    try:
        with _kept_below(path / "flux.npy", budget):
            return _rate(batches(), seconds)
    finally:
        ended.set()
        letting_go.join()


def _rate(batches: Any, seconds: float) -> float:
    """Return spectra/s of what comes within some seconds, after the first second."""
    begun = time.perf_counter()
    start, count = 0.0, 0
    for batch in batches:
        now = time.perf_counter()
        if start:
            count += len(batch[0])
            if now - start > seconds:
                break
        elif now - begun > 1:
            start = now
    return count / (now - start)


@contextmanager
def _kept_below(flux: Path, budget: int) -> Iterator[None]:
    context = multiprocessing.get_context("spawn")
    helper = context.Process(target=keep_below, args=(str(flux), budget), daemon=True)
    helper.start()
    try:
        yield
    finally:
        helper.terminate()
        helper.join()


def keep_below(flux: str, budget: int) -> None:
    """Drop a file's pages, slice after slice, whenever more than `budget` bytes are in memory."""
    path, pages = Path(flux), budget // os.sysconf("SC_PAGESIZE")
    size = path.stat().st_size
    descriptor = os.open(path, os.O_RDONLY)
    hand = 0
    while True:
        resident = int(resident_pages(path).sum())
        for _ in range(-(-size // _SLICE)):
            if resident <= pages:
                break
            os.posix_fadvise(descriptor, hand, _SLICE, os.POSIX_FADV_DONTNEED)
            resident -= _SLICE // 4096 * pages // max(size // 4096, 1)
            hand = (hand + _SLICE) % size
        time.sleep(0.02)


def _growth(
    source: Path, work: Path, times: int, budget: int
) -> tuple[dict[str, list[dict[str, float]]], list[str]]:
    """Return memory after each of three epochs of a small and of the large store."""
    context = multiprocessing.get_context("spawn")
    found, notes = {}, []
    for count in (max(times // 6, 1), times):
        path = store_of(source, work, "npy float32", count)
        with context.Pool(1) as pool:
            sizes = pool.apply(three_epochs, (str(path), budget))
        name = f"{(path / 'flux.npy').stat().st_size / 1e9:.1f} GB"
        found[name] = sizes
        epochs = ", ".join(
            f"{one['private']:.0f} / {one['resident']:.0f} / {one['proportional']:.0f}"
            for one in sizes
        )
        notes.append(
            f"{name}: private / resident / proportional memory in MB before and after each of 3 "
            f"epochs: {epochs}"
        )
    return found, notes


def three_epochs(path: str, budget: int) -> list[dict[str, float]]:
    """Run three epochs and return the process's memory in MB before and after each."""
    with open_store(path) as store:
        dataset = SpectraDataset(store)
        with SpectraLoader(dataset, BATCH, shuffle=True, memory_budget=budget // 4) as loader:
            next(iter(loader))
            sizes = [_sizes()]
            for _ in range(3):
                for _flux, _labels in loader:
                    pass
                sizes.append(_sizes())
    return sizes


def _sizes() -> dict[str, float]:
    process = psutil.Process()
    memory, full = process.memory_info(), process.memory_full_info()
    return {
        "private": (memory.rss - getattr(memory, "shared", 0)) / 1e6,
        "resident": memory.rss / 1e6,
        "proportional": getattr(full, "pss", full.rss) / 1e6,
    }
