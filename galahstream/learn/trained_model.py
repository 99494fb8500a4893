"""Trained models: a network with its recipe, saved and loaded without pickle's code."""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from galahstream.errors import CheckpointError, OptionError, SourceMissingError
from galahstream.learn.losses import LOSSES, LossName
from galahstream.learn.models import build_network
from galahstream.learn.models.base import Architecture, Prediction, SpectraNetwork
from galahstream.learn.models.cnn import SpectraCNN
from galahstream.learn.models.own import OwnNetwork
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
from galahstream.validation import FieldError, shown, text

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

    Examples
    --------
    >>> model = load_model("runs/first/model.pt")  # doctest: +SKIP
    >>> labels = model.recipe.to_labels(model(flux))  # doctest: +SKIP
    """

    def __init__(self, network: SpectraNetwork, recipe: Recipe, loss: LossName = "mse") -> None:
        self.network = network
        self.recipe = recipe
        self.loss: LossName = loss

    def __call__(self, flux: torch.Tensor) -> torch.Tensor | Prediction:
        """Return the network's output for transformed flux (B, L): scaled labels (B, K)."""
        output: torch.Tensor | Prediction = self.network(flux)
        return output

    def __repr__(self) -> str:
        return (
            f"<TrainedModel {self.network.name}: {self.n_pixels:,} pixels to "
            f"{', '.join(self.recipe.labels)}; {self.n_parameters:,} parameters>"
        )

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
    write_saved(Path(path), _MODEL_FILE, content)


def load_model(
    path: str | os.PathLike[str], network: nn.Module | Callable[[], nn.Module] | None = None
) -> TrainedModel:
    """Load a saved model, ready to evaluate and predict with.

    Parameters
    ----------
    path : path-like
        A model.pt that training saved.
    network : Module or callable, optional
        For a model whose network is your own: the network again, or the class or function
        that makes it. Its weights are replaced by those in the file.

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
        the network is missing or is not the one that was trained.
    OptionError
        If the network that is given cannot be used.
    """
    file = Path(path)
    if not file.exists():
        msg = f"{file} does not exist; expected a model.pt that 'galahstream train' saved"
        raise SourceMissingError(msg)
    content = read_saved(file, _MODEL_FILE)
    try:
        recipe = read_record(Recipe, content, "recipe")
        architecture = _read_architecture(content, recipe)
        if architecture["name"] == OwnNetwork.name_in_files:
            loaded = _own_network(file, architecture, network)
        elif network is not None:
            msg = (
                f"{file} holds the network {shown(architecture['name'])}; load it without network="
            )
            raise CheckpointError(msg)
        else:
            with torch.device("meta"):  # allocates nothing for sizes that the file only claims
                loaded = build_network(architecture)
        weights = check_weights(loaded.state_dict(), content)
        # From meta, tensors can only be assigned; copies keep what modules of a user share.
        loaded.load_state_dict(weights, assign=network is None)
        loss = _read_loss(content)
    except CheckpointError:
        raise
    except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
        raise unusable(file, _MODEL_FILE, first_line(error)) from error
    return TrainedModel(loaded, recipe, loss).eval()


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
    architecture: Architecture = stored
    return architecture


def _own_network(
    file: Path, architecture: Architecture, network: nn.Module | Callable[[], nn.Module] | None
) -> SpectraNetwork:
    """Return the user's network, if it is the one that the file was saved from."""
    name = text(architecture.get("class"))
    again = f"gs.load_model({str(file)!r}, network={name}(...))"
    if network is None:
        msg = (
            f"{file} holds the weights of a network of your own, {name}, and no code; load it in "
            f"Python and give the network again: {again}"
        )
        raise CheckpointError(msg)
    module = network if isinstance(network, nn.Module) else network()
    if type(module).__name__ != name:
        found = type(module).__name__
        msg = f"{file} holds the weights of {name}, and network= is {found}; expected {again}"
        raise CheckpointError(msg)
    n_pixels, n_labels = architecture["n_pixels"], architecture["n_labels"]
    try:
        return OwnNetwork(module, int(n_pixels), int(n_labels))
    except OptionError as error:
        msg = f"{file} does not fit network=: {error}"
        raise CheckpointError(msg) from error


def _read_loss(content: Mapping[str, Any]) -> LossName:
    stored = content.get("loss", "mse")
    if not isinstance(stored, str) or stored not in LOSSES:
        raise FieldError("loss", f"found {shown(stored)}, expected one of {', '.join(LOSSES)}")
    return cast(LossName, stored)
