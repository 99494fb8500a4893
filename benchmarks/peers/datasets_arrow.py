"""Hugging Face datasets: an Arrow file with rows of fixed length, taken batch by batch."""

from collections.abc import Iterator

import datasets
import numpy as np
import torch
from datasets import Dataset, Features, List, Value

from benchmarks.peers import Batch, Peer, Task


def open_peer(task: Task) -> Peer:
    """Write one Arrow data set and take each batch's rows from it as numpy arrays."""
    folder = task.folder / "datasets"
    n_rows, n_pixels = task.flux.shape
    datasets.disable_progress_bars()
    if not folder.exists():
        pixel = Value("float32")
        features = Features(flux=List(pixel, length=n_pixels), labels=List(pixel, length=3))

        def rows() -> Iterator[dict[str, object]]:
            for flux, labels in zip(task.flux, task.labels, strict=True):
                yield {"flux": flux, "labels": labels}

        written = Dataset.from_generator(
            rows, features=features, cache_dir=str(task.folder / "cache")
        )
        written.save_to_disk(folder)
    stored = datasets.load_from_disk(str(folder)).with_format("numpy")

    def epoch(index: int) -> Iterator[Batch]:
        order = np.random.default_rng((task.seed, index)).permutation(n_rows)
        for start in range(0, n_rows, task.batch_size):
            batch = stored[order[start : start + task.batch_size]]
            flux = torch.from_numpy(np.maximum(batch["flux"], np.float32(task.floor)))
            yield flux.log_(), torch.from_numpy(np.array(batch["labels"]))

    name = f"datasets {datasets.__version__}"
    return Peer(name, "Arrow, numpy format, batched indexing, no workers", epoch, lambda: None)
