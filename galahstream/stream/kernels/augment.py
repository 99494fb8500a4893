"""Kernels that augment spectra while they read them: their contract, plan, and numpy's form."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from galahstream.errors import WavelengthError
from galahstream.store.quantization import Encoding
from galahstream.stream.augmentation import Augmentation, Compose, ShiftVelocity
from galahstream.stream.draws import (
    FIRST_RUN,
    RUN_PIXELS,
    TABLE_BITS,
    TABLE_SIZE,
    RowDraws,
    noise_table,
    splitmix64,
)
from galahstream.stream.transforms import LogFlux
from galahstream.survey.resampling import split_at_gaps
from galahstream.survey.windows import pixel_spans

AugmentKernel: TypeAlias = Callable[
    [
        npt.NDArray[Any],
        npt.NDArray[np.int64],
        npt.NDArray[np.float32],
        npt.NDArray[np.int64],
        RowDraws,
    ],
    None,
]
"""``kernel(buffer, starts, out, rows, draws)`` fills row ``rows[i]`` of `out` with the augmented
flux of some pixels of the spectrum whose stored values start at ``buffer[starts[i]]``."""

_Float32: TypeAlias = npt.NDArray[np.float32]
_Int64: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class AugmentPlan:
    """What augmenting the pixels of a dataset needs, the same for all rows.

    Attributes
    ----------
    spans : ndarray, shape (S, 2), int64
        First pixel and end of each run of adjacent pixels in the stored spectra.
    pieces : ndarray, shape (K, 4), int64
        Runs of at most `RUN_PIXELS` pixels of an item, without gaps: first and end of each,
        and first and last pixel of the part without gaps that it belongs to.
    scale : ndarray, shape (L,), float32
        Pixels that flux moves by, per change of wavelength over the wavelength; empty if flux
        is not shifted.
    limits : ndarray, shape (K, 2), float32
        Smallest and largest scale of each piece; (0, 2) if flux is not shifted.
    noise : ndarray, shape (TABLE_SIZE + RUN_PIXELS,), float32
        The table of :func:`~galahstream.stream.draws.noise_table`.
    """

    spans: _Int64
    pieces: _Int64
    scale: _Float32
    limits: _Float32
    noise: _Float32

    @classmethod
    def of_pixels(
        cls,
        augmentation: Augmentation,
        wavelength: npt.NDArray[np.float64],
        pixels: npt.NDArray[np.int64],
        name: str,
    ) -> "AugmentPlan":
        """Return the plan for some pixels of a store.

        Parameters
        ----------
        augmentation : Augmentation
        wavelength : ndarray, shape (L,), float64
            Of the pixels, Å; NaN if they are not known.
        pixels : ndarray, shape (L,), int64
            Increasing.
        name : str
            What messages call the store.

        Raises
        ------
        WavelengthError
            If spectra are to be shifted and the wavelengths are not known.
        """
        is_shifted = any(isinstance(step, ShiftVelocity) for step in Compose(augmentation).steps)
        if is_shifted and not np.isfinite(wavelength).all():
            msg = (
                f"{name}: spectra cannot be shifted by a velocity, since their wavelengths are "
                f"not known; convert the source again with a wavelength grid (wavelength=, "
                f"--wavelength grid.npy), or leave out ShiftVelocity (augment=, --augment)"
            )
            raise WavelengthError(msg)
        spans = pixel_spans(pixels)
        parts = _parts(wavelength, spans) if is_shifted else [slice(0, len(pixels))]
        scale = np.empty(0, dtype=np.float32)
        pieces = np.concatenate([_pieces_of(part) for part in parts])
        limits = np.empty((0, 2), dtype=np.float32)
        if is_shifted:
            scale = np.concatenate([_scale(wavelength[part]) for part in parts])
            cut = [scale[first:end] for first, end in pieces[:, :2].tolist()]
            limits = np.array([(piece.min(), piece.max()) for piece in cut], dtype=np.float32)
        return cls(spans, pieces, scale, limits, noise_table(augmentation))


def make_kernel(encoding: Encoding, log: LogFlux | None, plan: AugmentPlan) -> AugmentKernel:
    """Return the kernel that decodes and augments flux, and logs it if there is a `log`."""
    return _NumpyAugmentKernel(encoding, log, plan)


@dataclass(frozen=True, eq=False)
class _NumpyAugmentKernel:
    encoding: Encoding
    log: LogFlux | None
    plan: AugmentPlan

    def __call__(
        self,
        buffer: npt.NDArray[Any],
        starts: npt.NDArray[np.int64],
        out: npt.NDArray[np.float32],
        rows: npt.NDArray[np.int64],
        draws: RowDraws,
    ) -> None:
        plan = self.plan
        pixel = np.arange(out.shape[1])
        run, inside = pixel // RUN_PIXELS, pixel % RUN_PIXELS
        numbers = np.arange(FIRST_RUN, FIRST_RUN + run[-1] + 1, dtype=np.uint64)
        with np.errstate(invalid="ignore"):  # of missing pixels
            for index, (row, start) in enumerate(zip(rows.tolist(), starts.tolist(), strict=True)):
                flux = self.encoding.decode(_taken(buffer, start, plan.spans))
                if len(plan.scale):
                    flux = self._shifted(flux, draws.displacement[index])
                bits = splitmix64(draws.keys[index], numbers)
                noise = np.zeros(len(pixel), dtype=np.float32)
                for number in (0, 1):
                    sigma, offset = _of_runs(bits, number, draws.sigma[index])
                    noise += sigma[run] * plan.noise[offset[run] + inside]
                np.add(flux, noise, out=out[row])
                if self.log is not None:
                    self.log.apply_in_place(out[row])

    def _shifted(self, flux: _Float32, displacement: np.float32) -> _Float32:
        first, last = self._parts
        distance = displacement * self.plan.scale
        whole = np.floor(distance)
        left = np.arange(len(flux)) + whole.astype(np.int64)
        before = flux[np.clip(left, first, last)]
        after = flux[np.clip(left + 1, first, last)]
        shifted: _Float32 = before + (distance - whole) * (after - before)
        return shifted

    @cached_property
    def _parts(self) -> tuple[_Int64, _Int64]:
        """First and last pixel of the part without gaps that each pixel belongs to."""
        first, end, *part = self.plan.pieces.T
        return np.repeat(part[0], end - first), np.repeat(part[1], end - first)


def _of_runs(
    bits: npt.NDArray[np.uint64], number: int, sigma: np.float32
) -> tuple[_Float32, _Int64]:
    """Return the factor of the first or second run of noise, and where it begins in the table."""
    offset = bits >> np.uint64(number * TABLE_BITS) & np.uint64(TABLE_SIZE - 1)
    is_negative = bits >> np.uint64(2 * TABLE_BITS + number) & np.uint64(1) == 1
    return np.where(is_negative, -sigma, sigma), offset.astype(np.int64)


def _taken(buffer: npt.NDArray[Any], start: int, spans: _Int64) -> npt.NDArray[Any]:
    parts = [buffer[start + first : start + end] for first, end in spans.tolist()]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _parts(wavelength: npt.NDArray[np.float64], spans: _Int64) -> list[slice]:
    """Return the parts of an item between which there are gaps, in wavelength or in the window."""
    parts, begin = [], 0
    for n_pixels in np.diff(spans).ravel().tolist():
        for part in split_at_gaps(wavelength[begin : begin + n_pixels]):
            parts.append(slice(begin + part.start, begin + part.stop))
        begin += n_pixels
    return parts


def _pieces_of(part: slice) -> _Int64:
    """Return the pieces of a part; runs are counted from the first pixel of the item."""
    first_run = part.start - part.start % RUN_PIXELS
    edges = np.arange(first_run, part.stop + RUN_PIXELS, RUN_PIXELS).clip(part.start, part.stop)
    edges = np.unique(edges)
    limits = np.broadcast_to((part.start, part.stop - 1), (len(edges) - 1, 2))
    return np.column_stack((edges[:-1], edges[1:], limits))


def _scale(wavelength: npt.NDArray[np.float64]) -> _Float32:
    """Return the wavelength over the step from pixel to pixel; 0 for a pixel on its own."""
    if len(wavelength) == 1:
        return np.zeros(1, dtype=np.float32)
    return (wavelength / np.gradient(wavelength)).astype(np.float32)
