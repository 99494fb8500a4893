"""Kernels compiled by numba that augment spectra while they read them.

A run of pixels is interpolated, made noisy and logged while it is in the first-level cache.
What is done to the flux is compiled without the flags of the other kernels, which let the
compiler round differently: numba's numbers are numpy's, to the last bit.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from galahstream.store.quantization import NO_VALUE, Encoding, Float32, Quantized16
from galahstream.stream.draws import (
    FIRST_RUN,
    GAMMA,
    MIX_1,
    MIX_2,
    RUN_PIXELS,
    TABLE_BITS,
    TABLE_SIZE,
)
from galahstream.stream.kernels import augment as numpy_kernels
from galahstream.stream.kernels.augment import AugmentKernel, AugmentPlan
from galahstream.stream.kernels.numba import _log_pixels, compiled, compiled_exactly
from galahstream.stream.transforms import LogFlux

_FIRST_RUN = np.uint64(FIRST_RUN + 1)
_LAST = np.uint64(TABLE_SIZE - 1)
_SHIFT = np.uint64(TABLE_BITS)
_SIGN_1, _SIGN_2 = (np.uint64(1 << (2 * TABLE_BITS + n)) for n in (0, 1))
_NO_VALUE, _NAN = np.uint16(NO_VALUE), np.float32(np.nan)


class _Log(NamedTuple):
    """Whether the logarithm is taken, and the limits of `LogFlux`."""

    is_taken: bool
    floor: np.float32
    fill: np.float32


class _Plan(NamedTuple):
    """The arrays of an :class:`AugmentPlan`, as numba takes them."""

    spans: npt.NDArray[np.int64]
    pieces: npt.NDArray[np.int64]
    scale: npt.NDArray[np.float32]
    limits: npt.NDArray[np.float32]
    noise: npt.NDArray[np.float32]


@compiled
def _log_run(log: Any, flux: Any, target: Any) -> None:
    _log_pixels(log.floor, log.fill, flux, target)


@compiled_exactly
def _run_bits(key: Any, run: Any) -> Any:
    bits = key + (np.uint64(run) + _FIRST_RUN) * GAMMA
    bits = (bits ^ (bits >> np.uint64(30))) * MIX_1
    bits = (bits ^ (bits >> np.uint64(27))) * MIX_2
    return bits ^ (bits >> np.uint64(31))


@compiled_exactly
def _add(sigmas: Any, first: Any, second: Any, flux: Any, out: Any) -> None:
    """Add two runs of the table of noise."""
    one, other = sigmas
    for pixel in range(out.size):
        out[pixel] = flux[pixel] + (one * first[pixel] + other * second[pixel])


@compiled_exactly
def _shift_and_add(
    shift: Any, sigmas: Any, first: Any, second: Any, scale: Any, flux: Any, out: Any
) -> None:
    """Do what `_add` does with flux from between the pixels of `flux`, one more than of `out`."""
    displacement, whole = shift
    one, other = sigmas
    for pixel in range(out.size):
        fraction = displacement * scale[pixel] - whole
        moved = flux[pixel] + fraction * (flux[pixel + 1] - flux[pixel])
        out[pixel] = moved + (one * first[pixel] + other * second[pixel])


@compiled_exactly
def _shift_and_add_at_end(
    shift: Any, sigmas: Any, first: Any, second: Any, scale: Any, flux: Any, out: Any
) -> None:
    """Do the same with flux from anywhere in `flux`, or beyond its ends."""
    displacement, begin = shift
    one, other = sigmas
    for pixel in range(out.size):
        distance = displacement * scale[pixel]
        whole = np.floor(distance)
        left = begin + pixel + np.int64(whole)
        before = flux[min(max(left, 0), flux.size - 1)]
        after = flux[min(max(left + 1, 0), flux.size - 1)]
        moved = before + (distance - whole) * (after - before)
        out[pixel] = moved + (one * first[pixel] + other * second[pixel])


@compiled_exactly
def _augment(plan: Any, log: Any, draws: Any, flux: Any, out: Any, run: Any) -> None:
    """Augment a spectrum, a piece at a time; `run` is memory for one."""
    key, sigma, displacement = draws
    # Fields of a tuple are counted references, which cost as much as some pixels each.
    pieces, scale, limits, table = plan.pieces, plan.scale, plan.limits, plan.noise
    for number in range(len(pieces)):
        begin, end, first_pixel, last_pixel = pieces[number]
        bits = _run_bits(key, begin // RUN_PIXELS)
        sigmas = (-sigma if bits & _SIGN_1 else sigma, -sigma if bits & _SIGN_2 else sigma)
        offset = np.int64(bits & _LAST) + begin % RUN_PIXELS
        first = table[offset : offset + end - begin]
        offset = np.int64((bits >> _SHIFT) & _LAST) + begin % RUN_PIXELS
        second = table[offset : offset + end - begin]
        target = out[begin:end]
        result = run[: end - begin] if log.is_taken else target
        if len(scale):
            whole = np.floor(displacement * limits[number, 0])
            step = np.int64(whole)
            inner, outer = end, end
            # Otherwise the pixels that flux comes from are not adjacent.
            if whole == np.floor(displacement * limits[number, 1]):
                inner = min(max(begin, first_pixel - step), end)
                outer = max(min(end, last_pixel - step), inner)
            if inner < outer:
                _shift_and_add(
                    (displacement, whole),
                    sigmas,
                    first[inner - begin : outer - begin],
                    second[inner - begin : outer - begin],
                    scale[inner:outer],
                    flux[inner + step : outer + step + 1],
                    result[inner - begin : outer - begin],
                )
            for start, stop in ((begin, inner), (outer, end)):
                if start < stop:
                    _shift_and_add_at_end(
                        (displacement, start - first_pixel),
                        sigmas,
                        first[start - begin : stop - begin],
                        second[start - begin : stop - begin],
                        scale[start:stop],
                        flux[first_pixel : last_pixel + 1],
                        result[start - begin : stop - begin],
                    )
        else:
            _add(sigmas, first, second, flux[begin:end], result)
        if log.is_taken:
            _log_run(log, result, target)


@compiled_exactly
def _augment_rows(
    plan: Any, log: Any, buffer: Any, starts: Any, out: Any, rows: Any, draws: Any
) -> None:
    run = np.empty(RUN_PIXELS, np.float32)
    if len(plan.spans) == 1:
        first, end = plan.spans[0]
        for row in range(len(starts)):
            flux = buffer[starts[row] + first : starts[row] + end]
            own = (draws.keys[row], draws.sigma[row], draws.displacement[row])
            _augment(plan, log, own, flux, out[rows[row]], run)
        return
    gathered = np.empty(out.shape[1], np.float32)
    for row in range(len(starts)):
        stop = 0
        for span in range(len(plan.spans)):
            stored = buffer[starts[row] + plan.spans[span, 0] : starts[row] + plan.spans[span, 1]]
            begin, stop = stop, stop + stored.size
            gathered[begin:stop] = stored
        own = (draws.keys[row], draws.sigma[row], draws.displacement[row])
        _augment(plan, log, own, gathered, out[rows[row]], run)


@compiled_exactly
def _augment_quantized_rows(
    scales: Any, plan: Any, log: Any, buffer: Any, starts: Any, out: Any, rows: Any, draws: Any
) -> None:
    bscale, bzero = scales
    run = np.empty(RUN_PIXELS, np.float32)
    decoded = np.empty(out.shape[1], np.float32)
    for row in range(len(starts)):
        stop = 0
        for span in range(len(plan.spans)):
            stored = buffer[starts[row] + plan.spans[span, 0] : starts[row] + plan.spans[span, 1]]
            begin, stop = stop, stop + stored.size
            part = decoded[begin:stop]
            for pixel in range(part.size):
                value = np.float32(bzero + bscale * np.float64(stored[pixel]))
                part[pixel] = value if stored[pixel] != _NO_VALUE else _NAN
        own = (draws.keys[row], draws.sigma[row], draws.displacement[row])
        _augment(plan, log, own, decoded, out[rows[row]], run)


def make_kernel(encoding: Encoding, log: LogFlux | None, plan: AugmentPlan) -> AugmentKernel:
    """Return the kernel that decodes and augments flux, and logs it if there is a `log`."""
    limits = (np.float32(1), np.float32(1)) if log is None else log.limits
    own_log = _Log(log is not None, *limits)
    own_plan = _Plan(**{name: getattr(plan, name) for name in _Plan._fields})
    if isinstance(encoding, Quantized16):
        scales = (encoding.bscale, encoding.bzero)
        return partial(_augment_quantized_rows, scales, own_plan, own_log)
    if isinstance(encoding, Float32):
        return partial(_augment_rows, own_plan, own_log)
    return numpy_kernels.make_kernel(encoding, log, plan)
