"""The convolutional network that predicts stellar labels from a spectrum.

Examples
--------
>>> network = SpectraCNN(n_pixels=16384)
>>> network.n_parameters
33563299
>>> network.architecture
{'name': 'cnn', 'n_pixels': 16384, 'n_labels': 3}
"""

from typing import ClassVar, cast

import torch
from torch import nn

from galahstream.learn.models.base import Architecture, Prediction, SpectraNetwork
from galahstream.learn.models.heads import LabelHead, OutputKind
from galahstream.validation import check_count

CHANNELS = (16, 32, 64)
KERNEL_SIZE = 3
POOL_SIZE = 2
N_HIDDEN = 256


class SpectraCNN(SpectraNetwork):
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

    name: ClassVar[str] = "cnn"

    def __init__(
        self, n_pixels: int = 16384, n_labels: int = 3, output: OutputKind = "mean"
    ) -> None:
        super().__init__()
        pooling = POOL_SIZE ** len(CHANNELS)
        self.n_pixels = check_count("n_pixels", n_pixels, minimum=pooling)
        self.n_labels = check_count("n_labels", n_labels, minimum=1)
        self.output: OutputKind = output
        stages: list[nn.Module] = []
        # float32 as in the loader's batches, whatever torch's default dtype is.
        dtype, n_inputs = torch.float32, 1
        for n_outputs in CHANNELS:
            # ReLU after pooling equals ReLU before it, and processes half as many values.
            stages += [
                nn.Conv1d(n_inputs, n_outputs, KERNEL_SIZE, padding=KERNEL_SIZE // 2, dtype=dtype),
                nn.MaxPool1d(POOL_SIZE),
                nn.ReLU(),
            ]
            n_inputs = n_outputs
        self.features = nn.Sequential(*stages)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(n_inputs * (self.n_pixels // pooling), N_HIDDEN, dtype=dtype),
            nn.ReLU(),
            LabelHead(N_HIDDEN, self.n_labels, output),
        )

    @property
    def architecture(self) -> Architecture:
        """The name and the arguments that build this network again."""
        sizes: dict[str, str | int] = {
            "name": self.name,
            "n_pixels": self.n_pixels,
            "n_labels": self.n_labels,
        }
        # Models of labels alone open with earlier versions too.
        return sizes if self.output == "mean" else {**sizes, "output": self.output}

    def forward(self, flux: torch.Tensor) -> torch.Tensor | Prediction:
        """Return the prediction for transformed flux (B, L), both float32."""
        return cast(torch.Tensor | Prediction, self.head(self.features(flux.unsqueeze(1))))
