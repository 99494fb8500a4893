"""Paths, and errors of the operating system that say nothing of damage."""

import fcntl
import os
import pickle
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import galahstream as gs
from galahstream.errors import OptionError, StoreFormatError
from galahstream.store import Store, open_store
from galahstream.store.layout import Compression, FormatName
from galahstream.store.opening import explain_open_errors


def test_another_working_directory_after_opening_does_not_matter(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expected = store.flux[:]
    monkeypatch.chdir(store.path.parent)
    relative = open_store(store.path.name)
    assert relative.path == store.path
    monkeypatch.chdir("/")
    assert np.array_equal(relative.flux[:], expected, equal_nan=True)
    assert relative.verify().tolist() == []


def test_a_link_that_points_elsewhere_after_opening_does_not_matter(
    store: Store, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    link.symlink_to(store.path)
    linked = open_store(link)
    assert linked.path == store.path
    link.unlink()
    link.symlink_to(tmp_path / "elsewhere")
    assert np.array_equal(linked.flux[:], store.flux[:], equal_nan=True)


@pytest.mark.slow
def test_a_dataset_of_a_relative_path_survives_another_working_directory(
    npy_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(npy_store.path.parent)
    dataset = gs.SpectraDataset(npy_store.path.name)
    monkeypatch.chdir("/")
    with gs.SpectraLoader(dataset, 8, worker_type="process", num_workers=1) as loader:
        assert sum(len(flux) for flux, _ in loader) == len(dataset)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", ["manifest.json", "ids.npy", "flux.npy"])
def test_a_file_without_permission_is_not_called_damaged(npy_store: Store, name: str) -> None:
    (npy_store.path / name).chmod(0)
    with pytest.raises(StoreFormatError, match="Permission denied") as caught:
        _ = open_store(npy_store.path).flux[0]
    assert "permission to read" in str(caught.value)
    assert "convert" not in str(caught.value)


@pytest.mark.parametrize("number", [13, 24, 11, 5])
def test_what_the_system_said_is_in_the_message(number: int, tmp_path: Path) -> None:
    with (
        pytest.raises(StoreFormatError, match=os.strerror(number)) as caught,
        explain_open_errors(tmp_path),
    ):
        raise OSError(number, "made up")
    assert str(tmp_path) in str(caught.value)


def test_an_error_that_was_taken_for_damage_is_explained(tmp_path: Path) -> None:
    with pytest.raises(StoreFormatError, match="Permission denied"), explain_open_errors(tmp_path):
        try:
            raise PermissionError(13, "Permission denied")
        except OSError as error:
            msg = "damaged"
            raise StoreFormatError(msg) from error


def test_other_errors_pass(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), explain_open_errors(tmp_path):
        raise FileNotFoundError(2, "gone")
    with pytest.raises(StoreFormatError, match="damaged"), explain_open_errors(tmp_path):
        msg = "damaged"
        raise StoreFormatError(msg)


@pytest.mark.slow
def test_a_file_that_another_program_writes_is_called_locked(npy_store: Store) -> None:
    path = gs.convert(npy_store.path.parent / "raw", npy_store.path.parent / "b.h5", format="hdf5")
    with h5py.File(path.path, "r+"):
        code = f"import galahstream as gs; gs.open_store({str(path.path)!r})"
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
    assert "it is locked: close the program that writes it" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_locked_file_is_read_without_a_lock(
    npy_store: Store, compression: Compression | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HDF5_USE_FILE_LOCKING", raising=False)
    folder = npy_store.path.parent
    gs.convert(folder / "raw", folder / "b.h5", format="hdf5", compression=compression).close()
    with (folder / "b.h5").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(StoreFormatError, match="locked"):
            open_store(folder / "b.h5")
        store = open_store(folder / "b.h5", locking=False)
        for again in (store, pickle.loads(pickle.dumps(store))):
            assert np.array_equal(again.flux[:], npy_store.flux[:], equal_nan=True)


@pytest.mark.parametrize("locking", ["no", 1, 0.0])
def test_locking_is_one_of_what_hdf5_knows(npy_store: Store, locking: Any) -> None:
    with pytest.raises(OptionError, match="'best-effort' or None"):
        open_store(npy_store.path, locking=locking)


READ_IN_LIMITED_SPACE = """
import resource, sys
import galahstream as gs
_ = gs.open_store(sys.argv[2]).flux[0]  # modules are loaded
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[3]),) * 2)
store = gs.open_store(sys.argv[1])
print(store.info()["access"], store.flux[:5].shape[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="address space is limited on Linux only")
def test_a_store_larger_than_the_address_space_is_read_with_pread(
    npy_store: Store, tmp_path: Path
) -> None:
    np.save(tmp_path / "spectra.npy", np.ones((2048, 16384), np.float32))
    path = gs.convert(tmp_path / "spectra.npy", tmp_path / "large").path
    command = [sys.executable, "-c", READ_IN_LIMITED_SPACE, path, npy_store.path, str(2**26)]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.stdout == "pread 5\n", done.stderr


@pytest.mark.parametrize("format", ["npy", "hdf5"])
def test_too_many_open_files_are_named(npy_store: Store, format: FormatName) -> None:
    folder = npy_store.path.parent
    path = gs.convert(folder / "raw", folder / f"other.{format}", format=format).path
    _ = open_store(path).flux[0]  # modules are loaded
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, soft), hard))
    try:
        with pytest.raises(StoreFormatError, match="Too many open files") as caught:
            while True:
                taken.append(os.open("/dev/null", os.O_RDONLY))
                if len(taken) > 250 or _is_full(taken):
                    open_store(path)
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "ulimit -n" in str(caught.value)


def _is_full(taken: list[int]) -> bool:
    """Return whether no more than one descriptor is left."""
    try:
        os.close(os.dup(taken[0]))
    except OSError:
        return True
    return False
