"""What the attributes of an HDF5 dataset say about its values, as netCDF and CF define them.

A value is the stored number x ``scale_factor`` + ``add_offset``, and missing where the
stored number is ``_FillValue`` or one of ``missing_value``. Attributes of other
conventions that change values, such as ``valid_range`` or FITS's ``BSCALE``, are rejected
by name unless they change nothing: their meaning differs between the programs that write
them.
"""

import re
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from galahstream.errors import LabelError, SourceFormatError
from galahstream.survey.units import UNIT_NAMES, angstrom_per, unit_attribute
from galahstream.survey.wavelength import check_grid
from galahstream.validation import shown

_FILL_NAMES = ("_fillvalue", "fillvalue", "fill_value", "missing_value")
# Other attributes that change values, in lower case, and with which values they change nothing.
_UNSUPPORTED: dict[str, tuple[object, ...]] = {
    r"_unsigned": ("false",),
    r"valid_(min|max|range)": (),
    r"bscale|tscal\d*|scale|scalefactor": (1, "linear"),
    r"bzero|tzero\d*|offset|addoffset": (0,),
    r"blank|tnull\d*|missingvalue|missing_values|no_?data|no_?data_?value": (),
}
_NOT_A_VARIABLE = "This is a netCDF dimension but not a netCDF variable"


@dataclass(frozen=True)
class Packing:
    """How the stored numbers of a dataset become its values.

    Attributes
    ----------
    scale, offset : float
        Value = stored number x scale + offset.
    fill_values : tuple of int or float
        Stored numbers that stand for a missing value.
    """

    scale: float = 1.0
    offset: float = 0.0
    fill_values: tuple[float, ...] = ()

    def unpack(self, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the values of stored numbers, NaN where one is missing.

        Their dtype stays if nothing changes, or if some floats only become NaN; else they
        are float64.
        """
        is_missing = np.zeros(stored.shape, dtype=bool)
        for fill_value in self.fill_values:
            is_missing |= stored == stored.dtype.type(fill_value)
        is_scaled = (self.scale, self.offset) != (1.0, 0.0)
        if not is_scaled and not is_missing.any():
            return stored
        keeps_dtype = stored.dtype.kind == "f" and not is_scaled
        values = stored.astype(stored.dtype if keeps_dtype else np.float64)
        if is_scaled:
            values = values * self.scale + self.offset
        values[is_missing] = np.nan
        return values


def read_packing(dataset: h5py.Dataset, name: str) -> Packing:
    """Return the packing that a dataset's attributes state.

    Parameters
    ----------
    dataset : h5py.Dataset
        A dataset of numbers.
    name : str
        What messages call it.

    Raises
    ------
    SourceFormatError
        If an attribute has a value that cannot be used, or its convention is not known.
    """
    scale, offset = 1.0, 0.0
    fill_values: list[float] = []
    for attribute in dataset.attrs:
        folded = attribute.casefold()
        if folded == "scale_factor":
            scale = _finite_number(dataset, attribute, name)
            if scale == 0:
                raise _unusable(dataset, attribute, name, "a number other than 0")
        elif folded == "add_offset":
            offset = _finite_number(dataset, attribute, name)
        elif folded in _FILL_NAMES:
            fill_values += _stored_numbers(dataset, attribute, name)
        else:
            _check_supported(dataset, attribute, name)
    return Packing(scale, offset, tuple(fill_values))


def read_grid(dataset: h5py.Dataset, n_pixels: int, name: str) -> npt.NDArray[np.float64]:
    """Return the wavelengths of a dataset in Å, shape (n_pixels,).

    Raises
    ------
    SourceFormatError, WavelengthError
        If they, their packing or their unit cannot be used.
    """
    grid = check_grid(read_packing(dataset, name).unpack(dataset[()]), n_pixels, name)
    stated = unit_attribute(dataset.attrs)
    if stated is None:
        return grid
    return grid * angstrom_per(stated.unit, f"{name}, attribute {stated.name!r}")


def column_units(table: h5py.Dataset, columns: tuple[str, ...], name: str) -> dict[str, str]:
    """Return the units that a table states for its columns in an attribute ``units``.

    Raises
    ------
    LabelError
        If the attribute does not have one text per column.
    """
    attribute = next((key for key in table.attrs if key.casefold() in UNIT_NAMES), None)
    if attribute is None:
        return {}
    given = np.atleast_1d(table.attrs[attribute])
    if given.shape == (1,) and (isinstance(given[0], h5py.Empty) or not _text(given[0]).strip()):
        return {}
    if given.shape != (len(columns),) or given.dtype.kind not in "SUO":
        msg = (
            f"{name}: attribute {attribute!r} is {_shown(table.attrs[attribute])}; expected one "
            f"text for each of the {len(columns)} columns: correct or remove it"
        )
        raise LabelError(msg)
    return dict(zip(columns, map(_text, given), strict=True))


def is_dimension_scale(dataset: h5py.Dataset) -> bool:
    """Return whether a dataset numbers the rows or columns of others, as netCDF's dimensions do."""
    return _text(dataset.attrs.get("CLASS", "")) == "DIMENSION_SCALE"


def is_dimension_only(dataset: h5py.Dataset) -> bool:
    """Return whether a dataset only stands for a dimension of netCDF: its values mean nothing."""
    name = _text(dataset.attrs.get("NAME", ""))
    return is_dimension_scale(dataset) and name.startswith(_NOT_A_VARIABLE)


def _finite_number(dataset: h5py.Dataset, attribute: str, name: str) -> float:
    values = np.ravel(dataset.attrs[attribute])
    if values.size != 1 or values.dtype.kind not in "fiu" or not np.isfinite(values[0]):
        raise _unusable(dataset, attribute, name, "one finite number")
    return float(values[0])


def _stored_numbers(dataset: h5py.Dataset, attribute: str, name: str) -> list[float]:
    """Return fill values as the dataset stores them; NaN is missing without being named."""
    values = np.ravel(dataset.attrs[attribute])
    if values.dtype.kind not in "fiu":
        raise _unusable(dataset, attribute, name, "a number")
    values = values[~np.isnan(values)]
    with np.errstate(over="ignore", invalid="ignore"):
        stored = values.astype(dataset.dtype)
    is_integer = dataset.dtype.kind in "iu"
    # A float64 may be meant for a float32; an integer must be what it says.
    overflows = bool((np.isinf(stored) & ~np.isinf(values)).any())
    if overflows or (is_integer and stored.tolist() != values.tolist()):
        raise _unusable(dataset, attribute, name, f"a value of {dataset.dtype}")
    numbers: list[float] = stored.tolist()
    return numbers


def _check_supported(dataset: h5py.Dataset, attribute: str, name: str) -> None:
    for pattern, neutral in _UNSUPPORTED.items():
        if re.fullmatch(pattern, attribute.casefold()):
            values = np.ravel(dataset.attrs[attribute]).tolist()
            if not all(_plain(value) in neutral for value in values):
                msg = (
                    f"{name}: attribute {attribute!r} is {_shown(dataset.attrs[attribute])}, which "
                    f"is not applied; expected at most scale_factor, add_offset, _FillValue and "
                    f"missing_value: apply it to the values and remove the attribute"
                )
                raise SourceFormatError(msg)


def _unusable(dataset: h5py.Dataset, attribute: str, name: str, expected: str) -> SourceFormatError:
    return SourceFormatError(
        f"{name}: attribute {attribute!r} is {_shown(dataset.attrs[attribute])}; expected "
        f"{expected}: correct or remove it"
    )


def _plain(value: object) -> object:
    return _text(value).casefold() if isinstance(value, str | bytes) else value


def _text(value: object) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _shown(value: object) -> str:
    return shown(value.tolist() if isinstance(value, np.ndarray | np.generic) else value)
