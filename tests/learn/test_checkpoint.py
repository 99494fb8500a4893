import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from galahstream.cli.main import main
from galahstream.conversion.convert import convert
from galahstream.errors import CheckpointError, DestinationExistsError, StorageFullError
from galahstream.learn import optimizer
from galahstream.learn.losses import MeanSquaredError
from galahstream.learn.models.base import Prediction
from galahstream.learn.observers.tensorboard import EventWriter
from galahstream.learn.results import TrainingResult
from galahstream.learn.run import RunFolder
from galahstream.learn.train import train
from galahstream.learn.trained_model import load_model
from galahstream.store import Store
from tests.conftest import make_pair

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_pictures")]

SETTINGS: dict[str, Any] = {"epochs": 3, "device": "cpu", "labels": ("teff",), "progress": False}
N_TRAIN = 210


@pytest.fixture(scope="module")
def uncut(toy_store: Store, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    return train(toy_store, tmp_path_factory.mktemp("uncut") / "run", **SETTINGS)


class CutError(Exception):
    """The error that ends a run in these tests."""


def cut_after(monkeypatch: pytest.MonkeyPatch, steps: int, error: type[BaseException]) -> None:
    """Make training fail in the forward pass after this many steps."""
    mean = MeanSquaredError.__call__
    left = steps

    def failing(
        self: MeanSquaredError, prediction: Prediction, target: torch.Tensor
    ) -> torch.Tensor:
        nonlocal left
        if left == 0:
            raise error
        left -= 1
        return mean(self, prediction, target)

    monkeypatch.setattr(MeanSquaredError, "__call__", failing)


def cut_in_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make training fail after the last step of an epoch, before its validation is finished."""

    def failing(self: MeanSquaredError, prediction: Prediction, target: torch.Tensor) -> float:
        raise CutError

    monkeypatch.setattr(MeanSquaredError, "total", failing)


def cut_run(store: Store, out: Path, cut: Callable[[pytest.MonkeyPatch], None]) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        cut(patch)
        with pytest.raises(CutError):
            train(store, out, **SETTINGS)
    return RunFolder.at(out).checkpoint


@pytest.fixture(scope="module")
def interrupted_bytes(toy_store: Store, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The checkpoint of a run that was cut in its first epoch."""
    out = tmp_path_factory.mktemp("interrupted") / "run"
    return cut_run(toy_store, out, cut_in_first_epoch).read_bytes()


@pytest.fixture
def interrupted(interrupted_bytes: bytes, tmp_path: Path) -> Path:
    """The checkpoint of an interrupted run in the folder ``run``."""
    path = RunFolder.at(tmp_path / "run").checkpoint
    path.parent.mkdir()
    path.write_bytes(interrupted_bytes)
    return path


def cut_in_first_epoch(patch: pytest.MonkeyPatch) -> None:
    cut_after(patch, 3, CutError)


def assert_same(result: TrainingResult, uncut: TrainingResult) -> None:
    weights = uncut.model.state_dict()
    for name, tensor in result.model.state_dict().items():
        assert torch.equal(tensor, weights[name]), name
    losses = [(one.epoch, one.train_loss, one.val_loss, one.labels) for one in result.history]
    assert losses == [
        (one.epoch, one.train_loss, one.val_loss, one.labels) for one in uncut.history
    ]
    assert (result.test_loss, result.test) == (uncut.test_loss, uncut.test)


def assert_events_are_those_of_one_run(folder: Path, epochs: int = 3) -> None:
    events = EventAccumulator(str(folder))
    events.Reload()
    steps = [event.step for event in events.Scalars("loss/training")]
    assert steps == list(range(1, epochs + 1))


@pytest.mark.parametrize("steps", [[3], [0], [7], [10, 2], [1, 1, 1]], ids=str)
@pytest.mark.parametrize("error", [CutError, KeyboardInterrupt])
def test_a_run_cut_in_mid_epoch_resumes_to_the_same_bits(
    toy_store: Store,
    uncut: TrainingResult,
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
    assert_same(train(toy_store, tmp_path / "run", resume=True, **SETTINGS), uncut)
    assert_events_are_those_of_one_run(tmp_path / "run")


@pytest.mark.parametrize("position", ["as saved", "end of epoch", "next epoch"])
def test_a_run_cut_between_the_last_step_and_validation_resumes_to_the_same_bits(
    toy_store: Store, uncut: TrainingResult, tmp_path: Path, position: str
) -> None:
    path = cut_run(toy_store, tmp_path / "run", cut_in_validation)
    content = torch.load(path, weights_only=True)
    assert content["progress"]["stars"] == N_TRAIN
    if position != "as saved":
        epoch, served = (0, N_TRAIN) if position == "end of epoch" else (1, 0)
        content["progress"]["position"] |= {"epoch": epoch, "rows_served": served}
        torch.save(content, path)
    assert_same(train(toy_store, tmp_path / "run", resume=True, **SETTINGS), uncut)
    assert_events_are_those_of_one_run(tmp_path / "run")


def test_a_run_killed_before_its_files_are_written_resumes_to_the_same_result(
    toy_store: Store, uncut: TrainingResult, tmp_path: Path
) -> None:
    folder = RunFolder.at(tmp_path / "run")
    train(toy_store, folder.path, **SETTINGS)
    folder.metrics.unlink()
    assert_same(train(toy_store, folder.path, resume=True, **SETTINGS), uncut)
    assert folder.finished_epochs() == 3


KILLED = """
import os, signal, sys
from galahstream.learn import checkpoint
from galahstream.learn.train import train
checkpoint.SAVE_SECONDS = 0.0
save, left = checkpoint.Checkpoint.save, int(sys.argv[3])
def counting(self, trainer):
    global left
    save(self, trainer); left -= 1
    if left == 0: os.kill(os.getpid(), signal.SIGKILL)
checkpoint.Checkpoint.save = counting
train(sys.argv[1], sys.argv[2], epochs=3, device='cpu', labels=('teff',))
"""


# 7 batches per epoch and one checkpoint after the validation: the 7th is before validation.
@pytest.mark.parametrize(
    ("saves", "place"), [(9, "epoch 2 of 3, after 32"), (7, "epoch 1 of 3, after 210")]
)
def test_a_killed_run_is_resumed_by_the_command(
    toy_store: Store,
    uncut: TrainingResult,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    saves: int,
    place: str,
) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-c", KILLED, str(toy_store.path), str(out), str(saves)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    arguments = ["train", str(toy_store.path), "--out", str(out), "--epochs", "3"]
    arguments += ["--device", "cpu", "--labels", "teff"]
    assert main(arguments) == 1
    assert "resume it (resume=True, --resume)" in capsys.readouterr().err
    assert main([*arguments, "--resume"]) == 0
    assert f"{place} of its stars" in capsys.readouterr().err
    weights = uncut.model.state_dict()
    for name, tensor in load_model(out / "model.pt").state_dict().items():
        assert torch.equal(tensor, weights[name])
    assert main([*arguments, "--resume"]) == 1
    assert "holds a finished run of 3 epochs (model.pt)" in capsys.readouterr().err


def test_a_finished_run_is_continued_to_the_bits_of_a_longer_one(
    toy_store: Store, uncut: TrainingResult, tmp_path: Path
) -> None:
    longer = {**SETTINGS, "epochs": 5}
    expected = train(toy_store, tmp_path / "long", **longer)
    train(toy_store, tmp_path / "run", **SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        cut_after(patch, 9, CutError)
        with pytest.raises(CutError):
            train(toy_store, tmp_path / "run", resume=True, **longer)
    folder = RunFolder.at(tmp_path / "run")
    assert folder.finished_epochs() == 3
    kept = load_model(folder.model).state_dict()
    assert all(torch.equal(kept[name], one) for name, one in uncut.model.state_dict().items())
    with pytest.raises(CheckpointError, match="give at least 5 epochs"):
        train(toy_store, tmp_path / "run", resume=True, **{**SETTINGS, "epochs": 4})
    assert_same(train(toy_store, tmp_path / "run", resume=True, **longer), expected)
    assert folder.finished_epochs() == 5
    assert_events_are_those_of_one_run(tmp_path / "run", 5)


@pytest.mark.usefixtures("interrupted")
def test_other_settings_are_refused_naming_each(toy_store: Store, tmp_path: Path) -> None:
    other = {**SETTINGS, "lr": 0.01, "labels": ("teff", "logg")}
    with pytest.raises(CheckpointError) as caught:
        train(toy_store, tmp_path / "run", resume=True, **other)
    assert "lr was 0.001 and is 0.01" in str(caught.value)
    assert "labels was ('teff',) and is ('teff', 'logg')" in str(caught.value)
    assert "choose another folder (out=, --out)" in str(caught.value)


@pytest.mark.usefixtures("interrupted")
def test_a_run_is_not_resumed_with_another_network(toy_store: Store, tmp_path: Path) -> None:
    for model, name in (("compact", "compact"), (nn.Linear(64, 1), "Linear")):
        expected = f"model was 'reference' and is '{name}'; use the settings it was started with"
        with pytest.raises(CheckpointError, match=expected):
            train(toy_store, tmp_path / "run", resume=True, model=model, **SETTINGS)


@pytest.mark.usefixtures("interrupted")
def test_without_resume_an_interrupted_run_is_not_overwritten(
    toy_store: Store, tmp_path: Path
) -> None:
    with pytest.raises(DestinationExistsError, match="interrupted run"):
        train(toy_store, tmp_path / "run", **SETTINGS)


def test_a_run_cut_before_its_first_checkpoint_starts_from_scratch(
    toy_store: Store, uncut: TrainingResult, tmp_path: Path
) -> None:
    cut_run(toy_store, tmp_path / "run", cut_in_first_epoch).unlink()
    assert_same(train(toy_store, tmp_path / "run", resume=True, **SETTINGS), uncut)


def test_a_checkpoint_of_version_1_is_resumed(
    toy_store: Store, uncut: TrainingResult, tmp_path: Path, interrupted: Path
) -> None:
    content = torch.load(interrupted, weights_only=True)
    progress = content["progress"]
    old_names = {"loss_sum": "total", "wait_seconds": "waited", "train_seconds": "seconds"}
    old = {old_names.get(name, name): value for name, value in progress.items()}
    content |= {"version": 1, "progress": {**old, "saving": 0.1}}
    content["settings"]["epochs"] = 3
    torch.save(content, interrupted)
    assert_same(train(toy_store, tmp_path / "run", resume=True, **SETTINGS), uncut)


def test_a_checkpoint_from_before_losses_and_networks_could_be_chosen_is_resumed(
    toy_store: Store, uncut: TrainingResult, tmp_path: Path, interrupted: Path
) -> None:
    content = torch.load(interrupted, weights_only=True)
    for name in ("loss", "label_errors", "model"):
        del content["settings"][name]
    for record in content["progress"]["history"]:
        for label in record["labels"]:
            for name in ("n", "scatter", "information_limit", "uncertainty"):
                del label[name]
    torch.save(content, interrupted)
    assert_same(train(toy_store, tmp_path / "run", resume=True, **SETTINGS), uncut)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_checkpoint_from_before_adam_was_fused_is_resumed(
    toy_store: Store,
    uncut: TrainingResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dtype: torch.dtype,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(optimizer, "has_fused_adam", lambda device: False)
        path = cut_run(toy_store, tmp_path / "run", cut_in_first_epoch)
    content = torch.load(path, weights_only=True)
    for moments in content["optimizer"].values():
        moments["step"] = moments["step"].to(dtype)
    torch.save(content, path)
    weights = train(toy_store, tmp_path / "run", resume=True, **SETTINGS).model.state_dict()
    for name, expected in uncut.model.state_dict().items():
        assert torch.allclose(weights[name], expected, rtol=1e-3, atol=1e-5), name


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    toy_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    interrupted: Path,
) -> None:
    before = interrupted.read_bytes()

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(StorageFullError, match="No space left"):
        train(toy_store, tmp_path / "run", resume=True, **SETTINGS)
    assert interrupted.read_bytes() == before


class LoadedError(Exception):
    """Raised once a checkpoint is loaded: these tests do not train any further."""


def stop(self: EventWriter, network: object) -> None:
    raise LoadedError


def test_a_damaged_checkpoint_is_refused_or_the_same(
    toy_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    interrupted: Path,
) -> None:
    good = interrupted.read_bytes()
    generator = np.random.default_rng(0)
    refused = 0
    monkeypatch.setattr(EventWriter, "started", stop)
    for case in range(60):
        data = bytearray(good)
        offset = int(generator.integers(len(data)))
        data[offset] ^= 1 << int(generator.integers(8))
        interrupted.write_bytes(data if case % 3 else data[:offset])
        try:
            train(toy_store, tmp_path / "run", resume=True, **SETTINGS)
        except CheckpointError as error:
            refused += str(interrupted) in str(error)
        except LoadedError:
            continue  # the byte has no meaning
    assert refused > 40
    interrupted.write_bytes(b"")
    with pytest.raises(CheckpointError, match="not a galahstream checkpoint"):
        train(toy_store, tmp_path / "run", resume=True, **SETTINGS)


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("progress/epoch", 0, "progress.epoch"),
        ("progress/stars", 40, "progress.position"),
        ("progress/stars", N_TRAIN, "progress.position"),
        ("progress/loss_sum", float("nan"), "progress.loss_sum"),
        ("progress/position", None, "progress.position"),
        ("progress/position/rows", "210", "progress.position.rows"),
        ("progress/position/epoch", 1, "progress.position"),
        ("progress/history", [{"epoch": 1}], "progress.history.0.train_loss"),
        ("progress", [], "progress"),
        ("settings/lr", "fast", "settings.lr"),
        ("weights/features.0.weight", torch.zeros(3), "weights.features.0.weight"),
        ("weights", None, "weights"),
        ("weights/more", torch.zeros(3), "weights"),
        ("settings/model", 3, "settings.model"),
        ("optimizer/0/exp_avg", torch.zeros(3), "optimizer.0.exp_avg"),
        ("optimizer", {}, "optimizer"),
        ("optimizer", {0: {}}, "optimizer.0"),
        ("optimizer", {99: {}}, "optimizer"),
        ("random", torch.zeros(3), "random"),
    ],
)
def test_an_impossible_value_is_refused_naming_file_and_field(
    toy_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    value: Any,
    field: str,
    interrupted: Path,
) -> None:
    content = torch.load(interrupted, weights_only=True)
    *outer, last = path.split("/")
    target = content
    for name in outer:
        target = target[int(name) if name.isdigit() else name]
    target[last] = value
    torch.save(content, interrupted)
    monkeypatch.setattr(EventWriter, "started", stop)
    with pytest.raises(CheckpointError, match=f"checkpoint.pt .*'{field}'"):
        train(toy_store, tmp_path / "run", resume=True, **SETTINGS)


KILLED_AT_A_STEP = """
import os, signal, sys
from galahstream.learn import checkpoint
from galahstream.learn.losses import MeanSquaredError
from galahstream.learn.train import train
checkpoint.SAVE_SECONDS = 0.02
mean, left = MeanSquaredError.__call__, int(sys.argv[4])
def counting(*arguments):
    global left
    left -= 1
    if left < 0: os.kill(os.getpid(), signal.SIGKILL)
    return mean(*arguments)
MeanSquaredError.__call__ = counting
train(sys.argv[1], sys.argv[2], num_workers=int(sys.argv[3]), resume=True, **eval(sys.argv[5]))
"""


def test_a_run_killed_three_times_resumes_to_the_same_bits_with_other_workers(
    tmp_path: Path,
) -> None:
    pair = make_pair(tmp_path / "raw", stars=300)
    np.save(pair.folder / "wavelength.npy", np.linspace(6000, 6063, 64))
    store = convert(pair.folder, tmp_path / "store")
    options: dict[str, Any] = {
        "epochs": 14, "device": "cpu", "labels": ("teff",), "progress": False, "lr": 0.003,
        "schedule": "plateau", "patience": 4, "clip_norm": 1.0,
        "augment": "noise=20:200,velocity=2,mask=0.02",
    }  # fmt: skip
    uncut = train(store, tmp_path / "uncut", **options)
    assert len(uncut.history) < 14
    assert uncut.history[-1].learning_rate < uncut.history[0].learning_rate
    out = tmp_path / "run"
    for workers, steps in enumerate(np.random.default_rng(7).integers(2, 26, 3)):
        command = [sys.executable, "-c", KILLED_AT_A_STEP, str(store.path), str(out)]
        command += [str(workers), str(steps), repr(options)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    assert_same(train(store, out, resume=True, num_workers=3, **options), uncut)
    best, expected = (load_model(folder / "best.pt") for folder in (out, tmp_path / "uncut"))
    for a, b in zip(best.parameters(), expected.parameters(), strict=True):
        assert torch.equal(a, b)
