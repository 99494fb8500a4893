"""The network of GALAH's reduction pipeline, with weights of its own for each training.

Examples
--------
>>> PipelineCNN(n_pixels=2896, n_labels=36).n_parameters  # as in the pipeline
194013
"""

from typing import ClassVar

import torch
from torch import nn

from galahstream.learn.models.base import OutputKind
from galahstream.learn.models.named import NamedNetwork

N_CHANNELS = 4
KERNEL_SIZES = (7, 5)
POOL_SIZE = 4
N_HIDDEN = (200, 150, 100)
DROPOUT = 0.1
POOLING = POOL_SIZE ** len(KERNEL_SIZES)


class PipelineCNN(NamedNetwork):
    """Two stages of convolution, PReLU and max-pooling, three hidden layers with dropout.

    The pipeline gives it 1 - flux in 131 windows (``window="galah-cnn"``) and predicts 36
    labels; here it takes the logarithm of the flux, in any pixels, and predicts any labels.

    Parameters
    ----------
    n_pixels : int
        Pixels per spectrum, L; at least 16.
    n_labels : int
        Labels, K; at least 1.
    output : {"mean", "variance", "covariance"}
        Labels alone, labels with a variance each, or with their covariance matrix.

    Raises
    ------
    OptionError
        If a size is not an integer or is too small, or `output` is not known.
    """

    name = "galah"
    summary: ClassVar[str] = "the layers of the network in GALAH's reduction pipeline"
    minimum_pixels: ClassVar[int] = POOLING

    def __init__(
        self, n_pixels: int = 16384, n_labels: int = 3, output: OutputKind = "mean"
    ) -> None:
        super().__init__(n_pixels, n_labels, output)
        dtype, n_inputs = torch.float32, 1
        stages: list[nn.Module] = []
        for size in KERNEL_SIZES:
            stages += [
                nn.Conv1d(n_inputs, N_CHANNELS, size, padding=size // 2, dtype=dtype),
                nn.PReLU(N_CHANNELS, dtype=dtype),
                nn.MaxPool1d(POOL_SIZE),
            ]
            n_inputs = N_CHANNELS
        self.features = nn.Sequential(*stages)
        n_inputs = N_CHANNELS * (self.n_pixels // POOLING)
        layers: list[nn.Module] = [nn.Flatten()]
        for n_outputs in N_HIDDEN:
            layers += [
                nn.Linear(n_inputs, n_outputs, dtype=dtype),
                nn.PReLU(dtype=dtype),
                nn.Dropout(DROPOUT),
            ]
            n_inputs = n_outputs
        self.head = nn.Sequential(*layers, self.label_head(n_inputs))
