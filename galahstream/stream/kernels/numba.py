"""Kernels compiled by numba: one pass over memory, without the GIL.

Flags: never ``nnan`` or ``ninf``, which turn a NaN into 89; ``error_model`` keeps
the loop free of a test for division by zero, so that it is vectorised.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numba
import numpy as np

from galahstream.store.quantization import Encoding, Float32, Quantized16
from galahstream.stream.kernels.base import Kernel, copy_rows, decode_rows, log_table
from galahstream.stream.transforms import LogFlux

# Decoding in float32 loses as many digits as bzero is larger than the floor.
_MAX_BZERO_OVER_FLOOR = 2.5

_FLAGS = {"contract", "nsz", "arcp", "reassoc", "afn"}


def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Return a function as numba compiles it, once for all processes where that can be kept."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": _FLAGS}
    try:
        compiled: Callable[..., None] = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder in which a cache can be written
        compiled = numba.njit(**options)(function)
    return compiled


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that numba compiles into those that call it."""
    inlined: Callable[..., Any] = numba.njit(
        inline="always", nogil=True, error_model="numpy", fastmath=_FLAGS
    )(function)
    return inlined


# log(1 + m) = m + m^2 (C2 + C3 m + ... + C8 m^6), a minimax fit over sqrt(1/2) - 1 to
# sqrt(2) - 1 that is off by at most 3.7e-8.
_C2, _C3, _C4, _C5, _C6, _C7, _C8 = np.array(
    [-0.50000584, 0.33335261, -0.24961465, 0.19888277, -0.17325996, 0.16335647, -0.10034618],
    dtype=np.float32,
)
_LN_2 = np.float32(0.69314718)


@numba.njit(inline="always", nogil=True, error_model="numpy", fastmath=_FLAGS)
def _log(x: Any) -> Any:
    """Return the natural logarithm of a normal float32 above 0, within 2e-7 of max(1, |log|).

    x = (1 + m) 2^e with 1 + m between sqrt(1/2) and sqrt(2).
    """
    bits = np.int32(np.float32(x).view(np.int32))
    exponent = np.int32(np.int32(bits - np.int32(0x3F3504F3)) >> np.int32(23))
    m = np.int32(bits - np.int32(exponent << np.int32(23))).view(np.float32) - np.float32(1)
    p = _C8
    p = p * m + _C7
    p = p * m + _C6
    p = p * m + _C5
    p = p * m + _C4
    p = p * m + _C3
    p = p * m + _C2
    return np.float32(exponent) * _LN_2 + (m + m * m * p)


def _log_rows(limits: Any, buffer: Any, starts: Any, out: Any, rows: Any) -> None:
    floor, fill = limits
    for index in range(len(starts)):
        target = out[rows[index]]
        source = buffer[starts[index] : starts[index] + target.size]
        for pixel in range(target.size):
            x = source[pixel]
            bits = np.float32(x).view(np.int32)
            finite = np.int32(bits & np.int32(0x7F800000)) != np.int32(0x7F800000)
            x = x if finite else fill
            target[pixel] = _log(x if x > floor else floor)


def _log_quantized_rows(
    steps: Any, limits: Any, buffer: Any, starts: Any, out: Any, rows: Any
) -> None:
    bscale, bzero = steps
    floor, fill = limits
    for index in range(len(starts)):
        target = out[rows[index]]
        source = buffer[starts[index] : starts[index] + target.size]
        for pixel in range(target.size):
            stored = np.int32(source[pixel])
            x = bzero + bscale * np.float32(stored)
            x = x if stored != np.int32(65535) else fill
            target[pixel] = _log(x if x > floor else floor)


def _look_up_rows(table: Any, buffer: Any, starts: Any, out: Any, rows: Any) -> None:
    for index in range(len(starts)):
        target = out[rows[index]]
        source = buffer[starts[index] : starts[index] + target.size]
        for pixel in range(target.size):
            target[pixel] = table[source[pixel]]


log_rows = compiled(_log_rows)
log_quantized_rows = compiled(_log_quantized_rows)
look_up_rows = compiled(_look_up_rows)


def make_kernel(encoding: Encoding, log: LogFlux | None) -> Kernel:
    """Return the kernel that decodes values and takes the logarithm if there is a `log`."""
    if isinstance(encoding, Quantized16):
        if log is None:
            return partial(look_up_rows, encoding.table)
        # Half again as fast as a look-up, which uses no vector instructions.
        if abs(encoding.bzero) <= _MAX_BZERO_OVER_FLOOR * log.floor:
            return partial(log_quantized_rows, encoding.steps, log.limits)
        return partial(look_up_rows, log_table(encoding, log))
    if isinstance(encoding, Float32):
        return copy_rows if log is None else partial(log_rows, log.limits)
    return partial(decode_rows, encoding, log)
