"""Loss functions: what training minimises, and what it asks of a network."""

from typing import ClassVar, Protocol

import torch
from torch.nn import functional

from galahstream.learn.models.base import Prediction


class Loss(Protocol):
    """The error of predictions against targets, both of scaled labels.

    Attributes
    ----------
    description : str
        What the loss is, for axis labels.
    required_outputs : tuple of str
        The fields of :class:`~galahstream.learn.models.base.Prediction` that a
        network must fill to be trained with this loss.
    """

    description: ClassVar[str]
    required_outputs: ClassVar[tuple[str, ...]]

    def __call__(self, prediction: Prediction, target: torch.Tensor) -> torch.Tensor:
        """Return the mean over all values of a batch, to be differentiated."""
        ...

    def total(self, prediction: Prediction, target: torch.Tensor) -> float:
        """Return the sum over all values of a batch, to be averaged over many batches."""
        ...


class MeanSquaredError:
    """Mean squared difference of predicted means and targets."""

    description: ClassVar[str] = "mean squared error of z-scored labels"
    required_outputs: ClassVar[tuple[str, ...]] = ("mean",)

    def __call__(self, prediction: Prediction, target: torch.Tensor) -> torch.Tensor:
        """Return the mean over all values of a batch, to be differentiated."""
        return functional.mse_loss(prediction.mean, target)

    def total(self, prediction: Prediction, target: torch.Tensor) -> float:
        """Return the sum over all values of a batch, to be averaged over many batches."""
        return float(torch.sum((prediction.mean - target) ** 2))


def check_outputs(loss: Loss, prediction: Prediction) -> None:
    """Raise `TypeError` if a network does not give what a loss needs."""
    for name in loss.required_outputs:
        if getattr(prediction, name) is None:
            msg = f"{type(loss).__name__} needs a network that predicts {name}; this one does not"
            raise TypeError(msg)
