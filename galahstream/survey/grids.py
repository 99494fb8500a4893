"""Common wavelength grids that spectra are resampled onto, by the names of published ones.

Examples
--------
>>> from galahstream.survey.grids import GRIDS, resolve_grid
>>> sorted(GRIDS)
['galah-cnn', 'hermes', 'residual-cannon']
>>> grid = resolve_grid("residual-cannon")
>>> grid.name, grid.wavelength.shape
('residual-cannon', (13927,))
>>> len(resolve_grid([5000.0, 5000.1, 5000.2]).name)  # a digest
16
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from galahstream.errors import OptionError
from galahstream.survey.wavelength import CAMERA_PIXELS, CAMERAS, check_grid
from galahstream.system.digest import array_digest


class EvenPixels(NamedTuple):
    """Pixels at equal steps, such as those of one camera.

    Attributes
    ----------
    start, step : float
        Wavelength of the first pixel, and from pixel to pixel, Å.
    n_pixels : int
    """

    start: float
    step: float
    n_pixels: int

    def wavelength(self) -> npt.NDArray[np.float64]:
        """Return the wavelengths, Å, shape (n_pixels,)."""
        return self.start + self.step * np.arange(self.n_pixels, dtype=np.float64)


class Grid(NamedTuple):
    """A common wavelength grid.

    Attributes
    ----------
    name : str
        Its name in `GRIDS`; of others the digest of the wavelengths.
    wavelength : ndarray, shape (L,), float64
        Å in air, increasing.
    """

    name: str
    wavelength: npt.NDArray[np.float64]


GRIDS: Mapping[str, tuple[EvenPixels, ...]] = MappingProxyType(
    {
        # The nominal grid of the spectrograph: `galahstream.survey.wavelength`.
        "hermes": tuple(EvenPixels(one.start, one.step, CAMERA_PIXELS) for one in CAMERAS),
        # The reduction pipeline's network: cnn_prepare_spectra.py of sheliak/galah_reduction.
        "galah-cnn": (
            EvenPixels(4710.0, 0.04, 5000),
            EvenPixels(5640.0, 0.05, 4800),
            EvenPixels(6475.0, 0.06, 4500),
            EvenPixels(7700.0, 0.07, 2786),
        ),
        # svenbuder/residual_cannon, in the rest frame.
        "residual-cannon": (
            EvenPixels(4719.03, 0.0460, 3802),
            EvenPixels(5655.53, 0.0547, 3794),
            EvenPixels(6486.01, 0.0631, 3811),
            EvenPixels(7689.13, 0.0735, 2520),
        ),
    }
)
"""Published grids by name: the pixels of each camera."""


def resolve_grid(choice: str | npt.ArrayLike) -> Grid:
    """Return the grid that a user names or gives.

    Parameters
    ----------
    choice : str or array_like, shape (L,)
        A name in `GRIDS`, or increasing wavelengths in Å (or in the unit that they state).

    Raises
    ------
    OptionError
        If there is no grid of this name.
    WavelengthError
        If the wavelengths are not finite, positive and increasing.
    """
    if not isinstance(choice, str):
        wavelength = check_grid(choice, np.size(choice), "grid")
        return Grid(array_digest(wavelength), wavelength)
    if choice not in GRIDS:
        msg = (
            f"grid {choice!r} is not known; expected {', '.join(GRIDS)}, or wavelengths in Å "
            f"(grid=, --grid)"
        )
        raise OptionError(msg)
    return Grid(str(choice), np.concatenate([pixels.wavelength() for pixels in GRIDS[choice]]))
