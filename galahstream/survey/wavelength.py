"""The nominal HERMES wavelength grid, its four cameras, and windows in Å.

GALAH spectra come from four cameras of 4,096 pixels each, concatenated in order of
wavelength. The grid here is the nominal one: the spectrograph shifts each star by
up to 2.7 Å, so that a pixel has this wavelength only to within some tens of pixels.

Examples
--------
>>> from galahstream.survey.wavelength import nominal_grid, window_slice
>>> grid = nominal_grid()
>>> grid.shape
(16384,)
>>> window_slice(grid, "red")
slice(8192, 12288, None)
>>> window_slice(grid, (6552.8, 6572.8))  # 10 Å on both sides of Hα
slice(9368, 9685, None)
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from galahstream.errors import WavelengthError
from galahstream.survey.units import in_angstrom, stated_unit

PlainWindow: TypeAlias = str | tuple[float, float] | None
"""A camera's name, a range (low, high) in Å, or None for every pixel, as files hold it."""

Window: TypeAlias = PlainWindow | Sequence[float] | npt.NDArray[np.floating]
"""A window as users give it: the range may be a list or an array too, also with a unit."""

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


def check_window(window: Window) -> PlainWindow:
    """Return a window as plain Python values: a camera's name, two floats, or None.

    Raises
    ------
    WavelengthError
        If it is neither a camera nor a range with low < high.

    Examples
    --------
    >>> import numpy as np
    >>> from galahstream.survey.wavelength import check_window
    >>> check_window(np.array([6550, 6580]))
    (6550.0, 6580.0)
    """
    if window is None:
        return None
    if isinstance(window, str):
        return _camera(window).name
    try:
        edges = in_angstrom(list(window) if stated_unit(window) is None else window, "window")
        low, high = (float(edge) for edge in edges)
    except WavelengthError:
        raise
    except (TypeError, ValueError):
        low = high = float("nan")
    if not low < high:
        msg = (
            f"window {window!r} is not a range; expected the name of a camera, or (low, high) in "
            f"Å with low < high"
        )
        raise WavelengthError(msg)
    return low, high


def window_slice(wavelength: npt.NDArray[np.float64], window: Window) -> slice:
    """Return the pixels of a window as a slice.

    Parameters
    ----------
    wavelength : ndarray, shape (L,), float64
        Increasing wavelengths in Å; all NaN if they are unknown.
    window : str, (float, float), array_like or None
        The name of a camera, a range in Å with both ends included, or None for
        all pixels.

    Returns
    -------
    slice
        Start and stop of the pixels inside the window.

    Raises
    ------
    WavelengthError
        If the camera or the grid is unknown, or no pixel is in the window.
    """
    window = check_window(window)
    if window is None:
        return slice(0, len(wavelength))
    low, high = _camera_range(window) if isinstance(window, str) else window
    if not np.isfinite(wavelength).all():
        msg = (
            f"window {window!r}: the wavelengths of this store are not known; convert again with "
            f"a wavelength grid (--wavelength grid.npy), or use no window"
        )
        raise WavelengthError(msg)
    start = int(np.searchsorted(wavelength, low, side="left"))
    stop = int(np.searchsorted(wavelength, high, side="right"))
    if stop <= start:
        msg = (
            f"window {window!r}: no pixel is within {low:.2f} to {high:.2f} Å; this store covers "
            f"{wavelength[0]:.2f} to {wavelength[-1]:.2f} Å"
        )
        raise WavelengthError(msg)
    return slice(start, stop)


def _camera(name: str) -> Camera:
    for camera in CAMERAS:
        if camera.name == name:
            return camera
    names = ", ".join(camera.name for camera in CAMERAS)
    msg = f"window {name!r} is not a camera; expected one of {names}, or a range (low, high) in Å"
    raise WavelengthError(msg)


def _camera_range(name: str) -> tuple[float, float]:
    camera = _camera(name)
    # Half a step wider: rounding of a stored grid must not cost the first or last pixel.
    return camera.start - camera.step / 2, camera.stop + camera.step / 2
