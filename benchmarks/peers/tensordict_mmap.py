"""tensordict: a memory-mapped TensorDict, indexed batch by batch, logged by torch."""

from collections.abc import Iterator

import tensordict
import torch
from tensordict import MemoryMappedTensor, TensorDict

from benchmarks.peers import Batch, Peer, Task


def open_peer(task: Task) -> Peer:
    """Write one memory-mapped TensorDict and take each batch's rows from it at once."""
    folder = task.folder / "tensordict"
    n_rows = len(task.flux)
    if not folder.exists():
        flux = MemoryMappedTensor.empty(task.flux.shape, dtype=torch.float32)
        for row in range(n_rows):
            flux[row] = torch.from_numpy(task.flux[row].copy())
        labels = torch.from_numpy(task.labels)
        TensorDict({"flux": flux, "labels": labels}, batch_size=[n_rows]).memmap(folder)
    stored = TensorDict.load_memmap(folder)

    def epoch(index: int) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(task.seed + index)
        order = torch.randperm(n_rows, generator=generator)
        for start in range(0, n_rows, task.batch_size):
            rows = order[start : start + task.batch_size]
            batch = stored[rows]
            yield batch["flux"].clamp_(min=task.floor).log_(), batch["labels"]

    name = f"tensordict {tensordict.__version__}"
    return Peer(name, "memory-mapped TensorDict, batched indexing, no workers", epoch, lambda: None)
