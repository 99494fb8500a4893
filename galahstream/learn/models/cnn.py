"""The reference network: three stages of convolution and pooling, and one wide hidden layer.

Examples
--------
>>> network = SpectraCNN(n_pixels=16384)
>>> network.n_parameters
33563299
>>> network.architecture
{'name': 'cnn', 'n_pixels': 16384, 'n_labels': 3}
"""

from typing import ClassVar

import torch
from torch import nn

from galahstream.learn.models.base import Architecture, OutputKind
from galahstream.learn.models.named import NamedNetwork
from galahstream.learn.models.pooling import PairMaxPool

CHANNELS = (16, 32, 64)
KERNEL_SIZE = 3
N_HIDDEN = 256
POOLING = 2 ** len(CHANNELS)


class SpectraCNN(NamedNetwork):
    """Three stages of convolution, max-pooling and ReLU, one hidden layer, one output per label.

    Parameters
    ----------
    n_pixels : int
        Pixels per spectrum, L; at least 8.
    n_labels : int
        Labels, K; at least 1.
    output : {"mean", "variance", "covariance"}
        Labels alone, labels with a variance each, or with their covariance matrix.

    Raises
    ------
    OptionError
        If a size is not an integer or is too small, or `output` is not known.
    """

    name = "reference"
    name_in_files: ClassVar[str] = "cnn"
    """What model files call it, those of early versions too."""

    summary: ClassVar[str] = (
        "three stages of convolution and max-pooling, and one wide hidden layer"
    )
    minimum_pixels: ClassVar[int] = POOLING

    def __init__(
        self, n_pixels: int = 16384, n_labels: int = 3, output: OutputKind = "mean"
    ) -> None:
        super().__init__(n_pixels, n_labels, output)
        stages: list[nn.Module] = []
        dtype, n_inputs = torch.float32, 1
        for n_outputs in CHANNELS:
            # ReLU after pooling equals ReLU before it, and processes half as many values.
            stages += [
                nn.Conv1d(n_inputs, n_outputs, KERNEL_SIZE, padding=KERNEL_SIZE // 2, dtype=dtype),
                PairMaxPool(),
                nn.ReLU(),
            ]
            n_inputs = n_outputs
        self.features = nn.Sequential(*stages)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(n_inputs * (self.n_pixels // POOLING), N_HIDDEN, dtype=dtype),
            nn.ReLU(),
            self.label_head(N_HIDDEN),
        )

    @property
    def architecture(self) -> Architecture:
        """The name in files and the arguments that build this network again."""
        return {**super().architecture, "name": self.name_in_files}
