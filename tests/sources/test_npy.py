"""The .npy pair: headers that lie, pointers in place of data, integers, and Fortran order."""

from pathlib import Path

import numpy as np
import pytest

from galahstream.conversion.convert import convert
from galahstream.errors import LabelError, SourceFormatError, SourceMissingError, SourceShapeError
from galahstream.sources import npy
from galahstream.sources.npy import NpyFile, NpyPairSource
from galahstream.sources.open import open_source
from tests.sources.contract import read_all
from tests.sources.files import FLUX, LARGE, N_STARS, write_pair

POINTERS = {
    "git-lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 584187904\n",
    "git-annex": b"/annex/objects/SHA256E-s584187904--4d7a2146.npy\n",
}


@pytest.mark.parametrize("tool", POINTERS)
@pytest.mark.parametrize("name", ["spectra.npy", "labels.npy", "ids.npy"])
def test_a_pointer_in_place_of_data_is_named(tmp_path: Path, tool: str, name: str) -> None:
    folder = write_pair(tmp_path / "raw")
    (folder / name).write_bytes(POINTERS[tool])
    with pytest.raises(SourceFormatError, match=f"{name} is a {tool} pointer.*run `git") as caught:
        convert(folder, tmp_path / "store")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("tool", POINTERS)
@pytest.mark.parametrize("name", ["spectra.npy", "survey.h5", "1311230030010961.fits"])
def test_a_pointer_given_by_its_path_is_named(tmp_path: Path, tool: str, name: str) -> None:
    (tmp_path / name).write_bytes(POINTERS[tool])
    source = tmp_path if name.endswith("fits") else tmp_path / name
    if name.endswith("fits"):
        pytest.importorskip("astropy")
    with pytest.raises(SourceFormatError, match=f"{tool} pointer.*run `git"):
        open_source(source)


def test_npy_version_3_is_named(tmp_path: Path) -> None:
    table = np.zeros(N_STARS, dtype=[("température", "f4"), ("μ", "f4")])
    np.save(tmp_path / "spectra.npy", table)
    assert (tmp_path / "spectra.npy").read_bytes()[6] == 3
    with pytest.raises(SourceFormatError, match=r"version 3\.0"):
        NpyFile(tmp_path / "spectra.npy")


def test_an_unknown_npy_version_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "spectra.npy", FLUX)
    content = bytearray((tmp_path / "spectra.npy").read_bytes())
    content[6] = 9
    (tmp_path / "spectra.npy").write_bytes(content)
    with pytest.raises(SourceFormatError, match=r"unknown version 9\.0"):
        NpyFile(tmp_path / "spectra.npy")


def test_npy_version_2_is_read(tmp_path: Path) -> None:
    with (tmp_path / "spectra.npy").open("wb") as file:
        np.lib.format.write_array(file, FLUX, version=(2, 0))
    assert np.array_equal(read_all(NpyPairSource(tmp_path / "spectra.npy", None), 5), FLUX, True)


def test_a_path_that_is_no_file_is_missing(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere.npy"):
        with pytest.raises(SourceMissingError, match="does not exist, or is not a file"):
            NpyFile(path)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_file_that_becomes_shorter_is_named(tmp_path: Path, order: str) -> None:
    np.save(tmp_path / "spectra.npy", FLUX if order == "C" else np.asfortranarray(FLUX))
    file = NpyFile(tmp_path / "spectra.npy")
    with (tmp_path / "spectra.npy").open("r+b") as shorter:
        shorter.truncate(1000)
    with pytest.raises(SourceFormatError, match="became shorter"):
        list(file.iter_blocks(5))


@pytest.mark.parametrize("first_row", [0, 1, 22])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", ">i2"])
def test_fortran_order_is_gathered_in_tiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first_row: int, dtype: str
) -> None:
    monkeypatch.setattr(npy, "TILE_BYTES", 7 * 4 * 600)
    values = np.random.default_rng(2).uniform(1, 99, (N_STARS, 600)).astype(dtype)
    np.save(tmp_path / "spectra.npy", np.asfortranarray(values))
    source = NpyPairSource(tmp_path / "spectra.npy", None)
    assert np.array_equal(read_all(source, 3, first_row), values[first_row:].astype(np.float32))


def test_integer_labels_are_grouped_by_as_integers(tmp_path: Path) -> None:
    folder = write_pair(tmp_path / "raw")
    np.save(folder / "labels.npy", np.stack([np.arange(N_STARS), LARGE], axis=1))
    source = open_source(folder, {"field": 0})
    assert np.array_equal(source.read_column("1"), LARGE)
    with pytest.raises(LabelError, match=r"beyond 2\*\*53"):
        open_source(folder, ["field", "visit"]).read_labels()
    named = open_source(folder, ["field", "visit"])
    assert named.read_column("visit").dtype == np.int64
    halves = (0.5, 0.25, 0.25)
    store = convert(
        folder, tmp_path / "store", labels={"field": 0}, groups="1", split=halves, progress=False
    )
    groups = LARGE[store.source_row]
    assert all(len(set(store.split[groups == group])) == 1 for group in set(LARGE))


@pytest.mark.parametrize("ids", [np.zeros(N_STARS), np.zeros(3, dtype=np.int64)])
def test_ids_are_one_integer_per_star(tmp_path: Path, ids: np.ndarray) -> None:
    folder = write_pair(tmp_path / "raw")
    np.save(folder / "ids.npy", ids)
    with pytest.raises(SourceShapeError, match=r"ids\.npy: ids of dtype"):
        open_source(folder)


def test_ids_beyond_int64_are_named(tmp_path: Path) -> None:
    folder = write_pair(tmp_path / "raw")
    np.save(folder / "ids.npy", np.full(N_STARS, 2**63, dtype=np.uint64))
    with pytest.raises(SourceShapeError, match=str(2**63)):
        open_source(folder)
