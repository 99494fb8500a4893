"""Batches are the same bit for bit, whatever the format, reader, kernel and workers."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from galahstream.conversion.convert import convert
from galahstream.store import open_store
from galahstream.store.layout import Dtype
from galahstream.store.readers import Reading
from galahstream.stream import decoding
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.kernels import (
    KernelBackend,
    choose_kernel,
    numba_backend,
    numpy_backend,
)
from galahstream.stream.loader import SpectraLoader
from galahstream.stream.options import WorkerType
from galahstream.stream.transforms import LogFlux
from tests.conftest import Pair, make_pair

STORES: dict[str, dict[str, Any]] = {
    "npy": {},
    "hdf5": {"format": "hdf5"},
    "hdf5-chunks": {"format": "hdf5", "chunk_rows": 7},
    "hdf5-gzip": {"format": "hdf5", "chunk_rows": 7, "compression": "gzip"},
    "hdf5-lzf": {"format": "hdf5", "compression": "lzf"},
}
WORKERS: list[tuple[int, WorkerType]] = [
    (0, "thread"),
    (1, "thread"),
    (3, "thread"),
    (2, "process"),
]


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return make_pair(tmp_path_factory.mktemp("paths") / "raw", stars=200)


def batches(loader: SpectraLoader) -> list[tuple[torch.Tensor, ...]]:
    with loader:
        return [batch for _ in range(2) for batch in loader]


def readings_of(options: dict[str, Any]) -> tuple[Reading, ...]:
    return ("auto",) if "compression" in options else ("mapped", "pread")


def check_equal(actual: list[tuple[torch.Tensor, ...]], expected: list[Any]) -> None:
    assert len(actual) == len(expected)
    for batch, other in zip(actual, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batch, other, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "uint16"])
@pytest.mark.parametrize("backend", [numpy_backend(), numba_backend()], ids=lambda b: str(b.name))
def test_stores_and_ways_of_reading_give_identical_batches(
    survey: Pair,
    tmp_path: Path,
    dtype: Dtype,
    backend: KernelBackend,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(decoding, "choose_kernel", partial(choose_kernel, backend=backend))
    expected: list[Any] = []
    for name, options in STORES.items():
        path = convert(survey.folder, tmp_path / name, dtype=dtype, **options).path
        for reading in readings_of(options):
            for workers, worker_type in WORKERS[:3]:
                dataset = SpectraDataset(open_store(path, reading=reading), return_ids=True)
                actual = batches(
                    SpectraLoader(
                        dataset, 8, shuffle=True, num_workers=workers, worker_type=worker_type
                    )
                )
                expected = expected or actual
                check_equal(actual, expected)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "uint16"])
@pytest.mark.parametrize("name", ["npy", "hdf5-chunks", "hdf5-gzip"])
def test_processes_give_the_batches_of_threads(
    survey: Pair, tmp_path: Path, name: str, dtype: Dtype
) -> None:
    path = convert(survey.folder, tmp_path / name, dtype=dtype, **STORES[name]).path
    actual = [
        batches(
            SpectraLoader(
                SpectraDataset(path, return_ids=True), 8, shuffle=True, num_workers=workers,
                worker_type=worker_type,
            )
        )
        for workers, worker_type in (WORKERS[0], WORKERS[-1])
    ]  # fmt: skip
    check_equal(*actual)


@pytest.mark.parametrize("options", [{"window": (5010, 5029)}, {"transform": None}])
@pytest.mark.parametrize("dtype", ["float32", "uint16"])
def test_windows_and_plain_flux_too(
    survey: Pair, tmp_path: Path, dtype: Dtype, options: dict[str, Any]
) -> None:
    grid = np.arange(64) + 5000.0
    store = convert(survey.folder, tmp_path / "a", dtype=dtype, wavelength=grid)
    all_pixels = SpectraDataset(store, transform=options.get("transform", LogFlux()))
    pixels = slice(10, 30) if "window" in options else slice(None)
    expected = torch.stack([x for x, _ in all_pixels])[:, pixels]
    for reading in readings_of({}):
        dataset = SpectraDataset(open_store(store.path, reading=reading), **options)
        actual = torch.cat(
            [x for x, _ in batches(SpectraLoader(dataset, 9))[: -(-len(dataset) // 9)]]
        )
        assert torch.equal(actual.nan_to_num(7), expected.nan_to_num(7))


@pytest.mark.slow
def test_batches_that_are_kept_never_change(survey: Pair, tmp_path: Path) -> None:
    store = convert(survey.folder, tmp_path / "a")
    dataset = SpectraDataset(store)
    expected = batches(SpectraLoader(dataset, 8, shuffle=True, num_workers=0))
    for workers, worker_type in WORKERS:
        loader = SpectraLoader(
            dataset, 8, shuffle=True, num_workers=workers, worker_type=worker_type
        )
        with loader:
            kept = [batch for _ in range(2) for batch in loader]
            first_rows = [flux[0] for flux, _ in loader]  # a view keeps its batch
            copies = [row.clone() for row in first_rows]
            for _ in range(3):
                for flux, _ in loader:
                    flux.fill_(-1)  # a batch is the user's, who may write into it
            check_equal(kept, expected)
            assert all(torch.equal(a, b) for a, b in zip(first_rows, copies, strict=True))
        check_equal(kept, expected)


def test_memory_of_batches_is_used_again(survey: Pair, tmp_path: Path) -> None:
    dataset = SpectraDataset(convert(survey.folder, tmp_path / "a"))
    for workers in (0, 2):
        with SpectraLoader(dataset, 8, shuffle=True, num_workers=workers) as loader:
            seen = {flux.untyped_storage().data_ptr() for _ in range(20) for flux, _ in loader}
            assert len(seen) < 20


def test_a_memory_budget_changes_no_batch(survey: Pair, tmp_path: Path) -> None:
    path = convert(survey.folder, tmp_path / "a").path
    for reading in readings_of({}):
        dataset = SpectraDataset(open_store(path, reading=reading))
        free, bound = (
            batches(SpectraLoader(dataset, 8, shuffle=True, memory_budget=budget))
            for budget in (None, 1)
        )
        check_equal(bound, free)


@pytest.mark.slow
@pytest.mark.parametrize("reading", ["mapped", "pread"])
def test_one_dataset_is_read_by_many_threads_at_once(
    survey: Pair, tmp_path: Path, reading: Reading
) -> None:
    path = convert(survey.folder, tmp_path / "a").path
    dataset = SpectraDataset(open_store(path, reading=reading))
    expected = torch.stack([x for x, _ in dataset])

    def is_right(seed: int) -> bool:
        order = np.random.default_rng(seed).permutation(len(dataset))
        parts = [order[start : start + 16] for start in range(0, len(order), 16)]
        return all(torch.equal(dataset.read_batch(part)[0], expected[part]) for part in parts)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(is_right, range(32)))
