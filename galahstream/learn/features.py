"""The last hidden layer of a network, and which spectra are unusual there.

A network that learned from some stars still gives an answer for a spectrum unlike any of them.
How far its values in the last hidden layer are from those of the training stars tells.

Examples
--------
>>> values = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
>>> usual = FeatureDistribution.fit(values[:400], values[400:])
>>> usual.is_unusual(torch.tensor([[0.1, 0.2, 0.0, -0.3], [9.0, 9.0, 9.0, 9.0]]))
tensor([False,  True])
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from galahstream.learn.models.base import SpectraNetwork
from galahstream.validation import FieldError, checked, number

USUAL_FRACTION = 0.99
"""Fraction of the validation stars whose spectra count as usual."""

_MIN_VARIANCE = 1e-12
_MIN_SHRINKAGE = 1e-4


class HiddenLayer:
    """The last hidden layer of a network that runs.

    Attributes
    ----------
    values : Tensor, shape (B, F), or None
        Its values for the last batch; None before the first one.
    """

    def __init__(self) -> None:
        self.values: torch.Tensor | None = None

    def record(self, layer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        """Keep the input of the layer behind it."""
        self.values = inputs[0].detach()


@contextmanager
def recorded_hidden_layer(network: SpectraNetwork) -> Iterator[HiddenLayer]:
    """Record the last hidden layer of a network while it runs, if it is known."""
    hidden, layer = HiddenLayer(), network.label_layer
    if layer is None:
        yield hidden
        return
    hook = layer.register_forward_pre_hook(hidden.record)
    try:
        yield hidden
    finally:
        hook.remove()


def _plain_tensor(value: Any, dimensions: int) -> torch.Tensor:
    """Return a tensor of a file if it is a plain array of finite float32."""
    is_plain = (
        isinstance(value, torch.Tensor)
        and value.device.type == "cpu"  # a file can claim tensors without data
        and value.layout == torch.strided
        and value.dtype == torch.float32
        and value.ndim == dimensions
        and value.is_contiguous()
    )
    if not is_plain or not bool(value.isfinite().all()):
        msg = f"expected a plain array of finite float32 with {dimensions} dimensions"
        raise ValueError(msg)
    return value  # type: ignore[no-any-return]


@dataclass(frozen=True, eq=False)
class FeatureDistribution:
    """How the values of F features are distributed over usual spectra.

    Attributes
    ----------
    mean : Tensor, shape (F,), float32
    whitening : Tensor, shape (F, F), float32
        W, so that the Mahalanobis distance of x from the mean is |W (x - mean)|.
    limit : float
        The largest distance of a usual spectrum.
    """

    mean: torch.Tensor = checked(partial(_plain_tensor, dimensions=1))
    whitening: torch.Tensor = checked(partial(_plain_tensor, dimensions=2))
    limit: float = checked(partial(number, above=-1.0))

    def __post_init__(self) -> None:
        n_features = len(self.mean)
        if tuple(self.whitening.shape) != (n_features, n_features):
            reason = f"found shape {tuple(self.whitening.shape)} for {n_features} features"
            raise FieldError("whitening", reason)

    @classmethod
    def fit(cls, training: torch.Tensor, validation: torch.Tensor) -> "FeatureDistribution":
        """Return the distribution of training stars, with the limit from validation stars.

        The covariance is shrunk towards that of equal, independent features as Ledoit & Wolf
        (2004) do, since there may be more features than stars.

        Parameters
        ----------
        training, validation : Tensor, shape (n, F)
            At least one star each.
        """
        values = training.double().cpu()
        mean = values.mean(dim=0)
        lower = torch.linalg.cholesky(_shrunk_covariance(values - mean))
        unit = torch.eye(len(mean), dtype=lower.dtype)
        whitening = torch.linalg.solve_triangular(lower, unit, upper=False)
        usual = cls(mean.float(), whitening.float().contiguous(), limit=0.0)
        distances = usual.distance(validation.float().cpu()).double()
        limit = torch.quantile(distances, USUAL_FRACTION, interpolation="higher")
        return cls(usual.mean, usual.whitening, float(limit))

    def to(self, device: torch.device | str) -> "FeatureDistribution":
        """Return it with its tensors on a device."""
        return FeatureDistribution(self.mean.to(device), self.whitening.to(device), self.limit)

    def distance(self, values: torch.Tensor) -> torch.Tensor:
        """Return the Mahalanobis distances (B,) of features (B, F) from the mean."""
        distances: torch.Tensor = torch.linalg.vector_norm(
            (values - self.mean) @ self.whitening.T, dim=1
        )
        return distances

    def is_unusual(self, values: torch.Tensor) -> torch.Tensor:
        """Return which spectra are farther than the limit, shape (B,)."""
        return ~(self.distance(values) <= self.limit)  # also those whose distance is NaN


def _shrunk_covariance(centred: torch.Tensor) -> torch.Tensor:
    """Return the covariance matrix of n centred values (n, F), shrunk so that it has an inverse."""
    n, n_features = centred.shape
    covariance = centred.T @ centred / n
    variance = float(covariance.diagonal().mean())
    target = max(variance, _MIN_VARIANCE) * torch.eye(n_features, dtype=centred.dtype)
    spread = float((covariance - target).square().sum())
    noise = float(centred.square().sum(dim=1).square().sum() / n - covariance.square().sum()) / n
    shrinkage = min(max(noise, 0.0) / spread, 1.0) if spread > 0 else 1.0
    # A constant feature must not be left with a variance of 0.
    shrinkage = max(shrinkage, _MIN_SHRINKAGE)
    return (1 - shrinkage) * covariance + shrinkage * target
