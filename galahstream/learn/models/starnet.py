"""StarNet, the network of Fabbro et al. (2018, MNRAS 475, 2978).

Examples
--------
>>> StarNet(n_pixels=7214).n_parameters  # that of APOGEE's spectra in the paper
7406903
"""

from typing import ClassVar

import torch
from torch import nn

from galahstream.learn.models.base import OutputKind
from galahstream.learn.models.named import NamedNetwork

CHANNELS = (4, 16)
KERNEL_SIZE = 8
POOL_SIZE = 4
N_HIDDEN = (256, 128)


class StarNet(NamedNetwork):
    """Two convolutions, one max-pooling, two hidden layers, all with ReLU.

    The authors trained it with a learning rate of 0.0007.

    Parameters
    ----------
    n_pixels : int
        Pixels per spectrum, L; at least 18.
    n_labels : int
        Labels, K; at least 1.
    output : {"mean", "variance", "covariance"}
        Labels alone, labels with a variance each, or with their covariance matrix.

    Raises
    ------
    OptionError
        If a size is not an integer or is too small, or `output` is not known.
    """

    name = "starnet"
    summary: ClassVar[str] = "StarNet (Fabbro et al. 2018): two convolutions, two hidden layers"
    minimum_pixels: ClassVar[int] = len(CHANNELS) * (KERNEL_SIZE - 1) + POOL_SIZE

    def __init__(
        self, n_pixels: int = 16384, n_labels: int = 3, output: OutputKind = "mean"
    ) -> None:
        super().__init__(n_pixels, n_labels, output)
        dtype = torch.float32
        self.features = nn.Sequential(
            nn.Conv1d(1, CHANNELS[0], KERNEL_SIZE, dtype=dtype),
            nn.ReLU(),
            nn.Conv1d(CHANNELS[0], CHANNELS[1], KERNEL_SIZE, dtype=dtype),
            # ReLU after pooling equals ReLU before it, and processes a quarter of the values.
            nn.MaxPool1d(POOL_SIZE),
            nn.ReLU(),
        )
        n_convolved = self.n_pixels - len(CHANNELS) * (KERNEL_SIZE - 1)
        n_features = CHANNELS[1] * (n_convolved // POOL_SIZE)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(n_features, N_HIDDEN[0], dtype=dtype),
            nn.ReLU(),
            nn.Linear(N_HIDDEN[0], N_HIDDEN[1], dtype=dtype),
            nn.ReLU(),
            self.label_head(N_HIDDEN[1]),
        )
