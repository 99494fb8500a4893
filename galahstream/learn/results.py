"""The records of a training run: one per epoch, and its result."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from galahstream.learn.metrics import LabelMetrics
from galahstream.learn.run import TrainOptions
from galahstream.learn.trained_model import TrainedModel
from galahstream.validation import checked, integer, number, number_or_nan, record, sequence

Json: TypeAlias = str | int | float | Sequence["Json"] | Mapping[str, "Json"] | None
"""Plain values that JSON can hold."""

_MAX_LABELS = 4096


@dataclass(frozen=True)
class EpochRecord:
    """One finished epoch of training.

    Attributes
    ----------
    epoch : int
        Number of the epoch, from 1.
    train_loss, val_loss : float
        Mean losses over the training and validation stars, of scaled labels.
    labels : tuple of LabelMetrics
        Errors on the validation stars, in the units of the labels.
    learning_rate : float
    spectra_per_s : float
        Training stars per second of training.
    waiting_share : float
        Fraction of the training time that was spent waiting for data.
    seconds : float
        Duration of training and validation.
    """

    epoch: int = checked(partial(integer, minimum=1))
    train_loss: float = checked(number)
    val_loss: float = checked(number_or_nan)
    labels: tuple[LabelMetrics, ...] = checked(
        partial(sequence, check=record(LabelMetrics), maximum=_MAX_LABELS)
    )
    learning_rate: float = checked(partial(number, above=0))
    spectra_per_s: float = checked(number)
    waiting_share: float = checked(number)
    seconds: float = checked(number)

    def as_row(self) -> dict[str, int | float]:
        """Return the record as a flat row of a table."""
        row = {name: value for name, value in vars(self).items() if name != "labels"}
        for label in self.labels:
            row |= {f"val_rmse_{label.name}": label.rmse, f"val_r2_{label.name}": label.r2}
        return row


class SplitCounts(NamedTuple):
    """The number of stars in each split."""

    train: int
    val: int
    test: int


class LabelPairs(NamedTuple):
    """Predicted and true labels of n stars in their units, each (n, K) float64."""

    predicted: npt.NDArray[np.float64]
    true: npt.NDArray[np.float64]


@dataclass(frozen=True)
class TrainingResult:
    """A finished run: the trained model, its history, and its errors on the test stars.

    Attributes
    ----------
    model : TrainedModel
        On the CPU, in evaluation mode.
    out : Path
        The folder of the run.
    history : tuple of EpochRecord
    test_loss : float
        Mean loss over the test stars, of scaled labels.
    test : tuple of LabelMetrics
        Errors on the test stars, in the units of the labels.
    stars : SplitCounts
        The number of stars that the run was trained, validated and tested on.
    options : TrainOptions
    device : str
        The device that was used.
    notes : tuple of str
        What the run could not do, and the cure.
    """

    model: TrainedModel
    out: Path
    history: tuple[EpochRecord, ...]
    test_loss: float
    test: tuple[LabelMetrics, ...]
    stars: SplitCounts
    options: TrainOptions
    device: str
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Duration of training and validation, all epochs together."""
        return sum(record.seconds for record in self.history)

    @property
    def settings(self) -> dict[str, int | float | str]:
        """The settings of the optimisation, for tables of several runs."""
        return {
            "model": self.model.network.name,
            "epochs": self.options.epochs,
            "batch_size": self.options.batch_size,
            "learning_rate": self.options.lr,
            "seed": self.options.seed,
            "device": self.device,
        }

    def as_dict(self) -> dict[str, Json]:
        """Return what ``metrics.json`` holds: plain values, with None for NaN."""
        return {
            "test_loss": finite_or_none(self.test_loss),
            "test": metrics_by_name(self.test),
            "train_loss": finite_or_none(self.history[-1].train_loss),
            "val_loss": finite_or_none(self.history[-1].val_loss),
            "seconds": self.seconds,
            "stars": self.stars._asdict(),
            "parameters": self.model.n_parameters,
            "settings": self.settings,
        }


def metrics_by_name(labels: Sequence[LabelMetrics]) -> dict[str, Json]:
    """Return the errors of labels as plain values that JSON can hold, by name of the label."""
    return {
        label.name: {
            name: finite_or_none(value) if isinstance(value, float) else value
            for name, value in asdict(label).items()
        }
        for label in labels
    }


def finite_or_none(value: float) -> float | None:
    """Return a number, or None if it is NaN or infinite: JSON has no word for these."""
    return value if math.isfinite(value) else None
