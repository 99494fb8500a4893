from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from galahstream.conversion.convert import convert
from galahstream.learn.recipe import InputSpan, Recipe, wavelength_range
from galahstream.store import Store
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.transforms import LogFlux
from galahstream.validation import FieldError
from tests.conftest import Pair


@pytest.fixture
def recipe(npy_store: Store) -> Recipe:
    return Recipe.of_dataset(SpectraDataset(npy_store), seed=7)


def test_it_is_that_of_the_dataset(recipe: Recipe, npy_store: Store) -> None:
    dataset = SpectraDataset(npy_store)
    assert (recipe.n_pixels, recipe.labels, recipe.seed) == (64, dataset.label_names, 7)
    assert recipe.split_fingerprint == npy_store.split_fingerprint
    assert recipe.transform == LogFlux()
    assert repr(recipe.target_transform) == repr(dataset.target_transform)


@pytest.mark.parametrize("kind", ["array", "tensor"])
def test_scaled_labels_become_labels_again(recipe: Recipe, npy_store: Store, kind: str) -> None:
    dataset = SpectraDataset(npy_store)
    scaled = recipe.target_transform(dataset.targets)
    if kind == "array":
        labels = recipe.to_labels(scaled.astype(np.float64))
    else:
        tensor = recipe.to_labels(torch.from_numpy(scaled))
        assert isinstance(tensor, torch.Tensor)
        labels = tensor.numpy()
    assert np.allclose(labels, dataset.targets, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["units", "mean", "std"])
def test_each_label_needs_its_own_value(recipe: Recipe, name: str) -> None:
    with pytest.raises(FieldError, match=f"'{name}': found 2 values for 3 labels"):
        replace(recipe, **{name: getattr(recipe, name)[:2]})


def test_the_wavelength_range_is_that_of_the_window(pair: Pair, tmp_path: Path) -> None:
    assert wavelength_range(SpectraDataset(convert(pair.folder, tmp_path / "a"))) is None
    np.save(pair.folder / "wavelength.npy", np.linspace(6000, 6063, 64))
    store = convert(pair.folder, tmp_path / "b")
    assert wavelength_range(SpectraDataset(store)) == (6000, 6063)
    assert wavelength_range(SpectraDataset(store, window=(6010, 6039.5))) == (6010, 6039)


def test_the_spans_are_those_of_the_windows(pair: Pair, tmp_path: Path) -> None:
    np.save(pair.folder / "wavelength.npy", np.linspace(6000, 6063, 64))
    store = convert(pair.folder, tmp_path / "store")
    dataset = SpectraDataset(store, window=[(6040, 6050), (6010, 6012), (6050, 6055)])
    spans = (InputSpan(3, 6010, 6012), InputSpan(16, 6040, 6055))
    recipe = Recipe.of_dataset(dataset, seed=7)
    assert recipe.spans == recipe.known_spans == spans
    assert recipe.window == ((6040, 6050), (6010, 6012), (6050, 6055))
    assert replace(recipe, spans=()).known_spans == (InputSpan(19, 6010, 6055),)
    with pytest.raises(FieldError, match="'spans': found 3 pixels for an input of 19"):
        replace(recipe, spans=spans[:1])


def test_unknown_wavelengths_are_not_invented(recipe: Recipe) -> None:
    assert recipe.spans == recipe.known_spans == ()
