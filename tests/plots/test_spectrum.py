from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from galahstream.plots.spectrum import camera_panels, equal_panels, flux_limits, plot_spectrum
from galahstream.survey.grids import GRIDS, resolve_grid
from galahstream.survey.wavelength import CAMERAS

Grid = npt.NDArray[np.float64]
BLUE, GREEN, RED, INFRARED = (camera.grid() for camera in CAMERAS)
SHAPES = {
    **{name: (resolve_grid(name).wavelength, 4) for name in GRIDS},
    "three cameras": (np.concatenate([BLUE, GREEN, INFRARED]), 3),
    "two cameras": (np.concatenate([GREEN, RED]), 2),
    "one camera": (RED, 1),
    "30 Å": (np.arange(6550.0, 6580.0, 0.0631), 1),
    "3 pixels": (RED[100:103], 1),
    "1 pixel": (RED[100:101], 1),
    "another survey": (np.linspace(3700, 9000, 3904), 4),
    "unknown": (np.full(100, np.nan), 1),
    "1 unknown pixel": (np.full(1, np.nan), 1),
}


def star(n_pixels: int) -> npt.NDArray[np.float32]:
    """Return a spectrum with a gap and an outlier."""
    flux = np.random.default_rng(0).normal(1, 0.05, n_pixels).astype(np.float32)
    flux[: n_pixels // 4] = np.nan
    flux[-1] = 468
    return flux


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", SHAPES)
def test_any_grid_is_drawn(tmp_path: Path, name: str) -> None:
    grid, _ = SHAPES[name]
    out = tmp_path / "a.png"
    plot_spectrum(grid, star(len(grid)), "star 1", out, note="nominal wavelength")
    assert out.read_bytes().startswith(b"\x89PNG")
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("name", [name for name in SHAPES if "unknown" not in name])
def test_the_panels_hold_every_pixel_once_and_are_those_of_the_cameras(name: str) -> None:
    grid, n_panels = SHAPES[name]
    panels = camera_panels(grid)
    assert len(panels) == n_panels
    assert_all_pixels(panels, len(grid))
    assert all(panel.title.endswith("camera") for panel in panels) == (name != "another survey")


@pytest.mark.parametrize("n_pixels", [1, 3, 511, 512, 1024, 5000, 10**6])
def test_equal_panels_hold_every_pixel_once(n_pixels: int) -> None:
    panels = equal_panels(n_pixels)
    assert 1 <= len(panels) <= 4
    assert_all_pixels(panels, n_pixels)


def assert_all_pixels(panels: Any, n_pixels: int) -> None:
    pixels = np.concatenate([np.arange(n_pixels)[panel.pixels] for panel in panels])
    assert pixels.tolist() == list(range(n_pixels))


@pytest.mark.filterwarnings("error")
def test_a_star_without_any_finite_pixel_is_drawn(tmp_path: Path) -> None:
    flux = np.full(4096, np.nan, np.float32)
    plot_spectrum(RED, flux, "star 1", tmp_path / "a.png", error=flux)
    assert (tmp_path / "a.png").exists()


@pytest.mark.filterwarnings("error")
def test_errors_are_a_band_and_notes_are_in_the_caption(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Any] = []
    monkeypatch.setattr(
        "galahstream.plots.spectrum.save_figure", lambda figure, out: figures.append(figure)
    )
    flux, error = star(200), np.full(200, 0.1, dtype=np.float32)
    flux[100], error[100], error[150] = np.inf, np.inf, np.nan
    grid = RED[:200]
    for errors, note in ((error, "rest frame"), (None, "")):
        plot_spectrum(grid, flux, "star 1", tmp_path / "a.png", error=errors, note=note)
    with_band, without = figures
    assert len(with_band.axes[0].collections) == len(without.axes[0].collections) + 1
    assert with_band.get_suptitle() == "star 1; rest frame"
    assert without.get_suptitle() == "star 1"


def test_a_line_is_marked_at_its_wavelength(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Any] = []
    monkeypatch.setattr(
        "galahstream.plots.spectrum.save_figure", lambda figure, out: figures.append(figure)
    )
    plot_spectrum(RED, np.ones(len(RED), np.float32), "star 1", tmp_path / "a.png")
    marked = {tuple(line.get_xdata()) for line in figures[0].axes[0].lines}
    assert {(6562.79, 6562.79), (6707.76, 6707.76)} <= marked


@pytest.mark.parametrize(("n_spikes", "height"), [(1, 20), (16, 12), (40, 1000), (16, -30)])
def test_spikes_do_not_flatten_the_other_pixels(n_spikes: int, height: float) -> None:
    flux = np.random.default_rng(1).normal(1, 0.02, 4096).astype(np.float32)
    flux[100:140] = 0.3  # a strong line
    quiet = flux_limits(flux)
    flux[3000 : 3000 + n_spikes] = height
    low, high = flux_limits(flux)
    assert low <= 0.3
    assert high >= 1.06
    assert high - low < 2 * (quiet[1] - quiet[0]) or height < 0
    assert low > -1


def test_an_emission_line_is_drawn_completely() -> None:
    flux = np.ones(4096, dtype=np.float32)
    flux[2000:2080] += 3 * np.hanning(80).astype(np.float32)
    assert flux_limits(flux)[1] > 4
