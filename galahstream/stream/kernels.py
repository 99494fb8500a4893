"""Gather, decode, fill, floor and log in one pass over memory, with numba or with numpy.

The unit of both kernels is a piece of rows as :meth:`FluxReader.pieces` yields
them: a flat array as it is stored, and where in it each row starts.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from galahstream.store.codec import NO_VALUE, Codec
from galahstream.stream.transforms import LogFlux

_Rows: TypeAlias = npt.NDArray[np.int64]
_Flux: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Kernels:
    """A pair of kernels by the name of what runs them; both fill `out`, shape (n, width).

    ``log_rows(flat, starts, floor, fill, out)`` is log(max(flux, floor)) with
    `fill` for pixels that are not finite; ``look_up_rows(flat, starts, table,
    out)`` takes each code's entry of a table of 65,536 float32.
    """

    name: str
    log_rows: Callable[[Any, _Rows, np.float32, np.float32, _Flux], None]
    look_up_rows: Callable[[Any, _Rows, _Flux, _Flux], None]


def _log_rows(flat: Any, starts: _Rows, floor: np.float32, fill: np.float32, out: _Flux) -> None:
    log = LogFlux(float(floor), float(fill))
    width = out.shape[1]
    # Row by row the three passes over a spectrum stay in the cache.
    for row, start in zip(out, starts.tolist(), strict=True):
        row[:] = flat[start : start + width]
        log.apply_in_place(row)


def _look_up_rows(flat: Any, starts: _Rows, table: _Flux, out: _Flux) -> None:
    width = out.shape[1]
    for row, start in zip(out, starts.tolist(), strict=True):
        # mode="clip" spares np.take a second copy of the output; no code is outside.
        np.take(table, flat[start : start + width], out=row, mode="clip")


NUMPY = Kernels("numpy", _log_rows, _look_up_rows)


@cache
def best_kernels() -> Kernels:
    """Return the kernels of numba where it is installed; else those of numpy, and say so once."""
    try:
        from galahstream.stream import compiled
    except ImportError as error:
        warnings.warn(
            f"galahstream reads with numpy's kernels, at half the speed of numba's ({error}): "
            f"pip install 'galahstream[fast]'",
            stacklevel=2,
        )
        return NUMPY
    return Kernels("numba", compiled.log_rows, compiled.look_up_rows)


def log_table(codec: Codec, log: LogFlux) -> npt.NDArray[np.float32]:
    """Return the transformed flux of each 16-bit code, shape (65536,), float32."""
    flux = codec.table.astype(np.float64)
    flux[NO_VALUE] = log.fill
    return np.log(np.maximum(flux, log.floor)).astype(np.float32)
