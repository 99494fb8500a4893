"""The part that all networks of the table of models share: sizes, architecture, forward pass."""

from typing import ClassVar, cast

import torch
from torch import nn

from galahstream.learn.models.base import Architecture, OutputKind, Prediction, SpectraNetwork
from galahstream.learn.models.heads import LabelHead
from galahstream.validation import check_count


class NamedNetwork(SpectraNetwork):
    """A network of the table of models: layers over the pixels, and a head that predicts labels.

    A subclass makes `features`, which takes flux (B, 1, L), and `head`, which takes what
    they give, in its constructor. All its layers are float32, as the loader's batches are,
    whatever torch's default dtype is.

    Parameters
    ----------
    n_pixels : int
        Pixels per spectrum, L; at least `minimum_pixels`.
    n_labels : int
        Labels, K; at least 1.
    output : {"mean", "variance", "covariance"}
        Labels alone, labels with a variance each, or with their covariance matrix.

    Attributes
    ----------
    summary : str
        What the network is, in one line.
    minimum_pixels : int
        The smallest L that it takes.

    Raises
    ------
    OptionError
        If a size is not an integer or is too small, or `output` is not known.
    """

    summary: ClassVar[str]
    minimum_pixels: ClassVar[int]
    features: nn.Module
    head: nn.Module

    def __init__(
        self, n_pixels: int = 16384, n_labels: int = 3, output: OutputKind = "mean"
    ) -> None:
        super().__init__()
        self.n_pixels = check_count("n_pixels", n_pixels, minimum=self.minimum_pixels)
        self.n_labels = check_count("n_labels", n_labels, minimum=1)
        self.output = output

    def label_head(self, n_inputs: int) -> LabelHead:
        """Return the last layer."""
        return LabelHead(n_inputs, self.n_labels, self.output)

    @property
    def architecture(self) -> Architecture:
        """The name and the arguments that build this network again."""
        sizes: dict[str, str | int] = {
            "name": self.name,
            "n_pixels": self.n_pixels,
            "n_labels": self.n_labels,
        }
        # Models of labels alone open with earlier versions too.
        return sizes if self.output == "mean" else {**sizes, "output": self.output}

    @property
    def label_layer(self) -> LabelHead:
        """The layer that :meth:`label_head` made."""
        return next(layer for layer in self.head.modules() if isinstance(layer, LabelHead))

    def forward(self, flux: torch.Tensor) -> torch.Tensor | Prediction:
        """Return the prediction for transformed flux (B, L), both float32."""
        return cast(torch.Tensor | Prediction, self.head(self.features(flux.unsqueeze(1))))
