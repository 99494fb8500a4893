"""The last layer of a network: labels, and what the network says of their uncertainty.

Examples
--------
>>> head = LabelHead(8, n_labels=3, output="variance")
>>> prediction = head(torch.zeros(2, 8))
>>> prediction.mean.shape, prediction.log_variance.shape
(torch.Size([2, 3]), torch.Size([2, 3]))
"""

from typing import Literal, TypeAlias, get_args

import torch
from torch import nn

from galahstream.learn.models.base import Prediction
from galahstream.validation import check_choice

OutputKind: TypeAlias = Literal["mean", "variance", "covariance"]
"""What a network predicts of each star's labels."""


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
    With ``"covariance"`` the further outputs are the entries of a lower triangular matrix L
    with a positive diagonal, the logarithm of which is predicted: the covariance L Lᵀ is then
    positive definite whatever the outputs are.
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

    def forward(self, features: torch.Tensor) -> torch.Tensor | Prediction:  # type: ignore[override]
        """Return scaled labels (B, K), or a prediction with uncertainties, of features (B, n)."""
        values = super().forward(features)
        mean, rest = values[:, : self.n_labels], values[:, self.n_labels :]
        if self.output == "mean":
            return mean
        if self.output == "variance":
            return Prediction(mean, rest)
        factor = _covariance_factor(rest, self.n_labels)
        return Prediction(mean, factor.square().sum(dim=2).log(), factor)


def _covariance_factor(values: torch.Tensor, n_labels: int) -> torch.Tensor:
    """Return lower triangular matrices (B, K, K) with a positive diagonal."""
    log_diagonal, below = values[:, :n_labels], values[:, n_labels:]
    rows, columns = torch.tril_indices(n_labels, n_labels, offset=-1, device=values.device)
    factor = torch.diag_embed(log_diagonal.exp())
    factor[:, rows, columns] = below
    return factor
