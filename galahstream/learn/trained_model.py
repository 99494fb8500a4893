"""Trained models: a network with its recipe, saved and loaded without pickle's code."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from galahstream.errors import CheckpointError, OptionError, SourceMissingError
from galahstream.learn.losses import LOSSES, LossName
from galahstream.learn.models import build_network, check_fits, make_network
from galahstream.learn.models.base import Architecture, OutputKind, Prediction, SpectraNetwork
from galahstream.learn.models.cnn import SpectraCNN
from galahstream.learn.models.custom import CustomNetwork
from galahstream.learn.recipe import Recipe
from galahstream.learn.saved_file import (
    FileKind,
    check_weights,
    first_line,
    read_record,
    read_saved,
    unusable,
    write_saved,
)
from galahstream.learn.training_sample import TrainingSample
from galahstream.system.notebook import facts
from galahstream.validation import FieldError, shown

_MODEL_FILE = FileKind(
    "galahstream model", 1, "give the model.pt that 'galahstream train' saved, or train again"
)


class TrainedModel:
    """A network and the recipe it was trained with: all that evaluation and prediction need.

    Parameters
    ----------
    network : SpectraNetwork
    recipe : Recipe
        How spectra become its input, and its outputs labels.
    loss : {"mse", "nll", "full-nll"}
        What it was trained with: a likelihood makes its uncertainties mean something.
    sample : TrainingSample, optional
        What is known of its training stars, to flag others; models of early versions lack it.

    Examples
    --------
    >>> model = load_model("runs/first/model.pt")  # doctest: +SKIP
    >>> labels = model.recipe.to_labels(model(flux))  # doctest: +SKIP
    """

    def __init__(
        self,
        network: SpectraNetwork,
        recipe: Recipe,
        loss: LossName = "mse",
        sample: TrainingSample | None = None,
    ) -> None:
        self.network = network
        self.recipe = recipe
        self.loss: LossName = loss
        self.sample = sample

    def __call__(self, flux: torch.Tensor) -> torch.Tensor | Prediction:
        """Return the network's output for transformed flux (B, L): scaled labels (B, K)."""
        output: torch.Tensor | Prediction = self.network(flux)
        return output

    def __repr__(self) -> str:
        return (
            f"<TrainedModel {self.network.name}: {self.n_pixels:,} pixels to "
            f"{', '.join(self.recipe.labels)}; {self.n_parameters:,} parameters>"
        )

    def _repr_html_(self) -> str:
        recipe = self.recipe
        labels = zip(recipe.labels, recipe.units, strict=True)
        values = {
            "network": f"{self.network.name}, {self.n_parameters:,} parameters",
            "input": f"{self.n_pixels:,} pixels",
            "labels": ", ".join(f"{name} [{unit}]" if unit else name for name, unit in labels),
            "uncertainties": "none" if self.loss == "mse" else f"trained with {self.loss}",
        }
        return facts("TrainedModel", values)

    @property
    def n_pixels(self) -> int:
        """Pixels of the input."""
        return self.network.n_pixels

    @property
    def n_labels(self) -> int:
        """Labels of the output."""
        return self.network.n_labels

    @property
    def n_parameters(self) -> int:
        """Number of trainable parameters."""
        return self.network.n_parameters

    @property
    def training(self) -> bool:
        """Whether the network is in training mode."""
        return self.network.training

    def train(self, mode: bool = True) -> "TrainedModel":
        """Switch the network to training mode and return the model."""
        self.network.train(mode)
        return self

    def eval(self) -> "TrainedModel":
        """Switch the network to evaluation mode and return the model."""
        return self.train(False)

    def to(self, device: str | torch.device) -> "TrainedModel":
        """Move the network to a device and return the model."""
        self.network.to(device)
        return self

    def parameters(self) -> Iterator[nn.Parameter]:
        """Return the network's parameters."""
        return self.network.parameters()

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the network's weights by name."""
        return self.network.state_dict()


def save_model(model: TrainedModel, path: str | os.PathLike[str]) -> None:
    """Write a model into a file, atomically."""
    content: dict[str, Any] = {
        "architecture": dict(model.network.architecture),
        "recipe": model.recipe,
        "weights": {name: tensor.cpu() for name, tensor in model.state_dict().items()},
    }
    if model.loss != "mse":
        content["loss"] = model.loss
    if model.sample is not None:
        content["sample"] = model.sample
    write_saved(Path(path), _MODEL_FILE, content)


def load_model(
    path: str | os.PathLike[str], model: nn.Module | Callable[..., nn.Module] | None = None
) -> TrainedModel:
    """Load a saved model, ready to evaluate and predict with.

    Parameters
    ----------
    path : path-like
        A model.pt that training saved.
    model : Module or callable, optional
        For a model whose network is your own: its class, called with `n_pixels` and `n_labels`
        if it has parameters of these names, a function that makes the network, or the network.
        Its weights become those in the file.

    Returns
    -------
    TrainedModel
        On the CPU, in evaluation mode.

    Raises
    ------
    SourceMissingError
        If the file does not exist.
    CheckpointError
        If the file is not a model of galahstream, is damaged, or has a newer version, or if
        `model` is missing, not needed, or not the network that was trained.
    """
    file = Path(path)
    if not file.exists():
        msg = f"{file} does not exist; expected a model.pt that 'galahstream train' saved"
        raise SourceMissingError(msg)
    content = read_saved(file, _MODEL_FILE)
    network: SpectraNetwork | None = None
    try:
        recipe, loss = read_record(Recipe, content, "recipe"), _read_loss(content)
        architecture = _read_architecture(content, recipe)
        if architecture["name"] != CustomNetwork.name_in_files:
            with torch.device("meta"):  # allocates nothing for sizes that the file only claims
                network = build_network(architecture)
            check_fits(network, recipe.n_pixels, len(recipe.labels), LOSSES[loss].output)
            network.load_state_dict(check_weights(network.state_dict(), content), assign=True)
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise unusable(file, _MODEL_FILE, first_line(error)) from error
    if network is None:
        network = _make_custom(file, architecture, model, LOSSES[loss].output)
        _load_custom(file, network, content)
    elif model is not None:
        msg = (
            f"{file} holds the network {network.name}, which needs no code; load it without model="
        )
        raise CheckpointError(msg)
    return TrainedModel(network, recipe, loss, _read_sample(file, content, recipe, network)).eval()


def read_weights(path: Path, network: SpectraNetwork) -> None:
    """Give a network the weights of a model file that was saved from such a network.

    Raises
    ------
    CheckpointError
        If the file cannot be read, or holds other weights.
    """
    content = read_saved(path, _MODEL_FILE)
    try:
        network.load_state_dict(check_weights(network.state_dict(), content))
    except (ValueError, RuntimeError) as error:
        raise unusable(path, _MODEL_FILE, first_line(error)) from error


def _read_architecture(content: Mapping[str, Any], recipe: Recipe) -> Architecture:
    # Files of early versions do not name the architecture: it was always this one.
    default = {"name": SpectraCNN.name, "n_pixels": recipe.n_pixels, "n_labels": len(recipe.labels)}
    stored = content.get("architecture", default)
    is_plain = isinstance(stored, dict) and all(
        isinstance(name, str) and isinstance(value, str | int) for name, value in stored.items()
    )
    if not is_plain:
        raise FieldError("architecture", f"found {shown(stored)}, expected names and plain values")
    for name in ("n_pixels", "n_labels"):
        if stored.get(name) != default[name]:
            reason = f"found {shown(stored.get(name))}, and the recipe says {default[name]}"
            raise FieldError(f"architecture.{name}", reason)
    is_custom = stored.get("name") == CustomNetwork.name_in_files
    if is_custom and not isinstance(stored.get("class"), str):
        reason = f"found {shown(stored.get('class'))}, expected the name of a class"
        raise FieldError("architecture.class", reason)
    architecture: Architecture = stored
    return architecture


def _make_custom(
    file: Path,
    architecture: Architecture,
    model: nn.Module | Callable[..., nn.Module] | None,
    output: OutputKind,
) -> SpectraNetwork:
    """Return the user's network, if it is the one that the file was saved from."""
    name = str(architecture["class"])
    usage = f"gs.load_model({str(file)!r}, model={name})"
    if model is None:
        msg = (
            f"{file} holds the weights of the network {name}, which is not part of galahstream, "
            f"and no code; load it in Python and give its class: {usage}"
        )
        raise CheckpointError(msg)
    try:
        sizes = int(architecture["n_pixels"]), int(architecture["n_labels"])
        network = make_network(model, *sizes, output)
    except OptionError as error:
        msg = f"{file} holds the weights of the network {name}; model= cannot be it: {error}"
        raise CheckpointError(msg) from error
    if network.name != name:
        msg = f"{file} holds the weights of the network {name}, not of {network.name}; use {usage}"
        raise CheckpointError(msg)
    return network


def _load_custom(file: Path, network: SpectraNetwork, content: Mapping[str, Any]) -> None:
    try:
        network.load_state_dict(check_weights(network.state_dict(), content))
    except (ValueError, RuntimeError) as error:
        msg = (
            f"the weights in {file} do not fit {network.name}: {first_line(error)}; give the "
            f"network as it was trained (model=)"
        )
        raise CheckpointError(msg) from error


def _read_loss(content: Mapping[str, Any]) -> LossName:
    stored = content.get("loss", "mse")
    if not isinstance(stored, str) or stored not in LOSSES:
        raise FieldError("loss", f"found {shown(stored)}, expected one of {', '.join(LOSSES)}")
    return cast(LossName, stored)


def _read_sample(
    file: Path, content: Mapping[str, Any], recipe: Recipe, network: SpectraNetwork
) -> TrainingSample | None:
    """Return what a file knows of the training stars, if it fits the network."""
    if content.get("sample") is None:  # files of earlier versions
        return None
    try:
        sample = read_record(TrainingSample, content, "sample")
        if len(sample.minimum) != len(recipe.labels):
            reason = f"found {len(sample.minimum)} values for {len(recipe.labels)} labels"
            raise FieldError("sample.minimum", reason)
        layer = network.label_layer
        n_features = 0 if layer is None else layer.in_features
        if sample.features is not None and len(sample.features.mean) != n_features:
            reason = f"found {len(sample.features.mean)} values for {n_features} features"
            raise FieldError("sample.features.mean", reason)
    except ValueError as error:
        raise unusable(file, _MODEL_FILE, first_line(error)) from error
    return sample
