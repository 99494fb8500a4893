import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from galahstream.conversion.convert import convert
from galahstream.errors import (
    DestinationExistsError,
    DeviceError,
    LabelError,
    OptionError,
    TrainingDivergedError,
)
from galahstream.learn.results import TrainingResult
from galahstream.learn.train import train
from galahstream.learn.trained_model import load_model
from galahstream.plots import figures
from galahstream.store import Store
from tests.conftest import Pair


def test_the_loss_falls_and_the_label_is_learnt(run: TrainingResult) -> None:
    losses = [record.train_loss for record in run.history]
    assert losses[-1] < 0.5 * losses[0]
    assert run.test[0].r2 > 0.7


def test_the_events_hold_every_scalar(run: TrainingResult) -> None:
    events = EventAccumulator(str(run.out), size_guidance={"histograms": 0})
    events.Reload()
    tags = events.Tags()
    wanted = {"loss/training", "loss/validation", "loss/test", "learning_rate"}
    wanted |= {"speed/spectra_per_s", "speed/waiting_share", "final/test_loss"}
    wanted |= {
        f"{kind}/{split}_teff" for kind in ("rmse_K", "r2") for split in ("validation", "test")
    }
    assert wanted <= set(tags["scalars"])
    assert len(events.Scalars("loss/training")) == 4
    assert "parameters/features.0.weight" in tags["histograms"]
    assert any(tag.startswith("model") for tag in tags["tensors"])
    assert events.Scalars("loss/validation")[-1].value == pytest.approx(run.history[-1].val_loss)


def test_history_metrics_and_pictures_lie_in_the_run(run: TrainingResult) -> None:
    with (run.out / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["train_loss"]) for row in rows] == [r.train_loss for r in run.history]
    assert {"val_rmse_teff", "val_r2_teff", "waiting_share"} <= set(rows[0])
    metrics = json.loads((run.out / "metrics.json").read_text())
    assert metrics["test"]["teff"]["unit"] == "K"
    assert metrics["stars"] == {"train": 210, "val": 45, "test": 45}
    for name in ("loss.png", "predictions.png"):
        assert (run.out / name).read_bytes().startswith(b"\x89PNG")
    assert not [path for path in run.out.iterdir() if path.name.startswith(".")]


def test_the_same_seed_gives_the_same_weights_for_any_workers(
    toy_store: Store, tmp_path: Path
) -> None:
    options = {"epochs": 2, "device": "cpu", "labels": ("teff", "logg")}
    first = train(toy_store, tmp_path / "a", **options)  # type: ignore[arg-type]
    second = train(toy_store, tmp_path / "b", num_workers=2, **options)  # type: ignore[arg-type]
    for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"batch_size": 0}, OptionError, "batch_size 0"),
        ({"epochs": 0}, OptionError, "epochs 0"),
        ({"lr": 0.0}, OptionError, "learning rate"),
        ({"lr": float("nan")}, OptionError, "learning rate"),
        ({"seed": -1}, ValueError, "seed"),
        ({"device": "abacus"}, DeviceError, "cpu"),
        ({"device": "xpu:7"}, DeviceError, "xpu:7"),
        ({"labels": ("vsini",)}, LabelError, "vsini"),
        ({"labels": ()}, LabelError, "nothing to learn"),
        ({"window": "red"}, ValueError, "not known"),
    ],
)
def test_what_cannot_be_trained_is_refused_and_leaves_nothing(
    toy_store: Store, tmp_path: Path, options: dict[str, object], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        train(toy_store, tmp_path / "out", **options)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_a_constant_label_is_refused_by_name(pair: Pair, tmp_path: Path) -> None:
    labels = pair.labels.copy()
    labels[:, 5] = 4.0
    np.save(pair.folder / "labels.npy", labels)
    with pytest.raises(LabelError, match="'logg' is 4"):
        train(convert(pair.folder, tmp_path / "store"), tmp_path / "out")


def test_a_folder_with_a_run_is_refused(run: TrainingResult, toy_store: Store) -> None:
    with pytest.raises(DestinationExistsError, match="choose another"):
        train(toy_store, run.out)


def test_a_loss_that_is_not_finite_ends_training(toy_store: Store, tmp_path: Path) -> None:
    with pytest.raises(TrainingDivergedError, match=r"epoch 1/1, batch \d"):
        train(toy_store, tmp_path / "out", epochs=1, lr=1e30, device="cpu")


def test_without_matplotlib_training_goes_on_and_says_so(
    toy_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "has_matplotlib", lambda: False)
    result = train(toy_store, tmp_path / "out", epochs=1, device="cpu")
    assert "galahstream[plots]" in result.notes[0]
    assert not (tmp_path / "out" / "loss.png").exists()


def test_a_window_is_trained_on_and_remembered(pair: Pair, tmp_path: Path) -> None:
    np.save(pair.folder / "wavelength.npy", np.linspace(6000, 6063, 64))
    store = convert(pair.folder, tmp_path / "store")
    train(store, tmp_path / "out", epochs=1, device="cpu", window=(6010, 6039.5))
    model = load_model(tmp_path / "out" / "model.pt")
    assert (model.n_pixels, model.recipe.window) == (30, (6010, 6039.5))
