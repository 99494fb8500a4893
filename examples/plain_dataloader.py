"""Use torch's own DataLoader, with any sampler, Subset, random_split and ConcatDataset.

Run: python examples/plain_dataloader.py STORE
"""

import sys

import torch
from torch import nn
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    RandomSampler,
    Subset,
    WeightedRandomSampler,
    random_split,
)

import galahstream as gs


def train(name: str, loader: DataLoader, n_pixels: int, epochs: int = 2) -> None:
    """Train a network, and print which stars it saw."""
    network = nn.Linear(n_pixels, 3)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for epoch in range(epochs):
        seen: list[int] = []
        for flux, labels, ids in loader:
            optimizer.zero_grad()
            nn.functional.mse_loss(network(flux), labels).backward()
            optimizer.step()
            seen += ids.tolist()
        print(f"{name}, epoch {epoch}: {len(seen)} stars, {len(set(seen))} different")


def main() -> None:
    """Train with each kind of sampler and dataset."""
    dataset = gs.SpectraDataset(sys.argv[1], return_ids=True)
    halves = random_split(dataset, [0.5, 0.5], torch.Generator().manual_seed(0))
    datasets: dict[str, Dataset] = {
        "dataset": dataset,
        "Subset": Subset(dataset, range(0, len(dataset), 2)),
        "random_split": halves[0],
        "ConcatDataset": ConcatDataset([*halves]),
    }
    for name, chosen in datasets.items():
        train(name, DataLoader(chosen, 32, shuffle=True), dataset.n_pixels)
    with_processes = DataLoader(
        dataset, 32, sampler=RandomSampler(dataset), num_workers=2, multiprocessing_context="spawn"
    )
    train("RandomSampler, 2 processes", with_processes, dataset.n_pixels)
    # Draws with replacement: a star comes several times, or not at all.
    weights = torch.ones(len(dataset))
    generator = torch.Generator().manual_seed(0)
    sampler = WeightedRandomSampler(weights, len(dataset), generator=generator)
    train("WeightedRandomSampler", DataLoader(dataset, 32, sampler=sampler), dataset.n_pixels)


if __name__ == "__main__":
    main()
