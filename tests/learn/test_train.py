import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from galahstream.conversion.convert import convert
from galahstream.errors import (
    CheckpointError,
    DestinationExistsError,
    DeviceError,
    LabelError,
    OptionError,
    TrainingDivergedError,
)
from galahstream.learn.inference import evaluate, predict
from galahstream.learn.models.base import Prediction, as_prediction
from galahstream.learn.models.cnn import SpectraCNN
from galahstream.learn.results import TrainingResult
from galahstream.learn.train import train
from galahstream.learn.trained_model import load_model
from galahstream.learn.training_sample import TrainingSample
from galahstream.plots import figures
from galahstream.store import Store
from galahstream.stream.dataset import SpectraDataset
from galahstream.survey.windows import PixelMask
from galahstream.validation import MAX_SEED
from tests.conftest import Pair

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_pictures")]


def test_the_loss_falls_and_the_label_is_learnt(run: TrainingResult) -> None:
    losses = [record.train_loss for record in run.history]
    assert losses[-1] < 0.5 * losses[0]
    assert run.test[0].r2 > 0.7


def test_the_events_hold_every_scalar(run: TrainingResult) -> None:
    events = EventAccumulator(str(run.out), size_guidance={"histograms": 0})
    events.Reload()
    tags = events.Tags()
    wanted = {"loss/training", "loss/validation", "optimiser/learning_rate"}
    wanted |= {"speed/spectra_per_s", "speed/waiting_share", "test_final/loss"}
    wanted |= {
        f"{split}_{kind}/teff" for kind in ("rmse_K", "r2") for split in ("validation", "test")
    }
    assert wanted <= set(tags["scalars"])
    assert len(events.Scalars("loss/training")) == 4
    assert "parameters/features.0.weight" in tags["histograms"]
    assert any(tag.startswith("model") for tag in tags["tensors"])
    assert events.Scalars("loss/validation")[-1].value == pytest.approx(run.history[-1].val_loss)


def test_history_metrics_and_pictures_are_in_the_run(run: TrainingResult) -> None:
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


def test_without_matplotlib_training_works_and_says_so(
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


@pytest.mark.parametrize(
    ("window", "plain"),
    [
        ([(6040, 6045), np.array([6010, 6039.5])], ((6040.0, 6045.0), (6010.0, 6039.5))),
        (np.arange(64) % 32 < 18, PixelMask(64, (0, 18, 32, 50))),
        ("no-tellurics", "no-tellurics"),
    ],
    ids=["ranges", "mask", "name"],
)
def test_several_windows_are_trained_on_remembered_and_resumed(
    pair: Pair, tmp_path: Path, window: Any, plain: Any
) -> None:
    np.save(pair.folder / "wavelength.npy", np.linspace(6000, 6063, 64))
    store = convert(pair.folder, tmp_path / "store")
    options: dict[str, Any] = {"device": "cpu", "labels": ("teff",)}
    train(store, tmp_path / "run", epochs=1, window=window, **options)
    with pytest.raises(CheckpointError, match=r"window was .*'no-tel"):
        other = (6010, 6039.5) if plain == "no-tellurics" else "no-tellurics"
        train(store, tmp_path / "run", epochs=2, window=other, resume=True, **options)
    result = train(store, tmp_path / "run", epochs=2, window=window, resume=True, **options)
    model = load_model(tmp_path / "run" / "model.pt")
    assert model.recipe == result.model.recipe
    assert model.recipe.window == plain
    assert model.n_pixels == (64 if plain == "no-tellurics" else 36)
    assert evaluate(model, store).loss == pytest.approx(result.test_loss, rel=1e-5)
    assert len(predict(model, store).labels) == 60


def test_numpy_options_train_save_load_and_resume(pair: Pair, tmp_path: Path) -> None:
    np.save(pair.folder / "wavelength.npy", np.linspace(6000, 6063, 64))
    store = convert(pair.folder, tmp_path / "store")
    options: dict[str, Any] = {
        "batch_size": np.int64(16),
        "lr": np.float32(1e-3),
        "seed": np.int64(7),
        "labels": np.array(["teff"]),
        "window": np.array([6010, 6039.5]),
        "num_workers": np.int32(1),
        "device": "cpu",
    }
    train(store, tmp_path / "run", epochs=np.int64(1), **options)  # type: ignore[arg-type]
    result = train(store, tmp_path / "run", epochs=2, resume=True, **options)
    model = load_model(tmp_path / "run" / "model.pt")
    assert model.recipe == result.model.recipe
    assert (model.recipe.seed, model.recipe.window) == (7, (6010.0, 6039.5))
    plain = {**options, "lr": float(np.float32(1e-3)), "seed": 7, "labels": ["teff"]}
    same = train(store, tmp_path / "plain", epochs=2, **plain)
    assert torch.equal(next(same.model.parameters()), next(model.parameters()))


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1, 2**64])
def test_a_seed_that_no_model_file_can_hold_is_refused_before_training(
    toy_store: Store, tmp_path: Path, seed: int
) -> None:
    with pytest.raises(OptionError, match=f"seed {seed} "):
        train(toy_store, tmp_path / "out", epochs=1, seed=seed)
    assert not (tmp_path / "out").exists()


def test_the_largest_seed_is_saved_and_loaded(toy_store: Store, tmp_path: Path) -> None:
    train(toy_store, tmp_path / "out", epochs=1, seed=MAX_SEED, device="cpu")
    assert load_model(tmp_path / "out" / "model.pt").recipe.seed == MAX_SEED


def test_training_does_not_depend_on_the_default_dtype(toy_store: Store, tmp_path: Path) -> None:
    options: dict[str, Any] = {"device": "cpu", "labels": ("teff",)}
    expected = train(toy_store, tmp_path / "a", epochs=2, **options)
    torch.set_default_dtype(torch.float64)
    try:
        train(toy_store, tmp_path / "b", epochs=1, **options)
        result = train(toy_store, tmp_path / "b", epochs=2, resume=True, **options)
    finally:
        torch.set_default_dtype(torch.float32)
    for a, b in zip(expected.model.parameters(), result.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert evaluate(load_model(tmp_path / "b" / "model.pt"), toy_store).loss == result.test_loss


def test_metrics_that_are_not_numbers_are_null(pair: Pair, tmp_path: Path) -> None:
    first = convert(pair.folder, tmp_path / "first")
    labels = pair.labels.copy()
    labels[first.source_row[first.split == 2], 5] = 4.0  # no R² without variation
    np.save(pair.folder / "labels.npy", labels)
    store = convert(pair.folder, tmp_path / "store")
    result = train(store, tmp_path / "run", epochs=1, device="cpu", labels=("logg",))
    text = (tmp_path / "run" / "metrics.json").read_text()
    metrics = json.loads(text, parse_constant=lambda word: pytest.fail(word))
    assert metrics["test"]["logg"]["r2"] is None
    assert metrics == result.as_dict()
    assert evaluate(result.model, store).as_dict()["labels"]["logg"]["r2"] is None  # type: ignore


def test_the_result_says_all_that_the_metrics_hold(run: TrainingResult) -> None:
    metrics = json.loads((run.out / "metrics.json").read_text())
    assert metrics == run.as_dict()
    assert metrics["settings"] == {
        "model": "reference", "epochs": 4, "batch_size": 32, "ranks": 1, "learning_rate": 1e-3,
        "seed": 42, "device": "cpu", "augment": "none", "loss": "mse", "missing": "raise",
        "label_errors": False, "schedule": "constant", "patience": "none", "clip_norm": "none",
        "overfit_batch": False,
    }  # fmt: skip
    assert metrics["trained_epochs"] == 4
    assert metrics["parameters"] == run.model.n_parameters
    assert run.seconds == sum(record.seconds for record in run.history)


def test_after_a_diverged_run_the_advice_can_be_followed(toy_store: Store, tmp_path: Path) -> None:
    with pytest.raises(TrainingDivergedError, match=r"another folder \(out=, --out\)"):
        train(toy_store, tmp_path / "out", epochs=1, lr=1e30, device="cpu")
    with pytest.raises(DestinationExistsError, match=r"another folder \(out=, --out\)"):
        train(toy_store, tmp_path / "out", epochs=1, device="cpu")
    train(toy_store, tmp_path / "other", epochs=1, device="cpu")


class PairNetwork(SpectraCNN):
    """A network that estimates variances too."""

    def forward(self, flux: torch.Tensor) -> Any:
        mean = as_prediction(super().forward(flux)).mean
        return Prediction(mean, torch.zeros_like(mean))


def test_a_network_that_returns_a_named_pair_is_trained_and_used(
    toy_store: Store, tmp_path: Path, run: TrainingResult
) -> None:
    options: dict[str, Any] = {"epochs": 4, "device": "cpu", "labels": ("teff",)}
    result = train(toy_store, tmp_path / "out", model=PairNetwork, **options)
    assert result.test == run.test
    assert np.array_equal(
        predict(result.model, toy_store).labels, predict(run.model, toy_store).labels
    )


def test_the_log_tells_each_epoch(
    toy_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines: list[str] = []
    train(toy_store, tmp_path / "out", epochs=2, device="cpu", report=lines.append)
    header, epochs = lines[:-2], lines[-2:]
    assert [line.split(":")[0] for line in header] == [
        "stars", "model", "device", "dtype", "kernels", "optimiser", "batches", "workers",
    ]  # fmt: skip
    assert header[0] == "stars: 210 train, 45 val, 45 test, of 64 pixels"
    assert header[1].endswith("parameters (the default)")
    assert header[2].startswith("device: cpu, torch threads: ")
    assert header[2].endswith("(as asked)")
    assert header[5] == "optimiser: Adam, fused; learning rate 0.001, constant"
    assert header[6] == "batches: 32 stars, 7 per epoch (the default)"
    assert [line.split(":")[0] for line in epochs] == ["epoch 1/2", "epoch 2/2"]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("batch_size", "text"), [(300, "210 stars are too few"), (5, "rank corr")])
def test_blocks_are_shuffled_in_a_split_of_any_size(
    toy_store: Store, tmp_path: Path, batch_size: int, text: str
) -> None:
    lines: list[str] = []
    options = {"epochs": 1, "batch_size": batch_size, "shuffle_block": 8, "device": "cpu"}
    train(toy_store, tmp_path / "out", report=lines.append, **options)  # type: ignore[arg-type]
    assert any(text in line for line in lines[:-1])


def test_training_stops_once_patience_ends_and_continues_with_more(
    toy_store: Store, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"device": "cpu", "labels": ("teff",), "lr": 0.03, "epochs": 20}
    out = tmp_path / "run"
    result = train(toy_store, out, patience=2, **options)
    losses = [record.val_loss for record in result.history]
    best = losses.index(min(losses))
    assert (result.best_epoch, len(losses)) == (best + 1, best + 3)
    assert "stopped after epoch" in result.notes[0]
    assert json.loads((out / "metrics.json").read_text())["trained_epochs"] == len(losses)
    with pytest.raises(DestinationExistsError, match=r"stopped early .* more patience \(patience="):
        train(toy_store, out, patience=2, resume=True, **{**options, "epochs": 30})
    longer = train(toy_store, out, patience=4, resume=True, **options)
    assert [record.val_loss for record in longer.history][: len(losses)] == losses
    assert len(longer.history) > len(losses)
    direct = train(toy_store, tmp_path / "direct", patience=4, **options)
    for a, b in zip(direct.model.parameters(), longer.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_best_model_is_that_of_the_epoch_with_the_lowest_validation_loss(
    toy_store: Store, tmp_path: Path
) -> None:
    result = train(
        toy_store, tmp_path / "run", device="cpu", labels=("teff",), lr=0.03, epochs=20, patience=2
    )
    kept = load_model(tmp_path / "run" / "best.pt")
    best = evaluate(kept, toy_store, "val")
    assert best.loss == pytest.approx(min(record.val_loss for record in result.history))
    last = evaluate(load_model(tmp_path / "run" / "model.pt"), toy_store, "val")
    assert last.loss == pytest.approx(result.history[-1].val_loss)
    assert best.loss < last.loss
    # Its flags are those of its own hidden layer.
    found = TrainingSample.of_datasets(
        kept.network,
        *(SpectraDataset(toy_store, name, labels=("teff",)) for name in ("train", "val")),
    )
    assert kept.sample is not None
    assert kept.sample.features is not None
    assert found.features is not None
    assert torch.equal(kept.sample.features.mean, found.features.mean)


def test_a_cosine_is_of_one_number_of_epochs(toy_store: Store, tmp_path: Path) -> None:
    options: dict[str, Any] = {"device": "cpu", "labels": ("teff",), "schedule": "cosine"}
    result = train(toy_store, tmp_path / "run", epochs=2, **options)
    assert [record.learning_rate for record in result.history] == [1e-3, pytest.approx(5e-4)]
    with pytest.raises(CheckpointError, match="schedule_epochs was 2 and is 3"):
        train(toy_store, tmp_path / "run", epochs=3, resume=True, **options)


def test_clipped_gradients_are_learned(toy_store: Store, tmp_path: Path) -> None:
    options: dict[str, Any] = {"device": "cpu", "labels": ("teff",), "epochs": 1}
    free, loose, tight = (
        next(train(toy_store, tmp_path / str(norm), clip_norm=norm, **options).model.parameters())
        for norm in (None, 1e9, 1e-9)
    )
    assert torch.equal(free, loose)
    assert not torch.equal(free, tight)


def test_one_batch_is_learned_by_heart_and_the_run_says_so(
    toy_store: Store, tmp_path: Path
) -> None:
    lines: list[str] = []
    result = train(
        toy_store, tmp_path / "out", device="cpu", labels=("teff",), epochs=30, overfit_batch=True,
        report=lines.append,
    )  # fmt: skip
    assert result.history[-1].train_loss < 0.01 * result.history[0].train_loss
    assert result.history[-1].train_loss < result.history[-1].val_loss
    assert any("every batch is the same 32 stars" in line for line in lines)
    assert "only one batch was learned" in result.notes[0]


def test_rows_of_an_overfitted_batch_that_diverged_are_those_of_the_store(
    toy_store: Store, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"device": "cpu", "epochs": 1, "overfit_batch": True}
    with pytest.raises(TrainingDivergedError, match="stars are the rows 0, 1, 2, 3 of the store"):
        train(toy_store, tmp_path / "out", lr=1e30, batch_size=4, **options)
