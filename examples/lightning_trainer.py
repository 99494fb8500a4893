"""Train with Lightning, in one process or in several.

Run: python examples/lightning_trainer.py STORE [PROCESSES]
"""

import sys

import lightning
import torch
from torch import nn

import galahstream as gs


class Labels(lightning.LightningModule):
    """A network that predicts scaled labels, and counts the stars of each epoch."""

    def __init__(self, store: str) -> None:
        super().__init__()
        self.dataset = gs.SpectraDataset(store, return_ids=True)
        self.network = nn.Linear(self.dataset.n_pixels, 3)
        self.seen: list[int] = []

    def train_dataloader(self) -> gs.SpectraLoader:
        """Return the loader; made here, it knows which of the processes this one is."""
        return gs.SpectraLoader(self.dataset, batch_size=16, shuffle=True)

    def training_step(self, batch: tuple[torch.Tensor, ...], _: int) -> torch.Tensor:
        """Return the loss of a batch."""
        flux, labels, ids = batch
        self.seen += ids.tolist()
        return nn.functional.mse_loss(self.network(flux), labels)

    def on_train_epoch_end(self) -> None:
        """Print which stars were seen, by all processes together."""
        seen = [self.seen]
        if self.trainer.world_size > 1:
            seen = [[] for _ in range(self.trainer.world_size)]
            torch.distributed.all_gather_object(seen, self.seen)
        stars = [star for of_process in seen for star in of_process]
        self.seen = []
        if self.trainer.is_global_zero:
            print(f"epoch {self.current_epoch}: {len(stars)} stars, {len(set(stars))} different")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return the optimiser."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)


def main() -> None:
    """Train for three epochs."""
    processes = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    trainer = lightning.Trainer(
        max_epochs=3,
        accelerator="cpu",
        devices=processes,
        strategy="ddp" if processes > 1 else "auto",
        # The loader divides its own order. Lightning's sampler would repeat stars, so that all
        # processes have equal numbers.
        use_distributed_sampler=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        logger=False,
    )
    trainer.fit(Labels(sys.argv[1]))


if __name__ == "__main__":
    main()
