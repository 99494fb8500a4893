"""Numbers that stand for a missing value in label columns, such as -9999.

Examples
--------
>>> import numpy as np
>>> from galahstream.survey.fill_values import likely_fill_values, without_values
>>> teff = np.array([5772.0, -9999.0, 4300.0, -9999.0, 6250.0])
>>> likely_fill_values({"teff": teff})
(FillValue(label='teff', value=-9999.0, rows=2),)
>>> without_values(teff, [-9999]).tolist()
[5772.0, nan, 4300.0, nan, 6250.0]
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_Values = npt.NDArray[np.float64]

_FLOAT32_PRECISION = 1e-7  # relative; half a step of float32 is 6e-8
_MAX_FLAG = 2**31
_MIN_OTHERS = 10
_UNMISTAKABLE = 99999
# Magnitudes: the limits of integers and floats, next to which are netCDF's fill values for
# integers, and netCDF's fill value for floats.
_LIMITS = (
    32767.0, 32768.0, 65535.0, 2.0**31 - 1, 2.0**31, 2.0**32 - 1, 2.0**63, 2.0**64,
    65504.0, float(np.finfo(np.float32).max), float(np.finfo(np.float64).max),
    9.969209968386869e36,
)  # fmt: skip


@dataclass(frozen=True)
class FillValue:
    """A value of a label that is likely to stand for a missing one.

    Attributes
    ----------
    label : str
        The label's name.
    value : float
    rows : int
        Number of rows with this value.
    """

    label: str
    value: float
    rows: int


def without_values(labels: _Values, values: Iterable[float]) -> _Values:
    """Return labels with some values replaced by NaN.

    Parameters
    ----------
    labels : ndarray of float64
    values : iterable of float
        Compared to the precision of float32, in which a source may have held them.
    """
    kept = labels.copy()
    with np.errstate(over="ignore"):
        for value in values:
            kept[np.isclose(labels, value, rtol=_FLOAT32_PRECISION, atol=0)] = np.nan
    return kept


def likely_fill_values(labels: Mapping[str, _Values]) -> tuple[FillValue, ...]:
    """Return the values of labels that are likely to stand for a missing one.

    Such a value is the smallest or largest of its column, is in several rows, and stands
    apart in one of two ways:

    - It is a number that is customary for this purpose, and no other value is within a
      tenth of its magnitude. Customary are nines (-999, 99.99), powers of ten from
      1e10 on, netCDF's fill values, and the limits of integers and floats.
    - It is farther from the nearest other value than all others are from each other, and
      in more rows than each of them. There must be ten others, and not all of the column
      are flags or counts (integers from 0 on), which may leave gaps of any size.

    A limit value of a label, such as an age of 13.5 in many rows, has neighbours and does
    not stand apart. Once a value is found, the column is examined again without it.

    Parameters
    ----------
    labels : mapping of str to ndarray, shape (N,)
        Columns by name. Values that are not finite count as missing already.
    """
    return tuple(
        FillValue(name, value, rows)
        for name, column in labels.items()
        for value, rows in _find(column, _stands_apart)
    )


def customary_fill_values(values: _Values) -> tuple[tuple[float, int], ...]:
    """Return values of a column that certainly stand for a missing one, and their rows.

    They are customary and stand apart, as :func:`likely_fill_values` says. One row is
    enough for values of at least 99999, such as 999999 and 1e20, and of at most -999.

    Parameters
    ----------
    values : ndarray, shape (N,), float64
        Values that are not finite count as missing already.
    """

    def is_fill_value(value: float, values: _Values) -> bool:
        is_alone = np.count_nonzero(values == value) < 2
        if not _is_customary(abs(value)) or (is_alone and -999 < value < _UNMISTAKABLE):
            return False
        others = values[values != value]
        with np.errstate(over="ignore"):
            return others.size == 0 or float(np.abs(others - value).min()) >= abs(value) / 10

    return tuple(_find(values, is_fill_value))


def _find(
    column: _Values, is_fill_value: Callable[[float, _Values], bool]
) -> list[tuple[float, int]]:
    values = column[np.isfinite(column)]
    found: list[tuple[float, int]] = []
    while values.size:
        extremes = (float(values.min()), float(values.max()))
        value = next((value for value in extremes if is_fill_value(value, values)), None)
        if value is None:
            break
        found.append((value, int(np.count_nonzero(values == value))))
        values = values[values != value]
    return found


def _stands_apart(value: float, values: _Values) -> bool:
    """Return whether an extreme of some values is likely to stand for a missing one."""
    others = values[values != value]
    rows = len(values) - len(others)
    if rows < 2 or others.size == 0:
        return False
    with np.errstate(over="ignore"):
        gap = float(np.abs(others - value).min())
        if _is_customary(abs(value)):
            return gap >= abs(value) / 10
        if gap <= np.ptp(others) or _are_flags(values):
            return False
    distinct, counts = np.unique(others, return_counts=True)
    return len(distinct) >= _MIN_OTHERS and rows > int(counts.max())


def _are_flags(values: _Values) -> bool:
    lowest, highest = values.min(), values.max()
    return bool(lowest >= 0 and highest < _MAX_FLAG and (values == np.floor(values)).all())


def _is_customary(magnitude: float) -> bool:
    is_limit = any(math.isclose(magnitude, limit, rel_tol=1e-7) for limit in _LIMITS)
    return is_limit or _is_nines(magnitude) or _is_large_power_of_ten(magnitude)


def _is_nines(magnitude: float) -> bool:
    # Six digits are those of a float32 such as 99.98999786.
    texts = (f"{magnitude:.6g}", f"{magnitude:.15g}")
    is_long = magnitude > 90 or (magnitude > 9 and len(texts[0]) > 3)
    return is_long and any(set(text.replace(".", "")) == {"9"} for text in texts)


def _is_large_power_of_ten(magnitude: float) -> bool:
    exponent = round(math.log10(magnitude)) if magnitude > 0 else 0
    return exponent >= 10 and math.isclose(magnitude, 10.0**exponent, rel_tol=1e-7)


def as_typed(value: float) -> str:
    """Return a number as it can be typed again, without losing a digit."""
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e10 else repr(value)
