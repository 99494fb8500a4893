"""Use a trained model: measure its errors on a store, and predict the labels of stars."""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from galahstream.errors import CheckpointError, LabelError
from galahstream.learn.features import recorded_hidden_layer
from galahstream.learn.flags import PredictionFlag
from galahstream.learn.losses import check_outputs, make_loss
from galahstream.learn.metrics import GroupMetrics, LabelMetrics
from galahstream.learn.model_input import open_model_input
from galahstream.learn.predictions import Predictions
from galahstream.learn.recipe import Recipe
from galahstream.learn.results import (
    Json,
    finite_or_none,
    metrics_by_group,
    metrics_by_name,
)
from galahstream.learn.scaled_predictions import (
    ScaledPredictions,
    predict_scaled,
    predicted_batches,
)
from galahstream.learn.trained_model import TrainedModel
from galahstream.learn.training_sample import StarChecks, bad_pixel_fractions
from galahstream.sources.table_writers import (
    CsvWriter,
    TableLayout,
    TableWriter,
    TextFile,
    writing_table,
)
from galahstream.store import SpectraStore, open_store
from galahstream.stream.dataset import SpectraDataset, Split
from galahstream.stream.label_table import Missing
from galahstream.stream.loader import SpectraLoader
from galahstream.system.progress import progress_bar

PART_ROWS = 8192
"""Stars whose predictions are in memory, and written, at a time."""


@dataclass(frozen=True)
class Evaluation:
    """Errors of a model on one split of a store.

    Attributes
    ----------
    split : str
    n_stars : int
    loss : float
        Mean over the scaled labels of the loss that the model was trained with.
    labels : tuple of LabelMetrics
        Errors in the units of the labels.
    same_split : bool
        Whether the split of the store is the one that the model was trained with.
    groups : tuple of GroupMetrics
        Errors in bins of signal to noise, and of dwarfs and giants.
    not_compared : tuple of str
        Labels of the model that the store does not have.
    """

    split: str
    n_stars: int
    loss: float
    labels: tuple[LabelMetrics, ...]
    same_split: bool
    groups: tuple[GroupMetrics, ...] = ()
    not_compared: tuple[str, ...] = ()

    def as_dict(self) -> Mapping[str, Json]:
        """Return plain values that JSON can hold, with None for NaN."""
        return {
            "split": self.split,
            "n_stars": self.n_stars,
            "loss": finite_or_none(self.loss),
            "labels": metrics_by_name(self.labels),
            "same_split": self.same_split,
            "groups": metrics_by_group(self.groups),
            "not_compared": self.not_compared,
        }


def evaluate(
    model: TrainedModel,
    store: SpectraStore | str | os.PathLike[str],
    split: Split = "test",
    *,
    missing: Missing = "raise",
    label_errors: bool = False,
    batch_size: int = 32,
    num_workers: int = 2,
    device: str = "auto",
) -> Evaluation:
    """Return the errors of a trained model on one split of a store.

    Parameters
    ----------
    model : TrainedModel
    store : SpectraStore or path-like
        A store with labels of the model; those that both have are compared.
    split : {"train", "val", "test", "all"}
    missing : {"raise", "drop", "mask"}
        What to do with stars that lack a label: ``"mask"`` uses the labels that they have.
    label_errors : bool
        Let the errors of the true labels (columns ``e_teff`` of ``teff`` and so on) enter the
        loss, and the uncertainties that errors are compared with.
    batch_size, num_workers : int
        Those of :class:`~galahstream.SpectraLoader`.
    device : str
        ``"auto"`` chooses cuda, else mps, else cpu.

    Returns
    -------
    Evaluation

    Raises
    ------
    CheckpointError
        If the model was trained on spectra of another length, frame or wavelength grid, or on
        a window that the store does not have.
    LabelError
        If the store has no label of the model, or has one in another unit.
    """
    opened = open_store(store) if isinstance(store, str | os.PathLike) else store
    full = _check_model(model).recipe
    recipe = full.of_labels(_compared_labels(full, opened))
    dataset = open_model_input(
        recipe, opened, split, recipe.labels, missing, label_errors=label_errors
    )
    _check_units(dataset, recipe)
    columns = [full.labels.index(name) for name in recipe.labels]
    with _open_loader(dataset, batch_size, num_workers, device) as loader:
        scaled, loss = predict_scaled(model.network, loader, make_loss(model.loss), columns)
    pairs = scaled.paired(recipe, dataset)
    return Evaluation(
        split=split,
        n_stars=len(dataset),
        loss=loss,
        labels=pairs.metrics(recipe),
        same_split=dataset.store.split_fingerprint == recipe.split_fingerprint,
        groups=pairs.group_metrics(recipe, dataset.store, dataset.rows),
        not_compared=tuple(name for name in full.labels if name not in recipe.labels),
    )


def predict(
    model: TrainedModel,
    store: SpectraStore | str | os.PathLike[str],
    split: Split = "all",
    *,
    batch_size: int = 32,
    num_workers: int = 2,
    device: str = "auto",
    progress: bool = True,
) -> Predictions:
    """Return the labels that a trained model predicts for stars, which need no labels themselves.

    Parameters
    ----------
    model : TrainedModel
    store : SpectraStore or path-like
    split : {"train", "val", "test", "all"}
    batch_size, num_workers : int
        Those of :class:`~galahstream.SpectraLoader`.
    device : str
        ``"auto"`` chooses cuda, else mps, else cpu.
    progress : bool
        Show a progress bar on a terminal.

    Returns
    -------
    Predictions

    Raises
    ------
    CheckpointError
        If the model was trained on spectra of another length, frame or wavelength grid, or on
        a window that the store does not have.
    """
    dataset = open_model_input(_check_model(model).recipe, store, split, None)
    with _open_loader(dataset, batch_size, num_workers, device) as loader:
        return Predictions.joined(_predicted_parts(model, loader, progress=progress))


class WrittenTable(NamedTuple):
    """What :func:`write_predictions` wrote.

    Attributes
    ----------
    n_stars : int
    names, units : tuple of str
        Names and units of the columns.
    flags : mapping of PredictionFlag to int
        The number of stars with each flag that the model can set.
    """

    n_stars: int
    names: tuple[str, ...]
    units: tuple[str, ...]
    flags: Mapping[PredictionFlag, int]


def write_predictions(
    model: TrainedModel,
    store: SpectraStore | str | os.PathLike[str],
    out: str | os.PathLike[str] | TextFile,
    split: Split = "all",
    *,
    batch_size: int = 32,
    num_workers: int = 2,
    device: str = "auto",
    progress: bool = True,
) -> WrittenTable:
    """Predict the labels of stars into a table, part by part: memory does not grow with it.

    Parameters
    ----------
    model, store, split, batch_size, num_workers, device, progress
        As for :func:`predict`.
    out : path-like or text file
        A file whose suffix is .csv, .ecsv, .fits, .parquet or .npy, as in
        :meth:`~galahstream.learn.predictions.Predictions.write`: it appears when it is complete.
        An open text file gets CSV.

    Returns
    -------
    WrittenTable

    Raises
    ------
    CheckpointError
        As for :func:`predict`.
    OptionError
        If the suffix is not that of a format, or FITS cannot hold a name or a unit.
    ExtraMissingError
        If pyarrow, for Parquet, is not installed.
    """
    dataset = open_model_input(_check_model(model).recipe, store, split, None)
    with _open_loader(dataset, batch_size, num_workers, device) as loader:
        none = _no_predictions(model)
        layout, counts = none.layout(len(dataset)), dict.fromkeys(none.checked, 0)
        with _open_table(out, layout) as table:
            for part in _predicted_parts(model, loader, progress=progress):
                table.write(part.table_columns())
                for flag in counts:
                    counts[flag] += int(np.count_nonzero(part.flags & flag))
    names, units = zip(*((column.name, column.unit) for column in layout.columns), strict=True)
    return WrittenTable(len(dataset), names, units, counts)


def _open_table(
    out: str | os.PathLike[str] | TextFile, layout: TableLayout
) -> AbstractContextManager[TableWriter]:
    if isinstance(out, str | os.PathLike):
        return writing_table(Path(out), layout)
    return nullcontext(CsvWriter(out, layout))


def _no_predictions(model: TrainedModel) -> Predictions:
    """Return what a model predicts for no star: the columns of its tables."""
    recipe, loss = model.recipe, make_loss(model.loss)
    labels = np.empty((0, len(recipe.labels)))
    return Predictions(
        ids=np.empty(0, np.int64),
        labels=labels,
        names=recipe.labels,
        units=recipe.units,
        flags=np.empty(0, np.int32),
        uncertainties=labels if "log_variance" in loss.required_outputs else None,
        checked=StarChecks(model.sample).checked,
    )


def _predicted_parts(
    model: TrainedModel, loader: SpectraLoader, *, progress: bool
) -> Iterator[Predictions]:
    """Yield the predictions of all stars of a loader, at most `PART_ROWS` stars at a time."""
    batches: list[Predictions] = []
    n_stars = 0
    with progress_bar(len(loader.dataset), "predicting", enabled=progress) as bar:
        for batch in _predicted_stars(model, loader):
            if n_stars + len(batch.ids) > PART_ROWS and batches:
                yield Predictions.joined(batches)
                batches, n_stars = [], 0
            batches.append(batch)
            n_stars += len(batch.ids)
            bar.update(len(batch.ids))
    yield Predictions.joined(batches)


def _predicted_stars(model: TrainedModel, loader: SpectraLoader) -> Iterator[Predictions]:
    """Yield the predictions of each batch."""
    recipe, dataset, loss = model.recipe, loader.dataset, make_loss(model.loss)
    checks, start = StarChecks(model.sample, loader.device), 0
    with recorded_hidden_layer(model.network) as hidden:
        for prediction, _ in predicted_batches(model.network, loader):
            check_outputs(loss, prediction)
            scaled = ScaledPredictions.of_output(prediction, loss)
            labels, uncertainties = scaled.in_units(recipe)
            rows = dataset.rows[start : start + len(labels)]
            start += len(rows)
            yield Predictions(
                dataset.store.ids[rows],
                labels,
                recipe.labels,
                recipe.units,
                checks.flags(labels, bad_pixel_fractions(dataset, rows), hidden.values),
                uncertainties,
                checks.checked,
            )


def _open_loader(
    dataset: SpectraDataset, batch_size: int, num_workers: int, device: str
) -> SpectraLoader:
    """Return a loader of all stars in their order, also in one of several ranks."""
    return SpectraLoader(
        dataset, batch_size, num_workers=num_workers, device=str(device), rank=0, world_size=1
    )


def _check_model(model: object) -> TrainedModel:
    if not isinstance(model, TrainedModel):
        msg = (
            f"{type(model).__name__} has no recipe; expected a TrainedModel, which gs.load_model "
            f"and gs.train return"
        )
        raise CheckpointError(msg)
    return model


def _compared_labels(recipe: Recipe, store: SpectraStore) -> tuple[str, ...]:
    """Return the labels that a model and a store have, in the order of the model."""
    if not store.labels:
        msg = f"{store.path} has no labels to compare with; use 'predict' instead"
        raise LabelError(msg)
    names = tuple(name for name in recipe.labels if name in store.labels)
    if not names:
        msg = (
            f"{store.path} has the labels {', '.join(store.labels)}, and the model predicts none "
            f"of them but {', '.join(recipe.labels)}; use 'predict' instead"
        )
        raise LabelError(msg)
    return names


def _check_units(dataset: SpectraDataset, recipe: Recipe) -> None:
    units = zip(recipe.labels, dataset.label_units, recipe.units, strict=True)
    for name, unit, expected in units:
        if unit and expected and unit != expected:
            msg = (
                f"{dataset.store.path} has {name!r} in {unit} and the model predicts it in "
                f"{expected}; convert the labels to {expected}, or correct the name of their unit "
                f"(labels=, --labels '{name}[{expected}]')"
            )
            raise LabelError(msg)
