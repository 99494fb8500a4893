"""Which reader is chosen, and what each does with the file."""

import mmap
import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from galahstream.errors import OptionError, StoreFormatError
from galahstream.store import Store, open_store, readahead
from galahstream.store.readers import Reading

DESCRIPTORS = Path("/proc/self/fd")


def test_a_store_that_fits_in_memory_is_mapped(npy_store: Store) -> None:
    info = open_store(npy_store.path).info()
    assert (info["access"], info["access_reason"]) == ("mapped", "fits in memory")


def test_a_store_larger_than_half_of_the_free_memory_is_not(
    npy_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = SimpleNamespace(available=1000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: free)
    store = open_store(npy_store.path)
    assert store.flux.access == "pread"
    assert "memory free" in store.flux.access_reason
    assert open_store(npy_store.path, reading="mapped").flux.access == "mapped"


def test_a_network_file_system_is_not(npy_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = [
        SimpleNamespace(mountpoint="/", fstype="ext4"),
        SimpleNamespace(mountpoint=str(npy_store.path.parent.resolve()), fstype="nfs4"),
    ]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: mounts)
    store = open_store(npy_store.path)
    assert store.flux.access == "pread"
    assert "nfs4" in store.info()["access_reason"]


def test_an_unknown_way_of_reading_is_an_error(npy_store: Store) -> None:
    with pytest.raises(OptionError, match="mmap"):
        open_store(npy_store.path, reading="mmap")  # type: ignore[arg-type]


@pytest.mark.parametrize("reading", ["mapped", "pread"])
def test_a_file_truncated_after_opening_is_an_error(npy_store: Store, reading: Reading) -> None:
    with open_store(npy_store.path, reading=reading) as store:
        os.truncate(npy_store.path / "flux.npy", 4096 + 64 * 4 * 10)
        with pytest.raises(StoreFormatError, match=r"flux\.npy"):
            store.flux[59]


@pytest.mark.parametrize("reading", ["mapped", "pread"])
def test_rows_are_prefetched_in_runs_and_once(
    npy_store: Store, reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    requests: list[tuple[int, int]] = []

    def record(descriptor: int, start: int, length: int, advice: int) -> None:
        requests.append((start, length))

    monkeypatch.setattr(readahead, "HAS_NOWAIT_READS", False)
    monkeypatch.setattr(os, "posix_fadvise", record, raising=False)
    with open_store(npy_store.path, reading=reading) as store:
        store.prefetch(np.array([7, 9, 8, 20]))
        # Rows 7 to 9 are adjacent; the first request turns the kernel's own read-ahead off.
        assert requests[1:] == [(4096 + 7 * 256, 3 * 256), (4096 + 20 * 256, 256)]
        requests.clear()
        assert np.array_equal(store.flux[7], npy_store.flux[7], equal_nan=True)
        assert requests[:1] == [(4096 + 7 * 256, 256)]


def test_systems_without_advice_do_without(
    npy_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HAS_FADVISE", "HAS_NOWAIT_READS"):
        monkeypatch.setattr(readahead, name, False)
    monkeypatch.delattr(mmap, "MADV_RANDOM", raising=False)
    monkeypatch.delattr(mmap, "MADV_DONTNEED", raising=False)
    with open_store(npy_store.path, reading="mapped") as store:
        store.prefetch(np.arange(9))
        store.release_pages()
        assert np.array_equal(store.flux[7], npy_store.flux[7], equal_nan=True)
        store.release_pages()


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="this system has no /proc")
def test_reading_opens_no_file_twice(npy_store: Store) -> None:
    with open_store(npy_store.path, reading="pread") as store:
        _ = store.flux[:]
        before = len(list(DESCRIPTORS.iterdir()))
        for _ in range(20):
            _ = store.flux[:]
        assert len(list(DESCRIPTORS.iterdir())) == before
    assert len(list(DESCRIPTORS.iterdir())) == before - 1


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="this system has no /proc")
@pytest.mark.parametrize("reading", ["mapped", "pread"])
def test_a_store_that_is_gone_leaves_no_file_open(npy_store: Store, reading: Reading) -> None:
    before = len(list(DESCRIPTORS.iterdir()))
    store = open_store(npy_store.path, reading=reading)
    _ = store.flux[:]
    del store
    assert len(list(DESCRIPTORS.iterdir())) == before
