"""webdataset: tar shards read in a random order, shuffled in a buffer of 1,000 spectra."""

from collections.abc import Iterator
from importlib.metadata import version

import numpy as np
import torch
import webdataset

from benchmarks.peers import Batch, Peer, Task

_SHARD_ROWS = 500


def open_peer(task: Task) -> Peer:
    """Write shards of raw bytes and decode them row by row, as tar files are read."""
    folder = task.folder / "webdataset"
    n_rows, n_pixels = task.flux.shape
    pattern = f"{folder}/{{000000..{(n_rows - 1) // _SHARD_ROWS:06d}}}.tar"
    if not folder.exists():
        folder.mkdir()
        with webdataset.ShardWriter(
            f"{folder}/%06d.tar", maxcount=_SHARD_ROWS, verbose=0
        ) as writer:
            for row in range(n_rows):
                data = {"flux": task.flux[row].tobytes(), "labels": task.labels[row].tobytes()}
                writer.write({"__key__": f"{row:08d}", **data})

    def collated(items: list[tuple[bytes, bytes]]) -> Batch:
        flux = np.empty((len(items), n_pixels), dtype=np.float32)
        for row, (data, _) in zip(flux, items, strict=True):
            row[:] = np.frombuffer(data, np.float32)
        labels = [np.frombuffer(data, np.float32) for _, data in items]
        ready = torch.from_numpy(flux).clamp_(min=task.floor).log_()
        return ready, torch.from_numpy(np.stack(labels))

    def epoch(index: int) -> Iterator[Batch]:
        stored = webdataset.WebDataset(
            pattern, shardshuffle=100, seed=task.seed + index, empty_check=False
        )
        pipeline = stored.shuffle(1000).to_tuple("flux", "labels")
        return iter(pipeline.batched(task.batch_size, collation_fn=collated))

    name = f"webdataset {version('webdataset')}"
    return Peer(name, "tar shards of 500, buffer of 1,000, no workers", epoch, lambda: None)
