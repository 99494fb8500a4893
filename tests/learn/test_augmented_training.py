"""Training with augmentation: the same weights whoever reads, and after a resume."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import galahstream as gs
from galahstream.cli.main import main
from galahstream.conversion.convert import convert
from galahstream.errors import CheckpointError, WavelengthError
from galahstream.learn.checkpoint import RunSettings
from galahstream.learn.results import TrainingResult
from galahstream.learn.run import RunFolder
from galahstream.learn.train import train
from galahstream.learn.trained_model import TrainedModel, load_model
from galahstream.store import Store
from galahstream.validation import from_mapping
from tests.conftest import N_PIXELS, make_pair
from tests.learn.test_checkpoint import CutError, cut_after

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_pictures")]

AUGMENT = gs.Compose(gs.AddNoise(20, 200), gs.ShiftVelocity(50), gs.MaskPixels(0.05))
SETTINGS: dict[str, Any] = {"epochs": 2, "device": "cpu", "labels": ("teff",), "progress": False}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("augmented")
    pair = make_pair(folder / "raw", stars=200)
    return convert(pair.folder, folder / "store", wavelength=6500 + 0.5 * np.arange(N_PIXELS))


@pytest.fixture(scope="module")
def uncut(store: Store, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    return train(store, tmp_path_factory.mktemp("uncut") / "run", augment=AUGMENT, **SETTINGS)


def assert_same_weights(one: TrainedModel, other: TrainedModel) -> None:
    weights = other.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in one.state_dict().items())


def test_augmentation_changes_what_is_learned_and_the_metrics_say_so(
    store: Store, uncut: TrainingResult, tmp_path: Path
) -> None:
    lines: list[str] = []
    plain = train(store, tmp_path / "plain", report=lines.append, **SETTINGS)
    assert plain.history[0].train_loss != uncut.history[0].train_loss
    assert not any("augmented" in line for line in lines)
    for result, text in ((uncut, str(AUGMENT)), (plain, "none")):
        assert json.loads((result.out / "metrics.json").read_text())["settings"]["augment"] == text


def test_validation_and_test_stars_are_not_augmented(uncut: TrainingResult, store: Store) -> None:
    measured = gs.evaluate(uncut.model, store)
    assert measured.labels == uncut.test


def test_neither_workers_nor_a_resume_change_the_weights(
    store: Store, uncut: TrainingResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for workers, steps in ((0, 3), (2, 4)):
        with monkeypatch.context() as patch:
            cut_after(patch, steps, CutError)
            with pytest.raises(CutError):
                train(store, tmp_path / "run", resume=True, num_workers=workers,
                      augment=AUGMENT, **SETTINGS)  # fmt: skip
    result = train(
        store, tmp_path / "run", resume=True, num_workers=1, augment=str(AUGMENT), **SETTINGS
    )
    assert_same_weights(result.model, uncut.model)


def test_a_run_is_not_resumed_with_another_augmentation(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        cut_after(patch, 3, CutError)
        with pytest.raises(CutError):
            train(store, tmp_path / "run", augment=AUGMENT, **SETTINGS)
    for other in (None, "mask=0.05", gs.Compose(AUGMENT.steps[0], gs.AddNoise(20, 100))):
        with pytest.raises(CheckpointError, match=f"augment was '{AUGMENT}' and is"):
            train(store, tmp_path / "run", resume=True, augment=other, **SETTINGS)


def test_settings_of_earlier_versions_are_those_of_runs_without_augmentation(
    store: Store, tmp_path: Path
) -> None:
    train(store, tmp_path / "run", **SETTINGS)
    content = torch.load(RunFolder.at(tmp_path / "run").checkpoint, weights_only=True)
    del content["settings"]["augment"]
    assert from_mapping(RunSettings, content["settings"], ignore_unknown=True).augment is None
    torch.save(content, RunFolder.at(tmp_path / "run").checkpoint)
    train(store, tmp_path / "run", resume=True, **{**SETTINGS, "epochs": 3})


def test_the_command_trains_with_the_text_form(
    store: Store, uncut: TrainingResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "noise=20:200,velocity=50,mask=0.05"
    arguments = ["train", str(store.path), "--out", str(tmp_path / "run"), "--epochs", "2"]
    arguments += ["--device", "cpu", "--labels", "teff", "--augment", text]
    assert main(arguments) == 0
    assert f"training stars are changed by {AUGMENT}" in capsys.readouterr().err
    assert_same_weights(load_model(tmp_path / "run" / "model.pt"), uncut.model)


def test_a_shift_on_an_unknown_grid_is_refused_and_leaves_nothing(
    toy_store: Store, tmp_path: Path
) -> None:
    with pytest.raises(WavelengthError, match="not known"):
        train(toy_store, tmp_path / "run", augment="velocity=2", **SETTINGS)
    assert not (tmp_path / "run").exists()
