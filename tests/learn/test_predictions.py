"""Tables of predictions: their formats, their flags, and what happens when something fails."""

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
import torch
from astropy.table import Table
from torch import nn

import galahstream as gs
from galahstream.cli.main import main
from galahstream.errors import CheckpointError, LabelError
from galahstream.learn import inference
from galahstream.learn.flags import ALL_FLAGS, PredictionFlag
from galahstream.learn.models.compact import CompactCNN
from galahstream.learn.predictions import Predictions
from galahstream.learn.results import TrainingResult
from galahstream.learn.scaled_predictions import predicted_batches
from galahstream.learn.trained_model import TrainedModel, load_model, save_model
from galahstream.store import Store
from tests.conftest import Pair, make_pair

pytestmark = pytest.mark.usefixtures("without_pictures")

OPTIONS: dict[str, Any] = {"device": "cpu", "progress": False}
LABELS = ("teff", "logg")


@pytest.fixture(scope="module")
def nll_run(toy_store: Store, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """Return a run with uncertainties."""
    out = tmp_path_factory.mktemp("nll") / "run"
    return gs.train(toy_store, out, epochs=2, model="compact", loss="nll", labels=LABELS, **OPTIONS)


@pytest.fixture(scope="module")
def model(nll_run: TrainingResult) -> TrainedModel:
    return load_model(nll_run.out / "model.pt")


def read(path: Path) -> dict[str, list[float]]:
    """Return the columns of a table as another program reads them."""
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        return {name: [float(row[name]) for row in rows] for name in rows[0]}
    if path.suffix == ".npy":
        array = np.load(path)
        return {name: array[name].tolist() for name in array.dtype.names}
    if path.suffix == ".parquet":
        columns: dict[str, list[float]] = pq.read_table(path).to_pydict()
        return columns
    table = Table.read(path)
    return {name: table[name].tolist() for name in table.colnames}


@pytest.mark.parametrize("suffix", ["csv", "ecsv", "fits", "parquet", "npy"])
@pytest.mark.parametrize("part_rows", [7, 8192])
def test_every_format_holds_ids_labels_uncertainties_and_flags(
    model: TrainedModel,
    toy_store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    suffix: str,
    part_rows: int,
) -> None:
    monkeypatch.setattr(inference, "PART_ROWS", part_rows)
    out = tmp_path / f"labels.{suffix}"
    written = gs.write_predictions(model, toy_store, out, **OPTIONS)
    expected = gs.predict(model, toy_store, **OPTIONS)
    assert expected.uncertainties is not None
    found = read(out)
    assert tuple(found) == written.names == ("id", *LABELS, "e_teff", "e_logg", "flag")
    assert written.units == ("", "K", "dex", "K", "dex", "")
    assert found["id"] == toy_store.ids.tolist()
    values = np.hstack((expected.labels, expected.uncertainties))
    tolerance = 1e-5 if suffix in ("csv", "ecsv") else 1e-12
    for column, name in enumerate(written.names[1:-1]):
        np.testing.assert_allclose(found[name], values[:, column], rtol=tolerance)
    assert found["flag"] == expected.flags.tolist()
    assert written.flags[PredictionFlag.UNUSUAL_SPECTRUM] == np.count_nonzero(expected.flags & 4)
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


@pytest.mark.parametrize("suffix", ["ecsv", "fits"])
def test_the_meaning_of_the_flags_is_in_the_file(
    model: TrainedModel, toy_store: Store, tmp_path: Path, suffix: str
) -> None:
    gs.write_predictions(model, toy_store, tmp_path / f"a.{suffix}", split="test", **OPTIONS)
    table = Table.read(tmp_path / f"a.{suffix}")
    assert str(table["e_teff"].unit) == "K"
    for flag in PredictionFlag:
        assert f"flag {flag.value}: {flag.meaning}" in table.meta["comments"]


def test_predictions_that_fail_leave_no_table(
    model: TrainedModel, toy_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*arguments: Any) -> Iterator[Any]:
        for number, batch in enumerate(predicted_batches(*arguments)):
            if number == 3:
                msg = "the disk is gone"
                raise OSError(msg)
            yield batch

    monkeypatch.setattr(inference, "PART_ROWS", 7)
    monkeypatch.setattr(inference, "predicted_batches", failing)
    with pytest.raises(OSError, match="the disk is gone"):
        gs.write_predictions(model, toy_store, tmp_path / "labels.fits", **OPTIONS)
    assert not list(tmp_path.iterdir())


def flags_of(model: TrainedModel, pair: Pair, folder: Path) -> list[int]:
    store = gs.convert(pair.folder, folder / "flagged", split=(0, 0, 1))
    flags = gs.predict(model, store, **OPTIONS).flags[np.argsort(store.source_row)]
    found: list[int] = flags.tolist()
    return found


def test_each_kind_of_odd_star_has_its_flag(model: TrainedModel, tmp_path: Path) -> None:
    pair = make_pair(tmp_path / "raw", stars=40, seed=9)
    spectra = pair.spectra.copy()
    spectra[10, :12] = np.nan
    spectra[11, 20:32] = -0.1
    spectra[12] = 1 + 0.4 * np.sin(np.arange(64))
    np.save(pair.folder / "spectra.npy", spectra)
    flags = flags_of(model, pair, tmp_path)
    assert [flags[row] & PredictionFlag.BAD_PIXELS for row in (10, 11)] == [2, 2]
    assert flags[12] & PredictionFlag.UNUSUAL_SPECTRUM
    others = [flag for row, flag in enumerate(flags) if row not in (10, 11, 12)]
    assert sum(flag == 0 for flag in others) >= 30
    assert not any(flag & PredictionFlag.BAD_PIXELS for flag in others)


def test_labels_outside_of_the_training_range_are_flagged(
    model: TrainedModel, toy_store: Store
) -> None:
    assert model.sample is not None
    labels = gs.predict(model, toy_store, **OPTIONS).labels
    low, high = np.percentile(labels[:, 1], (10, 90)).tolist()
    sample = replace(model.sample, minimum=(-1e9, low), maximum=(1e9, high))
    narrow = TrainedModel(model.network, model.recipe, model.loss, sample)
    found = gs.predict(narrow, toy_store, **OPTIONS).flags & PredictionFlag.LABEL_RANGE
    outside = (labels[:, 1] < low) | (labels[:, 1] > high)
    np.testing.assert_array_equal(found != 0, outside)


def test_the_range_is_that_of_the_training_labels(model: TrainedModel, toy_store: Store) -> None:
    assert model.sample is not None
    training = toy_store.labels["teff"][toy_store.split == 0]
    assert (model.sample.minimum[0], model.sample.maximum[0]) == (training.min(), training.max())


def test_a_model_file_of_an_early_version_says_what_it_cannot_check(
    nll_run: TrainingResult, toy_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.pt"
    content = torch.load(nll_run.out / "model.pt", weights_only=True)
    del content["sample"]
    torch.save(content, path)
    old = load_model(path)
    found = gs.predict(old, toy_store, **OPTIONS)
    assert found.checked == PredictionFlag.BAD_PIXELS
    assert not (found.flags & ~PredictionFlag.BAD_PIXELS).any()
    new = gs.predict(load_model(nll_run.out / "model.pt"), toy_store, **OPTIONS)
    np.testing.assert_array_equal(found.labels, new.labels)
    save_model(old, path)
    assert load_model(path).sample is None
    assert main(["predict", str(path), str(toy_store.path), "--out", f"{tmp_path}/a.ecsv"]) == 0
    assert capsys.readouterr().out.count("not checked") == 2
    assert str(Table.read(tmp_path / "a.ecsv").meta["comments"]).count("(not checked)") == 2


class Users(nn.Module):
    """A network of a user that contains one of ours, and changes what it predicts."""

    def __init__(self) -> None:
        super().__init__()
        self.network = CompactCNN(64, 1)

    def forward(self, flux: torch.Tensor) -> torch.Tensor:
        labels: torch.Tensor = self.network(flux) * 0.5
        return labels


def test_a_users_network_has_no_flag_of_unusual_spectra(toy_store: Store, tmp_path: Path) -> None:
    result = gs.train(
        toy_store, tmp_path / "run", epochs=1, model=Users(), labels=("teff",), **OPTIONS
    )
    found = gs.predict(load_model(tmp_path / "run" / "model.pt", model=Users), toy_store, **OPTIONS)
    assert found.checked == PredictionFlag.LABEL_RANGE | PredictionFlag.BAD_PIXELS
    np.testing.assert_array_equal(found.flags, gs.predict(result.model, toy_store, **OPTIONS).flags)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("minimum", [1.0]),
        ("minimum", [1.0, float("nan")]),
        ("maximum", "high"),
        ("bad_pixels", None),
        ("features", {"mean": torch.zeros(3), "whitening": torch.eye(3), "limit": 1.0}),
        ("features", {"mean": torch.zeros(64), "whitening": torch.eye(3), "limit": 1.0}),
        ("features", {"mean": torch.zeros(64), "whitening": torch.full((64, 64), torch.nan),
                      "limit": 1.0}),
        ("features", {"mean": torch.zeros(64), "whitening": torch.eye(64), "limit": float("inf")}),
        ("features", {"mean": torch.zeros(64).double(), "whitening": torch.eye(64), "limit": 1.0}),
        ("features", 3),
    ],
)  # fmt: skip
def test_an_impossible_sample_is_refused_naming_file_and_field(
    nll_run: TrainingResult, tmp_path: Path, field: str, value: object
) -> None:
    content = torch.load(nll_run.out / "model.pt", weights_only=True)
    content["sample"][field] = value
    torch.save(content, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match=r"model\.pt .*field 'sample\."):
        load_model(tmp_path / "model.pt")


def test_predictions_are_joined_with_and_without_uncertainties() -> None:
    one = Predictions(np.array([1]), np.array([[2.0]]), ("teff",), ("K",), np.array([4], np.int32))
    joined = Predictions.joined([one, one])
    assert (joined.ids.tolist(), joined.flags.tolist(), joined.uncertainties) == (
        [1, 1],
        [4, 4],
        None,
    )
    assert joined.checked == ALL_FLAGS
    sure = replace(one, uncertainties=np.array([[0.5]]))
    assert Predictions.joined([sure, sure]).uncertainties == pytest.approx(0.5)


class Located(CompactCNN):
    """A network that says where it was moved, on machines without accelerators."""

    location = "cpu"

    def to(self, device: Any) -> "Located":  # type: ignore[override]
        self.location = str(device)
        return self


class Batches(list[torch.Tensor]):
    """What is used of a loader here."""

    device = torch.device("cuda:1")


@pytest.mark.parametrize("n_read", [1, 3])
def test_a_network_returns_to_its_device_and_mode(n_read: int) -> None:
    network = Located(64, 1).train()
    batches = predicted_batches(network, Batches([torch.zeros(2, 64)] * 3))  # type: ignore[arg-type]
    for _ in range(n_read):
        next(batches)
        assert (network.location, network.training) == ("cuda:1", False)
    batches.close()  # type: ignore[attr-defined]
    assert (network.location, network.training) == ("cpu", True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_model_on_the_cpu_is_there_after_the_use_of_a_gpu(
    model: TrainedModel, toy_store: Store
) -> None:
    on_cpu = gs.predict(model, toy_store, **OPTIONS)
    on_gpu = gs.predict(model, toy_store, device="cuda", progress=False)
    np.testing.assert_allclose(on_gpu.labels, on_cpu.labels, rtol=1e-3)
    assert np.mean(on_gpu.flags == on_cpu.flags) > 0.98
    assert model(torch.zeros(2, 64)).mean.device.type == "cpu"  # type: ignore[union-attr]


def test_labels_that_the_store_lacks_are_named(
    model: TrainedModel, nll_run: TrainingResult, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = make_pair(tmp_path / "raw", stars=60, seed=3)
    gravity = {"logg": pair.labels[:, 5], "e_logg": np.full(60, 0.1)}
    store = gs.convert(
        (pair.spectra, gravity), tmp_path / "some", labels=["logg[dex]", "e_logg[dex]"]
    )
    found = gs.evaluate(model, store, "all", device="cpu")
    assert [label.name for label in found.labels] == ["logg"]
    assert found.not_compared == ("teff",)
    predicted = gs.predict(model, store, **OPTIONS).labels[:, 1]
    assert found.labels[0].bias == pytest.approx(
        np.mean(predicted - store.labels["logg"]), abs=1e-4
    )
    assert main(["evaluate", f"{nll_run.out}/model.pt", str(store.path), "--split", "all"]) == 0
    assert "compared: logg; the store does not have teff" in capsys.readouterr().out
    other = gs.convert(
        (pair.spectra, {"mass": pair.labels[:, 0]}), tmp_path / "other", labels=["mass"]
    )
    with pytest.raises(
        LabelError, match="mass, and the model predicts none of them but teff, logg"
    ):
        gs.evaluate(model, other, device="cpu")


def test_standard_output_gets_csv_and_standard_error_the_flags(
    nll_run: TrainingResult, toy_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "predict",
        f"{nll_run.out}/model.pt",
        str(toy_store.path),
        "--split",
        "test",
        "--out",
    ]
    assert main([*arguments, "-"]) == 0
    printed = capsys.readouterr()
    rows = list(csv.DictReader(printed.out.splitlines()))
    assert [int(row["id"]) for row in rows] == toy_store.ids[toy_store.split == 2].tolist()
    assert "flag 4:" in printed.err
    assert main([*arguments, str(tmp_path / "labels.fits"), "--json"]) == 0
    assert '"flags"' in capsys.readouterr().out
    assert main([*arguments, str(tmp_path / "labels.txt")]) == 1
    assert "expected one of .csv, .ecsv, .fits, .parquet, .npy" in capsys.readouterr().err
