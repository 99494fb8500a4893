"""Plot the Kiel diagram of stars: gravity against temperature, coloured by metallicity."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from galahstream.errors import LabelError
from galahstream.plots.figures import figure_format, new_figure, save_figure
from galahstream.plots.panels import Limits, Values, inner_limits, joined

# Stars beyond these percentiles have the colour of the end of the scale.
_COLOUR_PERCENTILES = (2, 98)
# Plots of more stars have smaller markers.
_MAX_LARGE_MARKERS = 5000
# Of more stars, the mean metallicity of those in a cell is drawn.
_MAX_POINTS = 20_000
_CELLS = 150
_FE_H_LABEL = "[Fe/H] [dex]"


class KielStars(NamedTuple):
    """Temperature (K), gravity (dex) and metallicity (dex; NaN if not known), each (n,)."""

    teff: Values
    logg: Values
    fe_h: Values


def plot_kiel(
    teff: Values,
    logg: Values,
    fe_h: Values,
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
    figure = new_figure(7, 6)
    ax = figure.subplots()
    stars = KielStars(teff[is_drawn], logg[is_drawn], fe_h[is_drawn])
    points = _draw_stars(ax, stars, _colour_limits(fe_h[is_drawn]))
    if points is not None:
        figure.colorbar(points, ax=ax, label=_FE_H_LABEL, extend="both")
    ax.set_title(title)
    _mark_axes(ax)
    save_figure(figure, out)
    return n_drawn


def plot_kiel_pair(true: KielStars, predicted: KielStars, title: str, out: Path) -> None:
    """Draw the Kiel diagrams of true and predicted labels side by side, on the same scales.

    Parameters
    ----------
    true, predicted : KielStars
        The labels of the same stars, in the same order; stars that lack a true one are in
        neither diagram.
    title : str
    out : Path
        The file to write: .png, .pdf or .svg.
    """
    is_known = np.isfinite(true.teff) & np.isfinite(true.logg)
    both = [KielStars(*(values[is_known] for values in stars)) for stars in (true, predicted)]
    colours = _colour_limits(both[0].fe_h)
    figure = new_figure(12.5, 5.6)
    axes = figure.subplots(1, 2, sharex=True, sharey=True)
    points = None
    for ax, name, stars in zip(axes, ("true", "predicted"), both, strict=True):
        points = _draw_stars(ax, stars, colours) or points
        ax.set_title(name, fontsize=11)
        _mark_axes(ax)
        ax.label_outer()
    # Some predictions that are far off must not shrink all others.
    axes[0].set_xlim(*reversed(joined(*(inner_limits(stars.teff) for stars in both))))
    axes[0].set_ylim(*reversed(joined(*(inner_limits(stars.logg) for stars in both))))
    if points is not None:
        figure.colorbar(points, ax=axes, label=_FE_H_LABEL, extend="both")
    figure.suptitle(title)
    save_figure(figure, out)


def _colour_limits(fe_h: Values) -> Limits:
    known = fe_h[np.isfinite(fe_h)]
    return Limits(*np.percentile(known, _COLOUR_PERCENTILES)) if len(known) else Limits(0, 1)


def _draw_stars(ax: Any, stars: KielStars, colours: Limits) -> Any | None:
    """Draw stars, and return what has colours, if any star does."""
    has_colour = np.isfinite(stars.fe_h)
    size = 12 if len(stars.teff) <= _MAX_LARGE_MARKERS else 2
    style: dict[str, Any] = {"linewidths": 0, "rasterized": True}
    grey = stars.teff[~has_colour], stars.logg[~has_colour]
    ax.scatter(*grey, size, color="0.7", **style)
    if not has_colour.any():
        return None
    teff, logg, fe_h = (values[has_colour] for values in stars)
    style |= {"vmin": colours.low, "vmax": colours.high}
    if len(teff) <= _MAX_POINTS:
        return ax.scatter(teff, logg, size, fe_h, **style)
    limits = (*inner_limits(teff), *inner_limits(logg))
    return ax.hexbin(teff, logg, fe_h, gridsize=_CELLS, extent=limits, **style)


def _mark_axes(ax: Any) -> None:
    """Put hot stars on the left and giants above."""
    ax.set(xlabel=r"$T_\mathrm{eff}$ [K]", ylabel=r"$\log\,g$ [dex]")
    if not ax.xaxis_inverted():
        ax.invert_xaxis()
    if not ax.yaxis_inverted():
        ax.invert_yaxis()
    ax.grid(alpha=0.25)
