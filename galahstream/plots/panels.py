"""What figures with a panel per label share: their grid, their texts, and how stars are drawn."""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Values: TypeAlias = npt.NDArray[np.float64]

BLUE, ORANGE, GREY = "#1f5c99", "#d9731a", "0.4"
"""Colours that are told apart with any colour vision."""

MAX_POINTS = 2000
"""Up to this number, stars are drawn as points; more of them as their density."""

MAX_COLUMNS = 4
"""Panels beside each other."""

# Of the stars that set the limits of an axis; some outliers must not flatten all others.
_INNER_PERCENTILES = (0.25, 99.75)
_RESIDUAL_PERCENTILE = 99.5
# Fewer stars have larger markers.
_FEW_POINTS = 200
_CELLS = 60


class LabelPanel(NamedTuple):
    """The text of one panel: name and unit of a label, and the caption above it."""

    name: str
    unit: str
    caption: str = ""

    def axis_label(self, prefix: str = "") -> str:
        """Return the text of an axis, as in ``"true teff [K]"``."""
        unit = f" [{self.unit}]" if self.unit else ""
        return f"{prefix} {self.name}{unit}".strip()

    @property
    def residual_label(self) -> str:
        """The text of an axis of residuals."""
        return f"predicted - true [{self.unit}]" if self.unit else "predicted - true"


class Limits(NamedTuple):
    """The limits of an axis."""

    low: float
    high: float


def panel_rows(n_panels: int) -> tuple[int, int]:
    """Return the number of rows and of columns for panels."""
    n_columns = min(n_panels, MAX_COLUMNS)
    return -(-n_panels // n_columns), n_columns


def inner_limits(values: Values, margin: float = 0.08) -> Limits:
    """Return limits that hold all values but a few outliers, with a margin."""
    if len(values) == 0:
        return Limits(0.0, 1.0)
    low, high = np.percentile(values, _INNER_PERCENTILES)
    room = margin * (high - low) or 0.05 * max(abs(low), 1.0)
    return Limits(float(low - room), float(high + room))


def symmetric_limits(residuals: Values) -> Limits:
    """Return limits around 0 that hold all residuals but a few outliers."""
    if len(residuals) == 0:
        return Limits(-1.0, 1.0)
    size = float(np.percentile(np.abs(residuals), _RESIDUAL_PERCENTILE)) * 1.15 or 1.0
    return Limits(-size, size)


def joined(*limits: Limits) -> Limits:
    """Return limits that hold those of several axes."""
    return Limits(min(each.low for each in limits), max(each.high for each in limits))


def draw_stars(ax: Any, x: Values, y: Values, x_limits: Limits, y_limits: Limits) -> Any | None:
    """Draw stars as points, or the density of many; those outside of the limits are counted.

    Returns
    -------
    The density as matplotlib drew it, or None for points.
    """
    is_inside = (x >= x_limits.low) & (x <= x_limits.high)
    is_inside &= (y >= y_limits.low) & (y <= y_limits.high)
    ax.set(xlim=x_limits, ylim=y_limits)
    ax.grid(alpha=0.3)
    n_outside = len(x) - int(is_inside.sum())
    if n_outside:
        text = f"{n_outside:,} outside"
        box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1}
        ax.text(
            0.98, 0.03, text, transform=ax.transAxes, ha="right", fontsize=8, color="0.2",
            bbox=box, zorder=5,
        )  # fmt: skip
    if len(x) == 0:
        ax.text(0.5, 0.6, "no values", transform=ax.transAxes, ha="center", color=GREY)
    x, y = x[is_inside], y[is_inside]
    if len(x) <= MAX_POINTS:
        size = 30 if len(x) < _FEW_POINTS else 10
        ax.scatter(x, y, s=size, alpha=0.6, linewidths=0, color=BLUE, rasterized=True)
        return None
    # Cells of about the same size in every panel.
    height = max(round(_CELLS * 0.6 * _aspect(ax)), 4)
    return ax.hexbin(
        x,
        y,
        gridsize=(_CELLS, height),
        extent=(*x_limits, *y_limits),
        mincnt=1,
        cmap="cividis",
        linewidths=0.1,
        rasterized=True,
    )


def add_density_scale(figure: Any, densities: Sequence[Any | None], axes: Any) -> None:
    """Give all densities of a figure one logarithmic scale of colours, and draw it."""
    from matplotlib.colors import LogNorm

    drawn = [density for density in densities if density is not None]
    if not drawn:
        return
    highest = max(float(density.get_array().max()) for density in drawn)
    for density in drawn:
        density.set_norm(LogNorm(1, max(highest, 2)))
    figure.colorbar(drawn[0], ax=axes, label="stars per cell", aspect=40, pad=0.01)


def _aspect(ax: Any) -> float:
    """Return height per width of an axis in a grid, before the layout is final."""
    box = ax.get_position()
    width, height = ax.figure.get_size_inches()
    return float(box.height * height / (box.width * width))
