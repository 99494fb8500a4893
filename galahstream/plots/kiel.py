"""Plot the Kiel diagram of stars: gravity against temperature, coloured by metallicity."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from galahstream.errors import LabelError
from galahstream.plots.figures import figure_format, new_figure, save_figure

# Stars beyond these percentiles have the colour of the end of the scale.
_COLOUR_PERCENTILES = (2, 98)
# Plots of more stars have smaller markers.
_MAX_LARGE_MARKERS = 5000


def plot_kiel(
    teff: npt.NDArray[np.float64],
    logg: npt.NDArray[np.float64],
    fe_h: npt.NDArray[np.float64],
    title: str,
    out: Path,
) -> int:
    """Draw the Kiel diagram into a file, with giants above and hot stars on the left.

    Parameters
    ----------
    teff : ndarray, shape (N,), float64
        Effective temperature, K.
    logg : ndarray, shape (N,), float64
        Logarithm of the surface gravity, dex.
    fe_h : ndarray, shape (N,), float64
        Metallicity, dex; a star without one is grey.
    title : str
    out : Path
        The file to write: .png, .pdf or .svg.

    Returns
    -------
    int
        The number of stars drawn, which are those with temperature and gravity.

    Raises
    ------
    LabelError
        If no star has both.
    OptionError
        If the suffix of the file is not that of a format.
    ExtraMissingError
        If matplotlib is not installed.
    """
    figure_format(out)
    is_drawn = np.isfinite(teff) & np.isfinite(logg)
    n_drawn = int(is_drawn.sum())
    if n_drawn == 0:
        msg = f"{title}: no star has both temperature and gravity, so that none can be drawn"
        raise LabelError(msg)
    has_colour = is_drawn & np.isfinite(fe_h)
    is_grey = is_drawn & ~has_colour
    size = 8 if n_drawn <= _MAX_LARGE_MARKERS else 2
    figure = new_figure(7, 6)
    ax = figure.subplots()
    ax.scatter(teff[is_grey], logg[is_grey], size, color="0.7", linewidths=0, rasterized=True)
    if has_colour.any():
        low, high = np.percentile(fe_h[has_colour], _COLOUR_PERCENTILES)
        points = ax.scatter(
            teff[has_colour],
            logg[has_colour],
            size,
            fe_h[has_colour],
            vmin=low,
            vmax=high,
            linewidths=0,
            rasterized=True,
        )
        figure.colorbar(points, ax=ax, label="[Fe/H] [dex]", extend="both")
    ax.set(xlabel=r"$T_\mathrm{eff}$ [K]", ylabel=r"$\log\,g$ [dex]", title=title)
    ax.invert_xaxis()
    ax.invert_yaxis()
    ax.grid(alpha=0.25)
    save_figure(figure, out)
    return n_drawn
