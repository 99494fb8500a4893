"""The nominal HERMES wavelength grid, its four cameras, and checks of other grids.

GALAH spectra come from four cameras of 4,096 pixels each, concatenated in order of
wavelength. The grid here is the nominal one: the spectrograph shifts each star by
up to 2.7 Å, so that a pixel has this wavelength only to within some tens of pixels.

Examples
--------
>>> from galahstream.survey.wavelength import nominal_grid
>>> grid = nominal_grid()
>>> grid.shape
(16384,)
>>> grid[[0, -1]].round(2).tolist()
[4713.2, 7886.39]
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from galahstream.errors import WavelengthError
from galahstream.survey.units import in_angstrom

CAMERA_PIXELS = 4096

LYMAN_LIMIT = 912.0
"""Å; hydrogen between the stars absorbs light of shorter wavelengths."""


@dataclass(frozen=True)
class Camera:
    """One camera of HERMES.

    Attributes
    ----------
    name : str
        What windows call it.
    start, step : float
        Wavelength of the first pixel, and from pixel to pixel, Å.
    """

    name: str
    start: float
    step: float

    @property
    def stop(self) -> float:
        """Wavelength of the last pixel, Å."""
        return self.start + (CAMERA_PIXELS - 1) * self.step

    def grid(self) -> npt.NDArray[np.float64]:
        """Return the nominal wavelengths of the camera, Å, shape (4096,)."""
        return self.start + self.step * np.arange(CAMERA_PIXELS, dtype=np.float64)


# Typical starts and steps of the normalised DR4 spectra (GALAH DR4, Buder et al. 2025).
CAMERAS = (
    Camera("blue", 4713.2, 0.0460),
    Camera("green", 5648.9, 0.0547),
    Camera("red", 6478.6, 0.0631),
    Camera("infrared", 7585.0, 0.0736),
)
NOMINAL_PIXELS = CAMERA_PIXELS * len(CAMERAS)


def nominal_grid() -> npt.NDArray[np.float64]:
    """Return the nominal wavelengths of the four cameras in order, Å, shape (16384,)."""
    return np.concatenate([camera.grid() for camera in CAMERAS])


def check_grid(wavelength: npt.ArrayLike, n_pixels: int, name: str) -> npt.NDArray[np.float64]:
    """Return a wavelength grid as float64, after checking that it fits the spectra.

    Parameters
    ----------
    wavelength : array_like, shape (n_pixels,)
        Wavelengths in Å, or in the unit that they state themselves.
    n_pixels : int
        Number of pixels of each spectrum.
    name : str
        What messages call the grid, such as its path.

    Returns
    -------
    ndarray, shape (n_pixels,), float64

    Raises
    ------
    WavelengthError
        If the grid has another shape, states a unit that is not known, or is not finite,
        positive and increasing.
    """
    grid = in_angstrom(wavelength, name)
    if grid.dtype.kind not in "fiu" or grid.shape != (n_pixels,):
        msg = (
            f"{name}: the wavelength grid is {grid.dtype} of shape {grid.shape}; the spectra need "
            f"one number in Å per pixel, shape ({n_pixels},)"
        )
        raise WavelengthError(msg)
    grid = grid.astype(np.float64)
    unusable = ~(np.isfinite(grid) & (grid > 0))
    unusable[1:] |= ~(np.diff(grid) > 0)
    if unusable.any():
        pixel = int(np.flatnonzero(unusable)[0])
        msg = (
            f"{name}: wavelength {grid[pixel]} at pixel {pixel} is not finite, positive and larger "
            f"than the one before; give a grid in Å that increases from pixel to pixel"
        )
        raise WavelengthError(msg)
    return grid
