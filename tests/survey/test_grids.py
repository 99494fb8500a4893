import numpy as np
import pytest

from galahstream.errors import OptionError, WavelengthError
from galahstream.survey.grids import GRIDS, resolve_grid
from galahstream.survey.resampling import split_at_gaps
from galahstream.survey.wavelength import nominal_grid

PIXELS = {"hermes": 16384, "galah-cnn": 17086, "residual-cannon": 13927}
ENDS: dict[str, list[tuple[float, float]]] = {
    "hermes": [(4713.2, 4901.57), (5648.9, 5872.8965), (6478.6, 6736.9945), (7585.0, 7886.392)],
    "galah-cnn": [(4710, 4909.96), (5640, 5879.95), (6475, 6744.94), (7700, 7894.95)],
    "residual-cannon": [
        (4719.03, 4893.876),
        (5655.53, 5863.0071),
        (6486.01, 6726.421),
        (7689.13, 7874.2765),
    ],
}


@pytest.mark.parametrize("name", GRIDS)
def test_a_published_grid_has_its_pixels_and_ends(name: str) -> None:
    grid = resolve_grid(name)
    assert grid.name == name
    assert grid.wavelength.dtype == np.float64
    assert grid.wavelength.shape == (PIXELS[name],)
    pieces = [grid.wavelength[piece] for piece in split_at_gaps(grid.wavelength)]
    assert [(piece[0], piece[-1]) for piece in pieces] == [
        (pytest.approx(low), pytest.approx(high)) for low, high in ENDS[name]
    ]


def test_the_grid_of_the_spectrograph_is_the_nominal_one() -> None:
    assert np.array_equal(resolve_grid("hermes").wavelength, nominal_grid())


def test_other_wavelengths_are_named_by_their_digest() -> None:
    one, same = resolve_grid([5000, 5001, 5002]), resolve_grid(np.array([5000.0, 5001.0, 5002.0]))
    assert one.name == same.name != resolve_grid([5000, 5001, 5003]).name
    assert one.wavelength.tolist() == [5000, 5001, 5002]


def test_a_quantity_becomes_angstrom() -> None:
    units = pytest.importorskip("astropy.units")
    grid = resolve_grid(np.array([500.0, 500.1]) * units.nm)
    assert grid.wavelength == pytest.approx([5000, 5001])


@pytest.mark.parametrize("name", ["Hermes", "", "grid.npy"])
def test_a_name_that_is_not_known_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(OptionError, match="expected hermes, galah-cnn, residual-cannon, or wave"):
        resolve_grid(name)


@pytest.mark.parametrize("grid", [[2.0, 1.0], [1.0, np.nan], [[1.0, 2.0]], 5.0, ["a", "b"]])
def test_wavelengths_that_are_not_a_grid_are_refused(grid: object) -> None:
    with pytest.raises(WavelengthError, match="grid"):
        resolve_grid(grid)  # type: ignore[arg-type]
