"""The records of a training run: one per epoch, and its result."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from galahstream.learn.metrics import GroupMetrics, LabelMetrics, group_metrics, label_metrics
from galahstream.learn.recipe import Recipe
from galahstream.learn.record import RunRecord
from galahstream.learn.run import TrainOptions
from galahstream.learn.schedule import epochs_since_best
from galahstream.learn.trained_model import TrainedModel
from galahstream.store import SpectraStore
from galahstream.system.notebook import table
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
    """Predicted and true labels of n stars in their units, each (n, K) float64.

    Attributes
    ----------
    predicted, true : ndarray
        `true` is NaN where a label is missing.
    uncertainty : ndarray or None
        Predicted 1 σ, from networks that were trained to predict it.
    true_error : ndarray or None
        1 σ of the true labels, where it is used.
    """

    predicted: npt.NDArray[np.float64]
    true: npt.NDArray[np.float64]
    uncertainty: npt.NDArray[np.float64] | None = None
    true_error: npt.NDArray[np.float64] | None = None

    @property
    def sigma(self) -> npt.NDArray[np.float64] | None:
        """Expected standard deviation of predicted - true, or None without uncertainties."""
        if self.uncertainty is None or self.true_error is None:
            return self.uncertainty
        return np.hypot(self.uncertainty, self.true_error)

    def metrics(self, recipe: Recipe) -> tuple[LabelMetrics, ...]:
        """Return the errors of each label."""
        return label_metrics(self.predicted, self.true, recipe.labels, recipe.units, self.sigma)

    def group_metrics(
        self, recipe: Recipe, store: SpectraStore, rows: npt.NDArray[np.int64]
    ) -> tuple[GroupMetrics, ...]:
        """Return the errors in bins of signal to noise, and of dwarfs and giants.

        Parameters
        ----------
        recipe : Recipe
        store : SpectraStore
            Its labels ``snr``, or else the first one that begins with it, and ``logg`` are used
            if it has them.
        rows : ndarray, shape (n,), int64
            The rows of the stars in the store.
        """
        groups = [(name, store.labels[name][rows]) for name in _grouping_labels(store)]
        return group_metrics(
            self.predicted, self.true, recipe.labels, recipe.units, self.sigma, groups
        )


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
    record : RunRecord
        The data, the software, and the command that repeats the run.
    notes : tuple of str
        What the run could not do, and the cure.
    test_groups : tuple of GroupMetrics
        Errors on the test stars in bins of signal to noise, and of dwarfs and giants.
    ranks : int
        Processes that trained together, each with `options.batch_size` stars per batch.
    """

    model: TrainedModel
    out: Path
    history: tuple[EpochRecord, ...]
    test_loss: float
    test: tuple[LabelMetrics, ...]
    stars: SplitCounts
    options: TrainOptions
    device: str
    record: RunRecord
    notes: tuple[str, ...] = ()
    test_groups: tuple[GroupMetrics, ...] = ()
    ranks: int = 1

    def _repr_html_(self) -> str:
        header = ("label", "unit", "stars", "RMSE", "bias", "scatter", "R²")
        rows = [
            (
                one.name,
                one.unit,
                f"{one.n or 0:,}",
                *(f"{value:.4g}" for value in (one.rmse, one.bias, one.scatter, one.r2)),
            )
            for one in self.test
        ]
        title = f"{len(self.history)} epochs in {self.seconds:.1f} s; errors on test stars"
        return table(f"{title}; {self.out}", header, rows)

    @property
    def seconds(self) -> float:
        """Duration of training and validation, all epochs together."""
        return sum(record.seconds for record in self.history)

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest validation loss, whose model is in ``best.pt``."""
        return len(self.history) - epochs_since_best([one.val_loss for one in self.history])

    @property
    def settings(self) -> dict[str, int | float | str]:
        """The settings of the optimisation, for tables of several runs."""
        return {
            "model": self.model.network.name,
            "epochs": self.options.epochs,
            "batch_size": self.options.batch_size,
            "ranks": self.ranks,
            "learning_rate": self.options.lr,
            "seed": self.options.seed,
            "device": self.device,
            "augment": str(self.options.augment or "none"),
            "loss": self.options.loss,
            "missing": self.options.missing,
            "label_errors": self.options.label_errors,
            "schedule": self.options.schedule,
            "patience": self.options.patience or "none",
            "clip_norm": self.options.clip_norm or "none",
            "overfit_batch": self.options.overfit_batch,
        }

    def as_dict(self) -> dict[str, Json]:
        """Return what ``metrics.json`` holds: plain values, with None for NaN."""
        return {
            "test_loss": finite_or_none(self.test_loss),
            "test": metrics_by_name(self.test),
            "test_groups": metrics_by_group(self.test_groups),
            "train_loss": finite_or_none(self.history[-1].train_loss),
            "val_loss": finite_or_none(self.history[-1].val_loss),
            "trained_epochs": len(self.history),
            "best_epoch": self.best_epoch,
            "seconds": self.seconds,
            "stars": self.stars._asdict(),
            "parameters": self.model.n_parameters,
            "settings": self.settings,
            "record": _plain(asdict(self.record)),
        }


def metrics_by_name(labels: Sequence[LabelMetrics]) -> dict[str, Json]:
    """Return the errors of labels as plain values that JSON can hold, by name of the label."""
    return {label.name: _plain(asdict(label)) for label in labels}


def metrics_by_group(groups: Sequence[GroupMetrics]) -> list[Json]:
    """Return the errors in groups of stars as plain values that JSON can hold."""
    return [
        {
            "by": group.by,
            "group": group.group,
            "n_stars": group.n_stars,
            "labels": metrics_by_name(group.labels),
        }
        for group in groups
    ]


def finite_or_none(value: float) -> float | None:
    """Return a number, or None if it is NaN or infinite: JSON has no word for these."""
    return value if math.isfinite(value) else None


def _plain(value: Json) -> Json:
    if isinstance(value, Mapping):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return finite_or_none(value) if isinstance(value, float) else value


def snr_label(store: SpectraStore) -> str | None:
    """Return the label that is the signal to noise: ``snr``, else the first that begins with it."""
    names = [name for name in store.labels if name.startswith("snr")]
    return "snr" if "snr" in names else next(iter(names), None)


def _grouping_labels(store: SpectraStore) -> list[str]:
    snr = snr_label(store)
    return [name for name in (snr, "logg") if name is not None and name in store.labels]
