"""Pictures of a training run: its losses, and predicted against true labels."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from galahstream.plots.figures import new_figure, save_figure

_TRAIN, _VALIDATION = "#1f5c99", "#d9731a"


def plot_losses(train: Sequence[float], validation: Sequence[float], out: Path) -> None:
    """Draw training and validation loss over the epochs, on a logarithmic scale."""
    figure = new_figure(7, 4.5)
    axes = figure.subplots()
    epochs = np.arange(1, len(train) + 1)
    axes.plot(epochs, train, "o-", color=_TRAIN, label="training")
    axes.plot(epochs, validation, "s-", color=_VALIDATION, label="validation")
    axes.set(xlabel="epoch", ylabel="mean squared error of z-scored labels", yscale="log")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3, which="both")
    axes.legend(frameon=False)
    save_figure(figure, out)


def plot_predictions(
    predicted: npt.NDArray[np.float64],
    true: npt.NDArray[np.float64],
    names: Sequence[str],
    units: Sequence[str],
    captions: Sequence[str],
    title: str,
    out: Path,
) -> None:
    """Draw predicted against true values with their residuals, a column a label.

    Parameters
    ----------
    predicted, true : ndarray, shape (n, K), float64
        In the labels' own units.
    names, units, captions : sequence of str
        Of the K labels; a caption stands above its column.
    title : str
    out : Path
        The PNG to write.
    """
    figure = new_figure(4.4 * len(names), 6)
    axes = figure.subplots(
        2, len(names), squeeze=False, sharex="col", gridspec_kw={"height_ratios": [3, 1]}
    )
    for number, (name, unit_text, caption) in enumerate(zip(names, units, captions, strict=True)):
        upper, lower = axes[0, number], axes[1, number]
        x, y = true[:, number], predicted[:, number]
        unit = f" [{unit_text}]" if unit_text else ""
        ends = [min(x.min(), y.min()), max(x.max(), y.max())]
        style = {"s": 6, "alpha": 0.5, "linewidths": 0, "color": _TRAIN, "rasterized": True}
        upper.plot(ends, ends, color="0.4", lw=1)
        upper.scatter(x, y, **style)
        upper.set(ylabel=f"predicted {name}{unit}")
        upper.set_title(caption, fontsize=10)
        lower.axhline(0, color="0.4", lw=1)
        lower.scatter(x, y - x, **style)
        lower.set(xlabel=f"true {name}{unit}", ylabel=f"residual{unit}")
        for panel in (upper, lower):
            panel.grid(alpha=0.3)
    figure.suptitle(title)
    save_figure(figure, out)
