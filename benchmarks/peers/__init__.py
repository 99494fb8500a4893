"""Other libraries that feed spectra, one per file, each in its best documented set-up."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch

Batch: TypeAlias = tuple[torch.Tensor, torch.Tensor]

NAMES = (
    "torchdata_nodes",
    "tensordict_mmap",
    "tensorstore_raw",
    "h5py_chunks",
    "datasets_arrow",
    "litdata_chunks",
    "webdataset_tar",
    "mosaicml_mds",
)
"""The modules of this folder, each with `PACKAGE` and `open_peer`."""


@dataclass(frozen=True)
class Task:
    """The task of each peer: to feed the training rows of the same survey.

    Attributes
    ----------
    flux : ndarray, shape (n, L), float32
        A mapping of the training rows as the source gave them, in stored order.
    labels : ndarray, shape (n, 3), float32
        Their z-scores.
    folder : Path
        Where a peer may write the survey in its own format, once.
    batch_size : int
        Spectra per batch.
    floor : float
        Flux is log(max(flux, floor)), natural, float32; every pixel is finite.
    seed : int
        Seed of the peer's own shuffle.
    workers : int
        Threads or processes that it may use; a peer that is faster without uses none.
    """

    flux: npt.NDArray[np.float32]
    labels: npt.NDArray[np.float32]
    folder: Path
    batch_size: int
    floor: float
    seed: int
    workers: int


@dataclass(frozen=True)
class Peer:
    """A peer that is ready: `epoch(index)` yields the batches of one shuffled epoch."""

    name: str
    set_up: str
    epoch: Callable[[int], Iterator[Batch]]
    close: Callable[[], None]


class PeerMissingError(Exception):
    """A peer's package is not installed; the message names it."""


def open_peer(module: str, task: Task) -> Peer:
    """Prepare a peer by the name of its module.

    Raises
    ------
    PeerMissingError
        If its package is not installed.
    """
    try:
        module_of_peer = import_module(f"benchmarks.peers.{module}")
    except ImportError as error:
        msg = f"{module}: {error}; pip install 'galahstream[bench]'"
        raise PeerMissingError(msg) from error
    peer: Peer = module_of_peer.open_peer(task)
    return peer
