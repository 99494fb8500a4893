"""Stars of a store as objects of astropy and specutils."""

import sys
from pathlib import Path

import numpy as np
import pytest

import galahstream as gs
from galahstream.errors import DamagedRowError, ExtraMissingError, WavelengthError
from galahstream.store import Store
from tests.conftest import Pair
from tests.store.contract import damage

GRID = np.linspace(5000, 5063, 64)
specutils = pytest.importorskip("specutils", reason="specutils is not installed")


@pytest.fixture
def with_wavelengths(pair: Pair, tmp_path: Path) -> Store:
    return gs.convert(pair.with_errors, tmp_path / "with wavelengths", wavelength=GRID)


@pytest.mark.slow  # specutils takes two seconds to import
def test_a_spectrum_has_units_errors_and_a_mask(with_wavelengths: Store, pair: Pair) -> None:
    store = with_wavelengths
    row = int(np.flatnonzero(store.ids == 3)[0])
    spectrum = store.spectrum(row)
    assert isinstance(spectrum, specutils.Spectrum)
    assert str(spectrum.spectral_axis.unit) == "Angstrom"
    assert np.allclose(spectrum.spectral_axis.value, GRID)
    assert spectrum.flux.unit.is_equivalent("")
    assert np.array_equal(spectrum.flux.value, pair.spectra[3], equal_nan=True)
    assert spectrum.mask.tolist() == (~np.isfinite(pair.spectra[3])).tolist()
    assert store.error is not None
    assert np.array_equal(spectrum.uncertainty.array, store.error[row], equal_nan=True)
    assert spectrum.meta["id"] == 3
    assert spectrum.meta["labels"]["teff"] == pair.labels[3, 4]
    assert spectrum.meta["label_units"]["teff"] == "K"
    assert spectrum.meta["wavelength_is_nominal"] is False
    assert spectrum.meta["reader"]


@pytest.mark.slow
def test_specutils_works_on_it(with_wavelengths: Store) -> None:
    from astropy import units
    from specutils.manipulation import extract_region

    spectrum = with_wavelengths.spectrum(0)
    region = specutils.SpectralRegion(5010 * units.AA, 5020 * units.AA)
    part = extract_region(spectrum, region)
    assert part.spectral_axis.value.min() >= 5010
    assert part.spectral_axis.value.max() <= 5020


def test_a_table_has_ids_splits_and_labels_with_units(npy_store: Store, tmp_path: Path) -> None:
    table = npy_store.to_table()
    assert table.colnames == ["id", "split", *npy_store.labels]
    assert table["id"].tolist() == npy_store.ids.tolist()
    assert [str(table[name].unit) for name in ("teff", "logg", "mass")] == ["K", "dex", "solMass"]
    assert table["teff"].to_value("K").tolist() == npy_store.labels["teff"].tolist()
    assert list(table["split"]).count("train") == 42
    table.write(tmp_path / "stars.ecsv")
    read = type(table).read(tmp_path / "stars.ecsv")
    assert np.array_equal(read["teff"], table["teff"])
    assert read.meta["store"] == str(npy_store.path)


def test_labels_of_any_unit_are_kept(pair: Pair, tmp_path: Path) -> None:
    names = ["a[furlong/h]", "b", "c[dex]", "d[K]", "e", "f", "g", "h[%]"]
    table = gs.convert(pair.folder, tmp_path / "store", labels=names).to_table()
    assert table["a"].info.description == "in furlong/h"
    assert str(table["h"].unit) == "%"
    assert np.array_equal(table["a"], np.load(pair.folder / "labels.npy")[table["id"], 0])


@pytest.mark.slow
def test_what_cannot_be_given_is_an_error(
    npy_store: Store, with_wavelengths: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WavelengthError, match="not known"):
        npy_store.spectrum(0)
    with pytest.raises(IndexError, match="row 60"):
        with_wavelengths.spectrum(60)
    damage(with_wavelengths.path, 3)
    with gs.open_store(with_wavelengths.path) as store, pytest.raises(DamagedRowError):
        store.spectrum(3)
    monkeypatch.setitem(sys.modules, "specutils", None)
    monkeypatch.setitem(sys.modules, "astropy.table", None)
    with pytest.raises(ExtraMissingError, match=r"specutils: .*'galahstream\[spectrum\]'"):
        with_wavelengths.spectrum(0)
    with pytest.raises(ExtraMissingError, match=r"astropy: pip install 'galahstream\[fits\]'"):
        npy_store.to_table()
