"""Using a trained model: its errors on a store, and labels for stars that have none."""

import csv
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from galahstream.errors import CheckpointError, LabelError
from galahstream.learn.metrics import LabelMetrics, label_metrics
from galahstream.learn.models.cnn import SpectraCNN
from galahstream.learn.recipe import Recipe
from galahstream.store import Store, open_store
from galahstream.stream.dataset import Missing, SpectraDataset, Split
from galahstream.stream.device import choose_device
from galahstream.stream.loader import SpectraLoader
from galahstream.system.atomic import atomic_write

# Further apart than any star's zero point and step: another grid altogether.
_GRID_TOLERANCE = 5.0


@dataclass(frozen=True)
class Predictions:
    """Predicted labels of n stars: `ids` (n,) int64, `labels` (n, K) float64 in `units`."""

    ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.float64]
    names: tuple[str, ...]
    units: tuple[str, ...]

    def write_csv(self, path: str | os.PathLike[str]) -> None:
        """Write ids and labels, with their names as header, atomic_write the file whole."""
        with (
            atomic_write(Path(path).absolute()) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(["id", *self.names])
            for star, labels in zip(self.ids, self.labels, strict=True):
                writer.writerow([int(star), *(f"{value:.6g}" for value in labels)])


@dataclass(frozen=True)
class Evaluation:
    """Errors of a model on a part of a store.

    `loss` is the mean squared error of z-scored labels; `same_split` tells
    whether the store's split is the one that the model was trained with.
    """

    split: str
    n_stars: int
    loss: float
    labels: tuple[LabelMetrics, ...]
    same_split: bool

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON, the labels by name."""
        return {
            **asdict(self),
            "labels": {label.name: asdict(label) for label in self.labels},
        }


def evaluate(
    model: SpectraCNN,
    store: Store | str | os.PathLike[str],
    split: Split = "test",
    *,
    missing: Missing = "raise",
    batch_size: int = 32,
    num_workers: int = 2,
    device: str = "auto",
) -> Evaluation:
    """Return the errors of a saved model on one split of a store; nothing is trained.

    Raises
    ------
    CheckpointError
        If the model was made for other spectra.
    LabelError
        If the store lacks one of the model's labels.
    """
    recipe = _recipe(model)
    dataset = model_dataset(recipe, store, split, labels=recipe.labels, missing=missing)
    if not dataset.label_names:
        msg = f"{dataset.store.path} has no labels to compare with; use 'predict' instead"
        raise LabelError(msg)
    scores, loss = predict_dataset(model, dataset, batch_size, num_workers, choose_device(device))
    predicted = recipe.target_transform.inverse(scores)
    return Evaluation(
        split=split,
        n_stars=len(dataset),
        loss=loss,
        labels=label_metrics(predicted, dataset.targets, recipe.labels, dataset.label_units),
        same_split=dataset.store.split_fingerprint == recipe.split_fingerprint,
    )


def predict(
    model: SpectraCNN,
    store: Store | str | os.PathLike[str],
    split: Split = "all",
    *,
    batch_size: int = 32,
    num_workers: int = 2,
    device: str = "auto",
) -> Predictions:
    """Return the labels that a saved model gives to stars, with or without labels of their own.

    Raises
    ------
    CheckpointError
        If the model was made for other spectra.
    """
    recipe = _recipe(model)
    dataset = model_dataset(recipe, store, split, labels=None)
    scores, _ = predict_dataset(model, dataset, batch_size, num_workers, choose_device(device))
    labels = recipe.target_transform.inverse(scores)
    return Predictions(dataset.ids, labels, recipe.labels, recipe.units)


def model_dataset(
    recipe: Recipe,
    store: Store | str | os.PathLike[str],
    split: Split,
    labels: tuple[str, ...] | None,
    missing: Missing = "raise",
) -> SpectraDataset:
    """Return a dataset prepared as the model's training data were, after checking that it fits."""
    opened = store if isinstance(store, Store) else open_store(store)
    dataset = SpectraDataset(
        opened,
        split,
        labels=labels,
        window=recipe.window,
        transform=recipe.transform,
        target_transform=recipe.target_transform,
        missing=missing,
    )
    if dataset.n_pixels != recipe.n_pixels:
        msg = (
            f"{opened.path} gives {dataset.n_pixels} pixels a star and the model takes "
            f"{recipe.n_pixels}; use a store of the survey it was trained on"
        )
        raise CheckpointError(msg)
    if len(dataset) == 0:
        msg = f"{opened.path} has no star in {split!r}; choose another split, such as 'all'"
        raise LabelError(msg)
    found = wavelength_range(dataset)
    if found and recipe.wavelength_range:
        low, high = recipe.wavelength_range
        off = max(abs(found[0] - low), abs(found[1] - high))
        if off > _GRID_TOLERANCE:
            msg = (
                f"{opened.path} covers {found[0]:.1f} to {found[1]:.1f} Å and the model was "
                f"trained on {low:.1f} to {high:.1f} Å; use a "
                f"store with the same wavelengths"
            )
            raise CheckpointError(msg)
    return dataset


def wavelength_range(dataset: SpectraDataset) -> tuple[float, float] | None:
    """Return first and last wavelength of a dataset's pixels in Å, or None where not known."""
    grid = dataset.wavelength
    return (float(grid[0]), float(grid[-1])) if np.isfinite(grid).all() else None


def predict_dataset(
    model: SpectraCNN,
    dataset: SpectraDataset,
    batch_size: int,
    num_workers: int,
    device: torch.device,
) -> tuple[npt.NDArray[np.float64], float]:
    """Return the model's scores (n, K) of a dataset in order, and the loss."""
    with SpectraLoader(dataset, batch_size, num_workers=num_workers, device=device) as loader:
        return predict_scaled(model, loader)


@torch.inference_mode()
def predict_scaled(
    model: SpectraCNN, loader: SpectraLoader
) -> tuple[npt.NDArray[np.float64], float]:
    """Return the scores of all batches, on the loader's device, and the mean squared error.

    Without labels that is NaN.
    """
    was_training = model.training
    model.eval().to(loader.device)
    scores, squares, values = [np.empty((0, model.n_labels))], 0.0, 0
    for batch in loader:
        flux, labels = batch if isinstance(batch, tuple) else (batch, None)
        found = model(flux)
        scores.append(found.cpu().numpy().astype(np.float64))
        if labels is not None:
            squares += float(torch.sum((found - labels) ** 2))
            values += labels.numel()
    model.train(was_training)
    return np.concatenate(scores), squares / values if values else float("nan")


def _recipe(model: SpectraCNN) -> Recipe:
    if model.recipe is None:
        msg = "this model has no recipe; expected one from gs.load_model or gs.train"
        raise CheckpointError(msg)
    return model.recipe
