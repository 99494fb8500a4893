import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from galahstream.errors import CheckpointError
from galahstream.learn.models.cnn import SpectraCNN
from galahstream.learn.recipe import Recipe
from galahstream.learn.trained_model import load_model, save_model


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    model = SpectraCNN(16, 1)
    model.recipe = Recipe(16, ("teff",), ("K",), (5.0,), (1.0,), 0.2, 1.0, None, None, "0", 42)
    save_model(model, tmp_path / "model.pt")
    return tmp_path / "model.pt"


def rewritten(path: Path, **recipe: Any) -> Path:
    content = torch.load(path, weights_only=True)
    content["recipe"] |= recipe
    torch.save(content, path)
    return path


def test_a_saved_model_comes_back_with_its_recipe(saved: Path) -> None:
    model = load_model(saved)
    assert model.recipe is not None
    assert model.recipe.labels == ("teff",)
    assert all(weights.device.type == "cpu" for weights in model.parameters())
    assert model(torch.ones(2, 16)).shape == (2, 1)


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
        {"more": 1},
    ],
    ids=str,
)
def test_a_recipe_that_claims_what_cannot_be_is_refused(saved: Path, claim: Any) -> None:
    with pytest.raises(CheckpointError, match=r"model.pt: weights and architecture"):
        load_model(rewritten(saved, **claim))


def test_weights_that_are_one_number_repeated_are_refused(saved: Path) -> None:
    content = torch.load(saved, weights_only=True)
    name = "features.0.weight"
    content["weights"][name] = torch.zeros(1).expand(content["weights"][name].shape)
    torch.save(content, saved)
    with pytest.raises(CheckpointError, match="no plain array"):
        load_model(saved)


def test_a_model_that_unpacks_to_more_than_its_file_is_refused(saved: Path) -> None:
    with zipfile.ZipFile(saved) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(saved, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
        archive.writestr("model/data/99", bytes(50_000_000))
    assert saved.stat().st_size < 1_000_000
    with pytest.raises(CheckpointError, match="that are compressed"):
        load_model(saved)
