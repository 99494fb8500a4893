"""Files of a store: their layout, and what opening one makes of damage.

The contract that every open store fulfils is in `contract.py`.
"""

import json
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

import galahstream as gs
from galahstream.conversion.convert import convert
from galahstream.errors import StoreFormatError, StoreVersionError
from galahstream.store import Store, open_store
from galahstream.store.layout import FormatName
from galahstream.store.manifest import Manifest
from tests.conftest import Pair


def test_plain_numpy_and_h5py_read_the_stores(pair: Pair, tmp_path: Path) -> None:
    npy = convert(pair.folder, tmp_path / "a")
    convert(pair.folder, tmp_path / "a.h5", format="hdf5")
    assert np.array_equal(np.load(tmp_path / "a" / "flux.npy"), npy.flux[:], equal_nan=True)
    with h5py.File(tmp_path / "a.h5") as file:
        assert np.array_equal(file["flux"][:], npy.flux[:], equal_nan=True)
        assert json.loads(file.attrs["manifest"])["n_stars"] == 60


def test_plain_numpy_and_h5py_read_the_errors(pair: Pair, tmp_path: Path) -> None:
    npy = convert(pair.with_errors, tmp_path / "a")
    convert(pair.with_errors, tmp_path / "a.h5")
    assert npy.error is not None
    stored = np.load(tmp_path / "a" / "error.npy")
    assert stored.dtype == np.float16
    assert np.array_equal(stored.astype(np.float32), npy.error[:], equal_nan=True)
    assert (tmp_path / "a" / "error.npy").stat().st_size == 4096 + 2 * stored.size
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["error"][:].tobytes() == stored.tobytes()


def test_a_store_without_errors_has_no_file_for_them(npy_store: Store) -> None:
    names = sorted(path.stem for path in npy_store.path.iterdir())
    assert names == ["digests", "flux", "ids", "labels", "manifest", "source_row", "split",
                     "wavelength"]  # fmt: skip


def test_rows_of_the_real_length_start_on_pages(tmp_path: Path) -> None:
    np.save(tmp_path / "spectra.npy", np.ones((3, 16384), dtype=np.float32))
    store = convert(tmp_path / "spectra.npy", tmp_path / "store")
    size = (store.path / "flux.npy").stat().st_size
    assert size == 4096 + 3 * 65536
    assert store.wavelength_is_nominal


@pytest.mark.slow
@pytest.mark.parametrize("format", ["npy", "hdf5"])
def test_two_runs_give_the_same_bytes(pair: Pair, tmp_path: Path, format: FormatName) -> None:
    first = convert(pair.folder, tmp_path / "a", format=format).path
    time.sleep(1.1)  # a time written anywhere has changed by then
    second = convert(pair.folder, tmp_path / "b", format=format).path
    files = [path.name for path in first.iterdir()] if format == "npy" else [""]
    for name in files:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


@pytest.mark.parametrize("name", ["error.npy", "error_digests.npy"])
def test_missing_errors_are_refused_by_name(pair: Pair, tmp_path: Path, name: str) -> None:
    path = convert(pair.with_errors, tmp_path / "store").path
    (path / name).unlink()
    with pytest.raises(StoreFormatError, match=name):
        open_store(path)


@pytest.mark.parametrize("name", ["flux.npy", "labels.npy", "manifest.json", "split.npy"])
def test_a_truncated_file_is_refused_by_name(npy_store: Store, name: str) -> None:
    path = npy_store.path / name
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreFormatError, match=name):
        open_store(npy_store.path)


@pytest.mark.parametrize("name", ["flux.npy", "ids.npy", "manifest.json"])
def test_a_missing_file_is_refused_by_name(npy_store: Store, name: str) -> None:
    (npy_store.path / name).unlink()
    with pytest.raises(StoreFormatError, match=name):
        open_store(npy_store.path)


def test_a_changed_label_is_found_on_opening(npy_store: Store) -> None:
    path = npy_store.path / "labels.npy"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreFormatError, match="'labels'"):
        open_store(npy_store.path)


def test_a_changed_pixel_is_found_by_verify(npy_store: Store) -> None:
    path = npy_store.path / "flux.npy"
    data = bytearray(path.read_bytes())
    data[4096 + 64 * 4 * 9 + 2] ^= 1
    path.write_bytes(data)
    assert open_store(npy_store.path).verify().tolist() == [9]


def test_a_truncated_hdf5_store_is_refused(pair: Pair, tmp_path: Path) -> None:
    path = convert(pair.folder, tmp_path / "s.h5", format="hdf5").path
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(StoreFormatError, match=r"s\.h5"):
        open_store(path)


def test_a_newer_version_is_refused_by_its_number(npy_store: Store) -> None:
    path = npy_store.path / "manifest.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(StoreVersionError, match="version 2"):
        open_store(npy_store.path)


def test_an_edited_manifest_is_refused(npy_store: Store) -> None:
    path = npy_store.path / "manifest.json"
    path.write_text(path.read_text().replace('"unit": "K"', '"unit": "k"'))
    with pytest.raises(StoreFormatError, match="digest"):
        open_store(npy_store.path)


@pytest.mark.parametrize("text", ["", "[]", "{}", "null", '{"kind": "x"}', "[" * 100000])
def test_what_is_no_manifest_is_refused(text: str) -> None:
    with pytest.raises(StoreFormatError, match="not the manifest"):
        Manifest.from_json(text, "manifest.json")


def test_a_path_without_a_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        gs.open_store(tmp_path / "nowhere")
    (tmp_path / "x.h5").write_text("<VOTABLE>")
    with pytest.raises(StoreFormatError, match=r"x\.h5"):
        gs.open_store(tmp_path / "x.h5")
