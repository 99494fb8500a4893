"""The validation loss of training on a 16-bit store and on its float32 twin."""

import tempfile
from functools import partial
from pathlib import Path

from benchmarks.protocol import Contenders, Result, interleaved
from benchmarks.stores import store_of
from galahstream.learn.train import train

_KINDS = ("npy float32", "npy uint16")


def run(source: Path, work: Path, rounds: int = 3, epochs: int = 3) -> Result:
    """Measure the validation loss after some epochs, with a different seed in each round."""
    contenders: Contenders = {
        kind: partial(_validation_loss, store_of(source, work, kind), epochs) for kind in _KINDS
    }
    figures = interleaved(contenders, rounds, warm_up=0)
    differences = [abs(a - b) for a, b in zip(*figures.values(), strict=True)]
    spread = max(figures[_KINDS[0]]) - min(figures[_KINDS[0]])
    note = (
        f"twins with the same seed differ by at most {max(differences):.2g}; seeds of float32 "
        f"differ by {spread:.2g}"
    )
    return Result(
        "twins", f"Validation loss after {epochs} epochs", "mean squared error of z-scores",
        figures, [], {"epochs": epochs, "seeds": rounds}, [note],
    )  # fmt: skip


def _validation_loss(store: Path, epochs: int, seed: int) -> float:
    with tempfile.TemporaryDirectory() as folder:
        result = train(store, folder, epochs=epochs, seed=seed, progress=False)
    return result.history[-1].val_loss
