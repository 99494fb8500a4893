"""The contract of all networks: how they are described, and their output."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import nn

Architecture: TypeAlias = Mapping[str, str | int]
"""The name of a network in the table of models, and the arguments of its constructor."""

OutputKind: TypeAlias = Literal["mean", "variance", "covariance"]
"""What a network predicts of each star's labels; each kind has all that those before it have."""


class Prediction(NamedTuple):
    """Predicted labels of a batch of B stars, scaled as the recipe says.

    Attributes
    ----------
    mean : Tensor, shape (B, K), float32
        The most likely values.
    log_variance : Tensor, shape (B, K), float32, or None
        Natural logarithm of their variances, from networks that estimate them.
    covariance_factor : Tensor, shape (B, K, K), float32, or None
        Lower triangular L with a positive diagonal, from networks that estimate the covariance
        L Lᵀ of the labels; its diagonal is the variance of `log_variance`. Of some of the labels
        only their rows of L.
    """

    mean: torch.Tensor
    log_variance: torch.Tensor | None = None
    covariance_factor: torch.Tensor | None = None

    def select(self, columns: Sequence[int]) -> "Prediction":
        """Return the prediction of some of the labels, by their positions: the marginal one."""
        chosen = list(columns)
        mean, *others = self
        return Prediction(
            mean[:, chosen], *(None if field is None else field[:, chosen] for field in others)
        )


def as_prediction(output: torch.Tensor | Prediction) -> Prediction:
    """Return the output of a network as a named tuple; a plain tensor is the mean."""
    return output if isinstance(output, Prediction) else Prediction(output)


class SpectraNetwork(nn.Module, ABC):
    """A network that takes transformed flux (B, L) and predicts scaled labels (B, K).

    It does not know how spectra were prepared or what its outputs mean; the
    :class:`~galahstream.learn.recipe.Recipe` beside it does.

    Attributes
    ----------
    name : str
        The name in the table of models, or that of the user's own class.
    n_pixels, n_labels : int
        L and K.
    output : {"mean", "variance", "covariance"}
        What it predicts of each star's labels.
    """

    name: str
    n_pixels: int
    n_labels: int
    output: OutputKind

    @property
    @abstractmethod
    def architecture(self) -> Architecture:
        """The name and the arguments that build this network again."""

    @property
    def label_layer(self) -> nn.Linear | None:
        """The layer that turns the last hidden layer, its input, into labels.

        Predictions are flagged for spectra that are unusual there. None if it is not known, as
        for a user's own module; such predictions do not have that flag.
        """
        return None

    @property
    def n_parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(weights.numel() for weights in self.parameters() if weights.requires_grad)


def layer_table(network: SpectraNetwork) -> str:
    """Return the layers and their numbers of parameters as a Markdown table."""
    lines = ["| layer | kind | parameters |", "|---|---|---:|"]
    for name, layer in network.named_modules():
        if not list(layer.children()):
            count = sum(weights.numel() for weights in layer.parameters())
            lines.append(f"| {name} | {layer} | {count:,} |")
    lines.append(f"| all | | {network.n_parameters:,} |")
    return "\n".join(lines)
