"""Labels that are missing, and errors of labels, from the store to the batch."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import ConcatDataset

import galahstream as gs
from galahstream.errors import LabelError, OptionError
from galahstream.store import Store
from tests.conftest import make_pair

LABELS = ("teff", "logg")


@pytest.fixture
def gaps(tmp_path: Path) -> Store:
    """Return a store of which some labels and errors are missing, in each way there is."""
    pair = make_pair(tmp_path / "raw")
    generator = np.random.default_rng(3)
    labels = {"teff": pair.labels[:, 4], "logg": pair.labels[:, 5]}
    errors = {f"e_{name}": generator.uniform(0.1, 0.5, 60) for name in LABELS}
    labels["teff"][::6], labels["logg"][1] = np.nan, np.inf
    labels["teff"][7] = labels["logg"][7] = np.nan
    errors["e_logg"][8], errors["e_teff"][9] = np.nan, 0.0
    return gs.convert((pair.spectra, labels | errors), tmp_path / "store")


def dataset(store: Any, split: str = "all", **options: Any) -> gs.SpectraDataset:
    return gs.SpectraDataset(store, split, labels=LABELS, **options)  # type: ignore[arg-type]


def test_masked_labels_are_nan_and_stars_without_any_are_left_out(gaps: Any) -> None:
    masked = dataset(gaps, missing="mask")
    values = np.stack([gaps.labels[name] for name in LABELS], axis=1)
    has_any = np.isfinite(values).any(axis=1)
    assert len(masked) == has_any.sum() == 59
    assert np.array_equal(masked.rows, np.flatnonzero(has_any))
    _, labels = masked.read_batch(np.arange(len(masked)))
    assert np.array_equal(np.isnan(labels.numpy()), ~np.isfinite(values[has_any]))
    assert np.array_equal(np.isnan(masked.targets), np.isnan(labels.numpy()))


def test_mean_and_std_of_each_label_are_those_of_the_stars_that_have_it(gaps: Any) -> None:
    score = dataset(gaps, "val", missing="mask").target_transform
    assert score is not None
    for column, name in enumerate(LABELS):
        values = gaps.labels[name][gaps.split == 0]
        values = values[np.isfinite(values)]
        assert score.mean is not None
        assert score.std is not None
        assert score.mean[column] == values.mean()
        assert score.std[column] == values.std()


def test_without_missing_labels_masked_batches_are_the_usual_ones(tmp_path: Path) -> None:
    store = gs.convert(make_pair(tmp_path / "raw").folder, tmp_path / "store")
    usual, masked = dataset(store), dataset(store, missing="mask")
    assert str(usual.target_transform) == str(masked.target_transform)
    items = zip(usual.read_batch([0, 5]), masked.read_batch([0, 5]), strict=True)
    assert all(torch.equal(one, other) for one, other in items)


@pytest.mark.parametrize("missing", ["raise", "drop", "mask"])
@pytest.mark.parametrize("split", ["train", "val"])
def test_a_label_that_all_stars_lack_is_refused_by_name(
    tmp_path: Path, missing: str, split: str
) -> None:
    pair = make_pair(tmp_path / "raw")
    labels = {"teff": pair.labels[:, 4], "logg": np.full(60, np.nan)}
    store = gs.convert((pair.spectra, labels), tmp_path / "store")
    with pytest.raises(LabelError, match=rf"store: label 'logg' has no value in .* '{split}'"):
        dataset(store, split, missing=missing)


def test_errors_of_labels_are_scaled_like_them_and_follow_them(gaps: Any) -> None:
    with_errors = dataset(gaps, missing="mask", return_label_errors=True, return_ids=True)
    _, labels, errors, ids = with_errors.read_batch(np.arange(len(with_errors)))
    score, rows = with_errors.target_transform, with_errors.rows
    assert score is not None
    assert score.std is not None
    for column, name in enumerate(LABELS):
        stored = gaps.labels[f"e_{name}"][rows]
        known = np.isfinite(stored)
        expected = (stored[known] / score.std[column]).astype(np.float32)
        assert np.array_equal(errors[known, column].numpy(), expected)
        assert torch.isnan(labels[~known, column]).all()
    assert np.array_equal(ids.numpy(), gaps.ids[rows])
    star = int(np.flatnonzero(ids.numpy() == 9)[0])
    assert float(errors[star, 0]) == 0  # an error of 0 is one


def test_a_label_without_an_error_is_missing_only_if_errors_are_asked_for(gaps: Any) -> None:
    assert 8 in dataset(gaps, missing="drop").ids
    assert 8 not in dataset(gaps, missing="drop", return_label_errors=True).ids
    with pytest.raises(LabelError, match="or its error"):
        dataset(gaps, return_label_errors=True)


def test_a_label_without_a_column_of_errors_is_refused_by_name(tmp_path: Path) -> None:
    store = gs.convert(make_pair(tmp_path / "raw").folder, tmp_path / "store")
    with pytest.raises(LabelError, match=r"label 'teff' has no errors, .* 'e_teff'"):
        dataset(store, return_label_errors=True)


def test_errors_in_another_unit_than_their_label_are_refused(tmp_path: Path) -> None:
    pair = make_pair(tmp_path / "raw")
    columns = {"teff": pair.labels[:, 4], "e_teff": np.ones(60)}
    labels = ["teff[K]", "e_teff[kK]"]
    store = gs.convert((pair.spectra, columns), tmp_path / "store", labels=labels)
    with pytest.raises(LabelError, match=r"'e_teff' is in kK and 'teff' in K; .*e_teff\[K\]"):
        gs.SpectraDataset(store, labels="teff", return_label_errors=True)


def test_a_negative_error_is_refused_with_its_star(tmp_path: Path) -> None:
    pair = make_pair(tmp_path / "raw")
    columns = {"teff": pair.labels[:, 4], "e_teff": np.ones(60)}
    columns["e_teff"][17] = -9.0
    store = gs.convert((pair.spectra, columns), tmp_path / "store")
    row = int(np.flatnonzero(store.labels["e_teff"] < 0)[0])
    with pytest.raises(LabelError, match=rf"'e_teff' of row {row} \(star 17\) is -9"):
        gs.SpectraDataset(store, "all", labels="teff", return_label_errors=True)


@pytest.mark.parametrize("workers", [{"num_workers": 0}, {"num_workers": 2}])
def test_loaders_and_selections_carry_masks_and_errors(gaps: Any, workers: dict[str, int]) -> None:
    options: dict[str, Any] = {"missing": "mask", "return_label_errors": True}
    train = dataset(gaps, "train", **options)
    val = dataset(gaps, "val", target_transform=train.target_transform, **options)
    with gs.SpectraLoader(ConcatDataset([train, val]), 7, **workers) as loader:  # type: ignore[arg-type]
        columns = [torch.cat(tensors) for tensors in zip(*loader, strict=True)]
    for index, array in enumerate(columns[1:]):
        expected = np.concatenate([train.scaled_labels[index], val.scaled_labels[index]])
        assert np.array_equal(array.numpy(), expected, equal_nan=True)


@pytest.mark.slow
def test_worker_processes_carry_masks_and_errors(gaps: Any) -> None:
    items = dataset(gaps, missing="mask", return_label_errors=True)
    with gs.SpectraLoader(items, 16, num_workers=1, worker_type="process") as loader:
        columns = [torch.cat(tensors) for tensors in zip(*loader, strict=True)]
    for array, expected in zip(columns[1:], items.scaled_labels, strict=True):
        assert np.array_equal(array.numpy(), expected, equal_nan=True)


def test_datasets_with_and_without_errors_are_not_read_together(gaps: Any) -> None:
    parts = [dataset(gaps, missing="mask", return_label_errors=errors) for errors in (True, False)]
    with pytest.raises(OptionError, match="differ"):
        gs.SpectraLoader(ConcatDataset(parts))
