"""The 16-bit code of flux: FITS's BSCALE and BZERO, with one code for "no value".

Examples
--------
>>> import numpy as np
>>> codec = Codec.over(-0.5, 2.7767)
>>> codes = codec.encode(np.array([[1.0, np.nan, 0.25]], dtype=np.float32))
>>> codes
array([[30000, 65535, 15000]], dtype=uint16)
>>> [f"{value:.2f}" for value in codec.decode(codes)[0]]
['1.00', 'nan', '0.25']
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from galahstream.errors import OptionError

NO_VALUE = 65535
"""The code of a pixel that is not finite."""

DEFAULT_RANGE = (-0.5, 2.7767)
"""Flux that the default code holds, in steps of 5e-5: a hundredth of the noise at SNR 200."""

MAX_CLIPPED_FRACTION = 1e-3
"""The part of all pixels that may lie outside the range of the code."""


@dataclass(frozen=True)
class Codec:
    """Flux = zero + scale x code, for the codes 0 to 65,534; the error is at most scale / 2."""

    scale: float
    zero: float

    @classmethod
    def over(cls, low: float, high: float) -> "Codec":
        """Return the code whose first and last value are `low` and `high`.

        Raises
        ------
        OptionError
            If they are no finite numbers in rising order.
        """
        scale = (high - low) / (NO_VALUE - 1)
        if not (math.isfinite(scale) and scale > 0):
            msg = f"flux range {low!r} to {high!r} cannot be used; expected two rising numbers"
            raise OptionError(msg)
        return cls(scale=float(f"{scale:.9g}"), zero=float(low))

    @property
    def high(self) -> float:
        """The largest flux that has a code."""
        return self.zero + self.scale * (NO_VALUE - 1)

    @cached_property
    def table(self) -> npt.NDArray[np.float32]:
        """The flux of each code, shape (65536,), float32; NaN for "no value"."""
        flux = (self.zero + self.scale * np.arange(NO_VALUE + 1)).astype(np.float32)
        flux[NO_VALUE] = np.nan
        return flux

    @cached_property
    def steps(self) -> tuple[np.float32, np.float32]:
        """Scale and zero as float32."""
        return np.float32(self.scale), np.float32(self.zero)

    def encode(self, flux: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
        """Return the codes of flux; what lies outside the range is clipped to its ends."""
        # float64 scaling would move twice the bytes; float32 is off by less than 0.01 codes.
        steps = flux - np.float32(self.zero)
        with np.errstate(over="ignore"):  # what becomes infinite is clipped below
            steps *= np.float32(1 / self.scale)
        np.rint(steps, out=steps)
        finite = np.isfinite(flux)
        np.clip(steps, 0, NO_VALUE - 1, out=steps)
        if not finite.all():
            steps[~finite] = NO_VALUE
        return steps.astype("<u2")

    def count_outside(self, flux: npt.NDArray[np.float32]) -> int:
        """Return how many finite pixels lie more than half a step outside the range."""
        low, high = self.zero - self.scale / 2, self.high + self.scale / 2
        outside = (flux < low) | ((flux > high) & (flux != np.inf))
        return int(np.count_nonzero(outside & (flux != -np.inf)))

    def decode(self, codes: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
        """Return the flux of codes, NaN where there was no value."""
        return self.table[codes]
