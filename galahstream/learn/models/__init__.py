"""The networks by name, and those that users bring.

Examples
--------
>>> build_network({"name": "compact", "n_pixels": 64, "n_labels": 1}).n_pixels
64
>>> [model.name for model in models()]
['reference', 'compact', 'starnet', 'galah']
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias, cast, get_args

import torch
from torch import nn

from galahstream.errors import OptionError
from galahstream.learn.models.base import Architecture, OutputKind, SpectraNetwork
from galahstream.learn.models.cnn import SpectraCNN
from galahstream.learn.models.compact import CompactCNN
from galahstream.learn.models.custom import CustomNetwork, make_module
from galahstream.learn.models.galah import PipelineCNN
from galahstream.learn.models.named import NamedNetwork
from galahstream.learn.models.starnet import StarNet
from galahstream.validation import check_choice, shown

MODELS: dict[str, type[NamedNetwork]] = {
    cls.name: cls for cls in (SpectraCNN, CompactCNN, StarNet, PipelineCNN)
}
"""Every network that can be built by name."""

_NAMES_IN_FILES = {SpectraCNN.name_in_files: SpectraCNN.name}

Model: TypeAlias = str | nn.Module | Callable[..., nn.Module]
"""A name in the table of models, a network of the user, or a class or function that makes one."""


class ModelSummary(NamedTuple):
    """One line of the table of models.

    Attributes
    ----------
    name : str
        What ``gs.train(model=...)`` and ``galahstream train --model`` take.
    summary : str
        What the network is.
    n_parameters : int
        The number of trainable parameters for the sizes that were asked for.
    """

    name: str
    summary: str
    n_parameters: int


def models(n_pixels: int = 16384, n_labels: int = 3) -> tuple[ModelSummary, ...]:
    """Return the networks that can be trained by name.

    Parameters
    ----------
    n_pixels, n_labels : int
        The sizes for which parameters are counted.

    Raises
    ------
    OptionError
        If a size is not an integer, or is too small for one of the networks.
    """
    with torch.device("meta"):  # counts without allocating
        return tuple(
            ModelSummary(name, cls.summary, cls(n_pixels, n_labels).n_parameters)
            for name, cls in MODELS.items()
        )


def build_network(architecture: Architecture) -> SpectraNetwork:
    """Return a network with random weights.

    Parameters
    ----------
    architecture : mapping
        ``name``, one of `MODELS` or a name in model files, and the arguments of that class.

    Raises
    ------
    OptionError
        If the name is unknown, or the arguments are not those of the class.
    """
    arguments = dict(architecture)
    stored = arguments.pop("name", None)
    name = _NAMES_IN_FILES.get(stored, stored) if isinstance(stored, str) else None
    if name not in MODELS:
        msg = f"architecture {shown(stored)} is not known; expected one of {', '.join(MODELS)}"
        raise OptionError(msg)
    try:
        return MODELS[name](**arguments)  # type: ignore[arg-type]
    except TypeError as error:
        msg = f"architecture {name!r} cannot be built with the arguments {arguments}: {error}"
        raise OptionError(msg) from error


def check_model(model: object) -> None:
    """Raise `OptionError` if a network is neither known by name nor one of the user."""
    if isinstance(model, str) or not callable(model):
        check_choice("model", model, tuple(MODELS))


def make_network(
    model: Model, n_pixels: int, n_labels: int, output: OutputKind = "mean"
) -> SpectraNetwork:
    """Return the network to train.

    Parameters
    ----------
    model : str, Module or callable
        A name in `MODELS`, or the user's own network, as in
        :func:`~galahstream.learn.models.custom.make_module`.
    n_pixels, n_labels : int
        L and K.
    output : {"mean", "variance", "covariance"}
        What the network has to predict.

    Raises
    ------
    OptionError
        If the model is not known, or does not turn (B, L) into (B, K) with this output.
    """
    check_model(model)
    if isinstance(model, str) or model in MODELS.values():
        cls = MODELS[model] if isinstance(model, str) else cast(type[NamedNetwork], model)
        return _build(cls, n_pixels, n_labels, output)
    module = make_module(model, n_pixels, n_labels)
    if isinstance(module, CustomNetwork):
        module = module.module
    network = (
        cast(NamedNetwork, module)
        if type(module) in MODELS.values()
        else CustomNetwork(module, n_pixels, n_labels)
    )
    check_fits(network, n_pixels, n_labels, output)
    return network


def _build(
    cls: type[NamedNetwork], n_pixels: int, n_labels: int, output: OutputKind
) -> NamedNetwork:
    if n_pixels < cls.minimum_pixels:
        msg = (
            f"there are {n_pixels} pixels per spectrum, and the network {cls.name} needs at least "
            f"{cls.minimum_pixels}; take a wider window (window=, --window) or another network "
            f"(model=, --model)"
        )
        raise OptionError(msg)
    return cls(n_pixels, n_labels, output)


def check_fits(network: SpectraNetwork, n_pixels: int, n_labels: int, output: OutputKind) -> None:
    """Check a network that was made elsewhere.

    Raises
    ------
    OptionError
        If it has other sizes, or predicts less than `output`.
    """
    if (network.n_pixels, network.n_labels) != (n_pixels, n_labels):
        msg = (
            f"the network {network.name} takes {network.n_pixels:,} pixels and predicts "
            f"{network.n_labels} labels; expected {n_pixels:,} and {n_labels} (model=)"
        )
        raise OptionError(msg)
    kinds = get_args(OutputKind)
    if kinds.index(network.output) < kinds.index(output):
        msg = (
            f"the network {network.name} predicts the {network.output} of labels, and the loss "
            f"needs their {output}; use another loss (loss=), or a network that returns a "
            f"galahstream.learn.models.base.Prediction with all that it needs (model=)"
        )
        raise OptionError(msg)
