"""A file that changes under its reader is refused at that batch, never read as if it were whole."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from galahstream.errors import StoreChangedError
from galahstream.store import Store, open_store
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.loader import SpectraLoader


def flux_file(store: Store) -> Path:
    return store.path / "flux.npy" if store.path.is_dir() else store.path


def replaced(path: Path) -> None:
    copy = path.with_name("copy")
    copy.write_bytes(path.read_bytes())
    copy.replace(path)


def rewritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - 4)
        file.write(b"new!")


def longer(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def removed(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (replaced, "was replaced by another file"),
        (rewritten, "was written to"),
        (longer, r"had [\d,]+ bytes and has [\d,]+"),
        (removed, "was removed"),
    ],
)
def test_every_change_is_found_at_the_next_batch(
    store: Store, change: Callable[[Path], None], text: str
) -> None:
    readings = ("auto",) if store.flux.access == "h5py" else ("mapped", "pread")
    opened = [open_store(store.path, reading=reading) for reading in readings]
    for one in opened:
        one.flux[0]
    change(flux_file(store))
    for one in opened:
        with pytest.raises(StoreChangedError, match=text):
            one.flux[[1, 2]]


@pytest.mark.parametrize("reading", ["mapped", "pread"])
@pytest.mark.parametrize("worker_type", ["thread", "process"])
def test_a_loader_ends_its_epoch_at_the_batch(
    npy_store: Store, reading: str, worker_type: str
) -> None:
    dataset = SpectraDataset(open_store(npy_store.path, reading=reading), transform=np.nan_to_num)
    with SpectraLoader(dataset, 2, worker_type=worker_type) as loader:
        batches = iter(loader)
        next(batches)
        rewritten(npy_store.path / "flux.npy")
        with pytest.raises(StoreChangedError) as caught:
            list(batches)
        assert any("of this iteration" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("reading", ["mapped", "pread"])
def test_a_change_while_a_batch_is_read_is_found_before_it_is_used(
    npy_store: Store, reading: str
) -> None:
    with (
        open_store(npy_store.path, reading=reading) as store,
        pytest.raises(StoreChangedError, match="was written to"),
    ):
        store.flux.read(np.arange(3), lambda span: rewritten(npy_store.path / "flux.npy"))


def test_reading_a_file_is_no_change(store: Store) -> None:
    store.flux[0]
    os.utime(flux_file(store), ns=(1, flux_file(store).stat().st_mtime_ns))
    store.flux[1]
