"""Loss functions: what training minimises, and what it asks of a network.

Targets are scaled labels (B, K), NaN where one is missing: such values do not count. Errors of
labels are scaled in the same way. Everything is float32, and nothing waits for the device.

Examples
--------
>>> target = torch.tensor([[1.0, float("nan")]])
>>> make_loss("mse")(Prediction(torch.zeros(1, 2)), target)
tensor(1.)
"""

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Literal, Protocol, TypeAlias

import torch

from galahstream.learn.models.base import OutputKind, Prediction

LossName: TypeAlias = Literal["mse", "nll", "full-nll"]
"""The losses that `make_loss` makes."""

ERROR_SCALE = 0.1
"""Error of a scaled label at which its squared difference counts half as much."""

_LOG_2_PI = math.log(2 * math.pi)


class Loss(Protocol):
    """The error of predictions against targets, both of scaled labels.

    Attributes
    ----------
    description : str
        What the loss is, for axis labels.
    required_outputs : tuple of str
        The fields of :class:`~galahstream.learn.models.base.Prediction` that a
        network must fill to be trained with this loss.
    output : {"mean", "variance", "covariance"}
        The output of a network that fills them.
    """

    description: ClassVar[str]
    required_outputs: ClassVar[tuple[str, ...]]
    output: ClassVar[OutputKind]

    def __call__(
        self,
        prediction: Prediction,
        target: torch.Tensor,
        label_error: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the mean over the values of a batch, to be differentiated."""
        ...

    def total(
        self,
        prediction: Prediction,
        target: torch.Tensor,
        label_error: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the sum over the values of a batch; means of many batches are made of it."""
        ...

    def weight(self, target: torch.Tensor, label_error: torch.Tensor | None = None) -> torch.Tensor:
        """Return the number, or the sum of the weights, of the values of a batch."""
        ...


class _SumOverWeight(ABC):
    """What the losses share: the mean is the sum over the values per their weight."""

    def __call__(
        self,
        prediction: Prediction,
        target: torch.Tensor,
        label_error: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the mean over the values of a batch, to be differentiated."""
        return self._sum(prediction, target, label_error) / self.weight(target, label_error)

    def total(
        self,
        prediction: Prediction,
        target: torch.Tensor,
        label_error: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return the sum over the values of a batch; means of many batches are made of it."""
        return self._sum(prediction, target, label_error)

    def weight(self, target: torch.Tensor, label_error: torch.Tensor | None = None) -> torch.Tensor:
        """Return the number of values of a batch that are not missing."""
        return is_present(target).sum().to(target.dtype)

    @abstractmethod
    def _sum(
        self, prediction: Prediction, target: torch.Tensor, label_error: torch.Tensor | None
    ) -> torch.Tensor: ...


class MeanSquaredError(_SumOverWeight):
    """Mean squared difference of predicted means and targets.

    Errors σ of scaled labels make it a weighted mean, with the weights
    1 / (1 + (σ / `ERROR_SCALE`)²): those of the inverse variance, for a network that is itself
    off by a tenth of a label's standard deviation. So no label of a tiny error outweighs others.
    """

    description: ClassVar[str] = "mean squared error of z-scored labels"
    required_outputs: ClassVar[tuple[str, ...]] = ("mean",)
    output: ClassVar[OutputKind] = "mean"

    def _sum(
        self, prediction: Prediction, target: torch.Tensor, label_error: torch.Tensor | None
    ) -> torch.Tensor:
        squares = _residual(prediction, target).square()
        return (squares if label_error is None else squares * _weights(target, label_error)).sum()

    def weight(self, target: torch.Tensor, label_error: torch.Tensor | None = None) -> torch.Tensor:
        """Return the sum of the weights of a batch."""
        if label_error is None:
            return super().weight(target)
        return _weights(target, label_error).sum()


class GaussianLikelihood(_SumOverWeight):
    """Negative logarithm of the likelihood of targets, per value, with a variance each.

    Per value it is ½ (log 2πs² + d² / s²), of the difference d and the variance s². Errors σ of
    labels are added: s² is the predicted variance + σ².
    """

    description: ClassVar[str] = "negative log-likelihood per z-scored label"
    required_outputs: ClassVar[tuple[str, ...]] = ("mean", "log_variance")
    output: ClassVar[OutputKind] = "variance"

    def _sum(
        self, prediction: Prediction, target: torch.Tensor, label_error: torch.Tensor | None
    ) -> torch.Tensor:
        assert prediction.log_variance is not None
        log_variance = prediction.log_variance
        if label_error is not None:
            log_variance = (log_variance.exp() + _known(label_error).square()).log()
        squares = _residual(prediction, target).square() * torch.exp(-log_variance)
        values = 0.5 * (log_variance + squares + _LOG_2_PI)
        return values.where(is_present(target), 0).sum()


class FullGaussianLikelihood(_SumOverWeight):
    """Negative logarithm of the likelihood of targets, per value, with a covariance matrix.

    Per star it is ½ (log |2πS| + dᵀS⁻¹d), of the differences d and the covariance S. Where labels
    are missing, d and S are those of the others: the marginal distribution. Errors σ of labels
    are added: S is the predicted covariance + diag(σ²).
    """

    description: ClassVar[str] = "negative log-likelihood per z-scored label, with covariances"
    required_outputs: ClassVar[tuple[str, ...]] = ("mean", "log_variance", "covariance_factor")
    output: ClassVar[OutputKind] = "covariance"

    def _sum(
        self, prediction: Prediction, target: torch.Tensor, label_error: torch.Tensor | None
    ) -> torch.Tensor:
        factor, present = prediction.covariance_factor, is_present(target)
        assert factor is not None
        variance = factor.square().sum(dim=2)
        if label_error is not None:
            variance = variance + _known(label_error).square()
        scale = variance.sqrt()
        # A correlation matrix is well conditioned where float32 would lose a covariance. Rows of
        # missing labels are those of the unit matrix, which adds nothing to the likelihood.
        rows = (factor / scale.unsqueeze(2)).where(present.unsqueeze(2), 0)
        correlation = (rows @ rows.transpose(1, 2)).tril(-1)
        unit = torch.eye(correlation.shape[1], dtype=factor.dtype, device=factor.device)
        # The _ex form does not look at the result, for which the host would wait.
        cholesky = torch.linalg.cholesky_ex(correlation + correlation.transpose(1, 2) + unit).L
        differences = (_residual(prediction, target) / scale).unsqueeze(2)
        white = torch.linalg.solve_triangular(cholesky, differences, upper=False)
        log_diagonal = cholesky.diagonal(dim1=1, dim2=2).log()
        values = scale.log() + log_diagonal + 0.5 * (white.squeeze(2).square() + _LOG_2_PI)
        total: torch.Tensor = values.where(present, 0).sum()
        return total


LOSSES: dict[str, type[MeanSquaredError | GaussianLikelihood | FullGaussianLikelihood]] = {
    "mse": MeanSquaredError,
    "nll": GaussianLikelihood,
    "full-nll": FullGaussianLikelihood,
}
"""The losses by name."""


def make_loss(name: str) -> Loss:
    """Return the loss of a name that was checked."""
    return LOSSES[name]()


def is_present(target: torch.Tensor) -> torch.Tensor:
    """Return which targets are not missing, as bool of the same shape."""
    return ~target.isnan()


def check_outputs(loss: Loss, prediction: Prediction) -> None:
    """Raise `TypeError` if a network does not give what a loss needs."""
    for name in loss.required_outputs:
        if getattr(prediction, name) is None:
            msg = f"{type(loss).__name__} needs a network that predicts {name}; this one does not"
            raise TypeError(msg)


def _residual(prediction: Prediction, target: torch.Tensor) -> torch.Tensor:
    """Return predicted - true, and 0 for a missing label, where gradients are 0 too."""
    # Not the difference itself is replaced: NaN has the gradient NaN, whatever it is multiplied by.
    present = is_present(target)
    return prediction.mean.where(present, 0) - target.where(present, 0)


def _weights(target: torch.Tensor, label_error: torch.Tensor) -> torch.Tensor:
    weights = 1 / (1 + (_known(label_error) / ERROR_SCALE).square())
    return weights.where(is_present(target), 0)


def _known(label_error: torch.Tensor) -> torch.Tensor:
    """Return errors with 0 for missing ones, of labels that do not count."""
    return label_error.nan_to_num()
