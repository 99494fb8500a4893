"""Train with ignite.

Run: python examples/ignite_engine.py STORE
"""

import sys

import torch
from ignite.engine import Engine, Events
from torch import nn

import galahstream as gs


def main() -> None:
    """Train for three epochs."""
    dataset = gs.SpectraDataset(sys.argv[1], return_ids=True)
    loader = gs.SpectraLoader(dataset, 32, shuffle=True)
    network = nn.Linear(dataset.n_pixels, 3)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    seen: list[int] = []

    def step(engine: Engine, batch: tuple[torch.Tensor, ...]) -> float:
        flux, labels, ids = batch
        seen.extend(ids.tolist())
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(network(flux), labels)
        loss.backward()
        optimizer.step()
        return float(loss)

    engine = Engine(step)

    @engine.on(Events.EPOCH_COMPLETED)
    def count(engine: Engine) -> None:
        epoch = engine.state.epoch - 1
        print(f"epoch {epoch}: {len(seen)} stars, {len(set(seen))} different")
        seen.clear()

    engine.run(loader, max_epochs=3)


if __name__ == "__main__":
    main()
