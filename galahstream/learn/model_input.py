"""Open a store as the input of a trained model, after checking that it is what the model takes."""

import os

import numpy as np

from galahstream.errors import CheckpointError, LabelError, WavelengthError
from galahstream.learn.recipe import NATIVE, GridIdentity, Recipe, wavelength_range
from galahstream.store import SpectraStore
from galahstream.stream.dataset import SpectraDataset, Split
from galahstream.stream.label_table import Missing
from galahstream.survey.grids import GRIDS

MAX_WAVELENGTH_OFFSET = 5.0
"""Largest difference in Å between the grids of training and prediction.

The zero points of stars observed with one spectrograph differ by less.
"""


def open_model_input(
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
