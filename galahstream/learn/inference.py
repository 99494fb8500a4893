"""Use a trained model: measure its errors on a store, and predict the labels of stars."""

import csv
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import numpy.typing as npt

from galahstream.errors import CheckpointError, LabelError, WavelengthError
from galahstream.learn.losses import make_loss
from galahstream.learn.metrics import GroupMetrics, LabelMetrics
from galahstream.learn.recipe import NATIVE, GridIdentity, Recipe, wavelength_range
from galahstream.learn.results import (
    Json,
    finite_or_none,
    metrics_by_group,
    metrics_by_name,
)
from galahstream.learn.scaled_predictions import predict_scaled
from galahstream.learn.trained_model import TrainedModel
from galahstream.store import SpectraStore
from galahstream.stream.dataset import SpectraDataset, Split
from galahstream.stream.label_table import ERROR_PREFIX, Missing
from galahstream.stream.loader import SpectraLoader
from galahstream.survey.grids import GRIDS
from galahstream.system.atomic import atomic_write

MAX_WAVELENGTH_OFFSET = 5.0
"""Largest difference in Å between the grids of training and prediction.

The zero points of stars observed with one spectrograph differ by less.
"""


@dataclass(frozen=True)
class Predictions:
    """Predicted labels of n stars.

    Attributes
    ----------
    ids : ndarray, shape (n,), int64
    labels : ndarray, shape (n, K), float64
        Values in `units`.
    names, units : tuple of str
        Names and units of the K labels.
    uncertainties : ndarray, shape (n, K), float64, or None
        Their 1 σ in `units`, if the model was trained with a likelihood (``"nll"``).
    """

    ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.float64]
    names: tuple[str, ...]
    units: tuple[str, ...]
    uncertainties: npt.NDArray[np.float64] | None = None

    def write_csv(self, path: str | os.PathLike[str]) -> None:
        """Write a table with a column for the ids and one for each label, atomically.

        Columns of uncertainties, where there are any, follow the labels: ``e_teff`` is that of
        ``teff``. Devices and pipes, such as ``/dev/stdout``, are written to as they are.
        """
        with (
            atomic_write(Path(path)) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            self.write_rows(file)

    def write_rows(self, file: TextIO) -> None:
        """Write the table of :meth:`write_csv` to an open text file."""
        writer = csv.writer(file)
        names, values = [*self.names], self.labels
        if self.uncertainties is not None:
            names += [ERROR_PREFIX + name for name in self.names]
            values = np.hstack((self.labels, self.uncertainties))
        writer.writerow(["id", *names])
        for star, row in zip(self.ids, values, strict=True):
            writer.writerow([int(star), *(f"{value:.6g}" for value in row)])


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
    """

    split: str
    n_stars: int
    loss: float
    labels: tuple[LabelMetrics, ...]
    same_split: bool
    groups: tuple[GroupMetrics, ...] = ()

    def as_dict(self) -> Mapping[str, Json]:
        """Return plain values that JSON can hold, with None for NaN."""
        return {
            "split": self.split,
            "n_stars": self.n_stars,
            "loss": finite_or_none(self.loss),
            "labels": metrics_by_name(self.labels),
            "same_split": self.same_split,
            "groups": metrics_by_group(self.groups),
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
        A store with the labels of the model.
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
        If the store lacks a label of the model, or has it in another unit.
    """
    recipe = _check_model(model).recipe
    dataset = _open_dataset(recipe, store, split, recipe.labels, missing, label_errors=label_errors)
    if not dataset.label_names:
        msg = f"{dataset.store.path} has no labels to compare with; use 'predict' instead"
        raise LabelError(msg)
    _check_units(dataset, recipe)
    with SpectraLoader(dataset, batch_size, num_workers=num_workers, device=str(device)) as loader:
        scaled, loss = predict_scaled(model.network, loader, make_loss(model.loss))
    pairs = scaled.paired(recipe, dataset)
    return Evaluation(
        split=split,
        n_stars=len(dataset),
        loss=loss,
        labels=pairs.metrics(recipe),
        same_split=dataset.store.split_fingerprint == recipe.split_fingerprint,
        groups=pairs.group_metrics(recipe, dataset.store, dataset.rows),
    )


def predict(
    model: TrainedModel,
    store: SpectraStore | str | os.PathLike[str],
    split: Split = "all",
    *,
    batch_size: int = 32,
    num_workers: int = 2,
    device: str = "auto",
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

    Returns
    -------
    Predictions

    Raises
    ------
    CheckpointError
        If the model was trained on spectra of another length, frame or wavelength grid, or on
        a window that the store does not have.
    """
    recipe = _check_model(model).recipe
    dataset = _open_dataset(recipe, store, split, None)
    with SpectraLoader(dataset, batch_size, num_workers=num_workers, device=str(device)) as loader:
        scaled, _ = predict_scaled(model.network, loader, make_loss(model.loss))
    labels, uncertainties = scaled.in_units(recipe)
    return Predictions(dataset.ids, labels, recipe.labels, recipe.units, uncertainties)


def _check_model(model: object) -> TrainedModel:
    if not isinstance(model, TrainedModel):
        msg = (
            f"{type(model).__name__} has no recipe; expected a TrainedModel, which gs.load_model "
            f"and gs.train return"
        )
        raise CheckpointError(msg)
    return model


def _open_dataset(
    recipe: Recipe,
    store: SpectraStore | str | os.PathLike[str],
    split: Split,
    labels: tuple[str, ...] | None,
    missing: Missing = "raise",
    *,
    label_errors: bool = False,
) -> SpectraDataset:
    """Return a dataset prepared like the training data of a model, after checking that it fits."""
    try:
        dataset = SpectraDataset(
            store,
            split,
            labels=labels,
            window=recipe.window,
            transform=recipe.transform,
            target_transform=recipe.target_transform,
            missing=missing,
            return_label_errors=label_errors,
        )
    except WavelengthError as error:
        msg = f"the store does not have the pixels that the model was trained on: {error}"
        raise CheckpointError(msg) from error
    _check_frame(dataset, recipe)
    _check_grid(dataset, recipe)
    if dataset.n_pixels != recipe.n_pixels:
        msg = (
            f"{dataset.store.path} has {dataset.n_pixels} pixels per star and the model takes "
            f"{recipe.n_pixels}; use a store of the survey it was trained on"
        )
        raise CheckpointError(msg)
    if len(dataset) == 0:
        msg = f"{dataset.store.path} has no star in {split!r}; choose another split, such as 'all'"
        raise LabelError(msg)
    _check_wavelengths(dataset, recipe)
    return dataset


def _check_frame(dataset: SpectraDataset, recipe: Recipe) -> None:
    frame, expected = dataset.store.provenance.frame, recipe.frame
    if frame is not None and expected is not None and frame != expected:
        msg = (
            f"{dataset.store.path} holds spectra in the {frame} frame, and the model was trained "
            f"in the {expected} frame; convert them into the {expected} frame "
            f"(frame={expected!r}, --frame {expected}), or use another model"
        )
        raise CheckpointError(msg)


def _check_grid(dataset: SpectraDataset, recipe: Recipe) -> None:
    grid, expected = GridIdentity.of_dataset(dataset), recipe.grid
    if grid.differs_from(expected):
        found = _described(grid, dataset.n_pixels, wavelength_range(dataset))
        trained = _described(expected, recipe.n_pixels, recipe.wavelength_range)
        if expected.name in GRIDS:
            name = expected.name
            cure = f"convert them onto {name} (grid={name!r}, --grid {name})"
        elif expected.name == NATIVE:
            cure = "convert them without a grid"
        else:
            cure = "convert them onto the wavelengths it was trained on (grid=, --grid FILE.npy)"
        msg = (
            f"the spectra of {dataset.store.path} are {found}, and the model was trained "
            f"{trained}; {cure}, or use another model"
        )
        raise CheckpointError(msg)


def _described(grid: GridIdentity, n_pixels: int, covered: tuple[float, float] | None) -> str:
    """Return in words what a grid is."""
    if grid.name == NATIVE:
        return "on the pixels of the spectrograph, which differ from star to star"
    ends = "" if covered is None else f", {covered[0]:.2f} to {covered[1]:.2f} Å"
    name = "wavelengths" if grid.name is None else f"the grid {grid.name}"
    return f"on {name} of {n_pixels:,} pixels{ends}"


def _check_wavelengths(dataset: SpectraDataset, recipe: Recipe) -> None:
    grid, stop = dataset.wavelength, 0
    if not np.isfinite(grid).all():
        return
    for span in recipe.known_spans:
        start, stop = stop, stop + span.n_pixels
        first, last = float(grid[start]), float(grid[stop - 1])
        if max(abs(first - span.first), abs(last - span.last)) > MAX_WAVELENGTH_OFFSET:
            msg = (
                f"{dataset.store.path} covers {first:.1f} to {last:.1f} Å where the model was "
                f"trained on {span.first:.1f} to {span.last:.1f} Å; use a store with the same "
                f"wavelengths"
            )
            raise CheckpointError(msg)


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
