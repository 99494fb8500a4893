"""Plot a training run: its losses, and predicted against true labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from galahstream.plots.figures import new_figure, save_figure
from galahstream.plots.panels import (
    BLUE,
    GREY,
    ORANGE,
    LabelPanel,
    Values,
    add_density_scale,
    draw_stars,
    inner_limits,
    joined,
    panel_rows,
    symmetric_limits,
)

_MAX_MARKED_EPOCHS = 40


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
    markers = ("o", "s") if len(training) <= _MAX_MARKED_EPOCHS else ("", "")
    ax.plot(epochs, training, marker=markers[0], color=BLUE, label="training")
    ax.plot(epochs, validation, marker=markers[1], color=ORANGE, label="validation", ls="--")
    if np.isfinite(validation).any():
        best = int(np.nanargmin(validation))
        ax.plot(
            epochs[best], validation[best], "*", ms=14, color=ORANGE, mec="k", mew=0.6,
            label=f"smallest validation loss: {validation[best]:.4g} (epoch {epochs[best]})",
        )  # fmt: skip
    # Log-likelihoods can be negative.
    scale = "linear" if any(loss <= 0 for loss in (*training, *validation)) else "log"
    ax.set(xlabel="epoch", ylabel=loss_label, yscale=scale)
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.grid(alpha=0.3, which="both")
    ax.legend(frameon=False)
    save_figure(figure, out)


def plot_predictions(
    predicted: Values, true: Values, panels: Sequence[LabelPanel], title: str, out: Path
) -> None:
    """Draw predicted against true values and their residuals, one panel per label.

    Parameters
    ----------
    predicted, true : ndarray, shape (n, K), float64
        Values in the units of the labels; stars are not drawn where `true` is NaN.
    panels : sequence of LabelPanel
        The text of each of the K panels.
    title : str
    out : Path
        The file to write: .png, .pdf or .svg.
    """
    n_rows, n_columns = panel_rows(len(panels))
    figure = new_figure(4.4 * n_columns + 0.8, 5.8 * n_rows + 0.4)
    axes = figure.subplots(
        2 * n_rows, n_columns, squeeze=False, gridspec_kw={"height_ratios": [3, 1.2] * n_rows}
    )
    densities = []
    for index, panel in enumerate(panels):
        row, column = divmod(index, n_columns)
        pair = axes[2 * row : 2 * row + 2, column]
        densities += _draw_label(pair, predicted[:, index], true[:, index], panel)
    for ax in axes.reshape(n_rows, 2, n_columns).transpose(0, 2, 1).reshape(-1, 2)[len(panels) :]:
        for unused in ax:
            unused.remove()
    add_density_scale(figure, densities, axes)
    figure.suptitle(title)
    save_figure(figure, out)


def _draw_label(axes: Any, predicted: Values, true: Values, panel: LabelPanel) -> list[Any | None]:
    upper, lower = axes
    is_known = np.isfinite(true) & np.isfinite(predicted)
    x, y = true[is_known], predicted[is_known]
    # The same scale on both axes: the errors along the labels are seen as they are.
    limits = joined(inner_limits(x), inner_limits(y))
    upper.set_title(panel.caption, fontsize=10)
    drawn = [
        draw_stars(upper, x, y, limits, limits),
        draw_stars(lower, x, y - x, limits, symmetric_limits(y - x)),
    ]
    upper.plot(limits, limits, color=GREY, lw=1)
    lower.axhline(0, color=GREY, lw=1)
    upper.set(ylabel=panel.axis_label("predicted"))
    upper.tick_params(labelbottom=False)
    lower.set(xlabel=panel.axis_label("true"), ylabel=panel.residual_label)
    lower.yaxis.label.set_size(8)
    return drawn
