"""Gather, decode, fill, floor and log in one pass over memory, with numba or with numpy.

The unit of both kernels is a piece of rows as :meth:`FluxReader.pieces` yields
them: a flat array as it is stored, and where in it each row starts.
"""

import warnings
from functools import cache, lru_cache
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from galahstream.store.quantization import NO_VALUE, Quantized16
from galahstream.stream.transforms import LogFlux

_Rows: TypeAlias = npt.NDArray[np.int64]
_Flux: TypeAlias = npt.NDArray[np.float32]


# Decoding in float32 loses as many digits as the bzero is larger than the floor.
_MAX_ZERO_OVER_FLOOR = 2.5


class Kernels(Protocol):
    """What turns pieces of rows into rows of `out`, shape (n, width), float32."""

    name: str

    def log_rows(self, flat: Any, starts: _Rows, log: LogFlux, out: _Flux) -> None:
        """Log float32 flux."""

    def log_codes(
        self, flat: Any, starts: _Rows, codec: Quantized16, log: LogFlux, out: _Flux
    ) -> None:
        """Decode 16-bit flux and log it."""

    def look_up(self, flat: Any, starts: _Rows, table: _Flux, out: _Flux) -> None:
        """Take each code's entry of a table of 65,536 float32."""


class NumpyKernels:
    """Numpy row by row: the passes over one spectrum stay in the cache."""

    name = "numpy"

    def log_rows(self, flat: Any, starts: _Rows, log: LogFlux, out: _Flux) -> None:
        """Log float32 flux."""
        width = out.shape[1]
        for row, start in zip(out, starts.tolist(), strict=True):
            row[:] = flat[start : start + width]
            log.apply_in_place(row)

    def log_codes(
        self, flat: Any, starts: _Rows, codec: Quantized16, log: LogFlux, out: _Flux
    ) -> None:
        """Decode 16-bit flux and log it: one look-up."""
        self.look_up(flat, starts, log_table(codec, log), out)

    def look_up(self, flat: Any, starts: _Rows, table: _Flux, out: _Flux) -> None:
        """Take each code's entry of a table of 65,536 float32."""
        width = out.shape[1]
        for row, start in zip(out, starts.tolist(), strict=True):
            # mode="clip" spares np.take a second copy of the output; no code is outside.
            np.take(table, flat[start : start + width], out=row, mode="clip")


class NumbaKernels:
    """Compiled loops: one pass, without the GIL.

    Raises
    ------
    ImportError
        Without numba.
    """

    name = "numba"

    def __init__(self) -> None:
        from galahstream.stream.kernels import numba as compiled

        self._compiled = compiled

    def log_rows(self, flat: Any, starts: _Rows, log: LogFlux, out: _Flux) -> None:
        """Log float32 flux."""
        self._compiled.log_rows(flat, starts, *log.limits, out)

    def log_codes(
        self, flat: Any, starts: _Rows, codec: Quantized16, log: LogFlux, out: _Flux
    ) -> None:
        """Decode 16-bit flux and log it: half again as fast as a look-up, which is no SIMD."""
        if abs(codec.bzero) <= _MAX_ZERO_OVER_FLOOR * log.floor:
            self._compiled.log_codes(flat, starts, *codec.steps, *log.limits, out)
        else:
            self.look_up(flat, starts, log_table(codec, log), out)

    def look_up(self, flat: Any, starts: _Rows, table: _Flux, out: _Flux) -> None:
        """Take each code's entry of a table of 65,536 float32."""
        self._compiled.look_up_rows(flat, starts, table, out)


@cache
def best_kernels() -> Kernels:
    """Return the kernels of numba where it is installed; else those of numpy, and say so once."""
    try:
        return NumbaKernels()
    except ImportError as error:
        warnings.warn(
            f"galahstream reads with numpy's kernels, at half the speed of numba's ({error}): "
            f"pip install 'galahstream[fast]'",
            stacklevel=2,
        )
        return NumpyKernels()


@lru_cache(maxsize=8)
def log_table(codec: Quantized16, log: LogFlux) -> npt.NDArray[np.float32]:
    """Return the transformed flux of each 16-bit code, shape (65536,), float32."""
    flux = codec.table.astype(np.float64)
    flux[NO_VALUE] = log.fill
    return np.log(np.maximum(flux, log.floor)).astype(np.float32)
