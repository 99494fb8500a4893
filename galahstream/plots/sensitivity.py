"""Plot which wavelengths a network looks at, beside the spectrum and its strongest lines."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from galahstream.plots.figures import new_figure, save_figure
from galahstream.plots.panels import BLUE, GREY, LabelPanel, Values
from galahstream.plots.spectrum import camera_panels, equal_panels
from galahstream.survey.lines import STRONG_LINES

_MAX_CELLS = 1400
# Å around a line in which the gradients are its own.
_LINE_WIDTH = 1.0


def plot_sensitivity(
    wavelength: Values,
    flux: npt.NDArray[np.float32],
    gradients: Values,
    panels: Sequence[LabelPanel],
    title: str,
    out: Path,
) -> None:
    """Draw how much each label changes with the flux of each pixel, below a mean spectrum.

    Parameters
    ----------
    wavelength : ndarray, shape (L,), float64
        Å, increasing; all NaN if they are not known, then pixels are numbered.
    flux : ndarray, shape (L,), float32
        Mean spectrum, relative to the continuum; NaN where no star has a value.
    gradients : ndarray, shape (K, L), float64
        Mean absolute change of each label, in its unit, per change of the flux by 1 %.
    panels : sequence of LabelPanel
        The labels.
    title : str
    out : Path
        The file to write: .png, .pdf or .svg.
    """
    is_known = bool(np.isfinite(wavelength).all())
    x = wavelength if is_known else np.arange(len(flux), dtype=np.float64)
    parts = camera_panels(x) if is_known else equal_panels(len(x))
    highest = gradients.max(axis=1, keepdims=True)
    relative = np.divide(gradients, highest, out=np.zeros_like(gradients), where=highest > 0)
    strip = 0.28 * len(panels) + 0.2
    figure = new_figure(15, (1.7 + strip) * len(parts) + 0.8)
    axes = figure.subplots(
        2 * len(parts), 1, squeeze=False, gridspec_kw={"height_ratios": [1.5, strip] * len(parts)}
    )[:, 0]
    names = [
        f"{panel.name} (≤ {_rounded(high)} {panel.unit})".replace(" )", ")")
        for panel, high in zip(panels, highest[:, 0], strict=True)
    ]
    image = None
    for part, upper, lower in zip(parts, axes[::2], axes[1::2], strict=True):
        edges, cells = _cells(x[part.pixels], relative[:, part.pixels])
        _draw_spectrum(upper, x[part.pixels], flux[part.pixels], part.title)
        image = lower.pcolormesh(
            edges, np.arange(len(panels) + 1), cells, cmap="cividis", vmin=0, vmax=1,
            rasterized=True,
        )  # fmt: skip
        lower.set_yticks(np.arange(len(panels)) + 0.5, names, fontsize=8)
        lower.invert_yaxis()
        for ax in (upper, lower):
            ax.set_xlim(edges[0], edges[-1])
            ax.ticklabel_format(axis="x", useOffset=False)
        upper.tick_params(labelbottom=False)
        if is_known:
            _name_lines(upper, x[part.pixels], relative[:, part.pixels])
    axes[-1].set_xlabel("wavelength in air [Å]" if is_known else "pixel")
    label = "mean |change| per 1 % of flux,\nrelative to the label's largest"
    figure.colorbar(image, ax=axes, label=label, aspect=40, pad=0.01)
    figure.suptitle(title)
    save_figure(figure, out)


def _rounded(value: float) -> str:
    return f"{value:.2g}"


def _cells(x: Values, values: Values) -> tuple[Values, npt.NDArray[Any]]:
    """Return edges of cells along x, and the largest value in each: thin lines stay visible."""
    step = float(np.median(np.diff(x))) if len(x) > 1 else 1.0
    n_cells = min(len(x), _MAX_CELLS)
    edges = np.linspace(x[0] - step / 2, x[-1] + step / 2, n_cells + 1)
    index = np.clip(np.searchsorted(edges, x, side="right") - 1, 0, n_cells - 1)
    cells = np.full((len(values), n_cells), -1.0)
    for row, of_label in zip(cells, values, strict=True):
        np.maximum.at(row, index, of_label)
    return edges, np.ma.masked_less(cells, 0)


def _draw_spectrum(ax: Any, x: Values, flux: npt.NDArray[np.float32], title: str) -> None:
    steps = np.diff(x, prepend=x[0])
    gaps = np.flatnonzero(steps > 5 * np.median(steps))
    ax.plot(np.insert(x, gaps, np.nan), np.insert(flux, gaps, np.nan), color=BLUE, lw=0.7)
    finite = flux[np.isfinite(flux)]
    if len(finite):
        low, high = np.percentile(finite, (0.1, 99.8))
        room = max(high - low, 0.05)
        ax.set_ylim(low - 0.1 * room, high + 0.45 * room)
    ax.set_ylabel("mean flux", fontsize=9)
    ax.set_title(title, loc="left", fontsize=10)
    ax.grid(alpha=0.25)


def _name_lines(ax: Any, x: Values, relative: Values) -> None:
    """Name the strong lines of a panel, the one that matters most in bold."""
    lines = [line for line in STRONG_LINES if x[0] <= line.wavelength <= x[-1]]
    importance = [
        float(relative[:, np.abs(x - line.wavelength) <= _LINE_WIDTH].max(initial=0))
        for line in lines
    ]
    for index, line in enumerate(lines):
        ax.axvline(line.wavelength, color=GREY, lw=0.6, ls=":")
        ax.annotate(
            line.name,
            (line.wavelength, 0.96 - 0.14 * (index % 2)),
            xycoords=ax.get_xaxis_transform(),
            xytext=(2, 0),
            textcoords="offset points",
            va="top",
            fontsize=8,
            weight="bold" if importance[index] == max(importance) else "normal",
        )
