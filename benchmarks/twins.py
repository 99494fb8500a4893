"""A 16-bit store and its float32 twin train to the same validation loss."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.protocol import Result, interleaved
from benchmarks.stores import store_of
from galahstream.learn.train import train

_KINDS = ("npy float32", "npy uint16")


def run(source: Path, work: Path, rounds: int = 3, epochs: int = 3) -> Result:
    """Measure the validation loss after some epochs, with another seed in each round."""
    contenders: dict[str, Callable[[int], float]] = {
        kind: partial(_validation_loss, store_of(source, work, kind), epochs) for kind in _KINDS
    }
    figures = interleaved(contenders, rounds, warm_up=0)
    apart = [abs(a - b) for a, b in zip(*figures.values(), strict=True)]
    spread = max(figures[_KINDS[0]]) - min(figures[_KINDS[0]])
    note = (
        f"the twins are at most {max(apart):.2g} apart with one seed; the seeds of float32 "
        f"{spread:.2g}"
    )
    return Result(
        "twins", f"Validation loss after {epochs} epochs", "mean squared error of z-scores",
        figures, [], {"epochs": epochs, "seeds": rounds}, [note],
    )  # fmt: skip


def _validation_loss(store: Path, epochs: int, seed: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        result = train(store, folder, epochs=epochs, seed=seed, progress=False)
    return result.history[-1].val_loss
