"""Stores made in place, around the source's own file."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from galahstream.conversion.convert import convert
from galahstream.errors import OptionError, SourceShapeError
from galahstream.stream.dataset import SpectraDataset
from tests.conftest import Pair


@pytest.mark.slow
def test_a_store_in_place_is_the_sources_own_file(pair: Pair, tmp_path: Path) -> None:
    plain = convert(pair.folder, tmp_path / "plain")
    store = convert(pair.folder, tmp_path / "store", in_place=True)
    assert (tmp_path / "store" / "flux.npy").samefile(pair.folder / "spectra.npy")
    assert store.info()["row_order"] == "source"
    assert np.array_equal(store.flux[:], pair.spectra, equal_nan=True)
    assert store.info()["labels"] == plain.info()["labels"]
    assert store.info()["pixel_counts"] == plain.info()["pixel_counts"]
    assert store.verify().tolist() == []
    for split in ("train", "val", "test"):
        copied, linked = SpectraDataset(plain, split), SpectraDataset(store, split)
        assert len(copied) == len(linked)
        for index in range(len(copied)):
            pairs = zip(copied[index], linked[index], strict=True)
            assert all(torch.equal(a, b) for a, b in pairs)
    (pair.folder / "spectra.npy").unlink()
    assert len(SpectraDataset(tmp_path / "store", "train")) == 42


def big_endian(folder: Path, spectra: np.ndarray) -> None:
    np.save(folder / "spectra.npy", spectra.astype(">f4"))


def float64(folder: Path, spectra: np.ndarray) -> None:
    np.save(folder / "spectra.npy", spectra.astype(np.float64))


def fortran(folder: Path, spectra: np.ndarray) -> None:
    np.save(folder / "spectra.npy", np.asfortranarray(spectra))


def trailing(folder: Path, spectra: np.ndarray) -> None:
    with (folder / "spectra.npy").open("ab") as file:
        file.write(b"more")


@pytest.mark.parametrize("spoil", [big_endian, float64, fortran, trailing])
def test_a_file_that_a_store_cannot_use_as_it_is_raises(
    pair: Pair, tmp_path: Path, spoil: Callable[[Path, np.ndarray], None]
) -> None:
    spoil(pair.folder, pair.spectra)
    with pytest.raises(SourceShapeError, match=r"spectra\.npy.*C-ordered '<f4'"):
        convert(pair.folder, tmp_path / "store", in_place=True)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize("options", [{"format": "hdf5"}, {"dtype": "uint16"}, {"on_bad": "skip"}])
def test_in_place_raises_with_options_that_need_a_copy(
    pair: Pair, tmp_path: Path, options: dict[str, Any]
) -> None:
    with pytest.raises(OptionError, match="in_place"):
        convert(pair.folder, tmp_path / "store", in_place=True, **options)


def test_a_source_on_another_file_system_cannot_be_linked(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    with pytest.raises(OptionError, match="cross-device"):
        convert(pair.folder, tmp_path / "store", in_place=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]
