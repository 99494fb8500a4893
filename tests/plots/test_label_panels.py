"""Figures with a panel per label: any number of labels and stars, and labels without values."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from galahstream.plots import calibration, residuals, sensitivity
from galahstream.plots.kiel import KielStars, plot_kiel_pair
from galahstream.plots.panels import (
    MAX_POINTS,
    LabelPanel,
    inner_limits,
    panel_rows,
    symmetric_limits,
)
from galahstream.plots.training import plot_predictions

pytestmark = pytest.mark.filterwarnings("error")

Values = npt.NDArray[np.float64]


def panels(n_labels: int) -> list[LabelPanel]:
    return [LabelPanel(f"label {i}", "K" if i else "", f"RMSE {i}") for i in range(n_labels)]


def residual_values(n_stars: int, n_labels: int) -> Values:
    """Return residuals with outliers, and a label that no star has if there are several."""
    values = np.random.default_rng(0).normal(size=(n_stars, n_labels))
    values[0] = 1e3
    if n_labels > 1:
        values[:, 1] = np.nan
    return values


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the list of figures that are not saved but kept."""
    kept: list[Any] = []
    for name in ("calibration", "residuals", "sensitivity", "kiel", "training"):
        monkeypatch.setattr(
            f"galahstream.plots.{name}.save_figure", lambda one, out: kept.append(one)
        )
    return kept


SIZES = pytest.mark.parametrize(
    ("n_stars", "n_labels"), [(1, 1), (2, 7), (60, 3), (MAX_POINTS + 500, 2)]
)


@pytest.mark.slow
@SIZES
def test_residuals_of_any_number_of_stars_and_labels_are_drawn(
    tmp_path: Path, n_stars: int, n_labels: int
) -> None:
    snr = np.random.default_rng(1).uniform(5, 200, n_stars)
    snr[1:] = np.where(np.arange(1, n_stars) % 7, snr[1:], [np.nan, 0, -1][n_stars % 3])
    out = tmp_path / "residuals.svg"
    residuals.plot_residuals(
        residual_values(n_stars, n_labels), snr, panels(n_labels), "snr_c2_iraf", "stars", out
    )
    text = out.read_text()
    assert "signal to noise (snr_c2_iraf)" in text
    assert all(f"label {i}: predicted - true" in text for i in range(n_labels))
    assert ("no values" in text) == (n_labels > 1)


@pytest.mark.slow
@SIZES
def test_predictions_of_any_number_of_stars_and_labels_are_drawn(
    tmp_path: Path, n_stars: int, n_labels: int
) -> None:
    true = residual_values(n_stars, n_labels)
    out = tmp_path / "predictions.svg"
    plot_predictions(true + 0.1, true, panels(n_labels), "stars", out)
    text = out.read_text()
    assert all(f"predicted label {i}" in text for i in range(n_labels))
    assert ("stars per cell" in text) == (n_stars > MAX_POINTS)


@pytest.mark.slow
@SIZES
def test_calibration_of_any_number_of_stars_and_labels_is_drawn(
    tmp_path: Path, n_stars: int, n_labels: int
) -> None:
    out = tmp_path / "calibration.svg"
    calibration.plot_calibration(residual_values(n_stars, n_labels), panels(n_labels), "stars", out)
    assert "within 2 σ" in out.read_text()


@pytest.mark.slow
def test_the_coverage_is_the_fraction_of_stars(figures: list[Any]) -> None:
    pulls = np.array([[0.5], [-0.9], [1.5], [5.0]])
    calibration.plot_calibration(pulls, panels(1), "stars", Path("a.png"))
    legend = figures[0].axes[0].get_legend()
    texts = [text.get_text() for text in legend.get_texts()]
    assert "within 1 σ: 50.0 %" in texts
    assert "within 2 σ: 75.0 %" in texts


@pytest.mark.slow
@pytest.mark.parametrize(
    "wavelength",
    [
        np.linspace(4720, 7880, 3000),
        np.linspace(6500, 6600, 64),
        np.r_[np.linspace(4850, 4870, 40), np.linspace(6550, 6570, 40)],
        np.full(50, np.nan),
        np.array([6563.0]),
    ],
    ids=["all", "one camera", "windows", "unknown", "one pixel"],
)
def test_sensitivity_is_drawn_for_any_pixels(tmp_path: Path, wavelength: Values) -> None:
    generator = np.random.default_rng(0)
    flux = np.ones(len(wavelength), np.float32)
    flux[::7] = np.nan
    gradients = generator.exponential(size=(3, len(wavelength)))
    gradients[2] = 0  # a label that depends on nothing
    out = tmp_path / "sensitivity.svg"
    sensitivity.plot_sensitivity(wavelength, flux, gradients, panels(3), "stars", out)
    text = out.read_text()
    assert ("wavelength in air" in text) == bool(np.isfinite(wavelength).all())
    if np.nanmax(np.nan_to_num(wavelength)) > 6562.79 and len(wavelength) > 1:
        assert "Hα" in text


@pytest.mark.slow
def test_a_single_pixel_that_matters_is_seen_among_thousands(figures: list[Any]) -> None:
    gradients = np.full((1, 16384), 1e-3)
    gradients[0, 777] = 1.0
    wavelength = np.linspace(6500, 6563, 16384)
    flux = np.ones(16384, np.float32)
    sensitivity.plot_sensitivity(wavelength, flux, gradients, panels(1), "", Path("a.png"))
    cells = figures[0].axes[1].collections[0].get_array()
    assert cells.max() == 1.0
    assert np.count_nonzero(cells == 1.0) == 1


@pytest.mark.slow
@pytest.mark.parametrize("n_stars", [1, 300, 25_000])
@pytest.mark.parametrize("has_fe_h", [True, False])
def test_true_and_predicted_kiel_diagrams_share_their_axes(
    figures: list[Any], n_stars: int, has_fe_h: bool
) -> None:
    generator = np.random.default_rng(0)
    teff, logg = generator.normal(5500, 400, n_stars), generator.normal(4, 0.5, n_stars)
    fe_h = generator.normal(-0.2, 0.3, n_stars) if has_fe_h else np.full(n_stars, np.nan)
    predicted = KielStars(teff + 50, logg + 0.1, fe_h)
    plot_kiel_pair(KielStars(teff, logg, fe_h), predicted, "stars", Path("a.png"))
    left, right = figures[0].axes[:2]
    assert left.get_xlim() == right.get_xlim()
    assert left.get_xlim()[0] > left.get_xlim()[1]
    assert left.get_ylim()[0] > left.get_ylim()[1]
    assert len(figures[0].axes) == 2 + has_fe_h


@pytest.mark.parametrize(
    ("n_panels", "grid"), [(1, (1, 1)), (4, (1, 4)), (5, (2, 4)), (36, (9, 4))]
)
def test_panels_fill_rows(n_panels: int, grid: tuple[int, int]) -> None:
    assert panel_rows(n_panels) == grid


@pytest.mark.parametrize("values", [[], [0.0], [3.0, 3.0], [-1.0, 2.0], [-5.0, -5.0]])
def test_limits_hold_all_values_with_room(values: list[float]) -> None:
    array = np.array(values)
    for limits in (inner_limits(array), symmetric_limits(array)):
        assert all(limits.low < value < limits.high for value in values)
        assert limits.low < limits.high
