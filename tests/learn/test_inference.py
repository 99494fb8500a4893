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
from galahstream.learn.inference import evaluate, predict
from galahstream.learn.models.base import as_prediction
from galahstream.learn.models.cnn import SpectraCNN
from galahstream.learn.predictions import Predictions
from galahstream.learn.recipe import GridIdentity, Recipe
from galahstream.learn.results import TrainingResult
from galahstream.learn.trained_model import TrainedModel, load_model, save_model
from galahstream.sources.memory import MemorySource
from galahstream.store import Store
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.transforms import LogFlux
from galahstream.survey.provenance import Provenance
from galahstream.survey.wavelength import NOMINAL_PIXELS, nominal_grid
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
    # Also on a machine whose "auto" is an accelerator, the network is on the CPU again.
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
    predictions.write(tmp_path / "labels.csv")
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
    flags = np.array([4], np.int32)
    predictions = Predictions(np.array([7]), np.array([[5777.0]]), ("teff",), ("K",), flags)
    pipe, lines = tmp_path / "pipe", list[str]()
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: lines.extend(pipe.read_text().splitlines()))
    reader.start()
    predictions.write(pipe)
    reader.join()
    assert lines == ["id,teff,flag", "7,5777,4"]


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


GRID = np.linspace(6000, 6063, 64)
SPECTRA: dict[str, tuple[str | None, str | None, npt.NDArray[np.float64] | None]] = {
    "nothing known": (None, None, None),
    "observed": ("observed", None, None),
    "rest": ("rest", None, None),
    "rest, A": ("rest", "A", GRID),
    "rest, A rounded": ("rest", "A in other digits", np.nextafter(GRID, 0)),
    "observed, A": ("observed", "A", GRID),
    "rest, hermes": ("rest", "hermes", GRID + 0.05),
    "given A": (None, None, GRID),
    "given B": (None, None, GRID + 0.05),
}


def store_of(name: str, folder: Path) -> Store:
    """Return a store of the kind of spectra with this name."""
    kind = SPECTRA[name]

    class Stars(MemorySource):
        provenance = Provenance(frame=kind[0], grid=kind[1])
        wavelength = kind[2]

    pair = make_pair(folder, stars=30)
    return convert(Stars(pair.spectra, {"teff": pair.labels[:, 4]}), folder / "store")


@pytest.mark.parametrize(
    ("trained", "given", "message"),
    [
        ("rest, A", "rest, A", None),
        ("rest, A", "rest, A rounded", None),
        ("rest, A", "nothing known", None),
        ("rest, A", "rest", None),
        ("rest, A", "given A", None),
        ("nothing known", "rest, A", None),
        ("given A", "given A", None),
        ("given A", "given B", None),
        ("given A", "rest, A", None),
        ("rest", "observed", "in the observed frame, .* trained in the rest .*--frame rest"),
        ("observed", "rest", "in the rest frame, .* trained in the observed .*--frame observed"),
        ("rest, A", "observed, A", "--frame rest"),
        (
            "rest, A",
            "rest, hermes",
            r"the grid hermes of 64 pixels, 6000\.05 to 6063\.05 Å, and the model was trained on "
            r"the grid A of 64 pixels, 6000\.00 to 6063\.00 Å; .*--grid FILE\.npy",
        ),
        ("rest, hermes", "rest, A", "--grid hermes"),
        ("rest, A", "given B", "on wavelengths of 64 pixels, .* on the grid A"),
        ("given B", "rest, A", "on the grid A .* on wavelengths of 64 pixels"),
    ],
)
def test_spectra_in_another_frame_or_on_another_grid_are_refused(
    run: TrainingResult, tmp_path: Path, trained: str, given: str, message: str | None
) -> None:
    dataset = SpectraDataset(store_of(trained, tmp_path / "a"), labels=("teff",))
    model = TrainedModel(run.model.network, Recipe.of_dataset(dataset, seed=1))
    store = store_of(given, tmp_path / "b")
    if message is None:
        assert len(predict(model, store).ids) == len(store)
        assert evaluate(model, store, "all").n_stars == len(store)
    else:
        for use in (predict, evaluate):
            with pytest.raises(CheckpointError, match=message):
                use(model, store)


def test_frame_and_grid_are_saved_with_a_model(run: TrainingResult, tmp_path: Path) -> None:
    dataset = SpectraDataset(store_of("rest, A", tmp_path / "a"), labels=("teff",))
    model = TrainedModel(run.model.network, Recipe.of_dataset(dataset, seed=1))
    save_model(model, tmp_path / "model.pt")
    loaded = load_model(tmp_path / "model.pt")
    assert loaded.recipe == model.recipe
    assert loaded.recipe.frame == "rest"
    assert loaded.recipe.grid.name == "A"


def test_a_model_without_frame_and_grid_still_loads(run: TrainingResult, tmp_path: Path) -> None:
    content = torch.load(run.out / "model.pt", weights_only=True)
    del content["recipe"]["frame"], content["recipe"]["grid"]
    torch.save(content, tmp_path / "model.pt")
    assert load_model(tmp_path / "model.pt").recipe.grid == GridIdentity()


def test_the_pixels_of_the_spectrograph_are_not_those_of_a_grid(
    run: TrainingResult, tmp_path: Path
) -> None:
    flux = np.random.default_rng(0).normal(1, 0.1, (10, NOMINAL_PIXELS)).astype(np.float32)
    labels = {"teff": np.arange(10.0)}
    native = convert(MemorySource(flux, labels), tmp_path / "native")
    recipe = Recipe.of_dataset(SpectraDataset(native, labels=("teff",)), seed=1)
    hermes = GridIdentity.of_dataset(
        SpectraDataset(
            convert((flux, labels), tmp_path / "given", wavelength=nominal_grid()),
            labels=("teff",),
        )
    )
    model = TrainedModel(
        run.model.network, replace(recipe, grid=GridIdentity("hermes", hermes.digest))
    )
    with pytest.raises(CheckpointError, match=r"on the pixels of the spectrograph.*--grid hermes"):
        predict(model, native)
    assert recipe.grid == GridIdentity("native")
    assert not recipe.grid.differs_from(GridIdentity())
    assert GridIdentity("hermes", hermes.digest).differs_from(recipe.grid)
    assert recipe.grid.differs_from(GridIdentity("hermes", hermes.digest))
