"""The name of a destination decides about its format, unless one is given."""

from pathlib import Path

import pytest

import galahstream as gs
from galahstream.cli.main import main
from galahstream.errors import OptionError
from galahstream.store.layout import FormatName
from tests.conftest import Pair


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("store", None, "npy"),
        ("a.h5", None, "hdf5"),
        ("a.HDF5", None, "hdf5"),
        ("a.v2.hdf5", None, "hdf5"),
        ("h5", None, "npy"),
        (".h5", None, "npy"),
        ("a.h5.store", None, "npy"),
        ("a.h5", "npy", "npy"),
        ("store", "hdf5", "hdf5"),
    ],
)
def test_the_suffix_means_hdf5(
    pair: Pair, tmp_path: Path, name: str, given: FormatName | None, expected: str
) -> None:
    with gs.convert(pair.folder, tmp_path / name, format=given) as store:
        assert store.format == expected
        assert (tmp_path / name).is_dir() == (expected == "npy")


def test_options_of_hdf5_need_no_format(pair: Pair, tmp_path: Path) -> None:
    with gs.convert(pair.folder, tmp_path / "a.h5", chunk_rows=7) as store:
        assert store.manifest.chunk_rows == 7
    with pytest.raises(OptionError, match="for HDF5 stores"):
        gs.convert(pair.folder, tmp_path / "a", chunk_rows=7)


def test_the_command_does_the_same(pair: Pair, tmp_path: Path) -> None:
    assert main(["convert", str(pair.folder), str(tmp_path / "a.h5")]) == 0
    assert main(["convert", str(tmp_path / "a.h5"), str(tmp_path / "b")]) == 0
    assert gs.open_store(tmp_path / "a.h5").format == "hdf5"
    assert gs.open_store(tmp_path / "b").format == "npy"
