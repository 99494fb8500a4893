"""litdata: optimized chunks of 8 MB, streamed and shuffled by its own loader."""

from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from litdata import StreamingDataLoader, StreamingDataset, optimize

from benchmarks.peers import Batch, Peer, Task

_Array: TypeAlias = npt.NDArray[np.float32]


def open_peer(task: Task) -> Peer:
    """Write chunks of spectra with their labels and stream them."""
    folder = task.folder / "litdata"
    if not folder.exists():
        optimize(
            fn=partial(_row, task.flux, task.labels),
            inputs=list(range(len(task.flux))),
            output_dir=str(folder),
            chunk_bytes="8MB",
            num_workers=1,
        )
    stored = StreamingDataset(str(folder), shuffle=True, seed=task.seed)
    loader = StreamingDataLoader(stored, batch_size=task.batch_size, num_workers=0)

    def epoch(_index: int) -> Iterator[Batch]:
        for rows in loader:
            flux = rows[:, :-3].clone()
            yield flux.clamp_(min=task.floor).log_(), rows[:, -3:]

    name = f"litdata {version('litdata')}"
    return Peer(name, "8 MB chunks, its own shuffle, no workers", epoch, lambda: None)


def _row(flux: _Array, labels: _Array, row: int) -> torch.Tensor:
    return torch.from_numpy(np.concatenate((flux[row], labels[row])))
