"""Plot the spectrum of one star: a panel per camera, with strong lines labelled."""

from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from galahstream.plots.figures import figure_format, new_figure, save_figure
from galahstream.survey.lines import STRONG_LINES
from galahstream.survey.wavelength import CAMERAS

MAX_PANELS = 4
MIN_PANEL_PIXELS = 512
"""Spectra that are not those of cameras are drawn in panels of at least this many pixels."""

# Å that pixels may be off the nominal grid of a camera: those of stars, and of published grids.
_MAX_OFFSET = 15.0
# With fewer pixels in a panel, each of them is marked.
_MAX_MARKED_PIXELS = 64
# What rises over all but 1 % of the pixels by more than this many times their own height over the
# median is a spike.
_SPIKE = 3
_FLUX = "#1f5c99"


class Panel(NamedTuple):
    """One panel: a title, which may be empty, and the pixels to draw."""

    title: str
    pixels: slice


def plot_spectrum(
    wavelength: npt.NDArray[np.float64],
    flux: npt.NDArray[np.float32],
    title: str,
    out: Path,
    *,
    error: npt.NDArray[np.float32] | None = None,
    note: str = "",
) -> None:
    """Draw one spectrum into a file.

    Parameters
    ----------
    wavelength : ndarray, shape (L,), float64
        Wavelengths in Å; all NaN if they are not known, then pixels are numbered.
    flux : ndarray, shape (L,), float32
        Flux relative to the continuum; pixels that are not finite are gaps.
    title : str
    out : Path
        The file to write: .png, .pdf or .svg.
    error : ndarray, shape (L,), float32, or None
        One standard deviation of each pixel, drawn as a band; NaN where it is not known.
    note : str
        What a reader should know of the wavelengths, for the caption.

    Raises
    ------
    OptionError
        If the suffix of the file is not that of a format.
    ExtraMissingError
        If matplotlib is not installed.
    """
    figure_format(out)
    is_known = np.isfinite(wavelength).all()
    x = wavelength if is_known else np.arange(len(flux), dtype=np.float64)
    panels = camera_panels(x) if is_known else equal_panels(len(x))
    figure = new_figure(14, 1 + 2.5 * len(panels))
    axes = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for ax, panel in zip(axes, panels, strict=True):
        _draw_flux(ax, x[panel.pixels], flux[panel.pixels])
        if error is not None:
            _draw_error(ax, x[panel.pixels], flux[panel.pixels], error[panel.pixels])
        if panel.title:
            ax.set_title(panel.title, loc="left", fontsize=10)
        if is_known:
            _draw_lines(ax, x[panel.pixels])
    axes[-1].set_xlabel("wavelength in air [Å]" if is_known else "pixel")
    figure.suptitle(f"{title}; {note}" if note else title)
    save_figure(figure, out)


def camera_panels(wavelength: npt.NDArray[np.float64]) -> list[Panel]:
    """Return a panel for each camera that has pixels, if cameras cover the grid, else equal ones.

    Parameters
    ----------
    wavelength : ndarray, shape (L,), float64
        Increasing wavelengths in Å.
    """
    panels = []
    for camera in CAMERAS:
        limits = (camera.start - _MAX_OFFSET, camera.stop + _MAX_OFFSET)
        start, stop = (int(pixel) for pixel in np.searchsorted(wavelength, limits))
        if start < stop:
            panels.append(Panel(f"{camera.name} camera", slice(start, stop)))
    n_covered = sum(panel.pixels.stop - panel.pixels.start for panel in panels)
    return panels if n_covered == len(wavelength) else equal_panels(len(wavelength))


def equal_panels(n_pixels: int) -> list[Panel]:
    """Return up to four panels of equally many pixels."""
    n_panels = min(max(n_pixels // MIN_PANEL_PIXELS, 1), MAX_PANELS)
    edges = np.linspace(0, n_pixels, n_panels + 1).astype(int).tolist()
    return [Panel("", slice(start, stop)) for start, stop in pairwise(edges)]


def flux_limits(finite: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Return the limits of a panel; spikes, which would flatten all other pixels, do not count.

    Parameters
    ----------
    finite : ndarray, shape (n,), float32
        Flux of at least one pixel.
    """
    lowest, middle, upper, highest = np.percentile(finite, (0.1, 50, 99, 99.8))
    low = max(lowest, min(0.0, middle))  # a line takes away no more than all of the flux
    high = min(highest, upper + _SPIKE * (upper - middle))
    room = 0.15 * max(high - low, 0.05)
    return float(low - room), float(high + 2.5 * room)


def _draw_flux(ax: Any, x: npt.NDArray[np.float64], flux: npt.NDArray[np.float32]) -> None:
    finite = flux[np.isfinite(flux)]
    ax.set_ylabel("flux / continuum")
    # Half a pixel, so that the marks of the first and the last one are complete.
    margin = float(x[1] - x[0]) / 2 if len(x) > 1 else 0.5
    ax.set_xlim(x[0] - margin, x[-1] + margin)
    ax.ticklabel_format(axis="x", useOffset=False)
    if len(finite) == 0:
        ax.text(0.5, 0.5, "no data", transform=ax.transAxes, ha="center", color="0.4")
        return
    low, high = flux_limits(finite)
    ax.set_ylim(low, high)
    n_outside = int(np.count_nonzero((finite < low) | (finite > high)))
    if n_outside:
        pixels = "1 pixel is" if n_outside == 1 else f"{n_outside:,} pixels are"
        ax.set_title(f"{pixels} outside", loc="right", fontsize=8, color="0.4")
    marker = "." if len(x) <= _MAX_MARKED_PIXELS else None
    ax.plot(x, flux, color=_FLUX, lw=0.6, marker=marker)
    ax.grid(alpha=0.25)


def _draw_error(
    ax: Any,
    x: npt.NDArray[np.float64],
    flux: npt.NDArray[np.float32],
    error: npt.NDArray[np.float32],
) -> None:
    with np.errstate(invalid="ignore"):  # of infinite pixels, which are gaps
        low, high = flux - error, flux + error
    ax.fill_between(x, low, high, color=_FLUX, alpha=0.25, lw=0)


def _draw_lines(ax: Any, x: npt.NDArray[np.float64]) -> None:
    lines = [line for line in STRONG_LINES if x[0] <= line[1] <= x[-1]]
    for index, (element, wavelength) in enumerate(lines):
        ax.axvline(wavelength, color="#d9731a", lw=0.7, alpha=0.6, ls=":")
        ax.annotate(
            element,
            (wavelength, 0.97 - 0.09 * (index % 2)),
            xycoords=ax.get_xaxis_transform(),
            xytext=(2, 0),
            textcoords="offset points",
            va="top",
            fontsize=8,
            color="#a04e08",
        )
