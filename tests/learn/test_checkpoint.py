import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from galahstream.cli.main import main
from galahstream.errors import CheckpointError, DestinationExistsError, StorageFullError
from galahstream.learn import checkpoint as resuming
from galahstream.learn import trainer as train_module
from galahstream.learn.checkpoint import CHECKPOINT
from galahstream.learn.trained_model import load_model
from galahstream.learn.trainer import TrainingResult, train
from galahstream.store import Store

SETTINGS: dict[str, Any] = {"epochs": 3, "device": "cpu", "labels": ("teff",), "progress": False}


@pytest.fixture(scope="module")
def whole(toy_store: Store, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    return train(toy_store, tmp_path_factory.mktemp("whole") / "run", **SETTINGS)


class CutError(Exception):
    """What ends a run in these tests."""


def cut_after(monkeypatch: pytest.MonkeyPatch, steps: int, error: type[BaseException]) -> None:
    """Have training end in the model's next pass after so many steps."""
    forward = torch.nn.MSELoss.forward
    left = steps

    def failing(self: torch.nn.MSELoss, *arguments: torch.Tensor) -> torch.Tensor:
        nonlocal left
        if left == 0:
            raise error
        left -= 1
        return forward(self, *arguments)

    monkeypatch.setattr(torch.nn.MSELoss, "forward", failing)


def assert_same(found: TrainingResult, whole: TrainingResult) -> None:
    weights = whole.model.state_dict()
    for name, tensor in found.model.state_dict().items():
        assert torch.equal(tensor, weights[name]), name
    losses = [(one.epoch, one.train_loss, one.val_loss, one.labels) for one in found.history]
    assert losses == [
        (one.epoch, one.train_loss, one.val_loss, one.labels) for one in whole.history
    ]
    assert (found.test_loss, found.test) == (whole.test_loss, whole.test)


@pytest.mark.parametrize("steps", [[3], [0], [7], [10, 2], [1, 1, 1]], ids=str)
@pytest.mark.parametrize("error", [CutError, KeyboardInterrupt])
def test_a_run_cut_in_mid_epoch_goes_on_to_the_same_bits(
    toy_store: Store,
    whole: TrainingResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    steps: list[int],
    error: type[BaseException],
) -> None:
    for count in steps:
        with monkeypatch.context() as patch:
            cut_after(patch, count, error)
            with pytest.raises(error) as caught:
                train(toy_store, tmp_path / "run", resume=True, num_workers=count % 3, **SETTINGS)
            assert "--resume" in caught.value.__notes__[-1]
    found = train(toy_store, tmp_path / "run", resume=True, **SETTINGS)
    assert_same(found, whole)
    assert not (tmp_path / "run" / CHECKPOINT).exists()
    assert_events_are_those_of_one_run(tmp_path / "run")


def assert_events_are_those_of_one_run(folder: Path) -> None:
    events = EventAccumulator(str(folder))
    events.Reload()
    assert [event.step for event in events.Scalars("loss/training")] == [1, 2, 3]


def test_a_killed_run_goes_on_by_the_command(
    toy_store: Store, whole: TrainingResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = (
        "import os, signal, sys, torch\n"
        "from galahstream.learn import checkpoint as resuming, trainer as train\n"
        "resuming.SAVE_SECONDS = 0.0\n"
        "save, left = resuming.RunCheckpoint.save, 9\n"
        "def counting(self):\n"
        "    global left\n"
        "    save(self); left -= 1\n"
        "    if left == 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "resuming.RunCheckpoint.save = counting\n"
        "train.train(sys.argv[1], sys.argv[2], epochs=3, device='cpu', labels=('teff',))"
    )
    out = tmp_path / "run"
    done = subprocess.run([sys.executable, "-c", code, str(toy_store.path), str(out)], check=False)
    assert done.returncode == -signal.SIGKILL
    arguments = ["train", str(toy_store.path), "--out", str(out), "--epochs", "3"]
    arguments += ["--device", "cpu", "--labels", "teff"]
    assert main(arguments) == 1
    assert "go on with it (resume=True, --resume)" in capsys.readouterr().err
    assert main([*arguments, "--resume"]) == 0
    assert "going on in epoch 2 of 3, after 32 of its stars" in capsys.readouterr().err
    weights = whole.model.state_dict()
    for name, tensor in load_model(out / "model.pt").state_dict().items():
        assert torch.equal(tensor, weights[name])
    assert main([*arguments, "--resume"]) == 1
    assert "holds a run already (model.pt)" in capsys.readouterr().err


def cut_run(store: Store, out: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        cut_after(patch, 3, CutError)
        with pytest.raises(CutError):
            train(store, out, **SETTINGS)
    return out / CHECKPOINT


def test_other_settings_are_refused_naming_each(toy_store: Store, tmp_path: Path) -> None:
    cut_run(toy_store, tmp_path / "run")
    other = {**SETTINGS, "lr": 0.01, "labels": ("teff", "logg")}
    with pytest.raises(CheckpointError) as caught:
        train(toy_store, tmp_path / "run", resume=True, **other)
    assert "lr was 0.001 and is 0.01" in str(caught.value)
    assert "labels was ['teff'] and is ['teff', 'logg']" in str(caught.value)


def test_without_resume_a_cut_run_is_not_written_over(toy_store: Store, tmp_path: Path) -> None:
    cut_run(toy_store, tmp_path / "run")
    with pytest.raises(DestinationExistsError, match="was cut off"):
        train(toy_store, tmp_path / "run", **SETTINGS)


def test_a_run_cut_before_its_first_checkpoint_begins_anew(
    toy_store: Store, whole: TrainingResult, tmp_path: Path
) -> None:
    cut_run(toy_store, tmp_path / "run").unlink()
    assert_same(train(toy_store, tmp_path / "run", resume=True, **SETTINGS), whole)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    toy_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = cut_run(toy_store, tmp_path / "run")
    before = checkpoint.read_bytes()

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(resuming.torch, "save", full)
    with pytest.raises(StorageFullError, match="No space left"):
        train(toy_store, tmp_path / "run", resume=True, **SETTINGS)
    assert checkpoint.read_bytes() == before


def test_a_damaged_checkpoint_is_refused_or_the_same(
    toy_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = cut_run(toy_store, tmp_path / "run")
    good = checkpoint.read_bytes()
    generator = np.random.default_rng(0)
    refused = 0
    # Loading is looked at, not the training behind it.
    monkeypatch.setattr(train_module, "EventWriter", lambda *_: None)
    for number in range(60):
        data = bytearray(good)
        place = int(generator.integers(len(data)))
        data[place] ^= 1 << int(generator.integers(8))
        checkpoint.write_bytes(data if number % 3 else data[:place])
        try:
            train(toy_store, tmp_path / "run", resume=True, **SETTINGS)
        except CheckpointError as error:
            refused += str(checkpoint) in str(error)
        except AttributeError:
            continue  # it was loaded: the byte stands for nothing
    assert refused > 40
    checkpoint.write_bytes(b"")
    with pytest.raises(CheckpointError, match="no checkpoint of a run"):
        train(toy_store, tmp_path / "run", resume=True, **SETTINGS)
