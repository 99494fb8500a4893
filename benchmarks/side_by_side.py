"""The loader against other libraries that make the same batches."""

from collections.abc import Iterable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.peers import NAMES, Peer, PeerMissingError, Task, open_peer
from benchmarks.plain import FLOOR
from benchmarks.protocol import (
    MIN_SECONDS,
    ROUNDS,
    Contenders,
    Result,
    interleaved,
    median,
    ratio,
    timed,
)
from benchmarks.stores import store_of
from galahstream.store import open_store
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.loader import SpectraLoader

BATCH, WORKERS = 32, 2
OURS = "galahstream"


def run(source: Path, work: Path, rounds: int = ROUNDS) -> Result:
    """Measure spectra/s of every peer that is installed, after checking its batches."""
    dataset = SpectraDataset(open_store(store_of(source, work, "npy float32")))
    peers, notes = _open_peers(dataset, work / "peers")
    with SpectraLoader(dataset, BATCH, shuffle=True, num_workers=WORKERS) as loader:
        contenders: Contenders = {OURS: partial(_ours, loader)}
        contenders |= {peer.name: partial(_theirs, peer) for peer in peers}
        figures = interleaved(contenders, rounds, warm_up=2)
    for peer in peers:
        peer.close()
    fastest = max((peer.name for peer in peers), key=lambda name: median(figures[name]))
    ratios = [
        ratio(figures, OURS, peer.name, 1.8 if peer.name == fastest else None) for peer in peers
    ]
    settings = {
        "batch": BATCH,
        "workers": WORKERS,
        "rounds": rounds,
        "set-ups": {peer.name: peer.set_up for peer in peers},
    }
    return Result(
        "peers", "Warm training epochs, other libraries", "spectra/s", figures, ratios, settings,
        notes,
    )  # fmt: skip


def _open_peers(dataset: SpectraDataset, folder: Path) -> tuple[list[Peer], list[str]]:
    folder.mkdir(parents=True, exist_ok=True)
    flux = np.load(dataset.store.path / "flux.npy", mmap_mode="r")[: len(dataset)]
    task = Task(flux, dataset.scaled_targets, folder, BATCH, FLOOR, 42, WORKERS)
    peers, notes = [], []
    for name in NAMES:
        try:
            peer = open_peer(name, task)
        except PeerMissingError as error:
            notes.append(str(error))
            continue
        check(peer, dataset)
        peers.append(peer)
    return peers, notes


def check(peer: Peer, dataset: SpectraDataset) -> None:
    """Check that an epoch of a peer has every star once, with its own flux.

    Raises
    ------
    AssertionError
        If it does not.
    """
    row_of = {dataset[row][1].numpy().tobytes(): row for row in range(len(dataset))}
    seen: set[int] = set()
    n_seen = 0
    for flux, labels in peer.epoch(0):
        n_seen += len(flux)
        rows = [row_of[label.numpy().tobytes()] for label in labels]
        seen.update(rows)
        expected, _ = dataset.read_batch(rows)
        if flux.dtype != torch.float32 or not torch.allclose(flux, expected, rtol=1e-5, atol=1e-6):
            msg = f"{peer.name}: its flux differs from the flux of the source"
            raise AssertionError(msg)
    if n_seen != len(dataset) or len(seen) != len(dataset):
        msg = f"{peer.name}: {n_seen} spectra of {len(seen)} stars; expected {len(dataset)} of each"
        raise AssertionError(msg)


def _ours(loader: Iterable[Any], _: int) -> float:
    return timed(lambda: sum(len(flux) for flux, _labels in loader), MIN_SECONDS)


def _theirs(peer: Peer, round_number: int) -> float:
    epochs = count(100 * round_number + 1)
    return timed(lambda: sum(len(flux) for flux, _labels in peer.epoch(next(epochs))), MIN_SECONDS)
