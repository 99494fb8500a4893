"""HDF5 datasets whose attributes say how values are stored and in which unit, as netCDF's do."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from galahstream.conversion.convert import convert
from galahstream.errors import (
    GalahStreamError,
    LabelError,
    SourceFormatError,
    SourceShapeError,
    WavelengthError,
)
from galahstream.sources.hdf5 import Hdf5Source
from tests.sources.contract import read_all
from tests.sources.files import FLUX, LABELS, LARGE, N_PIXELS, N_STARS, WAVELENGTH, write_hdf5

NAN = float("nan")
TEFF = 5000 + 100 * LABELS[:, 0]
DIMENSION = f"This is a netCDF dimension but not a netCDF variable{N_STARS:10d}"


def write(path: Path, attributes: dict[str, dict[str, Any]], **items: object) -> Path:
    """Write datasets, and attributes by dataset."""
    write_hdf5(path, **items)
    with h5py.File(path, "r+") as file:
        for name, values in attributes.items():
            for attribute, value in values.items():
                file[name].attrs[attribute] = value
    return path


def packed_flux() -> npt.NDArray[np.int16]:
    flux = np.random.default_rng(1).integers(-5000, 5000, (N_STARS, N_PIXELS))
    flux[0, 0], flux[5, 7] = 164, -32768
    return flux.astype(np.int16)


FILLS: dict[str, dict[str, Any]] = {
    "_FillValue": {"_FillValue": np.int16(-32768)},
    "an array of one": {"_FillValue": np.array([-32768], dtype=np.int16)},
    "missing_value": {"missing_value": -32768.0},
    "several": {"missing_value": np.array([-32768, -32767], dtype=np.int16)},
    "both": {"_FillValue": np.int16(-32768), "missing_value": np.int16(-1)},
    "upper case": {"_FILLVALUE": -32768},
}


@pytest.mark.parametrize("fill", FILLS)
def test_packed_flux_is_unpacked_and_fill_values_are_nan(tmp_path: Path, fill: str) -> None:
    stored = packed_flux()
    packing = {"scale_factor": np.float32(1e-4), "add_offset": 1.0, **FILLS[fill]}
    source = Hdf5Source(write(tmp_path / "a.h5", {"flux": packing}, flux=stored))
    flux = read_all(source, 5)
    is_missing = np.isin(stored, np.ravel(next(iter(FILLS[fill].values()))))
    is_missing |= (stored == -1) & (fill == "both")
    assert flux[0, 0] == pytest.approx(1.0164)
    assert np.array_equal(np.isnan(flux), is_missing)
    assert flux[~is_missing] == pytest.approx(stored[~is_missing] * 1e-4 + 1, abs=1e-6)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", "<f2"])
def test_a_fill_value_is_compared_in_the_dtype_of_the_flux(tmp_path: Path, dtype: str) -> None:
    fill = 1e20 if dtype != "<f2" else 999.9
    stored = FLUX.astype(dtype)
    stored[1, 2] = fill
    path = write(tmp_path / "a.h5", {"flux": {"_FillValue": fill}}, flux=stored)
    expected = stored.astype(np.float32)
    expected[1, 2] = np.nan
    assert np.array_equal(read_all(Hdf5Source(path), 4), expected, equal_nan=True)


def test_a_fill_value_beyond_float32_is_missing_and_not_too_large(tmp_path: Path) -> None:
    stored = FLUX.astype(np.float64)
    stored[1, 2] = 1e300
    path = write(tmp_path / "a.h5", {"flux": {"_FillValue": 1e300}}, flux=stored)
    assert np.isnan(read_all(Hdf5Source(path), 4)[1, 2])


HARMLESS: list[dict[str, Any]] = [
    {"_FillValue": np.float32(np.nan)},
    {"scale_factor": 1.0, "add_offset": 0.0},
    {"BSCALE": 1.0, "BZERO": 0.0},
    {"_Unsigned": "false"},
    {"scale": "linear", "offset": 0},
    {"units": ""},
    {"units": "1"},
    {"units": h5py.Empty("S1")},
    {"units": "normalised"},
    {"long_name": "flux", "actual_range": [0.5, 1.5], "history": "scale_factor was applied"},
]


@pytest.mark.parametrize("attributes", HARMLESS, ids=str)
def test_attributes_that_change_nothing_change_no_bit(
    tmp_path: Path, attributes: dict[str, Any]
) -> None:
    path = write(tmp_path / "a.h5", {"flux": attributes}, flux=FLUX)
    assert read_all(Hdf5Source(path), 5).tobytes() == FLUX.tobytes()


REJECTED: list[tuple[str, Any]] = [
    ("valid_range", [0.0, 2.0]),
    ("valid_min", 0.0),
    ("valid_max", np.float32(2.0)),
    ("_Unsigned", "true"),
    ("BSCALE", 5e-5),
    ("BZERO", 32768),
    ("BLANK", -32768),
    ("TSCAL3", 0.1),
    ("TZERO", 1),
    ("ScaleFactor", 0.1),
    ("scale", 0.1),
    ("scale", "log"),
    ("offset", 1.0),
    ("nodata_value", -1),
    ("scale_factor", 0.0),
    ("scale_factor", NAN),
    ("scale_factor", [1.0, 2.0]),
    ("scale_factor", "0.1"),
    ("add_offset", np.inf),
    ("add_offset", h5py.Empty("f4")),
    ("_FillValue", "none"),
    ("units", "%"),
    ("units", "erg/s/cm2/Angstrom"),
    ("UNIT", "adu"),
]


@pytest.mark.parametrize(("attribute", "value"), REJECTED, ids=str)
def test_an_attribute_of_the_flux_that_cannot_be_applied_is_named(
    tmp_path: Path, attribute: str, value: object
) -> None:
    path = write(tmp_path / "a.h5", {"flux": {attribute: value}}, flux=FLUX)
    with pytest.raises(SourceFormatError, match=r"expected .* remove") as caught:
        Hdf5Source(path)
    assert f"{path}, dataset 'flux': attribute {attribute!r} is " in str(caught.value)


@pytest.mark.parametrize(("attribute", "value"), REJECTED[:-3], ids=str)
def test_an_attribute_of_a_label_that_cannot_be_applied_is_named_if_it_is_read(
    tmp_path: Path, attribute: str, value: object
) -> None:
    path = write(tmp_path / "a.h5", {"x": {attribute: value}}, flux=FLUX, x=TEFF, teff=TEFF)
    assert Hdf5Source(path, ["teff"]).read_labels().shape == (N_STARS, 1)
    with pytest.raises(SourceFormatError, match=f"dataset 'x': attribute '{attribute}' is"):
        Hdf5Source(path).read_labels()


@pytest.mark.parametrize("fill", [-9999.5, 1e20, -32769, 65535])
def test_a_fill_value_that_integers_cannot_hold_is_named(tmp_path: Path, fill: float) -> None:
    path = write(tmp_path / "a.h5", {"flux": {"_FillValue": fill}}, flux=packed_flux())
    with pytest.raises(SourceFormatError, match=r"'_FillValue' is .*; expected a value of int16"):
        Hdf5Source(path)


@pytest.mark.parametrize("dtype", ["i2", "<f4", ">f8"])
def test_labels_are_unpacked_and_fill_values_are_missing(tmp_path: Path, dtype: str) -> None:
    stored = np.arange(N_STARS).astype(dtype)
    stored[3] = -999
    attributes = {"scale_factor": 0.5, "add_offset": 4000.0, "_FillValue": stored[3]}
    path = write(tmp_path / "a.h5", {"teff": attributes}, flux=FLUX, teff=stored)
    labels = Hdf5Source(path).read_labels()[:, 0]
    assert np.flatnonzero(np.isnan(labels)).tolist() == [3]
    assert labels[10] == 4005.0
    assert convert(path, tmp_path / "store").manifest.labels[0].missing == 1


def test_a_table_of_labels_is_unpacked_and_has_units_by_column(tmp_path: Path) -> None:
    table = np.arange(2 * N_STARS).reshape(-1, 2)
    attributes = {"columns": ["teff", "vsini"], "units": ["Kelvin", "km/s"], "scale_factor": 0.1}
    attributes["missing_value"] = 5
    path = write(tmp_path / "a.h5", {"labels": attributes}, flux=FLUX, labels=table)
    source = Hdf5Source(path)
    assert source.label_units == ("K", "km/s")
    assert source.read_labels()[10] == pytest.approx([2.0, 2.1])
    assert np.isnan(source.read_labels()[2, 1])
    with h5py.File(path, "r+") as file:
        file["labels"].attrs["units"] = "K"
    with pytest.raises(LabelError, match="'units' is 'K'; expected one text for each of the 2"):
        Hdf5Source(path)


def test_columns_of_integers_stay_integers_unless_one_is_missing(tmp_path: Path) -> None:
    visits = np.arange(N_STARS, dtype=np.int64) // 2
    path = write(
        tmp_path / "a.h5",
        {"visit": {"_FillValue": -1}, "gap": {"_FillValue": 4}, "gaia": {"_FillValue": -1}},
        flux=FLUX, visit=visits, gap=visits, gaia=LARGE,
    )  # fmt: skip
    source = Hdf5Source(path)
    assert source.label_names == ("gap", "visit")
    assert source.read_column("visit").dtype == np.int64
    assert np.array_equal(source.read_column("gaia"), LARGE)
    assert np.flatnonzero(np.isnan(source.read_column("gap"))).tolist() == [8, 9]
    with pytest.raises(LabelError, match="'gap' has no value for star 8"):
        convert(path, tmp_path / "store", groups="gap")


def test_a_missing_value_hides_no_large_integers(tmp_path: Path) -> None:
    """As float64 these ids would be others; a fill value alone does not make a column ids."""
    ids, small = LARGE.copy(), np.arange(N_STARS, dtype=np.int64)
    ids[3] = small[3] = -9223372036854775806
    fill = {"_FillValue": np.int64(-9223372036854775806)}
    path = write(tmp_path / "a.h5", {"gaia": fill, "x": fill}, flux=FLUX, gaia=ids, x=small)
    source = Hdf5Source(path)
    assert source.label_names == ("x",)
    assert np.flatnonzero(np.isnan(source.read_labels())).tolist() == [3]
    with pytest.raises(LabelError, match=r"dataset 'gaia' holds integers beyond 2\*\*53"):
        source.read_column("gaia")


@pytest.mark.parametrize("attributes", [{"_FillValue": 5}, {"add_offset": 1}])
def test_ids_are_neither_missing_nor_packed(tmp_path: Path, attributes: dict[str, int]) -> None:
    path = write(tmp_path / "a.h5", {"ids": attributes}, flux=FLUX, ids=np.arange(N_STARS))
    with pytest.raises(SourceShapeError, match="dataset 'ids': its attributes"):
        Hdf5Source(path)
    path = write(tmp_path / "b.h5", {"ids": {"_FillValue": -1}}, flux=FLUX, ids=np.arange(N_STARS))
    assert Hdf5Source(path).ids.tolist() == [*range(N_STARS)]


UNITS = [
    ({"units": "nm"}, 10.0), ({"unit": b"nm"}, 10.0), ({"UNIT": "um"}, 1e4),
    ({"Units": "m"}, 1e10), ({"units": np.array(["nm"], dtype="S2")}, 10.0),
    ({"units": "Angstrom"}, 1.0), ({"units": "Å"}, 1.0), ({"units": ""}, 1.0), ({}, 1.0),
]  # fmt: skip


@pytest.mark.parametrize(("attributes", "factor"), UNITS, ids=str)
def test_wavelengths_of_known_units_become_angstrom(
    tmp_path: Path, attributes: dict[str, Any], factor: float
) -> None:
    grid = WAVELENGTH / factor
    path = write(tmp_path / "a.h5", {"wavelength": attributes}, flux=FLUX, wavelength=grid)
    with convert(path, tmp_path / "store") as store:
        assert store.wavelength == pytest.approx(WAVELENGTH, rel=1e-14)


@pytest.mark.parametrize("unit", ["pixel", "km/s", "log10(Angstrom)", 7])
def test_wavelengths_of_another_unit_name_the_attribute(tmp_path: Path, unit: object) -> None:
    path = write(
        tmp_path / "a.h5", {"wavelength": {"unit": unit}}, flux=FLUX, wavelength=WAVELENGTH
    )
    shown = repr(str(unit))
    with pytest.raises(WavelengthError, match="dataset 'wavelength', attribute 'unit': ") as caught:
        convert(path, tmp_path / "store")
    assert f"{shown} is not a known unit" in str(caught.value)
    store = convert(path, tmp_path / "store", wavelength=WAVELENGTH)
    assert np.array_equal(store.wavelength, WAVELENGTH)


def test_packed_wavelengths_are_unpacked(tmp_path: Path) -> None:
    attributes = {"scale_factor": 0.01, "add_offset": 500.0, "units": "nm"}
    pixels = np.arange(N_PIXELS, dtype=np.int16)
    path = write(tmp_path / "a.h5", {"wavelength": attributes}, flux=FLUX, wavelength=pixels)
    assert Hdf5Source(path).wavelength == pytest.approx(5000 + 0.1 * pixels)
    with h5py.File(path, "r+") as file:
        file["wavelength"].attrs["_FillValue"] = np.int16(4)
    with pytest.raises(WavelengthError, match="wavelength nan at pixel 4"):
        _ = Hdf5Source(path).wavelength


@pytest.mark.parametrize(
    ("column", "stated", "unit"),
    [
        ("teff", "K", "K"), ("teff", "kelvin", "K"), ("teff", "kK", "kK"), ("teff", "", "K"),
        ("logg", "log(cm.s**-2)", "dex"), ("logg", "cm/s2", "cm/s2"), ("fe_h", "1", "dex"),
        ("age", "yr", "yr"), ("SNR", "1", ""), ("vsini", "km s-1", "km s-1"),
    ],
)  # fmt: skip
def test_a_label_keeps_the_unit_that_its_dataset_states(
    tmp_path: Path, column: str, stated: str, unit: str
) -> None:
    path = write(tmp_path / "a.h5", {column: {"units": stated}}, flux=FLUX, **{column: TEFF})
    assert Hdf5Source(path).label_units == (unit,)
    assert Hdf5Source(path, [f"x={column}"]).label_units == ("" if stated == "1" else stated,)
    assert Hdf5Source(path, [f"x[mag]={column}"]).label_units == ("mag",)


def as_netcdf(path: Path) -> Path:
    """Write a file as netCDF4 does: dimensions are datasets, some of them without a variable."""
    write_hdf5(
        path, star=np.zeros(N_STARS, ">f4"), flux=FLUX, teff=TEFF, visit=np.arange(N_STARS),
        wavelength=WAVELENGTH, pair=np.zeros(2, ">f4"),
    )  # fmt: skip
    with h5py.File(path, "r+") as file:
        for name in ("star", "pair"):
            file[name].make_scale(DIMENSION)
        for name in ("visit", "wavelength"):
            file[name].make_scale(name)
        file["flux"].dims[0].attach_scale(file["star"])
        file["teff"].dims[0].attach_scale(file["star"])
        file["flux"].dims[1].attach_scale(file["wavelength"])
    return path


def test_dimensions_of_netcdf_are_not_labels(tmp_path: Path) -> None:
    path = as_netcdf(tmp_path / "a.nc")
    source = Hdf5Source(path)
    assert source.label_names == ("teff",)
    assert source.wavelength is not None
    assert np.array_equal(source.wavelength, WAVELENGTH)
    assert source.read_column("visit").tolist() == [*range(N_STARS)]
    assert Hdf5Source(path, ["visit"]).read_labels()[:, 0].tolist() == [*range(N_STARS)]
    for name in ("star", "wavelength", "pair"):
        with pytest.raises(GalahStreamError, match=f"'{name}'"):
            Hdf5Source(path, [name])


@pytest.mark.parametrize("name", ["wavelength", "labels", "ids", "sobject_id", "spectra"])
def test_a_dimension_without_values_is_not_taken_for_an_array(tmp_path: Path, name: str) -> None:
    path = as_netcdf(tmp_path / "a.nc")
    with h5py.File(path, "r+") as file:
        file.pop("wavelength")
        file[name] = np.zeros(N_STARS, ">f4")
        file[name].make_scale(DIMENSION)
    source = Hdf5Source(path)
    assert (source.label_names, source.wavelength) == (("teff",), None)
    assert source.ids.tolist() == [*range(N_STARS)]
    assert len(read_all(source, 5)) == N_STARS
