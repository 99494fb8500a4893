import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from galahstream.conversion.convert import convert
from galahstream.errors import CheckpointError, LabelError, SourceMissingError
from galahstream.learn.inference import evaluate, predict
from galahstream.learn.models.cnn import SpectraCNN
from galahstream.learn.results import TrainingResult
from galahstream.learn.trained_model import load_model
from galahstream.store import Store
from tests.conftest import Pair, make_pair


def test_a_saved_model_predicts_as_the_trained_one(run: TrainingResult, toy_store: Store) -> None:
    loaded = load_model(run.out / "model.pt")
    assert np.array_equal(predict(loaded, toy_store).labels, predict(run.model, toy_store).labels)
    assert torch.load(run.out / "model.pt", weights_only=True)["kind"] == "galahstream model"


def test_evaluating_gives_the_metrics_of_training_and_changes_nothing(
    run: TrainingResult, toy_store: Store
) -> None:
    model = load_model(run.out / "model.pt")
    before = [weights.clone() for weights in model.parameters()]
    found = evaluate(model, toy_store)
    assert found.labels[0].rmse == pytest.approx(run.test[0].rmse, rel=1e-4)
    assert found.loss == pytest.approx(run.test_loss, rel=1e-4)
    assert found.same_split
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_stars_without_labels_get_theirs_in_physical_units(
    run: TrainingResult, tmp_path: Path
) -> None:
    pair = make_pair(tmp_path / "raw", stars=50, seed=3)
    (pair.folder / "labels.npy").unlink()
    np.save(pair.folder / "ids.npy", np.arange(50) + 10**14)
    store = convert(pair.folder, tmp_path / "store")
    found = predict(run.model, store)
    true = pair.labels[store.source_row, 4]
    assert np.corrcoef(found.labels[:, 0], true)[0, 1] > 0.8
    found.write_csv(tmp_path / "labels.csv")
    with (tmp_path / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["id"]) for row in rows] == store.ids.tolist()
    assert float(rows[7]["teff"]) == pytest.approx(found.labels[7, 0], rel=1e-5)
    with pytest.raises(LabelError, match="predict"):
        evaluate(run.model, store)
    assert not (tmp_path / ".labels.csv").exists()


def test_another_split_is_told(run: TrainingResult, pair: Pair, tmp_path: Path) -> None:
    store = convert(pair.folder, tmp_path / "store", seed=5)
    assert not evaluate(run.model, store).same_split


def test_spectra_of_another_length_or_grid_are_refused(run: TrainingResult, tmp_path: Path) -> None:
    other = convert(make_pair(tmp_path / "a", pixels=80).folder, tmp_path / "sa")
    with pytest.raises(CheckpointError, match="80 pixels"):
        predict(run.model, other)


def test_a_split_without_stars_is_refused(run: TrainingResult, tmp_path: Path) -> None:
    pair = make_pair(tmp_path / "raw", stars=10)
    (pair.folder / "labels.npy").unlink()
    store = convert(pair.folder, tmp_path / "store", split=(1, 0, 0))
    with pytest.raises(LabelError, match="no star in 'test'"):
        predict(run.model, store, split="test")


def test_a_network_without_a_recipe_is_refused(toy_store: Store) -> None:
    network: Any = SpectraCNN(64, 1)
    with pytest.raises(CheckpointError, match="recipe"):
        predict(network, toy_store)


def test_what_is_no_saved_model_is_refused_by_name(run: TrainingResult, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with pytest.raises(SourceMissingError, match=r"model\.pt"):
        load_model(path)
    whole = (run.out / "model.pt").read_bytes()
    for content in (b"", b"not a model", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"model\.pt"):
            load_model(path)
    for stranger in ({"a": 1}, [1, 2], {"kind": "galahstream model", "version": 9}):
        torch.save(stranger, path)
        with pytest.raises(CheckpointError, match=r"model\.pt"):
            load_model(path)


def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GALAHSTREAM_HARM", str(tmp_path / "harm"))
    torch.save({"kind": Harmful()}, tmp_path / "model.pt")
    with pytest.raises(CheckpointError):
        load_model(tmp_path / "model.pt")
    assert not (tmp_path / "harm").exists()


class Harmful:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (os.environ["GALAHSTREAM_HARM"],))
