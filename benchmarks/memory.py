"""A store larger than the page cache left to it: speed, and memory over time.

A helper process keeps dropping the file's pages beyond a budget, which takes the
place of a control group. The system does not drop pages that are mapped, so
contenders that map the file release its pages twenty times per second.
"""

import multiprocessing
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import psutil
import torch

from benchmarks.disk import evict, resident_pages
from benchmarks.plain import MappedDataset, mapped_loader
from benchmarks.protocol import ROUNDS, Contenders, Result, interleaved, ratio
from benchmarks.stores import store_of
from galahstream.store import open_store
from galahstream.store.readahead import advise
from galahstream.store.readers import Reading
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.loader import SpectraLoader

BATCH, BLOCK = 32, 32
PLAIN = "plain mapped Dataset"
GLOBAL_PREAD = "global shuffle, pread"
_SLICE_BYTES = 32 * 1024 * 1024


def run(
    source: Path,
    work: Path,
    rounds: int = ROUNDS,
    times: int = 12,
    budget: int = 1_000_000_000,
    seconds: float = 4.0,
) -> Result:
    """Measure spectra/s during `seconds` of an epoch, with `budget` bytes of page cache."""
    path = store_of(source, work, "npy float32", times)
    contenders: Contenders = {PLAIN: partial(_plain, path, budget, seconds)}
    for reading in ("mapped", "pread"):
        for order, block in (("block", BLOCK), ("global", None)):
            contenders[f"{order} shuffle, {reading}"] = partial(
                _loader, path, budget, seconds, reading, block
            )
    figures = interleaved(contenders, rounds, warm_up=0)
    ratios = [
        ratio(figures, name, PLAIN, 80 if name.startswith("block") else 50)
        for name in figures
        if name != PLAIN
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
    path: Path, budget: int, seconds: float, reading: Reading, block: int | None, round_number: int
) -> float:
    flux = path / "flux.npy"
    evict(flux)
    with open_store(path, reading=reading) as store, _limited_cache(flux, budget):
        loader = SpectraLoader(
            SpectraDataset(store), BATCH, shuffle=True, seed=round_number, shuffle_block=block,
            memory_budget=budget // 4,
        )  # fmt: skip
        with loader:
            return _rate(loader, seconds)


def _plain(path: Path, budget: int, seconds: float, round_number: int) -> float:
    """Measure a mapped Dataset in a DataLoader, the obvious way to write it."""
    evict(path / "flux.npy")
    torch.manual_seed(round_number)
    with open_store(path) as store:
        loader = mapped_loader(SpectraDataset(store), BATCH)
    mapped = loader.dataset
    assert isinstance(mapped, MappedDataset)
    ended = threading.Event()

    def release_pages() -> None:
        while not ended.wait(0.05):
            advise(mapped.mapping, "MADV_DONTNEED")

    releasing = threading.Thread(target=release_pages)
    releasing.start()
    try:
        with _limited_cache(path / "flux.npy", budget):
            return _rate(loader, seconds)
    finally:
        ended.set()
        releasing.join()


def _rate(batches: Iterable[Any], seconds: float) -> float:
    """Return spectra/s over some seconds of epochs, not counting the first second."""
    begun = time.perf_counter()
    start, count = 0.0, 0
    for batch in chain.from_iterable(repeat(batches)):
        now = time.perf_counter()
        if start:
            count += len(batch[0])
            if now - start > seconds:
                break
        elif now - begun > 1:
            start = now
    return count / (now - start)


@contextmanager
def _limited_cache(flux: Path, budget: int) -> Iterator[None]:
    context = multiprocessing.get_context("spawn")
    helper = context.Process(target=limit_cache, args=(str(flux), budget), daemon=True)
    helper.start()
    try:
        yield
    finally:
        helper.terminate()
        helper.join()


def limit_cache(flux: str, budget: int) -> None:
    """Drop a file's pages slice by slice whenever more than `budget` bytes are in memory."""
    path, pages = Path(flux), budget // os.sysconf("SC_PAGESIZE")
    size = path.stat().st_size
    descriptor = os.open(path, os.O_RDONLY)
    offset = 0
    while True:
        resident = int(resident_pages(path).sum())
        for _ in range(-(-size // _SLICE_BYTES)):
            if resident <= pages:
                break
            os.posix_fadvise(descriptor, offset, _SLICE_BYTES, os.POSIX_FADV_DONTNEED)
            resident -= _SLICE_BYTES // 4096 * pages // max(size // 4096, 1)
            offset = (offset + _SLICE_BYTES) % size
        time.sleep(0.02)


def _growth(
    source: Path, work: Path, times: int, budget: int
) -> tuple[dict[str, list[dict[str, float]]], list[str]]:
    """Return memory after each of three epochs of a small and of the large store."""
    context = multiprocessing.get_context("spawn")
    growth, notes = {}, []
    for count in (max(times // 6, 1), times):
        path = store_of(source, work, "npy float32", count)
        with context.Pool(1) as pool:
            sizes = pool.apply(three_epochs, (str(path), budget))
        name = f"{(path / 'flux.npy').stat().st_size / 1e9:.1f} GB"
        growth[name] = sizes
        epochs = ", ".join(
            f"{one['private']:.0f} / {one['resident']:.0f} / {one['proportional']:.0f}"
            for one in sizes
        )
        notes.append(
            f"{name}: private / resident / proportional memory in MB before and after each of 3 "
            f"epochs: {epochs}"
        )
    return growth, notes


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
