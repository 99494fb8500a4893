"""Errors beside the flux: kernels against float64, and the way of errors through the loader."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch.utils.data import ConcatDataset, DataLoader, Subset

from galahstream.conversion.convert import convert
from galahstream.errors import DamagedRowError, OptionError
from galahstream.store import Store, open_store
from galahstream.store.quantization import DEFAULT_RANGE, Encoding, Float16, Float32, Quantized16
from galahstream.store.readers import Reading
from galahstream.store.row_array import RowArray
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.kernels import (
    KernelBackend,
    choose_error_kernel,
    numba_backend,
    numpy_backend,
)
from galahstream.stream.loader import SpectraLoader
from galahstream.stream.options import WorkerType
from galahstream.stream.transforms import LogFlux
from tests.conftest import N_PIXELS, Pair
from tests.store.contract import damage

BOTH = [numpy_backend(), numba_backend()]
ENCODINGS = [Float32(), Quantized16.over(*DEFAULT_RANGE), Quantized16.over(-1e4, 1e4)]
ALL_ERRORS = np.arange(65536, dtype=np.uint16).view(np.float16)
STORES: list[dict[str, Any]] = [
    {"format": "npy"},
    {"format": "npy", "dtype": "uint16"},
    {"format": "hdf5"},
    {"format": "hdf5", "chunk_rows": 7, "dtype": "uint16"},
    {"format": "hdf5", "chunk_rows": 7, "compression": "gzip"},
]

with_both = pytest.mark.parametrize("backend", BOTH, ids=lambda backend: str(backend.name))
with_encodings = pytest.mark.parametrize("encoding", ENCODINGS, ids=str)


def expected_errors(
    flux: npt.NDArray[np.float32], error: npt.NDArray[np.float32], log: LogFlux | None
) -> npt.NDArray[np.float64]:
    """Return what errors become, computed in float64: flux as decoded, error NaN if unknown."""
    if log is None:
        return np.where(np.isnan(error), np.inf, error.astype(np.float64))
    with np.errstate(invalid="ignore"):
        relative = error.astype(np.float64) / np.maximum(flux.astype(np.float64), log.floor)
    return np.where(np.isfinite(flux) & ~np.isnan(error), relative, np.inf)


def check_near(result: npt.NDArray[np.float32], expected: npt.NDArray[np.float64]) -> None:
    assert np.array_equal(np.isinf(result), np.isinf(expected))
    known = np.isfinite(expected)
    assert np.allclose(result[known], expected[known], rtol=1e-6, atol=1e-37)


def run(
    backend: KernelBackend,
    encoding: Encoding,
    log: LogFlux | None,
    stored: tuple[npt.NDArray[Any], npt.NDArray[np.float16]],
    pixels: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[np.float32]:
    """Return what a kernel makes of the errors of a row, which start a pixel later than flux."""
    flux, error = stored
    if pixels is None:
        pixels = np.arange(len(flux))
    out = np.full((2, len(pixels)), 7, dtype=np.float32)
    kernel = choose_error_kernel(encoding, log, pixels, backend)
    first, second = np.zeros(1, np.int64), np.ones(1, np.int64)
    kernel(flux, first, np.concatenate((error[:1], error)), second, out, second)
    assert (out[0] == 7).all()
    made: npt.NDArray[np.float32] = out[1]
    return made


@with_both
@with_encodings
@pytest.mark.parametrize("log", [LogFlux(), LogFlux(floor=1e-3, fill=5), None], ids=str)
def test_every_stored_error_becomes_that_of_the_transformed_flux(
    backend: KernelBackend, encoding: Encoding, log: LogFlux | None
) -> None:
    is_positive = np.arange(65536) < 0x8000  # a store holds no other, apart from NaN
    known = Float16().encode(ALL_ERRORS[is_positive].astype(np.float32))
    values = np.random.default_rng(3).uniform(-0.4, 2, len(known)).astype(np.float32)
    values[::7], values[1::7], values[2::7] = np.nan, np.inf, -np.inf
    flux = encoding.encode(values)
    errors = Float16().decode(known)
    expected = expected_errors(encoding.decode(flux), errors, log)
    check_near(run(backend, encoding, log, (flux, known)), expected)


@with_both
@with_encodings
@settings(deadline=None)  # the first example may compile the kernel
@given(
    error=hnp.arrays(np.float32, 40, elements=st.floats(0, 1e5, width=32)),
    kept=hnp.arrays(bool, 40),
    first=st.integers(0, 39),
)
def test_any_pixels_are_those_of_the_complete_row(
    backend: KernelBackend,
    encoding: Encoding,
    error: npt.NDArray[np.float32],
    kept: npt.NDArray[np.bool_],
    first: int,
) -> None:
    kept[first] = True
    flux = encoding.encode(np.linspace(-0.1, 1.3, 40, dtype=np.float32))
    stored = (flux, Float16().encode(error))
    complete = run(backend, encoding, LogFlux(), stored)
    some = run(backend, encoding, LogFlux(), stored, np.flatnonzero(kept))
    assert np.array_equal(some, complete[kept])


@pytest.fixture(
    params=[STORES[0], *(pytest.param(store, marks=pytest.mark.slow) for store in STORES[1:])],
    ids=str,
)
def error_store(request: pytest.FixtureRequest, pair: Pair, tmp_path: Path) -> Store:
    return convert(pair.with_errors, tmp_path / "errors", **request.param)


@pytest.fixture
def npy_error_store(pair: Pair, tmp_path: Path) -> Store:
    return convert(pair.with_errors, tmp_path / "errors")


def truth(store: Store, dataset: SpectraDataset, log: LogFlux | None) -> npt.NDArray[np.float64]:
    """Return the errors of all items, made by numpy alone."""
    assert store.error is not None
    return expected_errors(store.flux[dataset.rows], store.error[dataset.rows], log)


@pytest.mark.parametrize("log", [LogFlux(), LogFlux(floor=0.9), None], ids=str)
def test_every_item_has_the_errors_of_its_transformed_flux(
    error_store: Store, log: LogFlux | None
) -> None:
    dataset = SpectraDataset(error_store, "all", transform=log, return_error=True, return_ids=True)
    plain = SpectraDataset(error_store, "all", transform=log, return_ids=True)
    flux, error, labels, ids = dataset[:]
    assert error.dtype == torch.float32
    check_near(error.numpy(), truth(error_store, dataset, log))
    assert torch.isinf(error).sum() == (8 if log else 6)  # two more pixels without flux
    assert all(
        torch.equal(one.nan_to_num(), other.nan_to_num())
        for one, other in zip((flux, labels, ids), plain[:], strict=True)
    )
    for index in (0, 17, -1):
        assert all(
            torch.equal(one.nan_to_num(), other[index].nan_to_num())
            for one, other in zip(dataset[index], (flux, error, labels, ids), strict=True)
        )


@pytest.mark.parametrize(
    ("window", "pixels"),
    [
        ((6510, 6520), np.arange(10, 21)),
        ([(6510, 6520), (6540, 6543), (6519, 6522)], np.r_[10:23, 40:44]),
        (np.arange(N_PIXELS) % 5 == 2, np.arange(2, N_PIXELS, 5)),
    ],
    ids=["range", "ranges", "mask"],
)
@pytest.mark.parametrize("options", STORES[:2], ids=str)
def test_errors_follow_the_flux_in_any_window_and_without_labels(
    pair: Pair, tmp_path: Path, window: Any, pixels: npt.NDArray[np.int64], options: dict[str, Any]
) -> None:
    grid = np.linspace(6500, 6563, N_PIXELS)
    store = convert(pair.with_errors, tmp_path / "errors", wavelength=grid, **options)
    dataset = SpectraDataset(store, labels=None, window=window, return_error=True)
    flux, error = dataset[:]
    assert flux.shape == error.shape == (42, len(pixels))
    complete = SpectraDataset(store, labels=None, return_error=True)
    assert torch.equal(error, complete[:][1][:, pixels])


@pytest.mark.parametrize("reading", ["mapped", "pread"])
@pytest.mark.parametrize("n_items", [1, 3, 4, 5, 33, 42])
def test_batches_of_any_size_are_read_alike_before_and_after_verification(
    npy_error_store: Store, reading: Reading, n_items: int
) -> None:
    with open_store(npy_error_store.path, reading=reading) as store:
        dataset = SpectraDataset(store, return_error=True)
        expected = truth(npy_error_store, dataset, LogFlux())
        items = np.random.default_rng(n_items).permutation(42)[:n_items]
        for _ in range(2):
            check_near(dataset[items][1].numpy(), expected[items])


@pytest.mark.parametrize(
    ("workers", "kind"),
    [(0, "thread"), (2, "thread"), pytest.param(2, "process", marks=pytest.mark.slow)],
)
def test_each_kind_of_worker_hands_over_errors_that_do_not_change(
    npy_error_store: Store, workers: int, kind: WorkerType
) -> None:
    dataset = SpectraDataset(npy_error_store, return_error=True, return_ids=True)
    flux, error, labels, ids = dataset[:]
    order = {int(star): index for index, star in enumerate(ids)}
    with SpectraLoader(dataset, 5, True, num_workers=workers, worker_type=kind) as loader:
        batches = [batch for _ in range(3) for batch in loader]
    assert len(batches) == 3 * 9
    for batch in batches:
        index = [order[int(star)] for star in batch[3]]
        expected = (flux[index], error[index], labels[index])
        assert all(torch.equal(a, b) for a, b in zip(batch[:3], expected, strict=True))


def reversed_items(dataset: SpectraDataset) -> Any:
    return Subset(dataset, range(41, -1, -1))


def two_stores(dataset: SpectraDataset) -> Any:
    again = SpectraDataset(open_store(dataset.store.path), return_error=True)
    return ConcatDataset([dataset, Subset(again, [3, 1])])


@pytest.mark.parametrize("select", [reversed_items, two_stores])
def test_selections_carry_errors(
    npy_error_store: Store, select: Callable[[SpectraDataset], Any]
) -> None:
    chosen = select(SpectraDataset(npy_error_store, return_error=True))
    with SpectraLoader(chosen, 8) as loader:
        batches = [torch.cat(column) for column in zip(*loader, strict=True)]
    items = [torch.stack(column) for column in zip(*chosen, strict=True)]
    assert len(batches) == len(items) == 3
    assert all(torch.equal(one, other) for one, other in zip(batches, items, strict=True))


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_plain_data_loader_carries_errors(npy_error_store: Store, workers: int) -> None:
    dataset = SpectraDataset(npy_error_store, return_error=True)
    context = "forkserver" if workers else None
    loader = DataLoader(dataset, 8, num_workers=workers, multiprocessing_context=context)
    batches = [torch.cat(column) for column in zip(*loader, strict=True)]
    assert all(torch.equal(a, b) for a, b in zip(batches, dataset[:], strict=True))


@pytest.mark.parametrize("name", ["flux", "error"])
def test_a_damaged_row_of_either_never_reaches_a_batch(npy_error_store: Store, name: str) -> None:
    npy_error_store.close()
    damage(npy_error_store.path, 17, name)
    dataset = SpectraDataset(npy_error_store.path, "all", return_error=True)
    assert dataset[[16, 18]][1].shape == (2, N_PIXELS)
    with pytest.raises(DamagedRowError, match=rf"row 17 .*{name}\.npy"):
        dataset[[16, 17]]


def test_errors_are_read_only_if_they_are_asked_for(
    npy_error_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[RowArray] = []
    for method in ("read", "prefetch"):
        original = getattr(RowArray, method)

        def noted(self: RowArray, *arguments: Any, original: Any = original) -> None:
            asked.append(self)
            original(self, *arguments)

        monkeypatch.setattr(RowArray, method, noted)
    _ = SpectraDataset(npy_error_store)[[1, 2]]
    assert set(map(id, asked)) == {id(npy_error_store.flux)}
    dataset = SpectraDataset(npy_error_store, return_error=True)
    _ = dataset[[1, 2]]
    assert set(map(id, asked)) == {id(npy_error_store.flux), id(npy_error_store.error)}
    assert dataset.stored_row_bytes == N_PIXELS * 6


def test_a_store_without_errors_is_refused_with_the_cure(npy_store: Store) -> None:
    with pytest.raises(OptionError, match=r"has no errors .*\(errors=True, --errors\)"):
        SpectraDataset(npy_store, return_error=True)


class OwnLog(LogFlux):
    """A logarithm that may compute something else."""


@pytest.mark.parametrize("transform", [np.nan_to_num, OwnLog()], ids=["function", "subclass"])
def test_a_transform_that_errors_cannot_follow_is_refused(
    npy_error_store: Store, transform: Any
) -> None:
    with pytest.raises(OptionError, match=r"return_error=True cannot be used with the transform"):
        SpectraDataset(npy_error_store, transform=transform, return_error=True)


def test_datasets_with_and_without_errors_are_not_mixed(npy_error_store: Store) -> None:
    datasets = [SpectraDataset(npy_error_store, return_error=given) for given in (True, False)]
    with pytest.raises(OptionError, match="return_error differ"):
        SpectraLoader(ConcatDataset(datasets))
