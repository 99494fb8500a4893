from pathlib import Path

import numpy as np
import pytest

from galahstream.plots.panels import LabelPanel
from galahstream.plots.training import plot_losses, plot_predictions

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 2, 12])
def test_losses_of_any_number_of_epochs_are_drawn(tmp_path: Path, epochs: int) -> None:
    losses = np.geomspace(1, 0.01, epochs).tolist()
    plot_losses(losses, losses[::-1], "mean squared error", tmp_path / "loss.svg")
    assert "mean squared error" in (tmp_path / "loss.svg").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("n_labels", [1, 3])
@pytest.mark.parametrize("n_stars", [1, 50])
def test_predictions_are_drawn_with_their_captions(
    tmp_path: Path, n_labels: int, n_stars: int
) -> None:
    true = np.random.default_rng(0).normal(size=(n_stars, n_labels))
    panels = [LabelPanel(f"label {i}", "K" if i else "", f"RMSE {i}") for i in range(n_labels)]
    out = tmp_path / "predictions.svg"
    plot_predictions(true + 0.1, true, panels, "test stars", out)
    text = out.read_text()
    assert all(f"RMSE {i}" in text for i in range(n_labels))
    assert "test stars" in text


@pytest.mark.slow
def test_losses_below_zero_and_labels_that_are_missing_are_drawn(tmp_path: Path) -> None:
    plot_losses([0.5, -0.5], [0.25, -1.0], "log-likelihood", tmp_path / "loss.svg")
    true = np.random.default_rng(0).normal(size=(50, 2))
    true[::3, 0] = np.nan
    panels = [LabelPanel("teff", "K", ""), LabelPanel("logg", "dex", "")]
    plot_predictions(true + 0.1, true, panels, "test stars", tmp_path / "predictions.svg")
    assert "true teff" in (tmp_path / "predictions.svg").read_text()
