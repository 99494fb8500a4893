r"""Resampling of spectra onto a common wavelength grid, and into the rest frame.

Both methods make each new pixel a weighted sum of old ones, :math:`\sum_i w_i f_i`.

*Flux-conserving.* A new pixel is the mean flux between its edges :math:`a` and :math:`b`.
With the cumulative integral :math:`F(\lambda) = \int^\lambda f\,d\lambda'` of a spectrum that
is constant within each old pixel, so that F is linear between the old edges :math:`e_i`,

.. math:: f' = \frac{F(b) - F(a)}{b - a} = \sum_i w_i f_i, \qquad
          w_i = \frac{\min(b, e_{i+1}) - \max(a, e_i)}{b - a}.

The integral over the new pixels is that over the old ones, so that equivalent widths are
kept (Carnall 2017, arXiv:1705.05165, has the same definition). The difference of F is summed
over the pixels between a and b: subtracting two sums over all pixels before them would spoil
everything behind one wild pixel by rounding.

*Linear.* The flux at the centres of the new pixels, interpolated, which does not conserve it:
equivalent widths change by some per cent where pixels are not much narrower than lines.

The error of a new pixel is :math:`\sqrt{\sum_i w_i^2 \sigma_i^2}`, that of independent old
pixels. Neighbouring new pixels share old ones, and their covariance is not kept: the error of
a sum of several new pixels is larger than their errors alone say.

Examples
--------
>>> import numpy as np
>>> from galahstream.survey.resampling import Resampler, Segment
>>> spectrum = Segment(np.array([5000.0, 5001.0, 5002.0, 5003.0]), np.array([1, 1, 0, 1]))
>>> Resampler([5000.5, 5001.5, 5002.5, 5003.5]).resample([spectrum]).flux
array([1. , 0.5, 0.5, nan], dtype=float32)
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from galahstream.errors import OptionError, SourceShapeError, WavelengthError
from galahstream.survey.wavelength import check_grid
from galahstream.validation import check_choice

_FloatArray: TypeAlias = npt.NDArray[np.float64]
_IntArray: TypeAlias = npt.NDArray[np.intp]

Resampling: TypeAlias = Literal["flux-conserving", "linear"]
"""How spectra are resampled onto a grid."""

SPEED_OF_LIGHT = 299_792.458
"""km/s."""

# A step longer than those on both sides by more than this factor is a gap, as between cameras.
_GAP = 1.5
# In old pixels: edges closer than this differ by rounding only.
_ROUNDING = 1e-7


class Segment(NamedTuple):
    """A part of a spectrum without gaps: one camera, or all of it.

    Attributes
    ----------
    wavelength : ndarray, shape (m,)
        Increasing wavelengths of at least two pixels, Å.
    flux : ndarray, shape (m,)
        Relative to the continuum; a pixel that is not finite is missing.
    error : ndarray, shape (m,), or None
        One standard deviation of each pixel; not finite or negative where it is not known.
    """

    wavelength: npt.NDArray[Any]
    flux: npt.NDArray[Any]
    error: npt.NDArray[Any] | None = None


class ResampledSpectrum(NamedTuple):
    """A spectrum on the grid of a :class:`Resampler`.

    Attributes
    ----------
    flux : ndarray, shape (L,), float32
        NaN where there is none.
    error : ndarray, shape (L,), float32, or None
        NaN where it is not known; None if no segment has errors.
    """

    flux: npt.NDArray[np.float32]
    error: npt.NDArray[np.float32] | None


class Resampler:
    """Resamples spectra onto one wavelength grid.

    It can be pickled, and used by several threads.

    Parameters
    ----------
    wavelength : array_like, shape (L,)
        Increasing wavelengths of at least two pixels, Å. Steps more than 1.5 times longer
        than those on both sides are gaps between cameras; no pixel reaches into one.
    method : {"flux-conserving", "linear"}

    Raises
    ------
    OptionError
        If the method is not known.
    WavelengthError
        If the grid does not increase, or has one pixel only.
    """

    def __init__(self, wavelength: npt.ArrayLike, method: Resampling = "flux-conserving") -> None:
        check_choice("resampling", method, get_args(Resampling))
        self.method: Resampling = method
        self.wavelength = check_grid(wavelength, np.size(wavelength), "grid")
        if len(self.wavelength) < 2:
            msg = f"a grid of {len(self.wavelength)} pixels cannot be used; expected at least two"
            raise WavelengthError(msg)
        pieces = [self.wavelength[piece] for piece in split_at_gaps(self.wavelength)]
        self._edges = np.concatenate([pixel_edges(piece) for piece in pieces])
        # Each piece has one edge more than pixels.
        self._lower = np.arange(len(self.wavelength)) + np.repeat(
            np.arange(len(pieces)), [len(piece) for piece in pieces]
        )

    def __repr__(self) -> str:
        low, high = self.wavelength[[0, -1]]
        return f"<Resampler {self.method}: {low:.2f} to {high:.2f} Å in {len(self._lower)} pixels>"

    def resample(self, segments: Sequence[Segment], velocity: float = 0.0) -> ResampledSpectrum:
        """Return a spectrum on the grid.

        A pixel is NaN if it is not completely inside one segment (of linear resampling:
        its centre is not between those of two pixels), or touches a missing pixel. Its
        error is NaN also if it touches a pixel of unknown error.

        Parameters
        ----------
        segments : sequence of Segment
            In order of wavelength, without overlap. None at all give NaN.
        velocity : float
            km/s, positive if the star moves away: the wavelengths at rest are those of the
            segments divided by ``1 + velocity / SPEED_OF_LIGHT``.

        Raises
        ------
        OptionError
            If the velocity is not finite, or not below that of light.
        SourceShapeError
            If the arrays of a segment differ in shape.
        WavelengthError
            If the wavelengths of a segment do not increase, or segments overlap.
        """
        if not abs(velocity) < SPEED_OF_LIGHT:
            msg = f"velocity {velocity} km/s cannot be used; expected one below that of light"
            raise OptionError(msg)
        _check_segments(segments)
        is_conserving = self.method == "flux-conserving"
        ours = (self._edges if is_conserving else self.wavelength) * (1 + velocity / SPEED_OF_LIGHT)
        weights_of = self._overlaps if is_conserving else self._neighbours
        flux = np.full(len(self.wavelength), np.nan, dtype=np.float32)
        has_errors = any(segment.error is not None for segment in segments)
        error = flux.copy() if has_errors else None
        for wavelength, values, sigma in segments:
            weights = weights_of(np.asarray(wavelength, dtype=np.float64), ours)
            if weights is None:
                continue
            is_missing = ~np.isfinite(values)
            flux[weights.rows] = weights.sums(
                weights.weight * _without(values, is_missing)[weights.pixel]
            )
            if error is not None and sigma is not None:
                is_unknown = is_missing | ~(np.isfinite(sigma) & (sigma >= 0))
                terms = weights.weight * _without(sigma, is_unknown)[weights.pixel]
                error[weights.rows] = np.sqrt(weights.sums(terms * terms))
        return ResampledSpectrum(flux, error)

    def _overlaps(self, wavelength: _FloatArray, ours: _FloatArray) -> "_Weights | None":
        """Return the share of old pixels in each new one that they cover completely."""
        theirs = pixel_edges(wavelength)
        slack = _ROUNDING * (theirs[1] - theirs[0])
        start, stop = np.searchsorted(ours, (theirs[0] - slack, theirs[-1] + slack))
        first, last = np.searchsorted(self._lower, (start, stop - 1))
        if first >= last:
            return None
        lower = self._lower[first:last]
        # Edges counted in old pixels: 2.25 is a quarter into the third one.
        position = np.interp(ours[start:stop], theirs, np.arange(len(theirs)))
        begin = np.floor(position[lower - start] + _ROUNDING).astype(np.intp)
        end = np.ceil(position[lower - start + 1] - _ROUNDING).astype(np.intp)
        pixel, offset = _runs(begin, end)
        low, high = ours[lower], ours[lower + 1]
        weight = np.diff(theirs)[pixel]
        weight[offset] -= low - theirs[begin]
        weight[offset + (end - begin - 1)] -= theirs[end] - high
        weight /= np.repeat(high - low, end - begin)
        return _Weights(slice(first, last), pixel, weight, offset)

    def _neighbours(self, wavelength: _FloatArray, ours: _FloatArray) -> "_Weights | None":
        """Return the weights of the old pixels on both sides of each new one's centre."""
        slack = _ROUNDING * (wavelength[1] - wavelength[0])
        first, last = np.searchsorted(ours, (wavelength[0] - slack, wavelength[-1] + slack))
        if first >= last:
            return None
        position = np.interp(ours[first:last], wavelength, np.arange(len(wavelength)))
        begin = np.floor(position + _ROUNDING).astype(np.intp)
        end = np.ceil(position - _ROUNDING).astype(np.intp) + 1
        pixel, offset = _runs(begin, end)
        weight = 1 - np.abs(pixel - np.repeat(position, end - begin))
        return _Weights(slice(first, last), pixel, weight, offset)


class _Weights(NamedTuple):
    """Weights of old pixels in new ones.

    Attributes
    ----------
    rows : slice
        The n new pixels.
    pixel : ndarray, shape (T,), intp
        Old pixels, one run of them for each new pixel.
    weight : ndarray, shape (T,), float64
    offset : ndarray, shape (n,), intp
        Where each run begins.
    """

    rows: slice
    pixel: _IntArray
    weight: _FloatArray
    offset: _IntArray

    def sums(self, terms: _FloatArray) -> _FloatArray:
        """Return the sum of each run of terms, shape (n,)."""
        return np.add.reduceat(terms, self.offset)


def split_at_gaps(wavelength: _FloatArray) -> list[slice]:
    """Return the parts of a grid between gaps, each of at least two pixels.

    A gap is a step more than 1.5 times longer than the steps on both sides of it, as
    between cameras, or where pixels were taken out.

    Parameters
    ----------
    wavelength : ndarray, shape (L,)
        Increasing, Å.
    """
    step = np.diff(wavelength)
    is_gap = step[1:-1] > _GAP * np.maximum(step[:-2], step[2:])
    begins = (np.flatnonzero(is_gap) + 2).tolist()
    return [slice(begin, end) for begin, end in pairwise([0, *begins, len(wavelength)])]


def pixel_edges(wavelength: _FloatArray) -> _FloatArray:
    """Return the edges of pixels: the middles between them, and as far at both ends.

    Parameters
    ----------
    wavelength : ndarray, shape (m,)
        Of m >= 2 pixels without gaps, Å.

    Returns
    -------
    ndarray, shape (m + 1,), float64
    """
    edges = np.empty(len(wavelength) + 1)
    edges[1:-1] = (wavelength[1:] + wavelength[:-1]) / 2
    edges[0] = 2 * wavelength[0] - edges[1]
    edges[-1] = 2 * wavelength[-1] - edges[-2]
    return edges


def _runs(begin: _IntArray, end: _IntArray) -> tuple[_IntArray, _IntArray]:
    """Return the numbers of all runs from `begin` to `end` - 1, and where each run begins."""
    count = end - begin
    offset = np.cumsum(count) - count
    return np.arange(offset[-1] + count[-1]) + np.repeat(begin - offset, count), offset


def _without(values: npt.NDArray[Any], is_missing: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    return np.where(is_missing, np.nan, values) if is_missing.any() else values


def _check_segments(segments: Sequence[Segment]) -> None:
    for wavelength, flux, error in segments:
        shapes = [np.shape(each) for each in (wavelength, flux, error) if each is not None]
        if set(shapes) != {(np.size(wavelength),)}:
            msg = f"arrays of shapes {shapes}; expected one wavelength, flux and error per pixel"
            raise SourceShapeError(msg)
        is_usable = len(wavelength) >= 2 and wavelength[0] > 0 and np.isfinite(wavelength[-1])
        if not is_usable or not (np.diff(wavelength) > 0).all():
            msg = (
                f"wavelengths {_ends(wavelength)} of {len(wavelength)} pixels cannot be used; "
                f"expected at least two, finite, positive and increasing"
            )
            raise WavelengthError(msg)
    for one, other in pairwise(segments):
        if other.wavelength[0] <= one.wavelength[-1]:
            msg = (
                f"wavelengths {_ends(one.wavelength)} and {_ends(other.wavelength)} overlap; "
                f"expected cameras in order of wavelength, without overlap"
            )
            raise WavelengthError(msg)


def _ends(wavelength: npt.NDArray[Any]) -> str:
    return " to ".join(f"{value:.2f} Å" for value in (*wavelength[:1], *wavelength[-1:]))
