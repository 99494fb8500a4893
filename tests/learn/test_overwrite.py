"""A run is replaced if the user asks for it, and nothing but a run ever is."""

from pathlib import Path

import pytest

from galahstream.cli.main import main
from galahstream.errors import DestinationExistsError, OptionError, TrainingDivergedError
from galahstream.learn.run import RunFolder
from galahstream.learn.train import train
from galahstream.store import Store

pytestmark = pytest.mark.usefixtures("without_pictures")


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


@pytest.mark.slow
def test_a_diverged_run_is_replaced_as_its_message_says(toy_store: Store, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(TrainingDivergedError, match=r"over this run \(overwrite=True, --overwrite"):
        train(toy_store, out, epochs=1, lr=1e30, device="cpu")
    options = ["--epochs", "1", "--device", "cpu", "--out", str(out), "--overwrite"]
    assert main(["train", str(toy_store.path), *options]) == 0
    assert RunFolder(out).finished_epochs() == 1
    assert len(list(out.glob("events*"))) <= 2
    assert not list(out.glob(".*"))


@pytest.mark.slow
def test_the_old_run_stays_until_the_new_one_is_finished(toy_store: Store, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train(toy_store, out, epochs=1, device="cpu")
    (out / ".nfs0123").touch()
    before = content(out)
    del before[".nfs0123"]
    for _ in range(2):
        with pytest.raises(TrainingDivergedError):
            train(toy_store, out, epochs=1, lr=1e30, device="cpu", overwrite=True)
        assert content(out / ".replaced-run") == before
    train(toy_store, out, epochs=2, device="cpu", overwrite=True)
    assert not (out / ".replaced-run").exists()
    assert RunFolder(out).finished_epochs() == 2


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"history.csv": "epoch,train_loss", "notes.txt": ""}, "it holds 'notes.txt'"),
        ({"history.csv": "epoch,train_loss", "plots/a.png": ""}, "it holds 'plots'"),
        ({"model.pt": "galahstream model", "history.csv/a": ""}, "it holds 'history.csv'"),
        ({"model.pt": "", "checkpoint.pt": ""}, "checkpoint.pt is not of a run"),
        ({"events.out.tfevents.1": "brain.Event:2"}, "events.out.tfevents.1 is not of a run"),
    ],
)
def test_a_folder_with_other_things_is_never_replaced(
    tmp_path: Path, files: dict[str, str], reason: str
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DestinationExistsError, match=f"cannot be replaced: {reason}"):
        RunFolder(tmp_path).set_aside()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_without_a_run_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    RunFolder(tmp_path).set_aside()
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_an_interrupted_move_is_completed(tmp_path: Path) -> None:
    (tmp_path / ".replacing-run").mkdir()
    (tmp_path / ".replacing-run" / "model.pt").write_bytes(b"old model")
    (tmp_path / "history.csv").write_bytes(b"epoch,train_loss")
    RunFolder(tmp_path).set_aside()
    assert set(content(tmp_path / ".replaced-run")) == {"model.pt", "history.csv"}


def test_a_run_is_not_resumed_and_replaced_at_once(toy_store: Store, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="either resumed or replaced"):
        train(toy_store, tmp_path / "run", resume=True, overwrite=True)
