"""How flux and errors are stored: float32, 16-bit integers with BSCALE and BZERO, or float16.

Examples
--------
>>> import numpy as np
>>> quantized = Quantized16.over(-0.5, 2.7767)
>>> stored = quantized.encode(np.array([[1.0, np.nan, 0.25]], dtype=np.float32))
>>> stored
array([[30000, 65535, 15000]], dtype=uint16)
>>> [f"{value:.2f}" for value in quantized.decode(stored)[0]]
['1.00', 'nan', '0.25']
>>> error = np.array([[0.01, 0.0, 1e9]], dtype=np.float32)
>>> [f"{value:.4f}" for value in Float16().decode(Float16().encode(error))[0]]
['0.0100', 'nan', 'nan']
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from galahstream.errors import OptionError

NO_VALUE = 65535
"""The stored value of a pixel that is not finite."""

DEFAULT_RANGE = (-0.5, 2.7767)
"""Default flux range, in steps of 5e-5: a hundredth of the noise at SNR 200."""

MAX_CLIPPED_FRACTION = 1e-3
"""Largest fraction of all pixels that may lie outside the default range."""


class Encoding(Protocol):
    """Conversion between float32 flux, or errors, and the values that are stored.

    Implementations are frozen dataclasses: hashable and picklable.
    """

    dtype: ClassVar[np.dtype[Any]]
    """Type of the stored values, little-endian."""

    def encode(self, values: npt.NDArray[np.float32], /) -> npt.NDArray[Any]:
        """Return what is stored for values (n, L), C-ordered, of type `dtype`."""

    def decode(self, stored: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return the float32 values of what is stored, NaN where there is none."""

    def count_outside(self, values: npt.NDArray[np.float32], /) -> int:
        """Return the number of finite values that :meth:`encode` cannot keep."""

    def holds(self, lowest: float, highest: float) -> bool:
        """Return whether :meth:`encode` keeps every finite value from `lowest` to `highest`."""


@dataclass(frozen=True)
class Float32:
    """Flux stored as it is, exactly."""

    dtype: ClassVar[np.dtype[Any]] = np.dtype("<f4")

    def encode(self, flux: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """Return flux in C order, without a copy if it is already."""
        return np.ascontiguousarray(flux, dtype=self.dtype)

    def decode(self, stored: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return the stored values."""
        return stored.astype(np.float32, copy=False)

    def count_outside(self, flux: npt.NDArray[np.float32]) -> int:
        """Return 0: nothing is clipped."""
        return 0

    def holds(self, lowest: float, highest: float) -> bool:
        """Return True: nothing is clipped."""
        return True


@dataclass(frozen=True)
class Quantized16:
    """Flux = bzero + bscale x stored, for 0 to 65,534; the error is at most bscale / 2."""

    bscale: float
    bzero: float

    dtype: ClassVar[np.dtype[Any]] = np.dtype("<u2")

    @classmethod
    def over(cls, low: float, high: float) -> "Quantized16":
        """Return the encoding whose first and last value are `low` and `high`.

        Raises
        ------
        OptionError
            If they are not numbers in rising order that float32 can hold.
        """
        low, high = float(low), float(high)
        bscale = (high - low) / (NO_VALUE - 1)
        largest = float(np.finfo(np.float32).max)
        if not (-largest <= low < high <= largest and bscale > 0):
            msg = f"flux range {low!r} to {high!r} cannot be used; expected two rising numbers"
            raise OptionError(msg)
        return cls(bscale=float(f"{bscale:.9g}"), bzero=low)

    @property
    def high(self) -> float:
        """The largest flux that can be stored."""
        return self.bzero + self.bscale * (NO_VALUE - 1)

    @cached_property
    def table(self) -> npt.NDArray[np.float32]:
        """The flux of each stored value, shape (65536,), float32; NaN for `NO_VALUE`."""
        with np.errstate(over="ignore", under="ignore"):  # values at the ends of float32
            flux = (self.bzero + self.bscale * np.arange(NO_VALUE + 1)).astype(np.float32)
        flux[NO_VALUE] = np.nan
        return flux

    @cached_property
    def steps(self) -> tuple[np.float32, np.float32]:
        """Return bscale and bzero as float32."""
        return np.float32(self.bscale), np.float32(self.bzero)

    def encode(self, flux: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
        """Return the stored values of flux; flux outside the range is clipped to its ends."""
        with np.errstate(all="ignore"):  # values that overflow are clipped below
            # float64 scaling would move twice the bytes; float32 is off by less than 0.01 steps.
            steps = flux - np.float32(self.bzero)
            steps *= np.float32(1 / self.bscale)
            np.rint(steps, out=steps)
            finite = np.isfinite(flux)
            np.clip(steps, 0, NO_VALUE - 1, out=steps)
        if not finite.all():
            steps[~finite] = NO_VALUE
        return steps.astype(self.dtype, order="C")

    def decode(self, stored: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return the flux of stored values, NaN where there is none."""
        flux: npt.NDArray[np.float32] = self.table[stored]
        return flux

    def count_outside(self, flux: npt.NDArray[np.float32]) -> int:
        """Return the number of finite pixels more than half a step outside the range."""
        low, high = self.bzero - self.bscale / 2, self.high + self.bscale / 2
        with np.errstate(over="ignore", invalid="ignore"):  # wide ranges, NaN
            outside = (flux < low) | ((flux > high) & (flux != np.inf))
            return int(np.count_nonzero(outside & (flux != -np.inf)))

    def holds(self, lowest: float, highest: float) -> bool:
        """Return whether the range includes `lowest` and `highest`; False if one is NaN."""
        return bool(self.bzero <= lowest and highest <= self.high)


@dataclass(frozen=True)
class Float16:
    """Errors stored as float16, with 11 significant bits: off by at most 0.05 %.

    Below `smallest_normal` they are off by at most 3e-8. An error that is not a positive
    number from `smallest` to `largest` is stored as NaN, for unknown: an error of 0 would
    give its pixel an infinite weight.
    """

    dtype: ClassVar[np.dtype[Any]] = np.dtype("<f2")
    smallest: ClassVar[float] = 2.0**-24
    smallest_normal: ClassVar[float] = 2.0**-14
    largest: ClassVar[float] = 65504.0

    def encode(self, error: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
        """Return the errors as float16, NaN where they are unknown."""
        with np.errstate(invalid="ignore", over="ignore", under="ignore"):
            stored = error.astype(self.dtype, order="C")
            stored[~self._is_held(error)] = np.nan
        return stored

    def decode(self, stored: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        """Return the errors as float32, NaN where they are unknown."""
        return stored.astype(np.float32)

    def count_outside(self, error: npt.NDArray[np.float32]) -> int:
        """Return the number of finite errors that are stored as unknown."""
        return int(np.count_nonzero(np.isfinite(error) & ~self._is_held(error)))

    def holds(self, lowest: float, highest: float) -> bool:
        """Return whether both are errors that can be stored; False if one is NaN."""
        return self.smallest <= lowest and highest <= self.largest

    def _is_held(self, error: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        with np.errstate(invalid="ignore"):
            held: npt.NDArray[np.bool_] = (error >= self.smallest) & (error <= self.largest)
        return held
