"""The learning rate of each epoch, and when training stops early.

Both follow from the options and the validation losses of the finished epochs alone, so that
nothing else is needed to resume a run.

Examples
--------
>>> [learning_rate("cosine", 1.0, epochs=4, val_losses=[0.5] * n) for n in (0, 2)]
[1.0, 0.5]
>>> learning_rate("plateau", 1.0, epochs=9, val_losses=[0.3, 0.4, 0.4, 0.4])
0.5
>>> epochs_since_best([0.3, 0.2, 0.4, 0.2])
2
"""

import math
from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

ScheduleName: TypeAlias = Literal["constant", "cosine", "plateau"]
"""How the learning rate changes from epoch to epoch."""

PLATEAU_EPOCHS = 3
"""Epochs without a better validation loss after which ``"plateau"`` lowers the rate."""

PLATEAU_FACTOR = 0.5
"""What ``"plateau"`` multiplies the rate by."""


def learning_rate(
    schedule: ScheduleName, first_rate: float, epochs: int, val_losses: Sequence[float]
) -> float:
    """Return the learning rate of the next epoch.

    Parameters
    ----------
    schedule : {"constant", "cosine", "plateau"}
        With ``"cosine"`` the rate falls from `first_rate` towards 0, which it would reach in the
        epoch after the last one. With ``"plateau"`` it is halved after every `PLATEAU_EPOCHS`
        epochs in a row without a better validation loss.
    first_rate : float
        The rate of the first epoch.
    epochs : int
        Number of epochs of the run.
    val_losses : sequence of float
        Those of the finished epochs.
    """
    if schedule == "cosine":
        return first_rate * 0.5 * (1 + math.cos(math.pi * len(val_losses) / epochs))
    if schedule == "plateau":
        ends = [since > 0 and since % PLATEAU_EPOCHS == 0 for since in _since_best(val_losses)]
        return first_rate * PLATEAU_FACTOR ** sum(ends)
    return first_rate


def epochs_since_best(val_losses: Sequence[float]) -> int:
    """Return the number of epochs after the first one with the lowest validation loss.

    A loss that is NaN is never the lowest.
    """
    return [0, *_since_best(val_losses)][-1]


def _since_best(val_losses: Sequence[float]) -> Iterator[int]:
    """Yield for each epoch the number of epochs since the best one until then."""
    best, since = math.inf, 0
    for loss in val_losses:
        best, since = (loss, 0) if loss < best else (best, since + 1)
        yield since
