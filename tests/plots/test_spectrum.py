from pathlib import Path

import numpy as np
import pytest

from galahstream.errors import ExtraMissingError
from galahstream.plots import figures
from galahstream.plots.spectrum import plot_spectrum
from galahstream.survey.wavelength import nominal_grid

GRIDS = [nominal_grid(), np.linspace(3700, 9000, 3904), np.full(100, np.nan)]


@pytest.mark.parametrize("grid", GRIDS, ids=["hermes", "other", "unknown"])
def test_a_star_with_gaps_and_wild_pixels_is_drawn(tmp_path: Path, grid: np.ndarray) -> None:
    flux = np.random.default_rng(0).normal(1, 0.05, len(grid)).astype(np.float32)
    flux[: len(grid) // 4] = np.nan
    flux[-1] = 468
    plot_spectrum(grid, flux, "star 1", tmp_path / "a.png", wavelength_is_nominal=True)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "has_matplotlib", lambda: False)
    with pytest.raises(ExtraMissingError, match=r"galahstream\[plots\]"):
        figures.new_figure(1, 1)
