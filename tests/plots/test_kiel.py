from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from galahstream.errors import LabelError, OptionError
from galahstream.plots.kiel import plot_kiel

Array = npt.NDArray[np.float64]


def stars(number: int) -> tuple[Array, Array, Array]:
    """Return temperatures, gravities and metallicities."""
    generator = np.random.default_rng(0)
    return (
        generator.normal(5500, 400, number),
        generator.normal(4, 0.5, number),
        generator.normal(-0.2, 0.3, number),
    )


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the list of figures that are not saved but kept."""
    kept: list[Any] = []
    monkeypatch.setattr("galahstream.plots.kiel.save_figure", lambda one, out: kept.append(one))
    return kept


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("number", [1, 300, 6000])
def test_any_number_of_stars_is_drawn(tmp_path: Path, number: int) -> None:
    out = tmp_path / "a.png"
    assert plot_kiel(*stars(number), "survey", out) == number
    assert out.read_bytes().startswith(b"\x89PNG")


@pytest.mark.filterwarnings("error")
def test_hot_stars_are_left_and_giants_above(figures: list[Any]) -> None:
    plot_kiel(*stars(50), "survey", Path("a.png"))
    ax, scale = figures[0].axes
    left, right = ax.get_xlim()
    bottom, top = ax.get_ylim()
    assert left > right
    assert bottom > top
    assert "[K]" in ax.get_xlabel()
    assert "[dex]" in ax.get_ylabel()
    assert scale.get_ylabel() == "[Fe/H] [dex]"
    assert ax.get_title() == "survey"


@pytest.mark.filterwarnings("error")
def test_stars_that_lack_a_label_are_omitted_or_grey(figures: list[Any]) -> None:
    teff, logg, fe_h = stars(50)
    teff[:5], logg[3:8], fe_h[10:20] = np.nan, np.inf, np.nan
    assert plot_kiel(teff, logg, fe_h, "survey", Path("a.png")) == 42
    grey, coloured = figures[0].axes[0].collections
    assert (len(grey.get_offsets()), len(coloured.get_offsets())) == (10, 32)
    assert plot_kiel(teff, logg, fe_h * np.nan, "survey", Path("a.png")) == 42
    assert len(figures[1].axes) == 1


def test_stars_without_temperatures_cannot_be_drawn() -> None:
    teff, logg, fe_h = stars(3)
    with pytest.raises(LabelError, match="survey: no star has both"):
        plot_kiel(teff * np.nan, logg, fe_h, "survey", Path("a.png"))


def test_another_format_is_refused() -> None:
    with pytest.raises(OptionError, match="suffix"):
        plot_kiel(*stars(3), "survey", Path("a.gif"))
