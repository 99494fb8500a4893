"""Kernels that read errors beside the flux: their contract, and numpy's, row by row."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from galahstream.store.quantization import Encoding, Float16
from galahstream.stream.transforms import LogFlux

ErrorKernel: TypeAlias = Callable[
    [
        npt.NDArray[Any],
        npt.NDArray[np.int64],
        npt.NDArray[np.float16],
        npt.NDArray[np.int64],
        npt.NDArray[np.float32],
        npt.NDArray[np.int64],
    ],
    None,
]
"""``kernel(flux, starts, error, error_starts, out, rows)`` fills row ``rows[i]`` of `out` with the
errors of some pixels of the spectrum whose stored flux starts at ``flux[starts[i]]`` and whose
stored errors start at ``error[error_starts[i]]``. An unknown error is infinite."""


def make_kernel(
    encoding: Encoding, log: LogFlux | None, pixels: npt.NDArray[np.int64]
) -> ErrorKernel:
    """Return the kernel for the errors of logged flux, or of the flux itself without a `log`."""
    return _NumpyErrorKernel(encoding, log, pixels)


@dataclass(frozen=True, eq=False)
class _NumpyErrorKernel:
    encoding: Encoding
    log: LogFlux | None
    pixels: npt.NDArray[np.int64]

    def __call__(
        self,
        flux: npt.NDArray[Any],
        starts: npt.NDArray[np.int64],
        error: npt.NDArray[np.float16],
        error_starts: npt.NDArray[np.int64],
        out: npt.NDArray[np.float32],
        rows: npt.NDArray[np.int64],
    ) -> None:
        for row, start, error_start in zip(
            rows.tolist(), starts.tolist(), error_starts.tolist(), strict=True
        ):
            errors = Float16().decode(self._pixels_of(error, error_start))
            is_unknown = np.isnan(errors)
            if self.log is not None:
                values = self.encoding.decode(self._pixels_of(flux, start))
                is_unknown |= ~np.isfinite(values)
                with np.errstate(invalid="ignore", under="ignore"):
                    errors /= np.maximum(values, np.float32(self.log.floor))
            errors[is_unknown] = np.inf
            out[row] = errors

    def _pixels_of(self, buffer: npt.NDArray[Any], start: int) -> npt.NDArray[Any]:
        first, last = int(self.pixels[0]), int(self.pixels[-1])
        if last - first == len(self.pixels) - 1:
            return buffer[start + first : start + last + 1]
        return buffer[start + self.pixels]
