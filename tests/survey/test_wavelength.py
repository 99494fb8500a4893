import numpy as np
import pytest

from galahstream.errors import WavelengthError
from galahstream.survey.wavelength import check_grid, nominal_grid


def test_the_nominal_grid_is_four_cameras_end_to_end() -> None:
    grid = nominal_grid()
    assert grid.shape == (16384,)
    assert grid[[0, 4096, 8192, 12288]].tolist() == [4713.2, 5648.9, 6478.6, 7585.0]
    assert (np.diff(grid) > 0).all()


@pytest.mark.parametrize("grid", [[1.0, 1.0, 2.0], [2.0, 1.0, 3.0], [1.0, np.nan, 2.0], [-1, 0, 1]])
def test_a_grid_must_increase_and_the_message_names_the_pixel(grid: list[float]) -> None:
    with pytest.raises(WavelengthError, match="pixel"):
        check_grid(grid, 3, "grid.npy")


def test_a_grid_must_have_a_value_for_each_pixel() -> None:
    with pytest.raises(WavelengthError, match=r"shape \(4,\)"):
        check_grid([1.0, 2.0], 4, "grid.npy")


def test_a_quantity_in_another_unit_is_converted() -> None:
    units = pytest.importorskip("astropy.units")
    grid = nominal_grid()
    assert check_grid(grid / 10 * units.nm, len(grid), "wavelength") == pytest.approx(grid)
    assert check_grid(grid * units.AA, len(grid), "wavelength").tolist() == grid.tolist()
    with pytest.raises(WavelengthError, match="wavelength: 'km / s' is not a known unit"):
        check_grid(grid * units.km / units.s, len(grid), "wavelength")
