"""A picture of one star, a panel for each camera, with its strong lines named."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from galahstream.plots.figures import new_figure, save_figure
from galahstream.survey.lines import STRONG_LINES
from galahstream.survey.wavelength import CAMERAS


def plot_spectrum(
    wavelength: npt.NDArray[np.float64],
    flux: npt.NDArray[np.float32],
    title: str,
    out: Path,
    *,
    wavelength_is_nominal: bool,
) -> None:
    """Draw one spectrum into a PNG.

    Parameters
    ----------
    wavelength : ndarray, shape (L,), float64
        Å; all NaN where it is not known, then pixels are drawn.
    flux : ndarray, shape (L,), float32
        Relative to the continuum; pixels that are not finite are gaps.
    title : str
    out : Path
        The PNG to write.
    wavelength_is_nominal : bool
        Say so in the picture: lines then stand off by zero point and velocity.
    """
    known = bool(np.isfinite(wavelength).all())
    x = wavelength if known else np.arange(len(flux), dtype=np.float64)
    figure = new_figure(14, 11)
    panels = figure.subplots(4, 1)
    for panel, (name, pixels) in zip(panels, _parts(x, known), strict=True):
        _draw_panel(panel, x[pixels], flux[pixels], name, known)
    panels[-1].set_xlabel("wavelength in air [Å]" if known else "pixel")
    note = (
        "; nominal wavelength: each star is off by up to 2.7 Å and by its velocity"
        if wavelength_is_nominal
        else ""
    )
    figure.suptitle(title + note)
    save_figure(figure, out)


def _parts(x: npt.NDArray[np.float64], known: bool) -> list[tuple[str, slice]]:
    """Return four parts of the pixels: the cameras where they cover the grid, else quarters."""
    if known:
        edges = [
            (
                camera.name,
                np.searchsorted(x, camera.start - 3),
                np.searchsorted(x, camera.stop + 3),
            )
            for camera in CAMERAS
        ]
        if sum(stop - start for _, start, stop in edges) == len(x):
            return [(name, slice(int(start), int(stop))) for name, start, stop in edges]
    cuts = np.linspace(0, len(x), 5).astype(int)
    return [("", slice(int(a), int(b))) for a, b in pairwise(cuts)]


def _draw_panel(
    panel: Any, x: npt.NDArray[np.float64], flux: npt.NDArray[np.float32], name: str, known: bool
) -> None:
    finite = flux[np.isfinite(flux)]
    panel.set_ylabel("flux / continuum")
    panel.set_xlim(x[0], x[-1])
    if name:
        panel.set_title(f"{name} camera", loc="left", fontsize=10)
    if len(finite) == 0:
        panel.text(0.5, 0.5, "no data", transform=panel.transAxes, ha="center", color="0.4")
        return
    # A few wild pixels must not flatten all others.
    low, high = np.percentile(finite, (0.1, 99.8))
    room = 0.15 * max(high - low, 0.05)
    panel.set_ylim(low - room, high + 2.5 * room)
    panel.plot(x, flux, color="#1f5c99", lw=0.6)
    panel.grid(alpha=0.25)
    if known:
        lines = [line for line in STRONG_LINES if x[0] <= line[1] <= x[-1]]
        for number, (element, line) in enumerate(lines):
            panel.axvline(line, color="#d9731a", lw=0.7, alpha=0.6, ls=":")
            panel.annotate(
                element,
                (line, 0.97 - 0.09 * (number % 2)),
                xycoords=panel.get_xaxis_transform(),
                xytext=(2, 0),
                textcoords="offset points",
                va="top",
                fontsize=8,
                color="#a04e08",
            )
