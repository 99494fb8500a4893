"""Train with skorch, whose nets are estimators of scikit-learn.

Run: python examples/skorch_net.py STORE
"""

import sys
from typing import Any

import torch
from skorch import NeuralNetRegressor
from skorch.callbacks import Callback
from torch import nn

import galahstream as gs


class Linear(nn.Module):
    """A network that notes nothing of ids."""

    def __init__(self, n_pixels: int) -> None:
        super().__init__()
        self.layer = nn.Linear(n_pixels, 3)

    def forward(self, flux: torch.Tensor) -> torch.Tensor:
        """Return scaled labels (B, 3)."""
        return self.layer(flux)


class Count(Callback):
    """Print which stars were seen, which their labels tell apart."""

    def on_epoch_begin(self, net: Any, **_: Any) -> None:
        """Begin to count."""
        self.seen: list[tuple[float, ...]] = []

    def on_batch_end(self, net: Any, batch: Any, training: bool, **_: Any) -> None:
        """Count the stars of a batch."""
        if training:
            self.seen += map(tuple, batch[1].tolist())

    def on_epoch_end(self, net: Any, **_: Any) -> None:
        """Print the counts."""
        epoch = len(net.history) - 1
        print(f"epoch {epoch}: {len(self.seen)} stars, {len(set(self.seen))} different")


def main() -> None:
    """Train for three epochs."""
    dataset = gs.SpectraDataset(sys.argv[1])
    net = NeuralNetRegressor(
        Linear,
        module__n_pixels=dataset.n_pixels,
        max_epochs=3,
        lr=1e-3,
        optimizer=torch.optim.Adam,
        # skorch makes the loader, of any class and with any arguments.
        iterator_train=gs.SpectraLoader,
        iterator_train__shuffle=True,
        batch_size=32,
        train_split=None,
        callbacks=[Count()],
        verbose=0,
    )
    net.fit(dataset, y=None)


if __name__ == "__main__":
    main()
