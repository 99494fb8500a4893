"""Plot how good predicted uncertainties are."""

from collections.abc import Sequence
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

from galahstream.plots.figures import new_figure, save_figure
from galahstream.plots.panels import BLUE, GREY, ORANGE, LabelPanel, Values, panel_rows

_FRACTIONS = np.linspace(0.02, 0.98, 49)
_MARKED = (0.6827, 0.9545)
_MAX_PULL = 5.0


def plot_calibration(pulls: Values, panels: Sequence[LabelPanel], title: str, out: Path) -> None:
    """Draw for each label which fractions of the stars are within their uncertainties.

    Above: the fraction of the stars whose true value is in the central interval that should hold
    a given fraction, with the range where it is by chance. Below: the distribution of the pulls.

    Parameters
    ----------
    pulls : ndarray, shape (n, K), float64
        (predicted - true) / σ; NaN where a label is missing.
    panels : sequence of LabelPanel
    title : str
    out : Path
        The file to write: .png, .pdf or .svg.
    """
    n_rows, n_columns = panel_rows(len(panels))
    figure = new_figure(4.2 * n_columns, 6.2 * n_rows + 0.4)
    axes = figure.subplots(
        2 * n_rows, n_columns, squeeze=False, gridspec_kw={"height_ratios": [3, 2] * n_rows}
    )
    pairs = axes.reshape(n_rows, 2, n_columns).transpose(0, 2, 1).reshape(-1, 2)
    for index, pair in enumerate(pairs):
        if index >= len(panels):
            for unused in pair:
                unused.remove()
            continue
        values = pulls[:, index]
        values = values[np.isfinite(values)]
        _draw_coverage(pair[0], np.abs(values), panels[index])
        _draw_pulls(pair[1], values)
    figure.suptitle(title)
    save_figure(figure, out)


def _draw_coverage(ax: Any, distances: Values, panel: LabelPanel) -> None:
    normal = NormalDist()
    sigmas = np.array([normal.inv_cdf(0.5 + fraction / 2) for fraction in _FRACTIONS])
    expected = 100 * _FRACTIONS
    ax.plot([0, 100], [0, 100], color=GREY, lw=1)
    if len(distances):
        chance = 196 * np.sqrt(_FRACTIONS * (1 - _FRACTIONS) / len(distances))
        ax.fill_between(
            expected, expected - chance, expected + chance, color="0.85", lw=0,
            label="95 % range by chance, if right",
        )  # fmt: skip
        found = 100 * np.mean(distances[:, None] <= sigmas, axis=0)
        ax.plot(expected, found, color=BLUE, lw=2, label="predicted uncertainties")
        for fraction, marker, n_sigma in zip(_MARKED, "os", (1, 2), strict=True):
            share = 100 * float(np.mean(distances <= n_sigma))
            ax.plot(
                100 * fraction, share, marker, color=ORANGE, mec="k", mew=0.5,
                label=f"within {n_sigma} σ: {share:.1f} %",
            )  # fmt: skip
        ax.legend(frameon=False, fontsize=8, loc="upper left")
    ax.set_title(panel.name, fontsize=11)
    ax.set(xlim=(0, 100), ylim=(0, 100), xlabel="expected stars [%]", ylabel="found stars [%]")
    ax.grid(alpha=0.3)


def _draw_pulls(ax: Any, pulls: Values) -> None:
    n_bins = 40 if len(pulls) > 400 else 16
    edges = np.linspace(-_MAX_PULL, _MAX_PULL, n_bins + 1)
    x = np.linspace(-_MAX_PULL, _MAX_PULL, 201)
    if len(pulls):
        clipped = np.clip(pulls, -_MAX_PULL, _MAX_PULL)
        weight = np.full(len(pulls), 1 / (len(pulls) * (edges[1] - edges[0])))
        ax.hist(clipped, edges, weights=weight, color=BLUE, alpha=0.6)
        text = f"{pulls.mean():+.2f} ± {pulls.std():.2f}"
        ax.text(0.03, 0.92, text, transform=ax.transAxes, va="top", fontsize=9)
    ax.plot(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), color=ORANGE, lw=1.5, label="normal")
    ax.set(xlabel="(predicted - true) / σ", ylabel="density of stars", xlim=(-_MAX_PULL, _MAX_PULL))
    ax.legend(frameon=False, fontsize=8, loc="upper right")
    ax.grid(alpha=0.3)
