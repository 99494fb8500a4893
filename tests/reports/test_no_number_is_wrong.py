"""Ids, files, units and missing values of ordinary sources become right numbers, or are named."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy import units

import galahstream as gs
from galahstream.cli.main import main
from galahstream.errors import SourceFormatError
from galahstream.store import Store
from tests.conftest import Pair
from tests.sources.files import FLUX, IDS, LABELS, N_STARS, STAR, WAVELENGTH, write_hdf5, write_star


def test_ids_and_groups_of_64_bits_stay_integers(tmp_path: Path) -> None:
    visits = 2**60 + np.arange(N_STARS, dtype=np.int64) // 2
    path = write_hdf5(tmp_path / "a.h5", flux=FLUX, teff=LABELS[:, 0], ids=2**61 + IDS, star=visits)
    store = gs.convert(path, tmp_path / "store", groups="star")
    assert sorted(store.ids.tolist()) == (2**61 + IDS).tolist()
    splits: dict[int, set[int]] = {}
    for visit, split in zip(visits[store.source_row].tolist(), store.split.tolist(), strict=True):
        splits.setdefault(visit, set()).add(split)
    assert {len(of_star) for of_star in splits.values()} == {1}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".fits.part", " (1).fits", ".fits.crdownload"])
def test_files_that_look_like_a_stars_are_named(
    tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "stars"
    for star in (STAR, STAR + 1, STAR + 2):
        write_star(folder, star, "dr3")
    (folder / f"{STAR + 9}1{suffix}").write_bytes(b"unfinished")
    with pytest.raises(SourceFormatError, match=str(STAR + 9)):
        gs.convert(folder, tmp_path / "store")
    assert main(["convert", str(folder), str(tmp_path / "store"), "--on-bad", "skip"]) == 0
    assert str(STAR + 9) in capsys.readouterr().out


def test_units_and_packing_are_applied(tmp_path: Path) -> None:
    path = tmp_path / "packed.h5"
    with h5py.File(path, "w") as file:
        stored = np.rint(np.nan_to_num(FLUX, posinf=1) / 0.01).astype(np.int16)
        stored[0, 0] = -1
        file["flux"], file["teff"] = stored, LABELS[:, 0]
        file["flux"].attrs.update({"scale_factor": 0.01, "add_offset": 0.0})
        file["flux"].attrs["_FillValue"] = np.int16(-1)
        file["wavelength"] = WAVELENGTH / 10
        file["wavelength"].attrs["units"] = "nm"
    store = gs.convert(path, tmp_path / "store", split=(1, 0, 0))
    assert np.allclose(store.wavelength, WAVELENGTH)
    assert np.isnan(store.flux[0][0])
    assert np.allclose(store.flux[1], stored[1] * 0.01)
    grid = units.Quantity(WAVELENGTH / 1e4, "micron")
    given = gs.convert(FLUX, tmp_path / "given", wavelength=grid)
    assert np.allclose(given.wavelength, WAVELENGTH)


@pytest.mark.parametrize("sentinel", [1e20, 999999.0, -9999.0])
def test_sentinels_are_named_and_can_be_missing(
    pair: Pair, tmp_path: Path, sentinel: float, capsys: pytest.CaptureFixture[str]
) -> None:
    pair.labels[5:9, 4] = sentinel
    np.save(pair.folder / "labels.npy", pair.labels)
    assert main(["convert", str(pair.folder), str(tmp_path / "first")]) == 0
    assert f"{sentinel:g} in 4 rows looks like a missing value" in capsys.readouterr().out
    store = gs.convert(pair.folder, tmp_path / "second", missing_values=(sentinel,))
    assert np.isnan(store.labels["teff"]).sum() == 4


@pytest.mark.slow
def test_json_is_strict(
    npy_store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    gs.train(npy_store, tmp_path / "run", epochs=1, progress=False)
    assert main(["info", str(npy_store.path), "--json"]) == 0
    for text in (capsys.readouterr().out, (tmp_path / "run" / "metrics.json").read_text()):
        assert json.loads(text, parse_constant=refuse)
