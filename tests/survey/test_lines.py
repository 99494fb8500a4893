import numpy as np

from galahstream.survey.lines import STRONG_LINES
from galahstream.survey.wavelength import nominal_grid
from galahstream.survey.windows import window_pixels


def test_every_line_is_in_the_window_of_a_camera() -> None:
    grid = nominal_grid()
    for line in STRONG_LINES:
        pixels = window_pixels(grid, (line.wavelength - 0.1, line.wavelength + 0.1))
        assert 1 <= len(pixels) <= 6, line


def test_lines_are_in_order_of_wavelength() -> None:
    assert (np.diff([line.wavelength for line in STRONG_LINES]) > 0).all()
