"""Plot the errors of predicted labels against the signal to noise of the spectra."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from galahstream.plots.figures import new_figure, save_figure
from galahstream.plots.panels import (
    GREY,
    ORANGE,
    LabelPanel,
    Limits,
    Values,
    add_density_scale,
    draw_stars,
    inner_limits,
    panel_rows,
    symmetric_limits,
)

_MAX_BINS = 12
_MIN_STARS_PER_BIN = 10


def plot_residuals(
    residuals: Values,
    snr: Values,
    panels: Sequence[LabelPanel],
    snr_label: str,
    title: str,
    out: Path,
) -> None:
    """Draw residuals against the signal to noise, one panel per label, with median and scatter.

    Parameters
    ----------
    residuals : ndarray, shape (n, K), float64
        Predicted - true in the units of the labels; NaN where a label is missing.
    snr : ndarray, shape (n,), float64
        Signal to noise; stars without one, or with 0 or less, are not drawn.
    panels : sequence of LabelPanel
    snr_label : str
        Name of the column of the signal to noise.
    title : str
    out : Path
        The file to write: .png, .pdf or .svg.
    """
    n_rows, n_columns = panel_rows(len(panels))
    figure = new_figure(4.8 * n_columns + 0.8, 3.8 * n_rows + 0.4)
    axes = figure.subplots(n_rows, n_columns, squeeze=False)
    is_known = np.isfinite(snr) & (snr > 0)
    # Logarithms are drawn, since cells of a density are equal on a linear axis only.
    log_snr = np.log10(snr[is_known])
    limits = inner_limits(log_snr)
    densities = []
    for index, (ax, panel) in enumerate(zip(axes.flat, panels, strict=False)):
        values = residuals[is_known, index]
        has_label = np.isfinite(values)
        x, y = log_snr[has_label], values[has_label]
        densities.append(draw_stars(ax, x, y, limits, symmetric_limits(y)))
        ax.axhline(0, color=GREY, lw=1)
        _draw_scatter(ax, x, y)
        _mark_powers(ax, limits)
        ax.set_title(panel.caption, fontsize=10)
        ax.set(
            xlabel=f"signal to noise ({snr_label})", ylabel=f"{panel.name}: {panel.residual_label}"
        )
    for ax in axes.flat[len(panels) :]:
        ax.remove()
    add_density_scale(figure, densities, axes)
    figure.suptitle(title)
    save_figure(figure, out)


def _draw_scatter(ax: Any, x: Values, y: Values) -> None:
    """Draw the median and the central 68 % of stars in bins of as many stars each."""
    from matplotlib import patheffects

    n_bins = min(len(x) // _MIN_STARS_PER_BIN, _MAX_BINS)
    if n_bins < 2:
        return
    bins = np.array_split(np.argsort(x), n_bins)
    centres = [float(np.median(x[chosen])) for chosen in bins]
    levels = np.array([np.percentile(y[chosen], (16, 50, 84)) for chosen in bins])
    # An outline, since lines cross cells of any colour.
    outline = [patheffects.withStroke(linewidth=4, foreground="white")]
    style = {"color": ORANGE, "lw": 2, "path_effects": outline}
    ax.plot(centres, levels[:, 1], "-", label="median", **style)
    ax.plot(centres, levels[:, 0], "--", label="central 68 %", **style)
    ax.plot(centres, levels[:, 2], "--", **style)
    ax.legend(frameon=True, edgecolor="none", framealpha=0.85, fontsize=8, loc="upper right")


def _mark_powers(ax: Any, limits: Limits) -> None:
    """Mark values of the signal to noise on an axis of their logarithms."""
    marks = [factor * 10.0**power for power in range(-3, 7) for factor in (1, 2, 5)]
    shown = [mark for mark in marks if limits.low <= np.log10(mark) <= limits.high]
    if len(shown) < 2:
        shown = [float(f"{10**edge:.3g}") for edge in np.linspace(limits.low, limits.high, 4)]
    ax.set_xticks(np.log10(shown), [f"{mark:g}" for mark in shown])
