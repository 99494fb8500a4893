"""Lightning's Trainer over the loader."""

from pathlib import Path
from typing import Any

import lightning as L  # noqa: N812  its own convention
import pytest
import torch
from lightning.pytorch.utilities import CombinedLoader
from torch.utils.data import DataLoader

from galahstream.stream.loader import SpectraLoader
from tests.clients.conftest import MakeLoader
from tests.clients.helper import (
    CUT,
    EPOCHS,
    LIMIT,
    N_PIXELS,
    Epochs,
    check_full_epochs,
    check_limited_epochs,
    expected,
    flat,
    ids_of,
)

pytestmark = pytest.mark.filterwarnings("ignore")


class Recorder(L.LightningModule):
    """A network that notes the stars of each epoch; `part` chooses one of zipped loaders."""

    def __init__(self, part: int | None = None) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(N_PIXELS, 3)
        self.part = part
        self.seen: Epochs = [[] for _ in range(EPOCHS)]

    def training_step(self, batch: Any, _: int) -> torch.Tensor:
        own = batch if self.part is None else batch[self.part]
        self.seen[self.current_epoch] += ids_of(own)
        loss: torch.Tensor = self.layer(own[0]).square().mean()
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


class CutError(Exception):
    """The end of a run that is cut."""


class Cut(L.Callback):
    """Save a checkpoint after some batches, and end the run."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_step == CUT:
            trainer.save_checkpoint(self.path)
            raise CutError


def fit(
    loader: Any, part: int | None = None, checkpoint: Path | None = None, **options: Any
) -> Recorder:
    trainer = L.Trainer(
        max_epochs=EPOCHS, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip
    recorder = Recorder(part)
    trainer.fit(recorder, loader, ckpt_path=checkpoint, weights_only=False)
    return recorder


def test_four_epochs(loader: SpectraLoader, plain: DataLoader[Any]) -> None:
    check_full_epochs(fit(loader).seen, loader, fit(plain).seen)


def test_limited_batches(loader: SpectraLoader, plain: DataLoader[Any]) -> None:
    seen, peer = (fit(one, limit_train_batches=LIMIT).seen for one in (loader, plain))
    check_limited_epochs(seen, loader, peer)


def test_a_run_that_is_cut_in_mid_epoch_is_resumed_where_it_was(
    make_loader: MakeLoader, tmp_path: Path
) -> None:
    path = tmp_path / "last.ckpt"
    loader, recorder = make_loader(), Recorder()
    trainer = L.Trainer(
        max_epochs=EPOCHS, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, callbacks=[Cut(path)],
    )  # fmt: skip
    with pytest.raises(CutError):
        trainer.fit(recorder, loader)
    resumed = make_loader()
    seen = flat(recorder.seen) + flat(fit(resumed, checkpoint=path).seen)
    assert seen == flat([expected(resumed, epoch) for epoch in range(EPOCHS)])
    assert resumed.epoch == EPOCHS


@pytest.mark.parametrize("mode", ["min_size", "max_size_cycle"])
def test_two_loaders_side_by_side(
    make_loader: MakeLoader, plain: DataLoader[Any], mode: Any
) -> None:
    for part in (0, 1):
        loaders = [make_loader(1), make_loader(2)]
        seen = fit(CombinedLoader(loaders, mode), part).seen
        check_full_epochs(seen, loaders[part], fit(plain).seen)
