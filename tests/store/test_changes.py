"""A file that changes while it is open is an error at that batch, and is never read silently."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from galahstream.errors import StoreChangedError
from galahstream.store import Store, open_store
from galahstream.store.readers import Reading
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.loader import SpectraLoader
from galahstream.stream.options import WorkerType


def flux_file(store: Store) -> Path:
    return store.path / "flux.npy" if store.path.is_dir() else store.path


def replace(path: Path) -> None:
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)


def rewrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - 4)
        file.write(b"new!")


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def remove(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (replace, "was replaced by another file"),
        (rewrite, "was written to"),
        (append, r"had [\d,]+ bytes and has [\d,]+"),
        (remove, "was removed"),
    ],
)
def test_every_change_is_an_error_at_the_next_batch(
    store: Store, change: Callable[[Path], None], text: str
) -> None:
    readings: tuple[Reading, ...] = (
        ("auto",) if store.flux.access == "h5py" else ("mapped", "pread")
    )
    opened = [open_store(store.path, reading=reading) for reading in readings]
    for reopened in opened:
        _ = reopened.flux[0]
    change(flux_file(store))
    for reopened in opened:
        with pytest.raises(StoreChangedError, match=text):
            _ = reopened.flux[[1, 2]]


@pytest.mark.slow
@pytest.mark.parametrize("reading", ["mapped", "pread"])
@pytest.mark.parametrize("worker_type", ["thread", "process"])
def test_a_loader_ends_its_epoch_at_that_batch(
    npy_store: Store, reading: Reading, worker_type: WorkerType
) -> None:
    dataset = SpectraDataset(open_store(npy_store.path, reading=reading), transform=np.nan_to_num)
    with SpectraLoader(dataset, 2, worker_type=worker_type) as loader:
        batches = iter(loader)
        next(batches)
        rewrite(npy_store.path / "flux.npy")
        with pytest.raises(StoreChangedError) as caught:
            list(batches)
        assert any("of this iteration" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("reading", ["mapped", "pread"])
def test_a_change_while_a_batch_is_read_is_an_error_before_it_is_used(
    npy_store: Store, reading: Reading
) -> None:
    with (
        open_store(npy_store.path, reading=reading) as store,
        pytest.raises(StoreChangedError, match="was written to"),
    ):
        store.flux.read(np.arange(3), lambda span: rewrite(npy_store.path / "flux.npy"))


def test_reading_a_file_is_no_change(store: Store) -> None:
    store.flux[0]
    os.utime(flux_file(store), ns=(1, flux_file(store).stat().st_mtime_ns))
    store.flux[1]
