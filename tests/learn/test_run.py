import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from galahstream.errors import (
    DestinationExistsError,
    LockedError,
    OptionError,
    WavelengthError,
)
from galahstream.learn.run import RunFolder, TrainOptions
from galahstream.learn.train import train
from galahstream.store import Store
from galahstream.stream.augmentation import AddNoise
from galahstream.validation import MAX_SEED

pytestmark = pytest.mark.usefixtures("without_pictures")


def test_numpy_values_become_plain_ones() -> None:
    numpy_values: dict[str, Any] = {
        "epochs": np.int8(2),
        "batch_size": np.int64(16),
        "lr": np.float32(0.5),
        "seed": np.uint64(7),
        "device": np.str_("cpu"),
        "labels": np.array(["teff", "logg"]),
        "window": np.array([6550.0, 6580.0], np.float32),
        "num_workers": np.int16(0),
        "shuffle_block": np.int32(5),
        "augment": AddNoise(*np.array([20, 200])),
        "label_errors": np.bool_(True),
        "patience": np.int8(3),
        "clip_norm": np.float32(0.5),
        "overfit_batch": np.bool_(False),
    }
    options = TrainOptions(**numpy_values)
    assert options == TrainOptions(
        2,
        16,
        0.5,
        7,
        "cpu",
        ("teff", "logg"),
        (6550.0, 6580.0),
        "reference",
        "raise",
        0,
        5,
        "noise=20:200",
        "mse",
        True,
        patience=3,
        clip_norm=0.5,
    )
    window: Any = options.window
    values = [*vars(options).values(), *options.labels, *window]
    assert {type(value) for value in values} == {int, float, str, tuple, bool}


@pytest.mark.parametrize("labels", ["teff", np.str_("teff"), ["teff"], np.array(["teff"])])
def test_one_label_may_be_given_by_its_name(labels: Any) -> None:
    assert TrainOptions(labels=labels).labels == ("teff",)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"epochs": 1.5}, "epochs 1.5"),
        ({"epochs": True}, "epochs True"),
        ({"batch_size": np.float64(16)}, "batch_size"),
        ({"lr": "fast"}, "learning rate 'fast'"),
        ({"lr": "0.1"}, "learning rate '0.1'"),
        ({"lr": np.float32("inf")}, "learning rate"),
        ({"lr": None}, r"learning rate None .* \(lr=, --lr\)"),
        ({"lr": [0.1, 0.2]}, "learning rate"),
        ({"seed": -1}, "seed -1"),
        ({"seed": MAX_SEED + 1}, "seed 9223372036854775808 .* from 0 to 9223372036854775807"),
        ({"seed": np.uint64(2**64 - 1)}, "seed"),
        ({"missing": "ignore"}, "missing 'ignore' is not known; expected raise or drop"),
        ({"labels": 3}, "labels 3"),
        ({"num_workers": -1}, r"num_workers -1 .* \(num_workers=, --workers\)"),
        ({"batch_size": 0}, r"batch_size 0 .* \(batch_size=, --batch-size\)"),
        ({"loss": "mae"}, "loss 'mae' is not known; expected mse or nll or full-nll"),
        (
            {"loss": "full-nll", "labels": "teff"},
            r"'teff' is the only one; use 'nll' \(loss=, --loss",
        ),
        ({"augment": "blur=1"}, r"augmentation 'blur=1' .* \(augment=, --augment\)"),
        ({"augment": ["mask=0.1"]}, r"augmentation \['mask=0.1'\] cannot be used"),
        ({"schedule": "step"}, "schedule 'step' is not known; expected constant or cosine"),
        ({"patience": 0}, r"patience 0 .* \(patience=, --patience\)"),
        ({"patience": 1.5}, "patience 1.5"),
        ({"clip_norm": 0}, r"clip_norm 0 .* above 0, .* \(clip_norm=, --clip-norm\)"),
        ({"clip_norm": float("nan")}, "clip_norm nan"),
        ({"clip_norm": "1"}, "clip_norm '1'"),
        ({"overfit_batch": True, "augment": "mask=0.1"}, "leave out augment and shuffle_block"),
        ({"overfit_batch": True, "shuffle_block": 8}, "--augment, --shuffle-block"),
        ({"shuffle_block": 0}, r"shuffle_block 0 .* \(shuffle_block=, --shuffle-block\)"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused_by_name(
    options: dict[str, Any], text: str
) -> None:
    with pytest.raises(OptionError, match=text):
        TrainOptions(**options)


@pytest.mark.parametrize("window", [(1.0,), (1.0, 2.0, 3.0), [(1, 2), (3,)], 5, np.float64(5)])
def test_a_window_that_is_no_range_is_refused(window: Any) -> None:
    with pytest.raises(WavelengthError, match="is not a range"):
        TrainOptions(window=window)


@pytest.mark.slow
def test_the_second_training_in_a_folder_is_refused_naming_the_first(
    toy_store: Store, tmp_path: Path
) -> None:
    folder = RunFolder.at(tmp_path / "run")
    for resume in (False, True):
        with (
            folder.locked(),
            pytest.raises(LockedError, match=f"run .*process {os.getpid()} "),
        ):
            train(toy_store, folder.path, epochs=1, device="cpu", resume=resume)
    train(toy_store, folder.path, epochs=1, device="cpu")
    assert not list(folder.path.glob(".*"))


@pytest.mark.slow
def test_a_run_folder_cannot_be_a_file(toy_store: Store, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(DestinationExistsError, match="is a file; choose another folder"):
        train(toy_store, tmp_path / "run", epochs=1, device="cpu")


@pytest.mark.parametrize(
    ("files", "resume", "text"),
    [
        ([], False, None),
        ([], True, None),
        (["notes.txt"], False, None),
        (["events.out.tfevents.1"], False, "a run already .events"),
        (["events.out.tfevents.1"], True, None),
        (["history.csv"], False, "a run already .history"),
        (["model.pt"], False, "a run already .model"),
        (["model.pt"], True, "finished run .model.pt.; choose another"),
        (["model.pt", "metrics.json"], False, "finished run .model.pt.; choose another"),
        (["model.pt", "metrics.json", "checkpoint.pt"], False, "more epochs .resume=True"),
        (["model.pt", "metrics.json", "checkpoint.pt"], True, None),
        (["model.pt", "checkpoint.pt"], True, None),
        (["checkpoint.pt", "history.csv"], False, "interrupted run; resume it"),
        (["checkpoint.pt", "history.csv"], True, None),
    ],
)
def test_a_folder_with_a_run_is_used_only_to_resume_it(
    tmp_path: Path, files: list[str], resume: bool, text: str | None
) -> None:
    for name in files:
        (tmp_path / name).write_text('{"settings": {"epochs": 3}}')
    folder = RunFolder.at(tmp_path)
    if text is None:
        folder.check_usable(resume=resume)
    else:
        with pytest.raises(DestinationExistsError, match=f"{tmp_path} holds .*{text}"):
            folder.check_usable(resume=resume)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"settings": null}', "\xff"])
def test_metrics_that_cannot_be_read_are_not_those_of_a_finished_run(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "model.pt").touch()
    (tmp_path / "metrics.json").write_text(text, encoding="latin-1")
    assert RunFolder.at(tmp_path).finished_epochs() is None


def test_a_manifest_of_another_program_above_a_run_is_not_a_store(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "another program"}')
    with RunFolder.at(tmp_path / "run").locked():
        assert (tmp_path / "run").is_dir()
