"""HDF5 files as surveys publish them: columns of many kinds, user blocks, locks."""

import fcntl
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from galahstream.conversion.convert import convert
from galahstream.errors import (
    LabelError,
    SourceAccessError,
    SourceFormatError,
    SourceShapeError,
    WavelengthError,
)
from galahstream.sources import hdf5
from galahstream.sources.hdf5 import Hdf5Source
from galahstream.sources.open import open_source
from tests.sources.contract import read_all
from tests.sources.files import FLUX, IDS, LABELS, LARGE, N_STARS, table_hdf5, write_hdf5

TEFF = LABELS[:, 0]
UNWANTED: dict[str, Any] = {
    "text": [f"star {number}" for number in range(N_STARS)],
    "fixed text": np.array([f"star {number}" for number in range(N_STARS)], dtype="S8"),
    "scalar": 3.5,
    "scalar text": "GALAH DR4",
    "empty": h5py.Empty("f4"),
    "table": np.zeros(N_STARS, dtype=[("a", "f4"), ("b", "i8")]),
    "booleans": np.ones(N_STARS, dtype=bool),
    "complex": np.ones(N_STARS, dtype=complex),
    "too few": np.ones(N_STARS - 1),
    "soft link to nothing": h5py.SoftLink("/nowhere"),
    "external link": h5py.ExternalLink("elsewhere.h5", "/column"),
}


@pytest.mark.parametrize("kind", UNWANTED)
def test_what_nobody_asked_for_refuses_nothing(tmp_path: Path, kind: str) -> None:
    path = write_hdf5(tmp_path / "a.h5", flux=FLUX, teff=TEFF, other=UNWANTED[kind])
    source = Hdf5Source(path)
    assert source.label_names == ("teff",)
    assert np.array_equal(read_all(source, 5), FLUX, equal_nan=True)


@pytest.mark.parametrize("kind", UNWANTED)
def test_what_is_asked_for_and_is_no_column_of_numbers_is_named(tmp_path: Path, kind: str) -> None:
    path = write_hdf5(tmp_path / "a.h5", flux=FLUX, teff=TEFF, other=UNWANTED[kind])
    with pytest.raises((LabelError, SourceFormatError), match="'other'"):
        Hdf5Source(path, ["teff", "other"])


@pytest.mark.parametrize("kind", UNWANTED)
def test_the_only_table_is_found_among_anything_else(tmp_path: Path, kind: str) -> None:
    path = write_hdf5(tmp_path / "a.h5", data=FLUX, other=UNWANTED[kind])
    assert np.array_equal(read_all(Hdf5Source(path), 5), FLUX, equal_nan=True)


def test_a_group_beside_the_spectra_refuses_nothing(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "a.h5", flux=FLUX, teff=TEFF)
    with h5py.File(path, "r+") as file:
        file.create_group("history")["log"] = "made by hand"
    assert Hdf5Source(path).label_names == ("teff",)


@pytest.mark.parametrize("name", ["ids", "labels", "wavelength", "flux"])
def test_a_group_in_place_of_an_array_is_named(tmp_path: Path, name: str) -> None:
    path = write_hdf5(tmp_path / "a.h5", **({} if name == "flux" else {"flux": FLUX}))
    with h5py.File(path, "r+") as file:
        file.create_group(name)
    with pytest.raises(SourceFormatError, match=f"'{name}' is not a dataset"):
        _ = Hdf5Source(path).wavelength


def test_a_bad_grid_is_refused_only_if_it_is_read(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "a.h5", flux=FLUX, wavelength=np.zeros(FLUX.shape[1]))
    store = convert(path, tmp_path / "store", wavelength=np.arange(1.0, FLUX.shape[1] + 1))
    assert store.wavelength[0] == 1
    with pytest.raises(WavelengthError, match="'wavelength'"):
        convert(path, tmp_path / "other")


def test_without_spectra_the_datasets_are_named(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "a.h5", one=FLUX, two=FLUX)
    with pytest.raises(SourceShapeError, match="among one, two"):
        Hdf5Source(path)


@pytest.mark.parametrize("dtype", ["<i8", ">i8", "<u8"])
@pytest.mark.parametrize("name", ["ids", "sobject_id"])
def test_64_bit_ids_stay_what_they_are(tmp_path: Path, name: str, dtype: str) -> None:
    path = write_hdf5(tmp_path / "a.h5", flux=FLUX, teff=TEFF, **{name: LARGE.astype(dtype)})
    store = convert(path, tmp_path / "store")
    assert np.array_equal(store.ids, LARGE[store.source_row])
    assert [*store.labels] == ["teff"]


@pytest.mark.parametrize("dtype", ["<i8", ">i8", "<u8"])
def test_rows_are_grouped_by_64_bit_integers(tmp_path: Path, dtype: str) -> None:
    """As float64 all of these are one number, and the split would be empty."""
    path = write_hdf5(tmp_path / "a.h5", flux=FLUX, teff=TEFF, gaia=LARGE.astype(dtype))
    source = Hdf5Source(path)
    assert source.label_names == ("teff",)
    assert source.read_column("gaia").dtype == np.dtype(dtype)
    store = convert(path, tmp_path / "store", groups="gaia", split=(0.5, 0.25, 0.25))
    groups = LARGE[store.source_row]
    assert all(len(set(store.split[groups == group])) == 1 for group in set(LARGE))


def test_labels_that_float64_cannot_hold_are_refused(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "a.h5", flux=FLUX, gaia=LARGE)
    with pytest.raises(LabelError, match=r"'gaia' holds integers beyond 2\*\*53.*groups='gaia'"):
        Hdf5Source(path, ["gaia"]).read_labels()
    small = write_hdf5(tmp_path / "b.h5", flux=FLUX, visit=np.arange(N_STARS, dtype=np.int64))
    assert Hdf5Source(small).read_labels()[:, 0].tolist() == [*range(N_STARS)]


def test_a_table_of_integer_labels_is_grouped_by_its_column(tmp_path: Path) -> None:
    table = np.stack([np.arange(N_STARS), LARGE], axis=1)
    path = write_hdf5(tmp_path / "a.h5", flux=FLUX, labels=table)
    with h5py.File(path, "r+") as file:
        file["labels"].attrs["columns"] = ["field", "gaia"]
    source = Hdf5Source(path, ["field"])
    assert np.array_equal(source.read_column("gaia"), LARGE)
    assert source.read_column("gaia").dtype == np.int64


def test_names_of_columns_that_are_no_list_are_ignored(tmp_path: Path) -> None:
    path = table_hdf5(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:
        file["labels"].attrs["columns"] = "abcdefgh"
    assert Hdf5Source(path).label_names[0] == "mass"


@pytest.mark.parametrize("user_block", [0, 512, 1024, 4096])
def test_a_signature_behind_a_user_block_is_recognised(tmp_path: Path, user_block: int) -> None:
    path = tmp_path / "survey.dat"
    with h5py.File(path, "w", userblock_size=user_block) as file:
        file["flux"] = FLUX
    source = open_source(path)
    assert isinstance(source, Hdf5Source)
    assert len(source) == N_STARS


def test_labels_may_be_one_text(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "a.h5", flux=FLUX, teff=TEFF, t=TEFF)
    assert open_source(path, "teff").label_names == ("teff",)


def test_a_locked_file_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HDF5_USE_FILE_LOCKING", raising=False)
    path = write_hdf5(tmp_path / "a.h5", flux=FLUX, teff=TEFF)
    source = Hdf5Source(path)
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        for read in (lambda: Hdf5Source(path), source.read_labels, lambda: read_all(source, 3)):
            with pytest.raises(SourceAccessError, match="locked") as caught:
                read()
            assert "damaged" not in str(caught.value)
            assert str(path) in str(caught.value)
        assert len(read_all(Hdf5Source(path, locking=False), 3)) == N_STARS
    assert len(read_all(source, 3)) == N_STARS


def test_tall_chunks_are_read_in_parts_of_limited_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("flux", data=FLUX, chunks=(N_STARS, 2))
        file["ids"] = IDS
    monkeypatch.setattr(hdf5, "MAX_READ_BYTES", 5 * FLUX.shape[1] * 4)
    assert np.array_equal(read_all(Hdf5Source(path), 2), FLUX, equal_nan=True)
