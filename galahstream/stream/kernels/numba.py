"""Kernels compiled by numba: one pass over memory, without the GIL.

Flags: never ``nnan`` or ``ninf``, which turn a NaN into 89; ``error_model`` keeps
the loop free of a test for division by zero, so that it is vectorised.
"""

from collections.abc import Callable, Collection
from functools import partial
from typing import Any, NamedTuple

import numba
import numpy as np

from galahstream.store.quantization import Encoding, Float32, Quantized16
from galahstream.stream.kernels import numpy as numpy_kernels
from galahstream.stream.kernels.base import Kernel, Pixels, log_table
from galahstream.stream.transforms import LogFlux
from galahstream.survey.windows import pixel_spans

# Decoding in float32 loses as many digits as bzero is larger than the floor.
_MAX_BZERO_OVER_FLOOR = 2.5

_FLAGS = {"contract", "nsz", "arcp", "reassoc", "afn"}


def compiled(function: Callable[..., Any], flags: Collection[str] = _FLAGS) -> Callable[..., Any]:
    """Return a function as numba compiles it, once for all processes where that can be kept."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": set(flags)}
    try:
        kernel: Callable[..., Any] = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder in which a cache can be written
        kernel = numba.njit(**options)(function)
    return kernel


compiled_exactly = partial(compiled, flags=())
"""Compile a function whose results are those of NumPy, to the last bit."""


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that numba compiles into those that call it."""
    part: Callable[..., Any] = numba.njit(
        inline="always", nogil=True, error_model="numpy", fastmath=_FLAGS
    )(function)
    return part


# log(1 + m) = m + m^2 (C2 + C3 m + ... + C8 m^6), a minimax fit over sqrt(1/2) - 1 to
# sqrt(2) - 1 that is off by at most 3.7e-8.
_C2, _C3, _C4, _C5, _C6, _C7, _C8 = np.array(
    [-0.50000584, 0.33335261, -0.24961465, 0.19888277, -0.17325996, 0.16335647, -0.10034618],
    dtype=np.float32,
)
_LN_2 = np.float32(0.69314718)


@inlined
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


@inlined
def _log_pixels(floor: Any, fill: Any, source: Any, target: Any) -> None:
    for pixel in range(target.size):
        x = source[pixel]
        bits = np.float32(x).view(np.int32)
        finite = np.int32(bits & np.int32(0x7F800000)) != np.int32(0x7F800000)
        x = x if finite else fill
        target[pixel] = _log(x if x > floor else floor)


@inlined
def _log_quantized_pixels(
    bscale: Any, bzero: Any, floor: Any, fill: Any, source: Any, target: Any
) -> None:
    for pixel in range(target.size):
        stored = np.int32(source[pixel])
        x = bzero + bscale * np.float32(stored)
        x = x if stored != np.int32(65535) else fill
        target[pixel] = _log(x if x > floor else floor)


@inlined
def _look_up_pixels(table: Any, source: Any, target: Any) -> None:
    for pixel in range(target.size):
        target[pixel] = table[source[pixel]]


def _log_rows(limits: Any, buffer: Any, starts: Any, out: Any, rows: Any) -> None:
    floor, fill = limits
    for index in range(len(starts)):
        target = out[rows[index]]
        source = buffer[starts[index] : starts[index] + target.size]
        _log_pixels(floor, fill, source, target)


def _log_spans(limits: Any, spans: Any, buffer: Any, starts: Any, out: Any, rows: Any) -> None:
    floor, fill = limits
    for index in range(len(starts)):
        target, stop = out[rows[index]], 0
        for span in range(len(spans)):
            source = buffer[starts[index] + spans[span, 0] : starts[index] + spans[span, 1]]
            start, stop = stop, stop + source.size
            _log_pixels(floor, fill, source, target[start:stop])


def _log_quantized_rows(scales: Any, buffer: Any, starts: Any, out: Any, rows: Any) -> None:
    bscale, bzero, floor, fill = scales
    for index in range(len(starts)):
        target = out[rows[index]]
        source = buffer[starts[index] : starts[index] + target.size]
        _log_quantized_pixels(bscale, bzero, floor, fill, source, target)


def _log_quantized_spans(
    scales: Any, spans: Any, buffer: Any, starts: Any, out: Any, rows: Any
) -> None:
    bscale, bzero, floor, fill = scales
    for index in range(len(starts)):
        target, stop = out[rows[index]], 0
        for span in range(len(spans)):
            source = buffer[starts[index] + spans[span, 0] : starts[index] + spans[span, 1]]
            start, stop = stop, stop + source.size
            _log_quantized_pixels(bscale, bzero, floor, fill, source, target[start:stop])


def _look_up_rows(table: Any, buffer: Any, starts: Any, out: Any, rows: Any) -> None:
    for index in range(len(starts)):
        target = out[rows[index]]
        source = buffer[starts[index] : starts[index] + target.size]
        _look_up_pixels(table, source, target)


def _look_up_spans(table: Any, spans: Any, buffer: Any, starts: Any, out: Any, rows: Any) -> None:
    for index in range(len(starts)):
        target, stop = out[rows[index]], 0
        for span in range(len(spans)):
            source = buffer[starts[index] + spans[span, 0] : starts[index] + spans[span, 1]]
            start, stop = stop, stop + source.size
            _look_up_pixels(table, source, target[start:stop])


class _Compiled(NamedTuple):
    """A kernel for rows of adjacent pixels, and one for rows of several spans of pixels."""

    rows: Callable[..., None]
    spans: Callable[..., None]

    def bind(self, parameters: Any, pixels: Pixels) -> Kernel:
        """Return the kernel that reads these pixels."""
        if pixels is None:
            return partial(self.rows, parameters)
        return partial(self.spans, parameters, pixel_spans(pixels))


_LOG = _Compiled(compiled(_log_rows), compiled(_log_spans))
_LOG_QUANTIZED = _Compiled(compiled(_log_quantized_rows), compiled(_log_quantized_spans))
_LOOK_UP = _Compiled(compiled(_look_up_rows), compiled(_look_up_spans))


def make_kernel(encoding: Encoding, log: LogFlux | None, pixels: Pixels = None) -> Kernel:
    """Return the kernel that decodes values and takes the logarithm if there is a `log`."""
    if isinstance(encoding, Quantized16):
        if log is None:
            return _LOOK_UP.bind(encoding.table, pixels)
        # Half again as fast as a look-up, which uses no vector instructions.
        if abs(encoding.bzero) <= _MAX_BZERO_OVER_FLOOR * log.floor:
            return _LOG_QUANTIZED.bind((*encoding.steps, *log.limits), pixels)
        return _LOOK_UP.bind(log_table(encoding, log), pixels)
    if isinstance(encoding, Float32) and log is not None:
        return _LOG.bind(log.limits, pixels)
    return numpy_kernels.make_kernel(encoding, log, pixels)
