import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from galahstream.errors import OptionError, StoreFormatError
from galahstream.store import Store, access, open_store, readahead
from galahstream.store.readers import MappedFlux


def test_a_store_that_fits_in_memory_is_mapped(npy_store: Store) -> None:
    info = open_store(npy_store.path).info()
    assert (info["reading"], info["reading_because"]) == ("mapped", "fits in memory")


def test_a_store_larger_than_half_of_the_free_memory_is_not(
    npy_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = SimpleNamespace(available=1000)
    monkeypatch.setattr(access.psutil, "virtual_memory", lambda: free)
    assert open_store(npy_store.path).flux.way == "pread"
    assert open_store(npy_store.path, reading="mapped").flux.way == "mapped"


def test_a_network_file_system_is_not(npy_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = [
        SimpleNamespace(mountpoint="/", fstype="ext4"),
        SimpleNamespace(mountpoint=str(npy_store.path.parent.resolve()), fstype="nfs4"),
    ]
    monkeypatch.setattr(access.psutil, "disk_partitions", lambda all: mounts)
    store = open_store(npy_store.path)
    assert store.flux.way == "pread"
    assert "nfs4" in store.info()["reading_because"]


def test_an_unknown_way_is_refused(npy_store: Store) -> None:
    with pytest.raises(OptionError, match="mmap"):
        open_store(npy_store.path, reading="mmap")


@pytest.mark.parametrize("reading", ["mapped", "pread"])
def test_a_file_cut_after_opening_is_refused_not_read(npy_store: Store, reading: str) -> None:
    with open_store(npy_store.path, reading=reading) as store:
        os.truncate(npy_store.path / "flux.npy", 4096 + 64 * 4 * 10)
        with pytest.raises(StoreFormatError, match=r"flux\.npy"):
            store.flux[59]


@pytest.mark.parametrize("reading", ["mapped", "pread"])
def test_rows_read_ahead_change_nothing(
    npy_store: Store, reading: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(readahead.ReadAheadFile, "_seems_resident", lambda self, rows: False)
    monkeypatch.setattr(
        readahead.os, "posix_fadvise",
        lambda descriptor, start, length, advice: asked.append((start, length)), raising=False,
    )  # fmt: skip
    with open_store(npy_store.path, reading=reading) as store:
        store.flux.reader.prefetch(np.array([7, 9, 8, 20]))
        # Rows 7 to 9 lie together; the first request turns the system's own guess off.
        assert asked[1:] == [(4096 + 7 * 256, 3 * 256), (4096 + 20 * 256, 256)]
        assert np.array_equal(store.flux[7], npy_store.flux[7], equal_nan=True)


def test_systems_without_advice_do_without(
    npy_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_CAN_ADVISE", "_CAN_ASK"):
        monkeypatch.setattr(readahead, name, False)
    monkeypatch.delattr(readahead.mmap, "MADV_RANDOM", raising=False)
    monkeypatch.delattr(readahead.mmap, "MADV_DONTNEED", raising=False)
    with open_store(npy_store.path, reading="mapped") as store:
        reader = store.flux.reader
        assert isinstance(reader, MappedFlux)
        reader.prefetch(np.arange(9))
        reader.release_pages()
        assert np.array_equal(store.flux[7], npy_store.flux[7], equal_nan=True)
        reader.release_pages()


def test_pages_of_a_mapping_go_when_told_and_come_back_right(npy_store: Store) -> None:
    with open_store(npy_store.path, reading="mapped") as store:
        before = store.flux[:]
        reader = store.flux.reader
        assert isinstance(reader, MappedFlux)
        reader.release_pages()
        assert np.array_equal(store.flux[:], before, equal_nan=True)


def test_reading_opens_no_file_twice(npy_store: Store) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("this system does not list open files in /proc")
    with open_store(npy_store.path, reading="pread") as store:
        store.flux[:]
        before = len(list(descriptors.iterdir()))
        for _ in range(20):
            store.flux[:]
        assert len(list(descriptors.iterdir())) == before
    assert len(list(descriptors.iterdir())) == before - 1
