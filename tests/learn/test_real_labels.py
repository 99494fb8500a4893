"""Training on labels with gaps and errors, and what the trained models say of uncertainties."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import galahstream as gs
from galahstream.cli.main import main
from galahstream.errors import CheckpointError, LabelError
from galahstream.learn.losses import LossName
from galahstream.learn.results import TrainingResult
from galahstream.learn.trained_model import save_model
from galahstream.store import Store
from tests.conftest import make_pair

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("without_pictures")]

LABELS = ("teff", "fe_h")


@pytest.fixture(scope="module")
def real_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Return a store of 300 stars whose labels have gaps and errors, with noise of that size."""
    folder = tmp_path_factory.mktemp("real")
    pair = make_pair(folder / "raw", stars=300)
    generator = np.random.default_rng(4)
    errors = generator.uniform(10, 200, 300)
    teff = pair.labels[:, 4] + errors * generator.normal(size=300)
    # A label that the spectra tell as well: twice a relation, and noise of 0.1 dex.
    fe_h = (pair.labels[:, 4] - 5500) / 800 + 0.1 * generator.normal(size=300)
    teff[generator.random(300) < 0.3] = np.nan
    fe_h[generator.random(300) < 0.3] = np.nan
    columns = {
        "teff[K]": teff, "fe_h[dex]": fe_h, "e_teff[K]": errors, "e_fe_h[dex]": np.full(300, 0.1),
        "snr": generator.uniform(10, 100, 300), "logg[dex]": generator.uniform(1, 5, 300),
    }  # fmt: skip
    plain = {name.partition("[")[0]: values for name, values in columns.items()}
    return gs.convert((pair.spectra, plain), folder / "store", labels=list(columns))


def trained(store: Store, out: Path, loss: LossName, **options: Any) -> TrainingResult:
    return gs.train(
        store, out, epochs=6, device="cpu", labels=LABELS, missing="mask", loss=loss, **options
    )


@pytest.fixture(scope="module")
def nll_run(real_store: Store, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    return trained(real_store, tmp_path_factory.mktemp("nll") / "run", "nll", label_errors=True)


@pytest.mark.parametrize("label_errors", [False, True])
@pytest.mark.parametrize("loss", ["mse", "nll", "full-nll"])
def test_every_loss_learns_labels_with_gaps(
    real_store: Store, tmp_path: Path, loss: LossName, label_errors: bool
) -> None:
    result = trained(real_store, tmp_path / "run", loss, label_errors=label_errors)
    losses = [record.train_loss for record in result.history]
    assert losses[-1] < losses[0]
    assert [label.r2 > 0.4 for label in result.test] == [True, True]
    has_any = [np.isfinite(real_store.labels[name])[real_store.split == 2] for name in LABELS]
    assert [label.n for label in result.test] == [int(column.sum()) for column in has_any]
    assert result.stars.test == int((has_any[0] | has_any[1]).sum())
    assert [label.uncertainty is not None for label in result.test] == [loss != "mse"] * 2


def test_the_metrics_of_a_run_hold_groups_and_calibration(nll_run: TrainingResult) -> None:
    metrics = json.loads((nll_run.out / "metrics.json").read_text())
    assert metrics == nll_run.as_dict()
    teff = metrics["test"]["teff"]
    assert teff["information_limit"] is None
    assert sum(teff["uncertainty"]["calibration"]) == teff["n"]
    assert {group["by"] for group in metrics["test_groups"]} == {"snr", "logg"}
    for by in ("snr", "logg"):
        groups = [group for group in metrics["test_groups"] if group["by"] == by]
        assert sum(group["labels"]["teff"]["n"] for group in groups) == teff["n"]


def test_a_saved_model_predicts_with_uncertainties_in_the_units_of_the_labels(
    nll_run: TrainingResult, real_store: Store, tmp_path: Path
) -> None:
    model = gs.load_model(nll_run.out / "model.pt")
    found = gs.predict(model, real_store, split="test")
    assert found.uncertainties is not None
    flux = gs.SpectraDataset(real_store, "test", labels=None).read_batch(range(len(found.ids)))[0]
    with torch.no_grad():
        output: Any = model(flux)
    sigma = output.log_variance.exp().sqrt().numpy() * np.array(model.recipe.std)
    np.testing.assert_allclose(found.uncertainties, sigma, rtol=1e-4)
    found.write(tmp_path / "labels.csv")
    with (tmp_path / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "teff", "fe_h", "e_teff", "e_fe_h", "flag"]
    assert float(rows[3]["e_teff"]) == pytest.approx(found.uncertainties[3, 0], rel=1e-5)


def test_evaluation_repeats_the_test_of_a_run(nll_run: TrainingResult, real_store: Store) -> None:
    model = gs.load_model(nll_run.out / "model.pt")
    evaluation = gs.evaluate(model, real_store, missing="mask", label_errors=True)
    assert evaluation.loss == pytest.approx(nll_run.test_loss, rel=1e-6)
    assert evaluation.labels == nll_run.test
    assert evaluation.groups == nll_run.test_groups
    without = gs.evaluate(model, real_store, missing="mask")
    assert without.labels[0].rmse == nll_run.test[0].rmse
    assert without.labels[0].uncertainty != nll_run.test[0].uncertainty


def test_the_command_line_trains_and_evaluates_with_gaps_and_errors(
    real_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, out = str(real_store.path), str(tmp_path / "run")
    choice = ["--missing", "mask", "--label-errors"]
    command = ["train", store, "--out", out, "--epochs", "1", "--device", "cpu", *choice]
    assert main([*command, "--labels", "teff,fe_h", "--loss", "full-nll"]) == 0
    assert main(["evaluate", f"{out}/model.pt", store, "--device", "cpu", *choice]) == 0
    printed = capsys.readouterr().out
    assert printed.count("within 1 σ") == 4
    assert printed.count("logg dwarfs (") == 2


def test_a_run_is_resumed_with_its_loss_only(
    nll_run: TrainingResult, real_store: Store, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"device": "cpu", "labels": LABELS, "resume": True, "epochs": 7}
    with pytest.raises(CheckpointError, match="loss was 'nll' and is 'mse'") as caught:
        gs.train(real_store, nll_run.out, missing="mask", **options)
    assert "label_errors was True and is False" in str(caught.value)


def test_a_model_file_with_another_loss_is_rejected(
    nll_run: TrainingResult, tmp_path: Path
) -> None:
    model = gs.load_model(nll_run.out / "model.pt")
    model.loss = "median"  # type: ignore[assignment]
    save_model(model, tmp_path / "model.pt")
    with pytest.raises(CheckpointError, match="'loss': found 'median', expected one of mse"):
        gs.load_model(tmp_path / "model.pt")


def test_training_names_a_label_that_no_star_of_a_split_has(tmp_path: Path) -> None:
    pair = make_pair(tmp_path / "raw")
    labels = {"teff": pair.labels[:, 4], "logg": np.full(60, np.inf)}
    store = gs.convert((pair.spectra, labels), tmp_path / "store")
    for missing in ("raise", "drop", "mask"):
        with pytest.raises(LabelError, match=r"label 'logg' has no value .*--labels"):
            gs.train(store, tmp_path / "run", labels=("teff", "logg"), missing=missing)
    assert not (tmp_path / "run").exists()
