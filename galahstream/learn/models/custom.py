"""Networks that users bring: any module that turns spectra (B, L) into labels (B, K).

Examples
--------
>>> network = CustomNetwork(nn.Linear(64, 3), n_pixels=64, n_labels=3)
>>> network.name, network.output
('Linear', 'mean')
"""

import inspect
from collections.abc import Callable
from typing import cast

import torch
from torch import nn

from galahstream.errors import OptionError
from galahstream.learn.models.base import (
    Architecture,
    OutputKind,
    Prediction,
    SpectraNetwork,
    as_prediction,
)
from galahstream.validation import check_count, shown

_EXPECTED = "one value per star and label (model=)"


class CustomNetwork(SpectraNetwork):
    """A user's own module, as a network.

    A model file holds its weights and the name of its class, but no code.

    Parameters
    ----------
    module : Module
        Takes transformed flux (B, L), float32, and returns scaled labels (B, K), float32, or a
        :class:`~galahstream.learn.models.base.Prediction`. It is tried on a few spectra.
    n_pixels, n_labels : int
        L and K.

    Attributes
    ----------
    module : Module
        The user's module, on the CPU.
    name : str
        The name of its class.
    output : {"mean", "variance", "covariance"}
        What the module was found to predict.

    Raises
    ------
    OptionError
        If it is not a module, has nothing to train, or its outputs have another shape or dtype.
    """

    name_in_files = "custom"

    def __init__(self, module: nn.Module, n_pixels: int, n_labels: int) -> None:
        super().__init__()
        if not isinstance(module, nn.Module):
            msg = f"{shown(module)} is not a network; expected a torch.nn.Module (model=)"
            raise OptionError(msg)
        self.name = type(module).__name__
        self.n_pixels = check_count("n_pixels", n_pixels, minimum=1)
        self.n_labels = check_count("n_labels", n_labels, minimum=1)
        self.module = module.to("cpu")
        self.output = self._find_output()
        _check_weights(module, self.name)

    @property
    def architecture(self) -> Architecture:
        """What a file says of the network: not enough to build it again."""
        return {
            "name": self.name_in_files,
            "class": self.name,
            "n_pixels": self.n_pixels,
            "n_labels": self.n_labels,
        }

    def forward(self, flux: torch.Tensor) -> torch.Tensor | Prediction:
        """Return what the module returns for transformed flux (B, L)."""
        return cast(torch.Tensor | Prediction, self.module(flux))

    def _find_output(self) -> OutputKind:
        """Return what the module predicts for one star and for several, in evaluation mode."""
        was_training = self.module.training
        self.module.eval()
        try:
            for n_stars in (1, self.n_labels + 1):  # (B, K) is not a square
                output = self._try(n_stars)
        finally:
            self.module.train(was_training)
        return output

    def _try(self, n_stars: int) -> OutputKind:
        shape = (n_stars, self.n_pixels)
        try:
            with torch.no_grad():
                found: object = self.module(torch.zeros(shape, dtype=torch.float32))
        except Exception as error:
            reason = str(error).split("\n", 1)[0] or type(error).__name__
            msg = (
                f"{self.name} cannot take spectra of shape {shape}, float32: {reason}; expected a "
                f"network that turns (B, {self.n_pixels}) into (B, {self.n_labels}) (model=)"
            )
            raise OptionError(msg) from error
        if not isinstance(found, torch.Tensor | Prediction):
            msg = (
                f"{self.name} returns {type(found).__name__} for spectra of shape {shape}; "
                f"expected a tensor or a Prediction: {_EXPECTED}"
            )
            raise OptionError(msg)
        prediction = as_prediction(found)
        for name, tensor in prediction._asdict().items():
            if tensor is not None or name == "mean":
                self._check_tensor(name, tensor, n_stars)
        if prediction.log_variance is None:
            return "mean"
        return "variance" if prediction.covariance_factor is None else "covariance"

    def _check_tensor(self, name: str, found: object, n_stars: int) -> None:
        n_labels = self.n_labels
        is_matrix = name == "covariance_factor"
        shape = (n_stars, n_labels, n_labels) if is_matrix else (n_stars, n_labels)
        if isinstance(found, torch.Tensor):
            if found.shape == shape and found.dtype == torch.float32:
                return
            described = f"of shape {tuple(found.shape)}, {found.dtype},"
        else:
            described = f"as {type(found).__name__}"
        msg = (
            f"{self.name} returns {name} {described} for spectra of shape "
            f"{(n_stars, self.n_pixels)}; expected {shape}, torch.float32: {_EXPECTED}"
        )
        raise OptionError(msg)


def make_module(
    model: nn.Module | Callable[..., nn.Module], n_pixels: int, n_labels: int
) -> nn.Module:
    """Return the module that a user gives, or that the user's class or function makes.

    Parameters
    ----------
    model : Module or callable
        A class or function is called with `n_pixels` and `n_labels` if it has parameters of
        these names.
    n_pixels, n_labels : int
        L and K.

    Raises
    ------
    OptionError
        If the class or function needs other arguments.
    """
    if isinstance(model, nn.Module):
        return model
    signature = inspect.signature(model)
    sizes = {"n_pixels": n_pixels, "n_labels": n_labels}
    arguments = {name: size for name, size in sizes.items() if name in signature.parameters}
    try:
        signature.bind(**arguments)
    except TypeError as error:
        name = getattr(model, "__name__", type(model).__name__)
        msg = (
            f"{name}{signature} cannot be called with {', '.join(arguments) or 'no arguments'}: "
            f"{error}; give the network itself, or a function that makes it (model=)"
        )
        raise OptionError(msg) from error
    return model(**arguments)


def _check_weights(module: nn.Module, name: str) -> None:
    """Check that there is something to train, and that it can be saved and loaded."""
    for key, weights in module.state_dict().items():
        if not isinstance(weights, torch.Tensor) or weights.layout != torch.strided:
            found = "is not a dense tensor"
        elif not weights.is_contiguous():
            found = "is not contiguous in memory"
        else:
            continue
        msg = f"{key!r} of {name} {found} and cannot be saved; expected contiguous tensors (model=)"
        raise OptionError(msg)
    if not any(weights.requires_grad for weights in module.parameters()):
        msg = f"{name} has no trainable parameters: there is nothing to learn (model=)"
        raise OptionError(msg)
