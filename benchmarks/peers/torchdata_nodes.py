"""torchdata.nodes: threads that read and log batches, over an endless sampler."""

from collections.abc import Iterator
from importlib.metadata import version
from itertools import count, islice

import numpy as np
import numpy.typing as npt
import torch
from torchdata.nodes import IterableWrapper, ParallelMapper

from benchmarks.peers import Batch, Peer, Task


def open_peer(task: Task) -> Peer:
    """Read the mapping of the store, since the library has no format of its own."""
    n_rows, n_pixels = task.flux.shape
    n_batches = -(-n_rows // task.batch_size)

    def sampler() -> Iterator[npt.NDArray[np.int64]]:
        for index in count():
            order = np.random.default_rng((task.seed, index)).permutation(n_rows)
            for start in range(0, n_rows, task.batch_size):
                yield order[start : start + task.batch_size]

    def read(rows: npt.NDArray[np.int64]) -> Batch:
        flux = np.empty((len(rows), n_pixels), np.float32)
        # Any mode but the default writes without a buffer in between.
        np.take(task.flux, rows, axis=0, out=flux, mode="clip")
        ready = torch.from_numpy(flux).clamp_(min=task.floor).log_()
        return ready, torch.from_numpy(task.labels[rows])

    node = ParallelMapper(IterableWrapper(sampler()), read, num_workers=task.workers)
    node.reset()

    def epoch(_index: int) -> Iterator[Batch]:
        # The pipeline keeps running: restarting it in each epoch would halve its speed.
        return islice(node, n_batches)

    name = f"torchdata {version('torchdata')}"
    return Peer(name, f"{task.workers} threads, endless sampler of batches", epoch, lambda: None)
