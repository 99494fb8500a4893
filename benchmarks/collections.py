"""A collection of 200 members, against one store of the same rows: warm, cold, and open files."""

from functools import partial
from pathlib import Path

import numpy as np
import psutil

from benchmarks.disk import evict
from benchmarks.protocol import (
    MIN_SECONDS,
    ROUNDS,
    Contenders,
    Result,
    interleaved,
    ratio,
    timed,
)
from benchmarks.stores import KINDS, store_of
from galahstream.conversion.collection import merge
from galahstream.conversion.convert import convert
from galahstream.sources.open import open_source
from galahstream.sources.wrappers import Selected
from galahstream.store import Store, open_store
from galahstream.store.readers import Reading
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.loader import SpectraLoader

BATCH, MEMBERS = 32, 200
ONE, MANY = "one store", f"collection of {MEMBERS}"
GOAL = 0.9


def run(source: Path, work: Path, rounds: int = ROUNDS) -> Result:
    """Measure spectra/s of training epochs, after a check that both give equal batches."""
    paths = {ONE: store_of(source, work, "npy float32"), MANY: collection_of(source, work)}
    stores = {name: open_store(path) for name, path in paths.items()}
    open_files = _check_equal(stores)
    loaders = {
        name: SpectraLoader(SpectraDataset(store), BATCH, shuffle=True)
        for name, store in stores.items()
    }
    contenders: Contenders = {
        f"{name}, warm": partial(_warm_epoch, loader) for name, loader in loaders.items()
    }
    figures = interleaved(contenders, rounds, warm_up=2)
    for name, loader in loaders.items():
        loader.close()
        stores[name].close()
    del stores, loaders, contenders
    cold: Contenders = {
        f"{name}, cold, {reading}": partial(_cold_epoch, path, reading)
        for name, path in paths.items()
        for reading in ("mapped", "pread")
    }
    figures |= interleaved(cold, rounds)
    kinds = ("warm", "cold, mapped", "cold, pread")
    return Result(
        "collections",
        "Training epochs of a collection",
        "spectra/s",
        figures,
        [ratio(figures, f"{MANY}, {kind}", f"{ONE}, {kind}", GOAL) for kind in kinds],
        {"batch": BATCH, "members": MEMBERS, "rounds": rounds, "open_files": open_files},
        [f"both give equal batches; files open: {open_files}"],
    )


def collection_of(source: Path, work: Path) -> Path:
    """Return a collection of the rows of a source, split as they are in one store."""
    path = work / f"collection-{MEMBERS}"
    if path.exists():
        return path
    with open_store(store_of(source, work, "npy float32")) as whole:
        split_of = np.empty(len(whole), np.uint8)
        split_of[whole.source_row] = whole.split
    opened, parts = open_source(source), work / f"{path.name}-parts"
    parts.mkdir(exist_ok=True)
    pieces = []
    # One member has one split, since a conversion would draw another one of its own.
    for code, split in enumerate(((1, 0, 0), (0, 1, 0), (0, 0, 1))):
        rows = np.flatnonzero(split_of == code)
        n_pieces = min(max(round(MEMBERS * len(rows) / len(split_of)), 1), len(rows))
        for number, piece in enumerate(np.array_split(rows, n_pieces)):
            part = parts / f"{code}-{number}"
            if not part.exists():
                kind = KINDS["npy float32"]
                convert(
                    Selected(opened, piece), part,
                    format=kind.format, split=split, progress=False,
                ).close()  # fmt: skip
            pieces.append(part)
    merge(path, pieces).close()
    return path


def _check_equal(stores: dict[str, Store]) -> dict[str, int]:
    """Raise if the stores give other batches; return how many files of each are open."""
    datasets = [SpectraDataset(store, return_ids=True) for store in stores.values()]
    for one, other in zip(
        *(SpectraLoader(dataset, BATCH, shuffle=True) for dataset in datasets), strict=True
    ):
        if not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True)):
            msg = f"{MANY} gives other batches than {ONE}"
            raise AssertionError(msg)
    names = [file.path for file in psutil.Process().open_files() if file.path.endswith("flux.npy")]
    return {
        name: sum(path.startswith(f"{store.path}/") for path in names)
        for name, store in stores.items()
    }


def _warm_epoch(loader: SpectraLoader, _: int) -> float:
    return timed(lambda: sum(len(batch[0]) for batch in loader), MIN_SECONDS)


def _cold_epoch(path: Path, reading: Reading, round_number: int) -> float:
    with open_store(path) as store:
        files = store.spectra_files
    evict(*files)
    with open_store(path, reading=reading) as store:
        loader = SpectraLoader(SpectraDataset(store), BATCH, shuffle=True, seed=round_number)
        with loader:
            return timed(lambda: sum(len(flux) for flux, _labels in loader))
