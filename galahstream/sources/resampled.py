"""A source whose spectra are resampled onto another grid, and into the rest frame.

Examples
--------
>>> import numpy as np
>>> from galahstream.sources.resampled import Resampled
>>> from galahstream.survey.grids import resolve_grid
>>> from galahstream.sources.memory import MemorySource
>>> class Survey(MemorySource):
...     wavelength = np.array([5000.0, 5001.0, 5002.0, 5003.0])
>>> source = Resampled(Survey([[1.0, 1.0, 0.0, 1.0]]), resolve_grid([5000.5, 5001.5, 5002.5]))
>>> next(source.iter_blocks(1))
array([[1. , 0.5, 0.5]], dtype=float32)
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from galahstream.errors import OptionError, WavelengthError
from galahstream.sources.base import Source, Spectra
from galahstream.sources.wrapper import Wrapper
from galahstream.survey.grids import Grid
from galahstream.survey.provenance import Provenance
from galahstream.survey.resampling import (
    SPEED_OF_LIGHT,
    Resampler,
    Resampling,
    Segment,
    split_at_gaps,
)
from galahstream.survey.selection import FlagCount
from galahstream.survey.wavelength import check_grid
from galahstream.system.digest import array_digest, text_digest


class Resampled(Wrapper):
    """The stars of a source on another wavelength grid.

    Parameters
    ----------
    source : Source
        Spectra on one common grid, with or without errors.
    grid : Grid
        What `resolve_grid` returns.
    method : {"flux-conserving", "linear"}
    velocities : ndarray, shape (N,), float64, optional
        Radial velocity of each star, km/s, positive if it moves away: its spectrum is
        shifted into the rest frame. By default spectra stay in their frame.

    Raises
    ------
    OptionError
        If a velocity is not a number below that of light, or spectra are at rest already.
    WavelengthError
        If the wavelengths of the source are not known, or the grid cannot be used.
    """

    def __init__(
        self,
        source: Source,
        grid: Grid,
        method: Resampling = "flux-conserving",
        velocities: npt.NDArray[np.float64] | None = None,
    ) -> None:
        super().__init__(source)
        self._grid = grid
        self._resampler = Resampler(grid.wavelength, method)
        self._wavelength = _known_wavelength(source)
        self._parts = split_at_gaps(self._wavelength)
        self._velocities = None if velocities is None else _checked_velocities(velocities, source)

    def __len__(self) -> int:
        return len(self._source)

    @property
    def name(self) -> str:
        """The name of the source and of the grid."""
        return f"{self._source.name}, resampled onto {self._grid.name}"

    @property
    def n_pixels(self) -> int:
        """Number of pixels of the grid."""
        return len(self._grid.wavelength)

    @property
    def wavelength(self) -> npt.NDArray[np.float64]:
        """Wavelengths of the grid, Å, shape (L,)."""
        return self._grid.wavelength

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """Ids of the source's stars, shape (N,), int64."""
        return self._source.ids

    @property
    def provenance(self) -> Provenance:
        """Where the source's spectra come from, with grid, method and frame."""
        known = replace(
            self._source.provenance, grid=self._grid.name, resampling=self._resampler.method
        )
        return known if self._velocities is None else replace(known, frame="rest")

    @property
    def has_errors(self) -> bool:
        """Whether the source has errors."""
        return self._source.has_errors

    @property
    def fingerprint(self) -> str:
        """Digest of the source's fingerprint, the grid, the method and the velocities."""
        parts = [self._source.fingerprint, self._resampler.method]
        arrays = (self._grid.wavelength, self._velocities)
        parts += [array_digest(array) for array in arrays if array is not None]
        return text_digest(" ".join(parts))

    def read_labels(self) -> npt.NDArray[np.float64]:
        """Return the labels of the source, shape (N, K)."""
        return self._source.read_labels()

    def read_column(self, name: str) -> npt.NDArray[np.generic]:
        """Return a column of the source, shape (N,)."""
        return self._source.read_column(name)

    def count_flags(self, rows: npt.NDArray[np.int64]) -> tuple[FlagCount, ...]:
        """Return the counts of the source for some of its stars."""
        return self._source.count_flags(rows)

    def iter_blocks(self, block_rows: int, first_row: int = 0) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the resampled flux."""
        row = first_row
        for flux in self._source.iter_blocks(block_rows, first_row):
            yield self._resample(Spectra(flux, None), row).flux
            row += len(flux)

    def iter_spectra(self, block_rows: int, first_row: int = 0) -> Iterator[Spectra]:
        """Yield the resampled flux, and errors if the source has them."""
        row = first_row
        for spectra in self._source.iter_spectra(block_rows, first_row):
            yield self._resample(spectra, row)
            row += len(spectra.flux)

    def _resample(self, spectra: Spectra, first_row: int) -> Spectra:
        """Return consecutive stars, of which the first one is in a row of the source."""
        flux = np.empty((len(spectra.flux), self.n_pixels), dtype=np.float32)
        error = None if spectra.error is None else np.empty_like(flux)
        for index, values in enumerate(spectra.flux):
            sigma = None if spectra.error is None else spectra.error[index]
            segments = [
                Segment(
                    self._wavelength[part], values[part], None if sigma is None else sigma[part]
                )
                for part in self._parts
            ]
            velocity = 0.0 if self._velocities is None else self._velocities[first_row + index]
            flux[index], new_error = self._resampler.resample(segments, velocity)
            if error is not None:
                error[index] = new_error
        return Spectra(flux, error, spectra.unusable)


def _known_wavelength(source: Source) -> npt.NDArray[np.float64]:
    if source.wavelength is None:
        msg = (
            f"{source.name}: the wavelengths of its pixels are not known, and resampling needs "
            f"them; give the source its wavelengths, or convert it without a grid"
        )
        raise WavelengthError(msg)
    wavelength = check_grid(source.wavelength, source.n_pixels, f"{source.name}: its wavelength")
    if len(wavelength) < 2:
        msg = f"{source.name}: spectra of one pixel cannot be resampled; convert without a grid"
        raise WavelengthError(msg)
    return wavelength


def _checked_velocities(velocities: npt.ArrayLike, source: Source) -> npt.NDArray[np.float64]:
    if source.provenance.frame == "rest":
        msg = (
            f"{source.name}: its spectra are in the rest frame already; give no velocities, which "
            f"would shift them once more"
        )
        raise OptionError(msg)
    checked = np.asarray(velocities, dtype=np.float64)
    if checked.shape != (len(source),):
        msg = (
            f"{source.name}: velocities of shape {checked.shape}; expected one in km/s for each of "
            f"the {len(source)} stars"
        )
        raise OptionError(msg)
    unusable = np.flatnonzero(~(np.abs(checked) < SPEED_OF_LIGHT))
    if len(unusable):
        row = int(unusable[0])
        msg = (
            f"{source.name}: star {source.ids[row]} in row {row} has the velocity {checked[row]}, "
            f"like {len(unusable):,} of {len(source):,} stars in all that have none to use; "
            f"expected km/s: give them velocities, select the other stars, or keep the observed "
            f"frame"
        )
        raise OptionError(msg)
    return checked
