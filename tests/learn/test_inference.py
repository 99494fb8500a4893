import csv
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from galahstream.conversion.convert import convert
from galahstream.errors import CheckpointError, LabelError, SourceMissingError
from galahstream.learn.inference import Predictions, evaluate, predict
from galahstream.learn.models.base import as_prediction
from galahstream.learn.models.cnn import SpectraCNN
from galahstream.learn.recipe import Recipe
from galahstream.learn.results import TrainingResult
from galahstream.learn.trained_model import TrainedModel, load_model
from galahstream.store import Store
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.transforms import LogFlux
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
    evaluation = evaluate(model, toy_store)
    assert evaluation.labels[0].rmse == pytest.approx(run.test[0].rmse, rel=1e-4)
    assert evaluation.loss == pytest.approx(run.test_loss, rel=1e-4)
    assert evaluation.same_split
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_stars_without_labels_are_predicted_in_physical_units(
    run: TrainingResult, tmp_path: Path
) -> None:
    pair = make_pair(tmp_path / "raw", stars=50, seed=3)
    (pair.folder / "labels.npy").unlink()
    np.save(pair.folder / "ids.npy", np.arange(50) + 10**14)
    store = convert(pair.folder, tmp_path / "store")
    predictions = predict(run.model, store)
    true = pair.labels[store.source_row, 4]
    assert np.corrcoef(predictions.labels[:, 0], true)[0, 1] > 0.8
    predictions.write_csv(tmp_path / "labels.csv")
    with (tmp_path / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["id"]) for row in rows] == store.ids.tolist()
    assert float(rows[7]["teff"]) == pytest.approx(predictions.labels[7, 0], rel=1e-5)
    with pytest.raises(LabelError, match="predict"):
        evaluate(run.model, store)
    assert not (tmp_path / ".labels.csv").exists()


def test_another_split_is_reported(run: TrainingResult, pair: Pair, tmp_path: Path) -> None:
    store = convert(pair.folder, tmp_path / "store", seed=5)
    assert not evaluate(run.model, store).same_split


@pytest.mark.parametrize(("unit", "fits"), [("K", True), ("", True), ("kK", False)])
def test_labels_in_another_unit_are_not_compared(
    run: TrainingResult, pair: Pair, tmp_path: Path, unit: str, fits: bool
) -> None:
    store = convert(pair.folder, tmp_path / "store", labels=[*"abcd", f"teff[{unit}]", *"fgh"])
    if fits:
        assert evaluate(run.model, store).labels[0].rmse > 0
    else:
        with pytest.raises(
            LabelError, match=r"'teff' in kK and the model predicts it in K; .*teff\[K\]"
        ):
            evaluate(run.model, store)


def test_spectra_of_another_length_are_refused(run: TrainingResult, tmp_path: Path) -> None:
    other = convert(make_pair(tmp_path / "a", pixels=80).folder, tmp_path / "sa")
    with pytest.raises(CheckpointError, match="80 pixels per star and the model takes 64"):
        predict(run.model, other)


@pytest.mark.parametrize(("shift", "fits"), [(0.0, True), (4.9, True), (-5.1, False)])
def test_spectra_of_another_wavelength_range_are_refused(
    run: TrainingResult, tmp_path: Path, shift: float, fits: bool
) -> None:
    recipe = replace(run.model.recipe, wavelength_range=(6000.0, 6063.0))
    model = TrainedModel(run.model.network, recipe)
    raw = make_pair(tmp_path / "raw").folder
    np.save(raw / "wavelength.npy", np.linspace(6000, 6063, 64) + shift)
    store = convert(raw, tmp_path / "store")
    if fits:
        assert len(predict(model, store).ids) == len(store)
    else:
        with pytest.raises(CheckpointError, match=r"5994\.9 to 6057\.9 Å .*6000\.0 to 6063\.0 Å"):
            predict(model, store)


WINDOWS = [(6010.0, 6025.0), (6040.0, 6055.0)]
GRID: npt.NDArray[np.float64] = np.arange(6000.0, 6064.0)


def of_grid(folder: Path, grid: npt.NDArray[np.float64]) -> Store:
    raw = make_pair(folder, pixels=len(grid)).folder
    return convert(raw, folder.with_suffix(".store"), wavelength=grid)


def of_window(store: Store, window: Any) -> TrainedModel:
    """Return a model with random weights that reads a window of a store."""
    dataset = SpectraDataset(store, labels=("teff",), window=window)
    return TrainedModel(SpectraCNN(dataset.n_pixels, 1), Recipe.of_dataset(dataset, 7))


@pytest.mark.parametrize(
    "window", [WINDOWS, np.isin(GRID, [*range(6010, 6026), *range(6040, 6056)])], ids=["Å", "mask"]
)
def test_a_model_of_several_windows_reads_them_of_another_store(
    tmp_path: Path, window: Any
) -> None:
    model = of_window(of_grid(tmp_path / "a", GRID), window)
    other = of_grid(tmp_path / "b", GRID - 0.2)
    if window is WINDOWS:
        with pytest.raises(CheckpointError, match="30 pixels per star and the model takes 32"):
            predict(model, other)
        other = of_grid(tmp_path / "c", GRID)
    pixels = [*range(10, 26), *range(40, 56)]
    flux = torch.from_numpy(LogFlux()(other.flux[:][:, pixels]))
    with torch.inference_mode():
        expected = model.recipe.to_labels(as_prediction(model(flux)).mean.numpy())
    assert np.allclose(predict(model, other).labels, expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("grid", "text"),
    [
        (GRID[:40], r"the model was trained on: window \(6040\.0, 6055\.0\): no pixel .*\.store "),
        (GRID[:50], "26 pixels per star and the model takes 32"),
        (
            np.concatenate((np.arange(6010, 6022), np.linspace(6022.2, 6025, 8), GRID[44:])),
            r"covers 6023\.8 to 6055\.0 Å where the model was trained on 6040\.0 to 6055\.0 Å",
        ),
    ],
    ids=["a window is missing", "a window is cut", "as many pixels, other ones"],
)
def test_a_store_whose_windows_do_not_fit_is_refused(
    tmp_path: Path, grid: npt.NDArray[np.float64], text: str
) -> None:
    model = of_window(of_grid(tmp_path / "a", GRID), WINDOWS)
    with pytest.raises(CheckpointError, match=text):
        predict(model, of_grid(tmp_path / "b", grid))


def test_a_mask_needs_spectra_of_its_length_and_wavelengths(tmp_path: Path) -> None:
    model = of_window(of_grid(tmp_path / "a", GRID), np.isin(GRID, GRID[[3, *range(20, 50)]]))
    with pytest.raises(CheckpointError, match=r"a mask of 64 pixels, .* have 63"):
        predict(model, of_grid(tmp_path / "b", GRID[1:]))
    with pytest.raises(CheckpointError, match=r"where the model was trained on 6003\.0 to 6003\.0"):
        predict(model, of_grid(tmp_path / "c", GRID + 7))


def test_a_store_of_nothing_but_the_windows_fits(tmp_path: Path) -> None:
    pixels = [*range(10, 26), *range(40, 56)]
    whole = of_grid(tmp_path / "a", GRID)
    model = of_window(whole, WINDOWS)
    flux = whole.flux[:][:, pixels]
    part = convert(flux, tmp_path / "part", wavelength=GRID[pixels], split=(0, 0, 1))
    assert np.array_equal(predict(model, part).labels, predict(model, whole).labels)


def test_predictions_are_written_into_a_pipe(tmp_path: Path) -> None:
    predictions = Predictions(np.array([7]), np.array([[5777.0]]), ("teff",), ("K",))
    pipe, lines = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: lines.extend(pipe.read_text().splitlines()))
    reader.start()
    predictions.write_csv(pipe)
    reader.join()
    assert lines == ["id,teff", "7,5777"]


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


def test_a_file_that_is_not_a_model_is_refused_by_name(run: TrainingResult, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    with pytest.raises(SourceMissingError, match=r"model\.pt"):
        load_model(path)
    complete = (run.out / "model.pt").read_bytes()
    for content in (b"", b"not a model", complete[: len(complete) // 2]):
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
