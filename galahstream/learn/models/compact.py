"""The compact network: a strided first convolution makes all that follows small.

Examples
--------
>>> CompactCNN(n_pixels=16384).n_parameters
527411
"""

from typing import ClassVar

import torch
from torch import nn

from galahstream.learn.models.base import OutputKind
from galahstream.learn.models.named import NamedNetwork

CHANNELS = (16, 32)
PATCH_SIZE = 16
STRIDE = 4
KERNEL_SIZE = 5
POOL_SIZE = 4
N_HIDDEN = 64
REDUCTION = STRIDE * POOL_SIZE ** len(CHANNELS)


class CompactCNN(NamedNetwork):
    """Two stages of convolution, max-pooling and GELU, one hidden layer.

    The first convolution looks at overlapping patches of 16 pixels, the width of a line with
    its wings, every 4 pixels.

    Parameters
    ----------
    n_pixels : int
        Pixels per spectrum, L; at least 64.
    n_labels : int
        Labels, K; at least 1.
    output : {"mean", "variance", "covariance"}
        Labels alone, labels with a variance each, or with their covariance matrix.

    Raises
    ------
    OptionError
        If a size is not an integer or is too small, or `output` is not known.
    """

    name = "compact"
    summary: ClassVar[str] = "a strided convolution first: as accurate, many times faster"
    minimum_pixels: ClassVar[int] = REDUCTION

    def __init__(
        self, n_pixels: int = 16384, n_labels: int = 3, output: OutputKind = "mean"
    ) -> None:
        super().__init__(n_pixels, n_labels, output)
        dtype = torch.float32
        self.features = nn.Sequential(
            nn.Conv1d(
                1, CHANNELS[0], PATCH_SIZE, STRIDE, padding=(PATCH_SIZE - STRIDE) // 2, dtype=dtype
            ),
            # After pooling, GELU processes a quarter of the values. In 14 epochs on the full mock
            # survey, the lowest validation losses of three seeds were 0.0019 to 0.0024, and 0.0026
            # to 0.0063 with ReLU.
            nn.MaxPool1d(POOL_SIZE),
            nn.GELU(),
            nn.Conv1d(*CHANNELS, KERNEL_SIZE, padding=KERNEL_SIZE // 2, dtype=dtype),
            nn.MaxPool1d(POOL_SIZE),
            nn.GELU(),
        )
        n_features = CHANNELS[-1] * (self.n_pixels // REDUCTION)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(n_features, N_HIDDEN, dtype=dtype),
            nn.GELU(),
            self.label_head(N_HIDDEN),
        )
