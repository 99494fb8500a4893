"""How spectra are loaded and learned without galahstream: what its speed is compared with."""

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from galahstream.stream.dataset import SpectraDataset

FLOOR = 0.2


def published_script(dataset: SpectraDataset, batch_size: int) -> DataLoader[Any]:
    """Load all spectra into memory and log them beforehand, as the published script does."""
    flux = np.log(np.maximum(dataset.store.flux[dataset.rows], FLOOR))
    tensors = TensorDataset(torch.from_numpy(flux), torch.from_numpy(dataset.scaled_targets))
    return DataLoader(tensors, batch_size, shuffle=True)


class MappedDataset(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """The training rows of an .npy store in the obvious way: mapped, one spectrum at a time."""

    def __init__(self, store: Path, targets: npt.NDArray[np.float32]) -> None:
        self.flux: np.memmap[Any, np.dtype[np.float32]] = np.load(store / "flux.npy", mmap_mode="r")
        self._targets = torch.from_numpy(targets)

    @property
    def mapping(self) -> mmap.mmap:
        """The mapping behind the flux, whose pages can be released."""
        mapping = self.flux.base
        assert isinstance(mapping, mmap.mmap)
        return mapping

    def __len__(self) -> int:
        return len(self._targets)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        flux = torch.from_numpy(np.log(np.maximum(self.flux[index], FLOOR)))
        return flux, self._targets[index]


def mapped_loader(dataset: SpectraDataset, batch_size: int, workers: int = 0) -> DataLoader[Any]:
    """Put a `MappedDataset` of an .npy store into torch's own loader."""
    mapped = MappedDataset(dataset.store.path, dataset.scaled_targets)
    return DataLoader(
        mapped,
        batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context="fork" if workers else None,
    )


class PlainNetwork(nn.Module):
    """The reference network as it is written first: ReLU before max-pooling."""

    def __init__(self, n_pixels: int, n_labels: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv1d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool1d(2),
            nn.Conv1d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool1d(2),
            nn.Conv1d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool1d(2),
        )  # fmt: skip
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(64 * (n_pixels // 8), 256),
            nn.ReLU(),
            nn.Linear(256, n_labels),
        )

    def forward(self, flux: torch.Tensor) -> torch.Tensor:
        """Return labels (B, K) of flux (B, L)."""
        labels: torch.Tensor = self.head(self.features(flux.unsqueeze(1)))
        return labels


class PlainTraining:
    """The published script's training on the CPU: Adam parameter by parameter, a loss per step."""

    def __init__(self, network: nn.Module, lr: float) -> None:
        self.network = network
        self._optimizer = torch.optim.Adam(network.parameters(), lr=lr, foreach=False)
        self._loss = nn.MSELoss()

    def step(self, flux: torch.Tensor, labels: torch.Tensor) -> float:
        """Learn from a batch and return its loss."""
        self._optimizer.zero_grad()
        loss = self._loss(self.network(flux), labels)
        loss.backward()
        self._optimizer.step()
        return float(loss.item())
