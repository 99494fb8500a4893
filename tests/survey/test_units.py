"""Units of other libraries and of files: known ones are converted, all others are named."""

import contextlib
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from galahstream.errors import WavelengthError
from galahstream.survey.units import (
    angstrom_per,
    in_angstrom,
    is_relative,
    same_unit,
    stated_unit,
    unit_attribute,
)

SPELLINGS = {
    "Å": 1.0,
    "\N{ANGSTROM SIGN}": 1.0,
    "A\N{COMBINING RING ABOVE}": 1.0,
    "A": 1.0,
    "AA": 1.0,
    "Angstrom": 1.0,
    "angstroms": 1.0,
    "Ångström": 1.0,
    "0.1 nm": 1.0,
    "nm": 10.0,
    "NM": 10.0,
    " nanometers ": 10.0,
    "nanometre": 10.0,
    "um": 1e4,
    "\N{MICRO SIGN}m": 1e4,
    "\N{GREEK SMALL LETTER MU}m": 1e4,
    "micron": 1e4,
    "micrometers": 1e4,
    "m": 1e10,
    "meters": 1e10,
}
UNKNOWN = ["pixel", "km/s", "Hz", "cm-1", "log(Angstrom)", "log10(nm)", "eV", "K", "?", "nm s"]


class Quantity:
    """A quantity as other libraries have it: values, and a unit in an attribute of some name."""

    def __init__(self, values: object, **attributes: object) -> None:
        self._values = np.asarray(values)
        vars(self).update(attributes)

    def __array__(self, dtype: Any = None, copy: Any = None) -> npt.NDArray[Any]:
        return self._values if dtype is None else self._values.astype(dtype)


WRAPPERS: dict[str, Callable[[str], dict[str, object]]] = {
    "astropy": lambda unit: {"unit": unit},
    "unyt": lambda unit: {"units": unit},
    "xarray": lambda unit: {"attrs": {"long_name": "wavelength", "units": unit}},
    "upper case": lambda unit: {"attrs": {"UNIT": unit}},
    "bytes": lambda unit: {"attrs": {"unit": unit.encode()}},
    "one of one": lambda unit: {"attrs": {"units": np.array([unit], dtype=object)}},
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_usual_spellings_of_units_of_wavelength_are_known(spelling: str) -> None:
    assert angstrom_per(spelling, "grid") == SPELLINGS[spelling]


@pytest.mark.parametrize("unit", UNKNOWN)
def test_another_unit_is_named_with_what_was_expected(unit: str) -> None:
    with pytest.raises(WavelengthError, match=r"grid.h5: .* expected Å, nm, µm or m: ") as caught:
        angstrom_per(unit, "grid.h5")
    assert repr(unit) in str(caught.value)


@given(st.text(max_size=12))
def test_any_text_is_a_known_unit_or_raises(unit: str) -> None:
    with contextlib.suppress(WavelengthError):
        assert angstrom_per(unit, "grid") in (1.0, 10.0, 1e4, 1e10)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_the_unit_of_a_wrapped_array_is_used(wrapper: str) -> None:
    grid = Quantity([471.5, 472.5], **WRAPPERS[wrapper]("nm"))
    assert in_angstrom(grid, "grid").tolist() == [4715.0, 4725.0]
    with pytest.raises(WavelengthError, match="'pixel'"):
        in_angstrom(Quantity([1, 2], **WRAPPERS[wrapper]("pixel")), "grid")


@pytest.mark.parametrize("nothing", [None, "", "  ", b"", h5py.Empty("S1")])
def test_no_unit_is_angstrom(nothing: object) -> None:
    assert stated_unit(Quantity([1.0], units=nothing)) is None
    assert unit_attribute({"units": nothing}) is None
    assert in_angstrom(Quantity([4713.0], unit=nothing), "grid").tolist() == [4713.0]


def test_an_empty_unit_does_not_hide_another_one() -> None:
    stated = unit_attribute({"unit": "", "Units": "nm"})
    assert stated is not None
    assert stated == ("Units", "nm")


def test_items_of_a_list_have_units_of_their_own() -> None:
    mixed = [Quantity(471.5, unit="nm"), Quantity(0.4725, unit="um"), 4735.0]
    assert in_angstrom(mixed, "grid") == pytest.approx([4715.0, 4725.0, 4735.0])


def test_a_magnitude_is_read_instead_of_the_quantity() -> None:
    class Pint:
        units, magnitude = "nanometer", np.array([471.5])

        def __array__(self, dtype: Any = None, copy: Any = None) -> npt.NDArray[Any]:
            pytest.fail("pint warns that the unit is stripped")

    assert in_angstrom(Pint(), "grid").tolist() == [4715.0]


def test_masked_wavelengths_are_not_numbers() -> None:
    masked = np.ma.MaskedArray([4713, 9999, 4715], mask=[False, True, False])
    assert np.array_equal(in_angstrom(masked, "grid"), [4713, np.nan, 4715], equal_nan=True)


@pytest.mark.parametrize("unit", ["nm", "AA", "um", "micron", "m"])
def test_a_quantity_of_astropy_is_converted_as_astropy_does(unit: str) -> None:
    units = pytest.importorskip("astropy.units")
    grid = units.Quantity([0.4713, 0.789], unit)
    assert in_angstrom(grid, "grid") == pytest.approx(grid.to_value("AA"), rel=1e-15)


def test_columns_of_astropy_have_units_too() -> None:
    table = pytest.importorskip("astropy.table")
    assert in_angstrom(table.Column([471.5], unit="nm"), "grid").tolist() == [4715.0]
    masked = table.MaskedColumn([471.5, 1.0], unit="nm", mask=[False, True])
    assert np.array_equal(in_angstrom(masked, "grid"), [4715.0, np.nan], equal_nan=True)


@pytest.mark.parametrize(
    ("unit", "spellings"),
    [
        ("K", ["K", "Kelvin", "deg_K"]),
        ("dex", ["dex", "log(cm.s**-2)", "dex(cm / s2)", "log10(cm/s^2)", "1"]),
        ("M☉", ["Msun", "solMass", "M_sun"]),
        ("L☉", ["Lsun", "solLum"]),
        ("Gyr", ["Gyr", "gigayear"]),
        ("pc", ["pc", "parsec"]),
        ("", ["", "1", "dimensionless"]),
        ("km/s", ["km/s"]),
    ],
)
def test_spellings_of_a_unit_of_labels_are_the_same(unit: str, spellings: list[str]) -> None:
    assert all(same_unit(spelling, unit) for spelling in spellings)
    assert not any(same_unit(other, unit) for other in ("kK", "mag", "kpc", "yr", "cm/s2"))


@pytest.mark.parametrize("unit", ["", "1", "normalised flux", "relative", "Continuum-normalized"])
def test_flux_without_a_unit_is_relative(unit: str) -> None:
    assert is_relative(unit)


@pytest.mark.parametrize("unit", ["%", "percent", "adu", "erg/s/cm2/AA", "Jy"])
def test_flux_with_a_unit_is_not_relative(unit: str) -> None:
    assert not is_relative(unit)
