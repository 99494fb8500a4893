"""Plot a training run: its losses, and predicted against true labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from galahstream.plots.figures import new_figure, save_figure

_TRAINING, _VALIDATION = "#1f5c99", "#d9731a"


class LabelPanel(NamedTuple):
    """The text of one column: name and unit of a label, and the caption above it."""

    name: str
    unit: str
    caption: str


def plot_losses(
    training: Sequence[float], validation: Sequence[float], loss_label: str, out: Path
) -> None:
    """Draw training and validation loss over the epochs, on a logarithmic scale if that can be.

    Parameters
    ----------
    training, validation : sequence of float
        Losses, one per epoch.
    loss_label : str
        Label of the vertical axis.
    out : Path
        The file to write: .png, .pdf or .svg.
    """
    figure = new_figure(7, 4.5)
    ax = figure.subplots()
    epochs = np.arange(1, len(training) + 1)
    ax.plot(epochs, training, "o-", color=_TRAINING, label="training")
    ax.plot(epochs, validation, "s-", color=_VALIDATION, label="validation")
    # Log-likelihoods can be negative.
    scale = "linear" if any(loss <= 0 for loss in (*training, *validation)) else "log"
    ax.set(xlabel="epoch", ylabel=loss_label, yscale=scale)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.grid(alpha=0.3, which="both")
    ax.legend(frameon=False)
    save_figure(figure, out)


def plot_predictions(
    predicted: npt.NDArray[np.float64],
    true: npt.NDArray[np.float64],
    panels: Sequence[LabelPanel],
    title: str,
    out: Path,
) -> None:
    """Draw predicted against true values and their residuals, one column per label.

    Parameters
    ----------
    predicted, true : ndarray, shape (n, K), float64
        Values in the units of the labels; stars are not drawn where `true` is NaN.
    panels : sequence of LabelPanel
        The text of each of the K columns.
    title : str
    out : Path
        The file to write: .png, .pdf or .svg.
    """
    figure = new_figure(4.4 * len(panels), 6)
    axes = figure.subplots(
        2, len(panels), squeeze=False, sharex="col", gridspec_kw={"height_ratios": [3, 1]}
    )
    for column, panel in enumerate(panels):
        _draw_column(axes[:, column], predicted[:, column], true[:, column], panel)
    figure.suptitle(title)
    save_figure(figure, out)


def _draw_column(
    axes: Any, y: npt.NDArray[np.float64], x: npt.NDArray[np.float64], panel: LabelPanel
) -> None:
    upper, lower = axes
    x, y = x[np.isfinite(x)], y[np.isfinite(x)]
    unit = f" [{panel.unit}]" if panel.unit else ""
    limits = [min(x.min(), y.min()), max(x.max(), y.max())]
    style = {"s": 6, "alpha": 0.5, "linewidths": 0, "color": _TRAINING, "rasterized": True}
    upper.plot(limits, limits, color="0.4", lw=1)
    upper.scatter(x, y, **style)
    upper.set(ylabel=f"predicted {panel.name}{unit}")
    upper.set_title(panel.caption, fontsize=10)
    lower.axhline(0, color="0.4", lw=1)
    lower.scatter(x, y - x, **style)
    lower.set(xlabel=f"true {panel.name}{unit}", ylabel=f"residual{unit}")
    for ax in axes:
        ax.grid(alpha=0.3)
