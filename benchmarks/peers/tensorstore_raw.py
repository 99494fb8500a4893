"""tensorstore: uncompressed zarr in chunks of one row, batches of rows read at once."""

from collections.abc import Iterator
from importlib.metadata import version

import numpy as np
import tensorstore
import torch

from benchmarks.peers import Batch, Peer, Task


def open_peer(task: Task) -> Peer:
    """Write one zarr array and request the next batch while the current one is in use."""
    path = task.folder / "tensorstore"
    n_rows, n_pixels = task.flux.shape
    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": str(path)}}
    if not path.exists():
        metadata = {
            "shape": [n_rows, n_pixels],
            "chunks": [1, n_pixels],
            "dtype": "<f4",
            "compressor": None,
        }
        created = tensorstore.open({**spec, "metadata": metadata}, create=True).result()
        for start in range(0, n_rows, 256):
            stop = min(start + 256, n_rows)
            created[start:stop] = task.flux[start:stop]
    stored = tensorstore.open(spec, open=True).result()
    labels = torch.from_numpy(task.labels)

    def epoch(index: int) -> Iterator[Batch]:
        order = np.random.default_rng((task.seed, index)).permutation(n_rows)
        batches = [
            order[start : start + task.batch_size] for start in range(0, n_rows, task.batch_size)
        ]
        coming = stored[batches[0]].read()
        for position, rows in enumerate(batches):
            flux = torch.from_numpy(coming.result())
            if position + 1 < len(batches):
                coming = stored[batches[position + 1]].read()
            yield flux.clamp_(min=task.floor).log_(), labels[torch.from_numpy(rows)]

    name = f"tensorstore {version('tensorstore')}"
    return Peer(name, "raw zarr, chunks of one row, one batch ahead", epoch, lambda: None)
