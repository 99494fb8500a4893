import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from galahstream.errors import CheckpointError
from galahstream.learn.models import MODELS, build_network
from galahstream.learn.models.base import as_prediction
from galahstream.learn.models.cnn import SpectraCNN
from galahstream.learn.recipe import InputSpan, Recipe
from galahstream.learn.trained_model import TrainedModel, load_model, save_model
from galahstream.survey.windows import PixelMask
from galahstream.validation import MAX_SEED


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    recipe = Recipe(16, ("teff",), ("K",), (5.0,), (1.0,), 0.2, 1.0, None, None, "0", 42)
    save_model(TrainedModel(SpectraCNN(16, 1), recipe), tmp_path / "model.pt")
    return tmp_path / "model.pt"


def rewritten(path: Path, **recipe: Any) -> Path:
    content = torch.load(path, weights_only=True)
    content["recipe"] |= recipe
    torch.save(content, path)
    return path


def test_a_saved_model_comes_back_with_its_recipe(saved: Path) -> None:
    model = load_model(saved)
    assert model.recipe.labels == ("teff",)
    assert all(weights.device.type == "cpu" for weights in model.parameters())
    assert as_prediction(model(torch.ones(2, 16))).mean.shape == (2, 1)


@pytest.mark.parametrize(
    "window",
    [
        None, "red", "no-tellurics", (1.0, 2.0), ("red", (1.0, 2.0)), ((1.0, 2.0), (3.0, np.inf)),
        PixelMask(16, (0, 3, 5, 13)),
    ],
    ids=repr,
)  # fmt: skip
def test_each_kind_of_window_comes_back(saved: Path, window: Any) -> None:
    model = load_model(saved)
    recipe = replace(model.recipe, window=window, spans=(InputSpan(16, 1.0, 2.0),))
    save_model(TrainedModel(model.network, recipe), saved)
    assert load_model(saved).recipe == recipe


@pytest.mark.parametrize(
    ("stored", "window"), [("red", "red"), ([1.0, 2.0], (1.0, 2.0)), (None, None)]
)
def test_models_of_early_versions_load(saved: Path, stored: Any, window: Any) -> None:
    content = torch.load(saved, weights_only=True)
    del content["recipe"]["spans"]
    torch.save(content, saved)
    recipe = load_model(rewritten(saved, window=stored, wavelength_range=[1.0, 2.0])).recipe
    assert recipe.window == window
    assert recipe.known_spans == (InputSpan(16, 1.0, 2.0),)


@pytest.mark.parametrize(
    "claim",
    [
        {"n_pixels": 10**12},
        {"n_pixels": 2**31},
        {"n_pixels": "16"},
        {"labels": ["a"] * 5000},
        {"labels": []},
        {"mean": [float("nan")]},
        {"std": [0.0]},
        {"std": [1.0, 2.0]},
        {"floor": -1.0},
        {"window": [1.0]},
        {"window": "violet"},
        {"window": [2.0, 1.0]},
        {"window": [["red"], [1.0, 2.0, 3.0]]},
        {"window": {"n_pixels": 16}},
        {"window": {"n_pixels": 16, "edges": [0, 17]}},
        {"window": torch.ones(16, dtype=torch.bool)},
        {"spans": [{"n_pixels": 3, "first": 1.0, "last": 2.0}]},
        {"spans": [{"n_pixels": 16, "first": float("nan"), "last": 2.0}]},
        {"seed": MAX_SEED + 1},
        {"more": 1},
    ],
    ids=str,
)
def test_an_impossible_recipe_is_refused_naming_file_and_field(saved: Path, claim: Any) -> None:
    (field,) = claim
    with pytest.raises(CheckpointError, match=rf"model\.pt .*field '(recipe|arch\w+)\.{field}"):
        load_model(rewritten(saved, **claim))


@pytest.mark.parametrize(
    ("architecture", "text"),
    [
        ({"name": "transformer", "n_pixels": 16, "n_labels": 1}, "expected one of reference"),
        ({"name": "cnn", "n_pixels": 10**12, "n_labels": 1}, r"architecture\.n_pixels"),
        ({"name": "cnn", "n_pixels": 16, "n_labels": 2}, r"architecture\.n_labels"),
        ({"name": "cnn", "n_pixels": 16, "n_labels": 1, "depth": 3}, "depth"),
        ({"name": "cnn", "n_pixels": 16, "n_labels": [1]}, "architecture"),
        (["cnn"], "architecture"),
        (None, "architecture"),
    ],
    ids=str,
)
def test_an_impossible_architecture_is_refused_naming_the_file(
    saved: Path, architecture: Any, text: str
) -> None:
    content = torch.load(saved, weights_only=True)
    torch.save({**content, "architecture": architecture}, saved)
    with pytest.raises(CheckpointError, match=rf"model\.pt .*{text}"):
        load_model(saved)


def test_the_file_names_the_architecture(saved: Path) -> None:
    content = torch.load(saved, weights_only=True)
    assert content["version"] == 1
    assert content["architecture"] == {"name": "cnn", "n_pixels": 16, "n_labels": 1}


def test_a_file_that_names_no_architecture_is_the_network_that_all_were(saved: Path) -> None:
    content = torch.load(saved, weights_only=True)
    del content["architecture"]
    torch.save(content, saved)
    model = load_model(saved)
    assert isinstance(model.network, SpectraCNN)
    assert as_prediction(model(torch.ones(2, 16))).mean.shape == (2, 1)


@pytest.mark.parametrize("loss", ["nll", "full-nll", "mae", 3])
def test_a_loss_that_the_network_cannot_have_had_is_refused(saved: Path, loss: Any) -> None:
    content = torch.load(saved, weights_only=True)
    torch.save({**content, "loss": loss}, saved)
    with pytest.raises(CheckpointError, match=r"model\.pt is not .*loss"):
        load_model(saved)


@pytest.mark.parametrize("change", ["missing", "unknown", "dtype", "shape", "meta"])
def test_weights_that_are_not_the_networks_are_refused_by_name(saved: Path, change: str) -> None:
    content = torch.load(saved, weights_only=True)
    weights, name = content["weights"], "head.3.bias"
    if change == "missing":
        del weights[name]
    elif change == "unknown":
        name = "head.9.bias"
        weights[name] = torch.zeros(1)
    else:
        changed = {"dtype": weights[name].double(), "shape": torch.zeros(2)}
        weights[name] = changed.get(change, torch.zeros(1, device="meta"))
    torch.save(content, saved)
    with pytest.raises(CheckpointError, match=rf"model\.pt .*{name}"):
        load_model(saved)


def test_weights_that_are_one_number_repeated_are_refused(saved: Path) -> None:
    content = torch.load(saved, weights_only=True)
    name = "features.0.weight"
    content["weights"][name] = torch.zeros(1).expand(content["weights"][name].shape)
    torch.save(content, saved)
    with pytest.raises(CheckpointError, match="expected a plain array"):
        load_model(saved)


@pytest.mark.slow
def test_a_model_that_unpacks_to_more_than_its_file_is_refused(saved: Path) -> None:
    with zipfile.ZipFile(saved) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(saved, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
        archive.writestr("model/data/99", bytes(50_000_000))
    assert saved.stat().st_size < 1_000_000
    with pytest.raises(CheckpointError, match="entries are compressed"):
        load_model(saved)


class Code:
    """An object that would create a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("place", ["file", "weights", "architecture", "recipe"])
def test_code_in_a_file_is_refused_and_not_run(saved: Path, tmp_path: Path, place: str) -> None:
    content = torch.load(saved, weights_only=True)
    code = Code(tmp_path / "executed")
    torch.save(code if place == "file" else {**content, place: code}, saved)
    with pytest.raises(CheckpointError, match=r"model\.pt is not a galahstream model"):
        load_model(saved)
    assert not (tmp_path / "executed").exists()


def test_a_network_that_another_program_saved_is_refused(saved: Path) -> None:
    network = torch.nn.Linear(16, 1)
    for content in (network, network.state_dict(), {"weights": network.state_dict()}):
        torch.save(content, saved)
        with pytest.raises(CheckpointError, match=r"model\.pt is not a galahstream model"):
            load_model(saved)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(saved: Path, share: float) -> None:
    data = saved.read_bytes()
    saved.write_bytes(data[: int(share * len(data))])
    with pytest.raises(CheckpointError, match=r"model\.pt is not a galahstream model, or is damag"):
        load_model(saved)


@pytest.mark.parametrize("name", MODELS)
def test_every_network_comes_back_with_its_weights(tmp_path: Path, name: str) -> None:
    recipe = Recipe(80, ("teff",), ("K",), (5.0,), (1.0,), 0.2, 1.0, None, None, "0", 42)
    network = build_network({"name": name, "n_pixels": 80, "n_labels": 1, "output": "variance"})
    save_model(TrainedModel(network, recipe, "nll"), tmp_path / "model.pt")
    loaded = load_model(tmp_path / "model.pt").network
    assert type(loaded) is type(network)
    for key, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor)


@pytest.mark.parametrize("name", MODELS)
def test_weights_under_the_name_of_another_network_are_refused(tmp_path: Path, name: str) -> None:
    recipe = Recipe(80, ("teff",), ("K",), (5.0,), (1.0,), 0.2, 1.0, None, None, "0", 42)
    network = build_network({"name": name, "n_pixels": 80, "n_labels": 1})
    save_model(TrainedModel(network, recipe), tmp_path / "model.pt")
    content = torch.load(tmp_path / "model.pt", weights_only=True)
    for other in MODELS.keys() - {name}:
        content["architecture"]["name"] = other
        torch.save(content, tmp_path / "model.pt")
        with pytest.raises(CheckpointError, match=r"model\.pt .*'weights"):
            load_model(tmp_path / "model.pt")
