"""The last layer of a network: labels, and what the network says of their uncertainty.

Examples
--------
>>> head = LabelHead(8, n_labels=3, output="variance")
>>> prediction = head(torch.zeros(2, 8))
>>> prediction.mean.shape, prediction.log_variance.shape
(torch.Size([2, 3]), torch.Size([2, 3]))
"""

from typing import get_args

import torch
from torch import nn
from torch.nn import functional

from galahstream.learn.models.base import OutputKind, Prediction
from galahstream.validation import check_choice

MIN_LOG_SIGMA, MAX_LOG_SIGMA = -7.0, 3.0
"""Natural logarithms of the smallest and largest 1 σ of a scaled label: 0.0009 and 20."""

_MAX_SLOPE = 10.0


class LabelHead(nn.Linear):
    """A fully connected layer whose outputs are labels and their uncertainty.

    Parameters
    ----------
    n_inputs : int
    n_labels : int
        K.
    output : {"mean", "variance", "covariance"}
        Labels alone, labels with a variance each, or with their covariance matrix.

    Notes
    -----
    Standard deviations are predicted as logarithms, smoothly bounded, and begin near 1, that of
    scaled labels, without correlations: the further outputs of the untrained layer are 0.

    With ``"covariance"`` they are the entries of a lower triangular matrix L with a positive
    diagonal, each row in units of its diagonal and bounded: the covariance L Lᵀ is then positive
    definite, and no correlation too close to 1 for float32, whatever the outputs are.
    """

    def __init__(self, n_inputs: int, n_labels: int, output: OutputKind = "mean") -> None:
        check_choice("output", output, get_args(OutputKind))
        n_extra = {
            "mean": 0,
            "variance": n_labels,
            "covariance": n_labels * (n_labels + 1) // 2,
        }
        # float32 as in the loader's batches, whatever torch's default dtype is.
        super().__init__(n_inputs, n_labels + n_extra[output], dtype=torch.float32)
        self.n_labels = n_labels
        self.output = output
        with torch.no_grad():
            self.weight[n_labels:] = 0
            self.bias[n_labels:] = 0

    def forward(self, features: torch.Tensor) -> torch.Tensor | Prediction:  # type: ignore[override]
        """Return scaled labels (B, K), or a prediction with uncertainties, of features (B, n)."""
        values = super().forward(features)
        mean, rest = values[:, : self.n_labels], values[:, self.n_labels :]
        if self.output == "mean":
            return mean
        log_sigma = _bounded(rest[:, : self.n_labels])
        if self.output == "variance":
            return Prediction(mean, 2 * log_sigma)
        factor = _covariance_factor(log_sigma, rest[:, self.n_labels :])
        return Prediction(mean, factor.square().sum(dim=2).log(), factor)


def _bounded(log_sigma: torch.Tensor) -> torch.Tensor:
    """Return values within the limits of log σ, nearly unchanged far from them."""
    value = MAX_LOG_SIGMA - functional.softplus(MAX_LOG_SIGMA - log_sigma)
    return MIN_LOG_SIGMA + functional.softplus(value - MIN_LOG_SIGMA)


def _covariance_factor(log_diagonal: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
    """Return lower triangular matrices (B, K, K) with a positive diagonal."""
    n_labels = log_diagonal.shape[1]
    rows, columns = torch.tril_indices(n_labels, n_labels, offset=-1, device=below.device)
    slopes = torch.diag_embed(torch.ones_like(log_diagonal))
    slopes[:, rows, columns] = _MAX_SLOPE * torch.tanh(below / _MAX_SLOPE)
    return log_diagonal.exp().unsqueeze(2) * slopes
