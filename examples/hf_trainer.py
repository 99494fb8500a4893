"""Train with the Trainer of Hugging Face's transformers.

Run: python examples/hf_trainer.py STORE
"""

import sys
import tempfile
from typing import Any

import torch
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments

import galahstream as gs


class Labels(nn.Module):
    """A network in the form that the Trainer expects: it returns its own loss."""

    def __init__(self, n_pixels: int) -> None:
        super().__init__()
        self.layer = nn.Linear(n_pixels, 3)
        self.seen: list[int] = []

    def forward(
        self, flux: torch.Tensor, labels: torch.Tensor, ids: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Return loss and scaled labels."""
        self.seen += ids.tolist()
        predicted = self.layer(flux)
        return {"loss": nn.functional.mse_loss(predicted, labels), "logits": predicted}


class Count(TrainerCallback):
    """Print which stars were seen."""

    def on_epoch_end(self, args: Any, state: Any, control: Any, model: Any, **_: Any) -> None:
        """Print the counts of an epoch."""
        epoch = round(state.epoch) - 1
        print(f"epoch {epoch}: {len(model.seen)} stars, {len(set(model.seen))} different")
        model.seen = []


def as_named(items: list[tuple[torch.Tensor, ...]]) -> dict[str, torch.Tensor]:
    """Return a batch by the names of the network's arguments."""
    flux, labels, ids = torch.utils.data.default_collate(items)
    return {"flux": flux, "labels": labels, "ids": ids}


def main() -> None:
    """Train for three epochs; the Trainer makes its own loader from the dataset."""
    dataset = gs.SpectraDataset(sys.argv[1], return_ids=True)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            num_train_epochs=3,
            per_device_train_batch_size=32,
            learning_rate=1e-3,
            remove_unused_columns=False,
            report_to=[],
            save_strategy="no",
            disable_tqdm=True,
            use_cpu=True,
        )
        Trainer(
            Labels(dataset.n_pixels),
            arguments,
            train_dataset=dataset,
            data_collator=as_named,
            callbacks=[Count()],
        ).train()


if __name__ == "__main__":
    main()
