"""h5py: rows in chunks of one, batches read in the order of the file, logged by torch."""

from collections.abc import Iterator

import h5py
import numpy as np
import torch

from benchmarks.peers import Batch, Peer, Task


def open_peer(task: Task) -> Peer:
    """Write one HDF5 file and read the rows of each batch one by one."""
    path = task.folder / "h5py.h5"
    n_rows, n_pixels = task.flux.shape
    if not path.exists():
        with h5py.File(path, "w") as file:
            flux = file.create_dataset("flux", task.flux.shape, "f4", chunks=(1, n_pixels))
            for row in range(n_rows):
                flux[row] = task.flux[row]
            file["labels"] = task.labels
    file = h5py.File(path, "r")
    stored, labels = file["flux"], torch.from_numpy(file["labels"][:])

    def epoch(index: int) -> Iterator[Batch]:
        order = np.random.default_rng((task.seed, index)).permutation(n_rows)
        for start in range(0, n_rows, task.batch_size):
            rows = order[start : start + task.batch_size]
            flux = torch.empty((len(rows), n_pixels))
            for position, row in enumerate(rows):
                stored.read_direct(flux.numpy(), np.s_[row, :], np.s_[position, :])
            yield flux.clamp_(min=task.floor).log_(), labels[torch.from_numpy(rows)]

    return Peer(f"h5py {h5py.__version__}", "chunks of one row, no workers", epoch, file.close)
