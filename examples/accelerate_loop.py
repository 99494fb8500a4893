"""Train with accelerate, in one process or in several.

Run: python examples/accelerate_loop.py STORE
 or: torchrun --nproc-per-node 2 examples/accelerate_loop.py STORE
"""

import sys

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn

import galahstream as gs


def main() -> None:
    """Train for three epochs."""
    accelerator = Accelerator(cpu=True)
    dataset = gs.SpectraDataset(sys.argv[1], return_ids=True)
    # Made after the Accelerator, the loader knows which of the processes this one is.
    loader = gs.SpectraLoader(dataset, 16, shuffle=True, device=accelerator.device)
    network = nn.Linear(dataset.n_pixels, 3)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    network, optimizer = accelerator.prepare(network, optimizer)
    if accelerator.num_processes == 1:
        loader = accelerator.prepare(loader)
    # With several processes, prepare(loader) would give each of them whole batches in turn, and
    # repeat stars at the end; the loader divides each batch itself, and repeats none.
    for epoch in range(3):
        seen: list[int] = []
        for flux, labels, ids in loader:
            optimizer.zero_grad()
            accelerator.backward(nn.functional.mse_loss(network(flux), labels))
            optimizer.step()
            seen += ids.tolist()
        stars = gather_object(seen)
        if accelerator.is_main_process:
            print(f"epoch {epoch}: {len(stars)} stars, {len(set(stars))} different")
    accelerator.end_training()


if __name__ == "__main__":
    main()
