"""The convolutional network that reads stellar labels off a spectrum.

Examples
--------
>>> model = SpectraCNN(n_pixels=16384)
>>> model.n_parameters
33563299
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from galahstream.errors import OptionError

if TYPE_CHECKING:
    from galahstream.learn.recipe import Recipe

CHANNELS = (16, 32, 64)
KERNEL = 3
POOL = 2
HIDDEN = 256


class SpectraCNN(nn.Module):
    """Three stages of convolution, max-pool and ReLU, one hidden layer, one output a label.

    Parameters
    ----------
    n_pixels : int
        Pixels of each spectrum, 8 or more.
    n_labels : int
        Outputs.

    Attributes
    ----------
    recipe : Recipe or None
        How spectra become input and outputs become labels; set by training and
        by :func:`galahstream.load_model`.
    """

    def __init__(self, n_pixels: int = 16384, n_labels: int = 3) -> None:
        super().__init__()
        least = POOL ** len(CHANNELS)
        if n_pixels < least or n_labels < 1:
            msg = (
                f"a network for {n_pixels} pixels and {n_labels} labels cannot be made; expected "
                f"at least {least} pixels and 1 label"
            )
            raise OptionError(msg)
        self.n_pixels = n_pixels
        self.n_labels = n_labels
        self.recipe: Recipe | None = None
        stages: list[nn.Module] = []
        before = 1
        for channels in CHANNELS:
            # ReLU behind the pool gives the same as before it, and runs over half the values.
            stages += [
                nn.Conv1d(before, channels, KERNEL, padding=KERNEL // 2),
                nn.MaxPool1d(POOL),
                nn.ReLU(),
            ]
            before = channels
        self.features = nn.Sequential(*stages)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(before * (n_pixels // least), HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, n_labels),
        )

    @property
    def n_parameters(self) -> int:
        """How many numbers are learnt."""
        return sum(weights.numel() for weights in self.parameters())

    def forward(self, flux: torch.Tensor) -> torch.Tensor:
        """Return label scores (B, K) of transformed flux (B, L), both float32."""
        return cast(torch.Tensor, self.head(self.features(flux.unsqueeze(1))))


def layer_table(model: SpectraCNN) -> str:
    """Return the layers with their numbers of parameters as a table in Markdown."""
    lines = ["| layer | kind | parameters |", "|---|---|---:|"]
    for name, layer in model.named_modules():
        if not list(layer.children()):
            count = sum(weights.numel() for weights in layer.parameters())
            lines.append(f"| {name} | {layer} | {count:,} |")
    lines.append(f"| all | | {model.n_parameters:,} |")
    return "\n".join(lines)
