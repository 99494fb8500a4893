"""Epochs of a file that is not in memory, against raw reads of the same file."""

from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmarks.disk import evict, read_rows, read_sequentially
from benchmarks.protocol import ROUNDS, Contenders, Result, interleaved, ratio, timed
from benchmarks.stores import store_of
from galahstream.store import open_store
from galahstream.store.readers import Reading
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.loader import SpectraLoader

BATCH, BLOCK, IN_FLIGHT = 32, 32, 16


def run(source: Path, work: Path, rounds: int = ROUNDS, times: int = 1) -> Result:
    """Measure spectra/s of an epoch, with an empty page cache before each one."""
    contenders: Contenders = {}
    comparisons = []
    for dtype in ("float32", "uint16"):
        path = store_of(source, work, f"npy {dtype}", times)
        contenders[f"raw rows, {dtype}"] = partial(_raw_rows, path)
        contenders[f"raw sequential, {dtype}"] = partial(_raw_sequential, path)
        for reading in ("mapped", "pread"):
            for block in (None, BLOCK):
                order = "global" if block is None else "block"
                name = f"{order} shuffle, {reading}, {dtype}"
                contenders[name] = partial(_loader, path, reading, block)
                over = f"raw {'rows' if block is None else 'sequential'}, {dtype}"
                comparisons.append((name, over))
    figures = interleaved(contenders, rounds)
    ratios = [ratio(figures, name, over, 0.85) for name, over in comparisons]
    settings = {
        "batch": BATCH,
        "shuffle_block": BLOCK,
        "rounds": rounds,
        "in_flight": IN_FLIGHT,
        "times": times,
    }
    name = "cold" if times == 1 else f"cold-{times}"
    title = "Cold training epochs" if times == 1 else f"Cold training epochs, survey {times} times"
    return Result(name, title, "spectra/s", figures, ratios, settings)


def _loader(path: Path, reading: Reading, block: int | None, round_number: int) -> float:
    evict(path / "flux.npy")
    with open_store(path, reading=reading) as store:
        loader = SpectraLoader(
            SpectraDataset(store), BATCH, shuffle=True, seed=round_number, shuffle_block=block
        )
        with loader:
            return timed(lambda: sum(len(flux) for flux, _labels in loader))


def _raw_rows(path: Path, round_number: int) -> float:
    evict(path / "flux.npy")
    offsets, row_bytes = _train_rows(path)
    shuffled = np.random.default_rng(round_number).permutation(offsets)
    return timed(lambda: read_rows(path / "flux.npy", shuffled, row_bytes, IN_FLIGHT))


def _raw_sequential(path: Path, _: int) -> float:
    evict(path / "flux.npy")
    offsets, row_bytes = _train_rows(path)
    stop = int(offsets[-1]) + row_bytes
    return timed(lambda: read_sequentially(path / "flux.npy", stop) // row_bytes)


def _train_rows(path: Path) -> tuple[npt.NDArray[np.int64], int]:
    """Return the offsets of the training rows in the flux file, and the bytes per row."""
    with open_store(path) as store:
        row_bytes = store.flux.shape[1] * store.flux.dtype.itemsize
        return 4096 + np.arange(store.manifest.split_sizes[0]) * row_bytes, row_bytes
