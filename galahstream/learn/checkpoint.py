"""Saved models: weights with all that is needed to use them, loaded without pickle's code."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from galahstream.errors import CheckpointError, SourceMissingError
from galahstream.learn.model import SpectraCNN
from galahstream.store.atomic import replacing
from galahstream.stream.transforms import LogFlux, ZScore

_KIND = "galahstream model"
_VERSION = 1


@dataclass(frozen=True)
class Recipe:
    """How spectra become a model's input, and its outputs labels.

    `mean` and `std` are in the labels' units, `window` and `wavelength_range`
    in Å; `split_fingerprint` is that of the store it was trained on.
    """

    n_pixels: int
    labels: tuple[str, ...]
    units: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    floor: float
    fill: float
    window: str | tuple[float, float] | None
    wavelength_range: tuple[float, float] | None
    split_fingerprint: str
    seed: int

    @property
    def transform(self) -> LogFlux:
        """What the flux goes through."""
        return LogFlux(self.floor, self.fill)

    @property
    def target_transform(self) -> ZScore:
        """What turns scores back into labels."""
        return ZScore(mean=self.mean, std=self.std)


def save_model(model: SpectraCNN, path: Path) -> None:
    """Write a model that has a recipe, replacing the file whole."""
    assert model.recipe is not None
    recipe = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in asdict(model.recipe).items()
    }
    weights = {name: tensor.cpu() for name, tensor in model.state_dict().items()}
    content = {"kind": _KIND, "version": _VERSION, "recipe": recipe, "weights": weights}
    with replacing(path) as temporary:
        torch.save(content, temporary)


def load_model(path: str | os.PathLike[str]) -> SpectraCNN:
    """Load a saved model, ready to evaluate and predict with.

    Returns
    -------
    SpectraCNN
        On the CPU, in evaluation mode, with its `recipe`.

    Raises
    ------
    SourceMissingError
        If the file is not there.
    CheckpointError
        If it is no model of galahstream, damaged, or of a newer version.
    """
    file = Path(path)
    if not file.is_file():
        msg = f"{file} is not there; expected a model.pt that 'galahstream train' saved"
        raise SourceMissingError(msg)
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its unpickler meets
        first_line = str(error).split("\n", 1)[0]
        msg = f"{file}: no saved model, or a damaged one ({first_line}); train again"
        raise CheckpointError(msg) from error
    if not isinstance(content, Mapping) or content.get("kind") != _KIND:
        msg = f"{file}: not a model that galahstream saved; expected a model.pt of 'train'"
        raise CheckpointError(msg)
    if content.get("version") != _VERSION:
        msg = f"{file}: version {content.get('version')} of the format, and this galahstream reads "
        raise CheckpointError(msg + f"version {_VERSION}; install a newer one")
    try:
        recipe = _recipe(content["recipe"])
        model = SpectraCNN(recipe.n_pixels, len(recipe.labels))
        model.load_state_dict(content["weights"])
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        msg = f"{file}: weights and architecture do not fit each other ({error}); train again"
        raise CheckpointError(msg) from error
    model.recipe = recipe
    return model.eval()


def _recipe(stored: Mapping[str, Any]) -> Recipe:
    values: dict[str, Any] = {
        field.name: tuple(stored[field.name])
        if isinstance(stored[field.name], list)
        else stored[field.name]
        for field in fields(Recipe)
    }
    return Recipe(**values)
