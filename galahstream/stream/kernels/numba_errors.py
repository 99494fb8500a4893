"""Kernels compiled by numba that read errors beside the flux, in one pass over both."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from galahstream.store.quantization import Encoding, Float32, Quantized16
from galahstream.stream.kernels import errors as numpy_kernels
from galahstream.stream.kernels.errors import ErrorKernel
from galahstream.stream.kernels.numba import compiled, inlined
from galahstream.stream.transforms import LogFlux
from galahstream.survey.windows import pixel_spans

# A float16 has the exponent bias 15, a float32 the bias 127.
_BIAS = np.float32(2.0**112)
_INFINITY = np.float32(np.inf)


@inlined
def _decode(bits: Any) -> Any:
    """Return a float16 of 0 or more from its bits; numba has no float16 on the CPU.

    Its 10 bits of mantissa and 5 of exponent become the upper ones of a float32.
    """
    return np.int32(bits << np.int32(13)).view(np.float32) * _BIAS


@inlined
def _is_known(bits: Any) -> Any:
    """Return whether a float16 is above 0 and finite."""
    return (bits > np.int32(0)) & (bits < np.int32(0x7C00))


def _error_rows(spans: Any, error: Any, error_starts: Any, out: Any, rows: Any) -> None:
    for index in range(len(error_starts)):
        target, stop = out[rows[index]], 0
        for span in range(len(spans)):
            first, last = spans[span, 0], spans[span, 1]
            errors = error[error_starts[index] + first : error_starts[index] + last]
            start, stop = stop, stop + errors.size
            part = target[start:stop]
            for pixel in range(part.size):
                bits = np.int32(errors[pixel])
                part[pixel] = _decode(bits) if _is_known(bits) else _INFINITY


def _relative_error_rows(
    floor: Any,
    spans: Any,
    flux: Any,
    starts: Any,
    error: Any,
    error_starts: Any,
    out: Any,
    rows: Any,
) -> None:
    for index in range(len(starts)):
        target, stop = out[rows[index]], 0
        for span in range(len(spans)):
            first, last = spans[span, 0], spans[span, 1]
            source = flux[starts[index] + first : starts[index] + last]
            errors = error[error_starts[index] + first : error_starts[index] + last]
            start, stop = stop, stop + source.size
            part = target[start:stop]
            for pixel in range(part.size):
                x = source[pixel]
                finite = np.int32(np.float32(x).view(np.int32) & np.int32(0x7F800000)) != np.int32(
                    0x7F800000
                )
                bits = np.int32(errors[pixel])
                relative = _decode(bits) / (x if x > floor else floor)
                part[pixel] = relative if finite & _is_known(bits) else _INFINITY


def _quantized_relative_error_rows(
    scales: Any,
    spans: Any,
    flux: Any,
    starts: Any,
    error: Any,
    error_starts: Any,
    out: Any,
    rows: Any,
) -> None:
    bscale, bzero, floor = scales
    for index in range(len(starts)):
        target, stop = out[rows[index]], 0
        for span in range(len(spans)):
            first, last = spans[span, 0], spans[span, 1]
            source = flux[starts[index] + first : starts[index] + last]
            errors = error[error_starts[index] + first : error_starts[index] + last]
            start, stop = stop, stop + source.size
            part = target[start:stop]
            for pixel in range(part.size):
                stored = np.int32(source[pixel])
                x = np.float32(bzero + bscale * np.float64(stored))
                bits = np.int32(errors[pixel])
                relative = _decode(bits) / (x if x > floor else floor)
                is_known = (stored != np.int32(65535)) & _is_known(bits)
                part[pixel] = relative if is_known else _INFINITY


error_rows = compiled(_error_rows)
relative_error_rows = compiled(_relative_error_rows)
quantized_relative_error_rows = compiled(_quantized_relative_error_rows)


def make_kernel(
    encoding: Encoding, log: LogFlux | None, pixels: npt.NDArray[np.int64]
) -> ErrorKernel:
    """Return the kernel for the errors of logged flux, or of the flux itself without a `log`."""
    spans = pixel_spans(pixels)
    if log is None:
        return partial(_call_without_flux, spans)
    floor = log.limits[0]
    if isinstance(encoding, Quantized16):
        scales = (encoding.bscale, encoding.bzero, floor)
        return partial(_call, partial(quantized_relative_error_rows, scales, spans))
    if isinstance(encoding, Float32):
        return partial(_call, partial(relative_error_rows, floor, spans))
    return numpy_kernels.make_kernel(encoding, log, pixels)


def _call(
    kernel: Any,
    flux: npt.NDArray[Any],
    starts: npt.NDArray[np.int64],
    error: npt.NDArray[np.float16],
    error_starts: npt.NDArray[np.int64],
    out: npt.NDArray[np.float32],
    rows: npt.NDArray[np.int64],
) -> None:
    kernel(flux, starts, error.view(np.uint16), error_starts, out, rows)


def _call_without_flux(
    spans: npt.NDArray[np.int64],
    flux: npt.NDArray[Any],
    starts: npt.NDArray[np.int64],
    error: npt.NDArray[np.float16],
    error_starts: npt.NDArray[np.int64],
    out: npt.NDArray[np.float32],
    rows: npt.NDArray[np.int64],
) -> None:
    error_rows(spans, error.view(np.uint16), error_starts, out, rows)
