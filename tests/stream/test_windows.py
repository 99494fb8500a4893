"""Datasets of several windows: their pixels, and nothing else, are those of complete spectra."""

import pickle
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import ConcatDataset

import galahstream as gs
from galahstream.errors import OptionError, WavelengthError
from galahstream.store import Store, open_store
from galahstream.store.readers import Reading
from galahstream.stream import decoding
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.kernels import (
    KernelBackend,
    choose_kernel,
    numba_backend,
    numpy_backend,
)
from galahstream.stream.options import WorkerType
from galahstream.stream.transforms import FluxTransform, LogFlux
from galahstream.survey.windows import PixelMask
from tests.conftest import make_pair

GRID = 5000.0 + np.arange(64)
WINDOWS: dict[str, tuple[Any, list[int]]] = {
    "none": (None, [*range(64)]),
    "range": ((5010, 5019.5), [*range(10, 20)]),
    "unordered": ([(5040, 5045), (5010, 5012)], [10, 11, 12, *range(40, 46)]),
    "overlapping": ([(5010, 5020), (5015, 5030), (5010, 5020)], [*range(10, 31)]),
    "adjacent": ([(5010, 5019), (5020, 5029)], [*range(10, 30)]),
    "single pixels": ([(5000, 5000.5), (5062.5, 5063)], [0, 63]),
    "mask": (np.arange(64) % 3 == 0, [*range(0, 64, 3)]),
    "mask of a run": ((np.arange(64) > 10) & (np.arange(64) < 30), [*range(11, 30)]),
}
KINDS: list[tuple[str, dict[str, Any], Reading]] = [
    ("npy", {}, "mapped"),
    ("npy", {}, "pread"),
    ("h5", {"format": "hdf5"}, "mapped"),
    ("h5", {"format": "hdf5", "chunk_rows": 7}, "pread"),
    ("h5", {"format": "hdf5", "chunk_rows": 7, "compression": "gzip"}, "auto"),
]
TRANSFORMS: list[FluxTransform] = [LogFlux(), LogFlux(floor=1e-30), None, np.nan_to_num]

with_windows = pytest.mark.parametrize("name", WINDOWS)


@pytest.fixture(scope="module", params=["float32", pytest.param("uint16", marks=pytest.mark.slow)])
def stores(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Store]:
    """One survey in each kind of store, opened in each way."""
    folder = tmp_path_factory.mktemp("windows")
    pair = make_pair(folder / "raw", stars=20)
    made = {}
    for index, (suffix, options, reading) in enumerate(KINDS):
        path = gs.convert(
            pair.folder, folder / f"{index}.{suffix}", dtype=request.param, wavelength=GRID,
            **options,
        ).path  # fmt: skip
        made[f"{index}"] = open_store(path, reading=reading)
    return made


def check_window(store: Store, window: Any, pixels: list[int], transform: FluxTransform) -> None:
    """Compare items, slices and batches of a window with those of complete spectra."""
    options: dict[str, Any] = {"split": "all", "transform": transform, "labels": None}
    complete: Any = SpectraDataset(store, **options)
    dataset: Any = SpectraDataset(store, window=window, **options)
    assert dataset.pixels.tolist() == pixels
    assert dataset.n_pixels == len(pixels)
    assert np.array_equal(dataset.wavelength, store.wavelength[pixels])
    expected = complete[:][:, pixels].nan_to_num(7)
    assert torch.equal(dataset[:].nan_to_num(7), expected)
    order = [7, 0, -1, 7]
    assert torch.equal(dataset[order].nan_to_num(7), expected[order])
    assert torch.equal(torch.stack(list(dataset)).nan_to_num(7), expected)
    assert torch.equal(torch.stack(dataset.__getitems__(order)).nan_to_num(7), expected[order])
    out = np.full((len(order), len(pixels)), 7, dtype=np.float32)
    dataset.read_spectra_into(np.array([3, 5]), (out,), np.array([2, 0]))
    assert torch.equal(torch.from_numpy(out[[2, 0]]).nan_to_num(7), expected[[3, 5]])
    assert (out[[1, 3]] == 7).all()


@with_windows
@pytest.mark.parametrize("backend", [numpy_backend(), numba_backend()], ids=lambda b: str(b.name))
def test_a_window_gives_the_pixels_of_complete_spectra_however_they_are_read(
    stores: dict[str, Store], name: str, backend: KernelBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "choose_kernel", partial(choose_kernel, backend=backend))
    window, pixels = WINDOWS[name]
    for store in stores.values():
        for transform in TRANSFORMS:
            check_window(store, window, pixels, transform)


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    ranges=st.lists(st.tuples(st.integers(0, 63), st.integers(0, 20)), min_size=1, max_size=5),
    backend=st.sampled_from([numpy_backend(), numba_backend()]),
    transform=st.sampled_from(TRANSFORMS),
)
def test_any_ranges_give_their_pixels_once_and_in_order(
    stores: dict[str, Store],
    ranges: list[tuple[int, int]],
    backend: KernelBackend,
    transform: FluxTransform,
) -> None:
    window = [(5000.0 + first, 5000.5 + first + more) for first, more in ranges]
    pixels = {pixel for first, more in ranges for pixel in range(first, first + more + 1)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "choose_kernel", partial(choose_kernel, backend=backend))
        check_window(stores["0"], window, sorted(pixels & set(range(64))), transform)


@pytest.mark.parametrize(
    ("workers", "worker_type"),
    [
        (0, "thread"),
        (2, "thread"),
        pytest.param(2, "process", marks=pytest.mark.slow),
    ],
)
def test_loaders_with_any_workers_give_the_same(
    stores: dict[str, Store], workers: int, worker_type: WorkerType
) -> None:
    window, pixels = WINDOWS["unordered"]
    loaders = [
        gs.SpectraLoader(
            SpectraDataset(stores["0"], "all", None, window=one), 8, shuffle=True,
            num_workers=workers, worker_type=worker_type,
        )
        for one in (None, window)
    ]  # fmt: skip
    for complete, flux in zip(*loaders, strict=True):
        assert torch.equal(flux, complete[:, pixels])
    for loader in loaders:
        loader.close()


@with_windows
def test_a_dataset_of_a_window_pickles_and_takes_its_own_window_again(
    stores: dict[str, Store], name: str
) -> None:
    window, pixels = WINDOWS[name]
    dataset: Any = SpectraDataset(stores["0"], window=window)
    for other in (
        pickle.loads(pickle.dumps(dataset)),
        SpectraDataset(stores["0"], window=dataset.window),
    ):
        assert other.window == dataset.window
        assert other.pixels.tolist() == pixels
        assert torch.equal(other[3][0], dataset[3][0])


def test_the_largest_mask_pickles_small(tmp_path: Path) -> None:
    flux = np.random.default_rng(0).normal(1, 0.1, (4, 16384)).astype(np.float32)
    store = gs.convert(flux, tmp_path / "store", split=(1, 0, 0))
    dataset = SpectraDataset(store, window=np.arange(16384) % 2 == 0)
    assert len(pickle.dumps(dataset)) < 64 * 1024
    assert pickle.loads(pickle.dumps(dataset))[0].shape == (8192,)


def test_masks_need_no_wavelengths(tmp_path: Path) -> None:
    store = gs.convert(make_pair(tmp_path / "raw").folder, tmp_path / "store")
    mask = np.arange(64) % 5 < 2
    dataset = SpectraDataset(store, window=mask)
    assert torch.equal(dataset[3][0], SpectraDataset(store)[3][0][torch.from_numpy(mask)])
    assert isinstance(dataset.window, PixelMask)
    with pytest.raises(WavelengthError, match=r"mask of 63 pixels, .*store have 64"):
        SpectraDataset(store, window=mask[1:])
    with pytest.raises(OptionError, match=r"their windows differ, <mask .*; give both the same"):
        gs.SpectraLoader(ConcatDataset([dataset, SpectraDataset(store, window=np.roll(mask, 1))]))


def test_several_windows_of_several_stores_are_read_into_one_batch(
    stores: dict[str, Store],
) -> None:
    window, pixels = WINDOWS["unordered"]
    halves = [SpectraDataset(stores[name], "all", None, window=window) for name in "12"]
    complete: Any = SpectraDataset(stores["0"], "all", None)
    with gs.SpectraLoader(ConcatDataset(halves), 30, num_workers=0) as loader:
        flux: Any = torch.cat(list(loader))
    assert torch.equal(flux, complete[:][:, pixels].repeat(2, 1))


def test_a_message_counts_pixels_as_the_store_does(stores: dict[str, Store]) -> None:
    def worst(flux: Any) -> Any:
        flux[:, 3] = np.nan
        return flux

    for name, pixel in (("unordered", 40), ("range", 13), ("mask", 9)):
        dataset = SpectraDataset(stores["0"], window=WINDOWS[name][0], transform=worst)
        with pytest.raises(OptionError, match=f"NaN of row 0, pixel {pixel};"):
            dataset[0]
