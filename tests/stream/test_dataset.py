"""Items and batches of a dataset against plain numpy, and the options it accepts."""

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch.utils.data import DataLoader

import galahstream as gs
from galahstream.conversion.convert import convert
from galahstream.errors import LabelError, OptionError
from galahstream.store import Store
from galahstream.stream.dataset import SpectraDataset, Split
from galahstream.stream.transforms import ZScore
from tests.conftest import N_PIXELS, Pair
from tests.stream.test_transforms import reference

COLUMNS = {"teff": 4, "logg": 5, "fe_h": 6}


def plain(store: Store, pair: Pair, split: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return logged flux and z-scored labels of the source, made by numpy alone."""
    rows = store.source_row[store.rows_of(split)]
    train = pair.labels[store.source_row[store.rows_of("train")]][:, 4:7]
    labels = (pair.labels[rows][:, 4:7] - train.mean(0)) / train.std(0)
    return reference(pair.spectra[rows]), labels


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_every_item_equals_plain_numpy(store: Store, pair: Pair, split: Split) -> None:
    dataset = SpectraDataset(store, split)
    flux, labels = plain(store, pair, split)
    for index in range(len(dataset)):
        x, y = dataset[index]
        assert x.dtype == y.dtype == torch.float32
        assert np.allclose(x, flux[index], rtol=1e-6, atol=1e-6)
        assert np.allclose(y, labels[index], rtol=1e-6, atol=1e-6)


def test_many_items_equal_single_ones_and_share_one_tensor(store: Store) -> None:
    dataset = SpectraDataset(store)
    items = dataset.__getitems__([3, -1, 3])
    for item, index in zip(items, (3, -1, 3), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(item, dataset[index], strict=True))
    assert len({item[0].untyped_storage().data_ptr() for item in items}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_plain_data_loader_gives_the_same_in_any_worker(npy_store: Store, method: str) -> None:
    dataset = SpectraDataset(npy_store)
    dataset[0]
    loader = DataLoader(dataset, 8, num_workers=2, multiprocessing_context=method)
    actual = torch.cat([x for x, _ in loader])
    assert torch.equal(actual, torch.stack([x for x, _ in dataset]))


def test_a_dataset_pickles_small_and_without_its_data(npy_store: Store) -> None:
    dataset = SpectraDataset(npy_store, return_ids=True)
    dataset[0]
    assert len(pickle.dumps(dataset)) < 64 * 1024
    again = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(again[5][0], dataset[5][0])
    assert again[5][2].item() == npy_store.ids[5]


def test_items_outside_are_an_error(npy_store: Store) -> None:
    dataset = SpectraDataset(npy_store)
    n = len(dataset)
    outside: list[Any] = [n, -n - 1, [0, n], np.array([-n - 1]), np.array([n], dtype=np.uint64)]
    for index in outside:
        with pytest.raises(IndexError, match=f"of a dataset of {n} items"):
            dataset[index]
        if not isinstance(index, int):
            with pytest.raises(IndexError):
                dataset.read_batch(index)


def test_slices_and_integers_give_tensors_of_many_items(npy_store: Store) -> None:
    dataset = SpectraDataset(npy_store, return_ids=True)
    items = [dataset[index] for index in range(len(dataset))]
    selections: list[Any] = [
        slice(2, 5), slice(None, None, -7), slice(40, 99), slice(5, 5), [1, 2], [-1, 0, 0], (3, 4),
        [], np.array([5, 6]), np.array([7], dtype=np.uint8), torch.tensor([8, 9]), range(3),
    ]  # fmt: skip
    for selection in selections:
        indices = range(len(items))[selection] if isinstance(selection, slice) else selection
        flux, labels, ids = dataset[selection]
        assert flux.shape == (len(indices), N_PIXELS)
        assert labels.shape == (len(indices), 3)
        assert ids.shape == (len(indices),)
        for k, index in enumerate(indices):
            for tensor, other in zip((flux, labels, ids), items[int(index)], strict=True):
                assert torch.equal(tensor[k], other)
    assert isinstance(SpectraDataset(npy_store, labels=None)[2:5], torch.Tensor)


@pytest.mark.parametrize(
    "index", [np.int32(3), np.uint8(3), np.array(3), torch.tensor(3)], ids=repr
)
def test_any_integer_selects_an_item(npy_store: Store, index: Any) -> None:
    dataset = SpectraDataset(npy_store)
    assert torch.equal(dataset[index][0], dataset[3][0])
    assert dataset[index][0].ndim == 1


@pytest.mark.parametrize(
    "index", [1.7, "3", True, None, [0.5], ["1"], [True, False], [[1]], np.ones(42, dtype=bool)],
    ids=repr,
)  # fmt: skip
def test_other_selections_are_type_errors(npy_store: Store, index: Any) -> None:
    dataset = SpectraDataset(npy_store)
    with pytest.raises(TypeError, match="integers"):
        dataset[index]
    with pytest.raises(TypeError):
        dataset.__getitems__(index if isinstance(index, list | np.ndarray) else [index])


def test_a_batch_is_written_into_memory_that_is_given(npy_store: Store) -> None:
    dataset = SpectraDataset(npy_store)
    for read in (dataset.read_batch, dataset.read_valid_batch):
        out = np.full((3, N_PIXELS), 7, dtype=np.float32)
        flux, labels = read(np.array([4, 0, 4]), out)
        assert np.shares_memory(flux.numpy(), out)
        assert torch.equal(flux, dataset[[4, 0, 4]][0])
        assert torch.equal(labels, torch.from_numpy(dataset.scaled_targets[[4, 0, 4]]))


def test_targets_are_scaled_and_scaled_back(npy_store: Store, pair: Pair) -> None:
    dataset = SpectraDataset(npy_store)
    assert dataset.scaled_targets.dtype == np.float32
    assert np.array_equal(dataset.targets, pair.labels[npy_store.source_row[dataset.rows], 4:7])
    assert dataset.target_transform is not None
    back = dataset.target_transform.inverse(dataset.scaled_targets)
    assert np.allclose(back, dataset.targets, rtol=1e-5, atol=1e-5)
    plain_targets = SpectraDataset(npy_store, target_transform=None)
    assert np.array_equal(plain_targets.scaled_targets, dataset.targets.astype(np.float32))


@pytest.mark.parametrize(
    "labels",
    [["teff", "logg"], np.array(["teff", "logg"]), np.array(["teff", "logg"], dtype=object),
     (np.str_("teff"), "logg"), {"teff": 1, "logg": 2}.keys()],
    ids=repr,
)  # fmt: skip
def test_labels_are_any_sequence_of_names(npy_store: Store, labels: Any) -> None:
    dataset = SpectraDataset(npy_store, labels=labels)
    assert dataset.label_names == ("teff", "logg")
    assert {type(name) for name in dataset.label_names} == {str}


@pytest.mark.parametrize("labels", ["teff", np.str_("teff"), np.array("teff")], ids=repr)
def test_one_name_is_one_label(npy_store: Store, labels: Any) -> None:
    assert SpectraDataset(npy_store, labels=labels).label_names == ("teff",)


def test_windows_of_numpy_become_plain_numbers(pair: Pair, tmp_path: Path) -> None:
    store = convert(pair.folder, tmp_path / "store", wavelength=np.arange(N_PIXELS) + 5000.0)
    windows: list[Any] = [
        (5010, 5019), np.array([5010, 5019]), (np.float32(5010), np.int64(5019)), [5010, 5019.0]
    ]  # fmt: skip
    for window in windows:
        dataset = SpectraDataset(store, window=window)
        assert dataset.n_pixels == 10
        assert repr(dataset.window) == "(5010.0, 5019.0)"


def test_torchs_default_type_does_not_matter(npy_store: Store) -> None:
    expected = SpectraDataset(npy_store)[[1, 2]]
    torch.set_default_dtype(torch.float64)
    try:
        items = SpectraDataset(npy_store)[[1, 2]]
        with gs.SpectraLoader(SpectraDataset(npy_store), 8) as loader:
            types = {tensor.dtype for batch in loader for tensor in batch}
    finally:
        torch.set_default_dtype(torch.float32)
    assert types == {torch.float32}
    for tensor, other in zip(items, expected, strict=True):
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, other)


@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_numpys_error_settings_do_not_matter(pair: Pair, tmp_path: Path, dtype: Any) -> None:
    store = convert(pair.folder, tmp_path / "store", dtype=dtype)
    expected = SpectraDataset(store, "all")[:]
    with np.errstate(all="raise"):
        items = SpectraDataset(store.path, "all")[:]
    assert all(torch.equal(a, b) for a, b in zip(items, expected, strict=True))


def test_the_transform_cannot_be_changed_behind_its_kernel(npy_store: Store) -> None:
    dataset = SpectraDataset(npy_store)
    with pytest.raises(AttributeError):
        dataset.transform = None  # type: ignore[misc]


def test_a_window_selects_pixels(pair: Pair, tmp_path: Path) -> None:
    np.save(pair.folder / "wavelength.npy", np.arange(N_PIXELS) + 5000.0)
    store = convert(pair.folder, tmp_path / "store")
    window = SpectraDataset(store, window=(5010, 5019))
    assert window.n_pixels == 10
    assert torch.equal(window[2][0], SpectraDataset(store)[2][0][10:20])


def test_without_labels_there_is_flux_alone(pair: Pair, tmp_path: Path) -> None:
    store = convert(pair.folder, tmp_path / "a")
    (pair.folder / "labels.npy").unlink()
    for dataset in (
        SpectraDataset(store, labels=None),
        SpectraDataset(convert(pair.folder, tmp_path / "b")),
    ):
        flux = dataset[0]
        assert isinstance(flux, torch.Tensor)
        assert flux.shape == (N_PIXELS,)


def test_rows_without_a_label_are_an_error_or_dropped(pair: Pair, tmp_path: Path) -> None:
    labels = pair.labels.copy()
    labels[::6, 5] = np.nan
    labels[1, 4] = np.inf
    np.save(pair.folder / "labels.npy", labels)
    store = convert(pair.folder, tmp_path / "store")
    with pytest.raises(LabelError, match="missing='drop'"):
        SpectraDataset(store, "all")
    dropped = SpectraDataset(store, "all", missing="drop")
    assert len(dropped) == 49
    assert torch.isfinite(torch.stack([y for _, y in dropped])).all()
    assert len(SpectraDataset(store, "all", labels=("fe_h",))) == 60


def test_fit_on_all_uses_every_row(npy_store: Store) -> None:
    score = SpectraDataset(npy_store, target_transform=ZScore(fit_on="all")).target_transform
    assert score is not None
    assert score.mean is not None
    assert score.mean[0] == pytest.approx(npy_store.labels["teff"].mean())


def test_a_transform_of_ones_own_is_used_and_checked(npy_store: Store) -> None:
    twice = SpectraDataset(npy_store, transform=np.sqrt)
    assert torch.allclose(twice[9][0], torch.from_numpy(np.sqrt(npy_store.flux[9])))
    with pytest.raises(OptionError, match="float64"):
        SpectraDataset(npy_store, transform=lambda flux: flux.astype(np.float64))[0]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"labels": ("vsini",)}, LabelError),
        ({"split": "dev"}, OptionError),
        ({"missing": "hide"}, OptionError),
        ({"window": "red"}, ValueError),
    ],
)
def test_options_that_cannot_be_used_are_errors(
    npy_store: Store, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        gs.SpectraDataset(npy_store, **options)


@pytest.mark.slow
def test_flux_is_read_only_on_demand(npy_store: Store) -> None:
    code = (
        "import sys, galahstream as gs\n"
        "from galahstream.store.readers import MappedReader\n"
        "MappedReader.read = lambda *_: sys.exit(7)\n"
        f"dataset = gs.SpectraDataset({str(npy_store.path)!r})\n"
        "assert len(dataset) == 42\n"
        "dataset[0]\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 7


def test_a_label_that_is_named_twice_is_refused(npy_store: Store) -> None:
    with pytest.raises(LabelError, match="teff, logg, teff name a label twice"):
        SpectraDataset(npy_store, labels=["teff", "logg", "teff"])
