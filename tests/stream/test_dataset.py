import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import galahstream as gs
from galahstream.conversion.convert import convert
from galahstream.errors import LabelError, OptionError
from galahstream.store import Store
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.transforms import ZScore
from tests.conftest import N_PIXELS, Pair
from tests.stream.test_transforms import reference

COLUMNS = {"teff": 4, "logg": 5, "fe_h": 6}


def plain(store: Store, pair: Pair, split: str) -> tuple[np.ndarray, np.ndarray]:
    """What numpy alone makes of the source: logged flux, z-scored labels."""
    rows = store.source_row[store.rows_of(split)]
    train = pair.labels[store.source_row[store.rows_of("train")]][:, 4:7]
    labels = (pair.labels[rows][:, 4:7] - train.mean(0)) / train.std(0)
    return reference(pair.spectra[rows]), labels


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_every_item_equals_plain_numpy(store: Store, pair: Pair, split: str) -> None:
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
        assert torch.equal(item[0], dataset[index][0])
    assert len({item[0].untyped_storage().data_ptr() for item in items}) == 1


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_plain_data_loader_gives_the_same_in_any_worker(npy_store: Store, method: str) -> None:
    dataset = SpectraDataset(npy_store)
    dataset[0]
    loader = DataLoader(dataset, 8, num_workers=2, multiprocessing_context=method)
    found = torch.cat([x for x, _ in loader])
    assert torch.equal(found, torch.stack([x for x, _ in dataset]))


def test_a_dataset_pickles_small_and_without_its_data(npy_store: Store) -> None:
    dataset = SpectraDataset(npy_store, return_ids=True)
    dataset[0]
    assert len(pickle.dumps(dataset)) < 64 * 1024
    again = pickle.loads(pickle.dumps(dataset))
    assert torch.equal(again[5][0], dataset[5][0])
    assert again[5][2].item() == npy_store.ids[5]


def test_indices_outside_are_refused(npy_store: Store) -> None:
    dataset = SpectraDataset(npy_store)
    for index in (len(dataset), -len(dataset) - 1):
        with pytest.raises(IndexError):
            dataset[index]


def test_a_window_is_part_of_the_whole(pair: Pair, tmp_path: Path) -> None:
    np.save(pair.folder / "wavelength.npy", np.arange(N_PIXELS) + 5000.0)
    store = convert(pair.folder, tmp_path / "store")
    window = SpectraDataset(store, window=(5010, 5019))
    assert window.n_pixels == 10
    assert torch.equal(window[2][0], SpectraDataset(store)[2][0][10:20])


def test_without_labels_there_is_flux_alone(pair: Pair, tmp_path: Path) -> None:
    store = convert(pair.folder, tmp_path / "a")
    assert SpectraDataset(store, labels=None)[0].shape == (N_PIXELS,)
    (pair.folder / "labels.npy").unlink()
    assert SpectraDataset(convert(pair.folder, tmp_path / "b"))[0].shape == (N_PIXELS,)


def test_rows_without_a_label_are_refused_or_dropped(pair: Pair, tmp_path: Path) -> None:
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
        SpectraDataset(npy_store, transform=lambda flux: flux.astype(np.float64))[0]  # type: ignore[arg-type,return-value]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"labels": ("vsini",)}, LabelError),
        ({"split": "dev"}, OptionError),
        ({"missing": "hide"}, OptionError),
        ({"window": "red"}, ValueError),
    ],
)
def test_bad_options_are_refused(
    npy_store: Store, options: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        gs.SpectraDataset(npy_store, **options)


def test_nothing_is_read_before_it_is_asked_for(npy_store: Store) -> None:
    """A dataset of a store whose flux file cannot be opened any more is made all the same."""
    code = (
        "import sys, galahstream as gs\n"
        "from galahstream.store.readers import MappedReader\n"
        "MappedReader.read = lambda *_: sys.exit(7)\n"
        f"dataset = gs.SpectraDataset({str(npy_store.path)!r})\n"
        "assert len(dataset) == 42\n"
        "dataset[0]\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 7
