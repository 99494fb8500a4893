"""The kernels of :mod:`galahstream.stream.kernels`, compiled by numba without the GIL.

Flags: never ``nnan`` or ``ninf``, which turn a NaN into 89; ``error_model`` keeps
the loop free of a test for division by zero, so that it is vectorised.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

_FLAGS = {"contract", "nsz", "arcp", "reassoc", "afn"}


def _compiled(function: Callable[..., None]) -> Callable[..., None]:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": _FLAGS}
    try:
        compiled: Callable[..., None] = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no place where a cache can be written
        compiled = numba.njit(**options)(function)
    return compiled


@numba.njit(inline="always", nogil=True, error_model="numpy", fastmath=_FLAGS)
def _log(x: Any) -> Any:
    """Return the natural logarithm of a normal float32 above 0, within 1.3e-7 of max(1, |log|).

    x = m 2^e with m between sqrt(1/2) and sqrt(2); log m by the polynomial of the
    Cephes library's logf (Moshier 1992), ln 2 in two parts.
    """
    bits = np.int32(np.float32(x).view(np.int32))
    exponent = np.int32(np.int32(bits - np.int32(0x3F3504F3)) >> np.int32(23))
    m = np.int32(bits - np.int32(exponent << np.int32(23))).view(np.float32) - np.float32(1)
    e = np.float32(exponent)
    p = np.float32(7.0376836292e-2)
    p = p * m + np.float32(-1.1514610310e-1)
    p = p * m + np.float32(1.1676998740e-1)
    p = p * m + np.float32(-1.2420140846e-1)
    p = p * m + np.float32(1.4249322787e-1)
    p = p * m + np.float32(-1.6668057665e-1)
    p = p * m + np.float32(2.0000714765e-1)
    p = p * m + np.float32(-2.4999993993e-1)
    p = p * m + np.float32(3.3333331174e-1)
    square = m * m
    tail = p * m * square - np.float32(0.5) * square + e * np.float32(-2.12194440e-4)
    return e * np.float32(0.693359375) + (m + tail)


def _log_rows(flat: Any, starts: Any, floor: Any, fill: Any, out: Any) -> None:
    for row in range(len(starts)):
        target = out[row]
        source = flat[starts[row] : starts[row] + target.size]
        for pixel in range(target.size):
            x = source[pixel]
            bits = np.float32(x).view(np.int32)
            finite = np.int32(bits & np.int32(0x7F800000)) != np.int32(0x7F800000)
            x = x if finite else fill
            target[pixel] = _log(x if x > floor else floor)


def _look_up_rows(flat: Any, starts: Any, table: Any, out: Any) -> None:
    for row in range(len(starts)):
        target = out[row]
        source = flat[starts[row] : starts[row] + target.size]
        for pixel in range(target.size):
            target[pixel] = table[source[pixel]]


log_rows = _compiled(_log_rows)
look_up_rows = _compiled(_look_up_rows)
