"""mosaicml-streaming: uncompressed MDS shards with its own shuffle, in two worker processes."""

from collections.abc import Iterator
from importlib.metadata import version

import torch
from streaming import MDSWriter, StreamingDataset
from streaming.base.util import clean_stale_shared_memory
from torch.utils.data import DataLoader

from benchmarks.peers import Batch, Peer, Task


def open_peer(task: Task) -> Peer:
    """Write shards of arrays and stream them through torch's loader."""
    folder = task.folder / "mosaicml"
    if not folder.exists():
        n_pixels = task.flux.shape[1]
        columns = {"flux": f"ndarray:float32:{n_pixels}", "labels": "ndarray:float32:3"}
        with MDSWriter(out=str(folder), columns=columns) as writer:
            for flux, labels in zip(task.flux, task.labels, strict=True):
                writer.write({"flux": flux, "labels": labels})
    clean_stale_shared_memory()
    stored = StreamingDataset(
        local=str(folder), shuffle=True, shuffle_seed=task.seed, batch_size=task.batch_size
    )
    loader = DataLoader(stored, task.batch_size, num_workers=task.workers, persistent_workers=True)

    def epoch(_index: int) -> Iterator[Batch]:
        for batch in loader:
            flux: torch.Tensor = batch["flux"]
            yield flux.clamp_(min=task.floor).log_(), batch["labels"]

    name = f"mosaicml-streaming {version('mosaicml-streaming')}"
    return Peer(name, f"MDS shards, its own shuffle, {task.workers} processes", epoch, lambda: None)
