"""Units that come with numbers: what they are, and wavelengths of known units in Å.

A number without a unit is taken in the unit that its argument documents. A number with
one is converted, or rejected by the name of its unit; its unit is never dropped silently.

Examples
--------
>>> from galahstream.survey.units import angstrom_per, same_unit
>>> angstrom_per("nm", "grid.h5"), angstrom_per("Angstrom", "grid.h5")
(10.0, 1.0)
>>> same_unit("kelvin", "K"), same_unit("kK", "K")
(True, False)
"""

import unicodedata
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from galahstream.errors import WavelengthError

UNIT_NAMES = ("unit", "units")
"""Names of attributes that state a unit, in lower case."""

# Spellings after `_folded`.
_ANGSTROM_PER = {
    **dict.fromkeys(("å", "a", "aa", "ang", "angstrom", "angstroms", "ångström", "0.1nm"), 1.0),
    **dict.fromkeys(("nm", "nanometer", "nanometers", "nanometre", "nanometres"), 1e1),
    **dict.fromkeys(
        ("μm", "um", "micron", "microns", "micrometer", "micrometers", "micrometre", "micrometres"),
        1e4,
    ),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres"), 1e10),
}
_LOG_GRAVITY = ("cm.s**-2", "cm.s^-2", "cm/s2", "cm/s**2", "cm/s^2", "cms-2", "cgs")
_KM_PER_SECOND = ("km/s", "kms-1", "kms^-1", "kms**-1", "km.s-1", "km.s**-1", "km/sec")
_SPELLINGS = {
    "": ("1", "none", "unitless", "dimensionless"),
    "K": ("k", "kelvin", "kelvins", "degk", "deg_k"),
    "dex": (
        "dex",
        "1",
        "none",
        "unitless",
        "dimensionless",
        *(f"{log}({g})" for log in ("log", "log10", "dex") for g in _LOG_GRAVITY),
    ),
    "M☉": ("m☉", "msun", "m_sun", "msol", "solmass", "solarmass", "solarmasses"),
    "L☉": ("l☉", "lsun", "l_sun", "lsol", "sollum", "solarluminosity", "solarluminosities"),
    "Gyr": ("gyr", "gigayear", "gigayears"),
    "pc": ("pc", "parsec", "parsecs"),
}
# Those of the FITS standard.
_ASCII_SPELLINGS = {"M☉": "solMass", "L☉": "solLum", "Å": "Angstrom"}


class UnitAttribute(NamedTuple):
    """The name of an attribute, and the unit that it states."""

    name: str
    unit: str


def same_unit(text: str, unit: str) -> bool:
    """Return whether a text is a spelling of a label's unit; case and spaces do not matter."""
    return text.strip() == unit or _folded(text) in _SPELLINGS.get(unit, ())


def ascii_unit(unit: str) -> str:
    """Return the spelling of a unit in formats whose units are ASCII: FITS, and ECSV."""
    return _ASCII_SPELLINGS.get(unit, unit)


def is_velocity_unit(unit: str) -> bool:
    """Return whether a text is a spelling of km/s."""
    return _folded(unit) in _KM_PER_SECOND


def is_relative(unit: str) -> bool:
    """Return whether a unit of flux says that the flux is relative to the continuum."""
    folded = _folded(unit)
    return same_unit(unit, "") or any(x in folded for x in ("normali", "relative", "continuum"))


def angstrom_per(unit: str, name: str) -> float:
    """Return the number of Å in a unit of wavelength: Å, nm, µm or m in their usual spellings.

    Parameters
    ----------
    unit : str
        The unit as a file or another library writes it.
    name : str
        What messages call the wavelengths, such as their path.

    Raises
    ------
    WavelengthError
        If the unit is none of these.
    """
    factor = _ANGSTROM_PER.get(_folded(unit))
    if factor is None:
        msg = f"{name}: {unit!r} is not a known unit of wavelength; expected Å, nm, µm or m: "
        raise WavelengthError(msg + "convert the wavelengths to Å")
    return factor


def stated_unit(values: object) -> str | None:
    """Return the unit that an object states for its values, or None if it states none.

    Parameters
    ----------
    values : object
        A quantity of astropy, unyt or pint, an array with a mapping ``attrs`` (h5py,
        xarray), a masked column: anything with a ``unit`` or ``units``. A list
        or tuple states the unit of its first item that has one.
    """
    if isinstance(values, list | tuple):
        return next((unit for unit in map(stated_unit, values) if unit is not None), None)
    for name in UNIT_NAMES:
        text = _unit_text(getattr(values, name, None))
        if text:
            return text
    attributes = getattr(values, "attrs", None)
    stated = unit_attribute(attributes) if isinstance(attributes, Mapping) else None
    return None if stated is None else stated.unit


def unit_attribute(attributes: Mapping[str, Any]) -> UnitAttribute | None:
    """Return the attribute that states a unit, ``unit`` or ``units`` in any case, or None."""
    for name in attributes:
        if str(name).casefold() in UNIT_NAMES and (text := _unit_text(attributes[name])):
            return UnitAttribute(name, text)
    return None


def in_angstrom(values: object, name: str) -> npt.NDArray[Any]:
    """Return wavelengths as a plain array, in Å.

    Parameters
    ----------
    values : array_like, or an object that `stated_unit` knows
        Wavelengths, in Å unless they state another unit.
    name : str
        What messages call them.

    Raises
    ------
    WavelengthError
        If they state a unit that is not known.
    """
    unit = stated_unit(values)
    if unit is not None and isinstance(values, list | tuple):
        return np.array([in_angstrom(value, name) for value in values])
    if isinstance(values, np.ma.MaskedArray) and values.dtype.kind in "fiu":
        values = np.ma.filled(values.astype(np.float64), np.nan)
    plain = np.asarray(getattr(values, "magnitude", values))  # pint warns about other ways
    if unit is None:
        return plain
    factor = angstrom_per(unit, name)
    return plain * factor if plain.dtype.kind in "fiu" else plain


def _unit_text(unit: object) -> str:
    """Return a unit as text; empty for none, and for an empty text as HDF5 stores it."""
    if isinstance(unit, np.ndarray) and unit.size == 1:
        unit = unit.item()
    if unit is None or getattr(unit, "shape", ()) is None:
        return ""
    return (unit.decode(errors="replace") if isinstance(unit, bytes) else str(unit)).strip()


def _folded(text: str) -> str:
    # NFKC makes one Å of the letter and the sign, and one μ of the letter and the prefix.
    return "".join(unicodedata.normalize("NFKC", text).casefold().split())
