"""How often checkpoints are saved: saving may take little of the time of training."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from galahstream.learn.checkpoint import Checkpoint
from galahstream.learn.train import train
from galahstream.learn.trainer import Trainer
from galahstream.store import Store

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_pictures")]

SETTINGS: dict[str, Any] = {"device": "cpu", "labels": ("teff",), "progress": False}


@pytest.fixture
def saved_epochs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the epochs in which checkpoints will have been saved, half a second each."""
    save, epochs = Checkpoint.save, []

    def slow(self: Checkpoint, trainer: Trainer) -> None:
        time.sleep(0.5)
        save(self, trainer)
        epochs.append(trainer.state.epoch)

    monkeypatch.setattr(Checkpoint, "save", slow)
    return epochs


def test_short_epochs_are_not_all_saved_but_the_last_state_is(
    toy_store: Store, tmp_path: Path, saved_epochs: list[int]
) -> None:
    train(toy_store, tmp_path / "run", epochs=8, **SETTINGS)
    assert saved_epochs[0] == 2  # after the first epoch
    assert saved_epochs[-1] == 9
    assert len(saved_epochs) < 8
    continued = train(toy_store, tmp_path / "run", epochs=10, resume=True, **SETTINGS)
    uncut = train(toy_store, tmp_path / "uncut", epochs=10, **SETTINGS)
    for name, weights in uncut.model.state_dict().items():
        assert torch.equal(weights, continued.model.state_dict()[name])


def test_a_run_that_is_interrupted_is_saved_at_once(
    toy_store: Store, tmp_path: Path, saved_epochs: list[int]
) -> None:
    def stop(line: str) -> None:
        if line.startswith("epoch 4/"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(toy_store, tmp_path / "run", epochs=8, report=stop, **SETTINGS)
    assert saved_epochs[-1] == 5
