"""Networks that users bring: any module that turns spectra (B, L) into labels (B, K)."""

from typing import cast

import torch
from torch import nn

from galahstream.errors import OptionError
from galahstream.learn.models.base import Architecture, Prediction, SpectraNetwork, as_prediction
from galahstream.validation import check_count, shown


class OwnNetwork(SpectraNetwork):
    """A user's own module, as a network.

    A model file holds its weights and the name of its class, but no code.

    Parameters
    ----------
    module : Module
        Takes transformed flux (B, L), float32, and returns scaled labels (B, K), float32, or a
        :class:`~galahstream.learn.models.base.Prediction`.
    n_pixels, n_labels : int
        L and K.

    Attributes
    ----------
    module : Module
        The user's module.
    name : str
        The name of its class.

    Raises
    ------
    OptionError
        If it is not a module, or its outputs have another shape or dtype.
    """

    name_in_files = "own"

    def __init__(self, module: nn.Module, n_pixels: int, n_labels: int) -> None:
        super().__init__()
        if not isinstance(module, nn.Module):
            msg = f"{shown(module)} is not a network; expected a torch.nn.Module (model=, network=)"
            raise OptionError(msg)
        self.name = type(module).__name__
        self.n_pixels = check_count("n_pixels", n_pixels, minimum=1)
        self.n_labels = check_count("n_labels", n_labels, minimum=1)
        self.module = module
        self._check_outputs()
        self._check_weights()

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

    def _check_outputs(self) -> None:
        """Try the module on one spectrum and on several, without changing it."""
        was_training = self.module.training
        self.module.eval().to("cpu")
        for n_stars in (1, self.n_labels + 1):  # (B, K) is never a square
            self._check_output(torch.zeros(n_stars, self.n_pixels, dtype=torch.float32))
        self.module.train(was_training)

    def _check_output(self, flux: torch.Tensor) -> None:
        found: object
        try:
            with torch.no_grad():
                found = self(flux)
        except Exception as error:
            reason = str(error).split("\n", 1)[0] or type(error).__name__
            msg = (
                f"{self.name} cannot take spectra of shape {tuple(flux.shape)}, float32: {reason}; "
                f"expected a network that turns (B, {self.n_pixels}) into (B, {self.n_labels})"
            )
            raise OptionError(msg) from error
        shape = (len(flux), self.n_labels)
        expected = {
            "mean": shape,
            "log_variance": shape,
            "covariance_factor": (*shape, self.n_labels),
        }
        if not isinstance(found, torch.Tensor | Prediction):
            self._refuse(flux, f"a {type(found).__name__}", f"a tensor {shape} or a Prediction")
            return
        for name, tensor in as_prediction(found)._asdict().items():
            if tensor is None and name != "mean":
                continue
            is_tensor = isinstance(tensor, torch.Tensor)
            what = f"{name} of shape {expected[name]}, torch.float32"
            if not is_tensor:
                self._refuse(flux, f"{name} as {type(tensor).__name__}", what)
            if tensor.shape != expected[name] or tensor.dtype != torch.float32:
                self._refuse(flux, f"{name} of shape {tuple(tensor.shape)}, {tensor.dtype}", what)

    def _refuse(self, flux: torch.Tensor, found: str, expected: str) -> None:
        msg = (
            f"{self.name} returns {found} for spectra of shape {tuple(flux.shape)}; expected "
            f"{expected}: one value per star and label (model=, network=)"
        )
        raise OptionError(msg)

    def _check_weights(self) -> None:
        """Check that all weights can be saved and loaded."""
        for name, weights in self.module.state_dict().items():
            if not isinstance(weights, torch.Tensor) or weights.layout != torch.strided:
                found = f"{name!r} of {self.name} is not a dense tensor"
            elif not weights.is_contiguous():
                found = f"{name!r} of {self.name} is not contiguous in memory"
            else:
                continue
            msg = f"{found} and could not be loaded from a file; expected contiguous tensors"
            raise OptionError(msg)
        if not any(weights.requires_grad for weights in self.module.parameters()):
            msg = f"{self.name} has no trainable parameters: there is nothing to learn (model=)"
            raise OptionError(msg)
