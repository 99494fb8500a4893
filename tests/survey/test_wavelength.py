import numpy as np
import pytest

from galahstream.errors import WavelengthError
from galahstream.survey.wavelength import (
    CAMERAS,
    Window,
    check_grid,
    check_window,
    nominal_grid,
    window_slice,
)


def test_the_nominal_grid_is_four_cameras_end_to_end() -> None:
    grid = nominal_grid()
    assert grid.shape == (16384,)
    assert grid[[0, 4096, 8192, 12288]].tolist() == [4713.2, 5648.9, 6478.6, 7585.0]
    assert (np.diff(grid) > 0).all()


@pytest.mark.parametrize(("number", "name"), list(enumerate(camera.name for camera in CAMERAS)))
def test_a_camera_is_its_4096_pixels(number: int, name: str) -> None:
    assert window_slice(nominal_grid(), name) == slice(4096 * number, 4096 * (number + 1))


def test_a_range_includes_both_ends() -> None:
    assert window_slice(np.array([1.0, 2.0, 3.0, 4.0]), (2, 3)) == slice(1, 3)


@pytest.mark.parametrize("window", ["violet", (3.0, 2.0), (1.0,), (50.0, 60.0), "xy"])
def test_a_window_that_holds_nothing_is_refused(window: object) -> None:
    with pytest.raises(WavelengthError, match="window"):
        window_slice(nominal_grid(), window)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "window",
    [(6550, 6580), [6550, 6580], np.array([6550, 6580]), np.array([6550, 6580], dtype=np.float32)],
)
def test_a_range_becomes_two_plain_floats(window: Window) -> None:
    plain = check_window(window)
    assert plain == (6550.0, 6580.0)
    assert isinstance(plain, tuple)
    assert [type(edge) for edge in plain] == [float, float]
    assert window_slice(nominal_grid(), window) == window_slice(nominal_grid(), (6550.0, 6580.0))


def test_a_camera_and_no_window_stay_what_they_are() -> None:
    assert check_window("red") == "red"
    assert type(check_window(np.str_("red"))) is str
    assert check_window(None) is None


def test_a_window_needs_known_wavelengths() -> None:
    with pytest.raises(WavelengthError, match="not known"):
        window_slice(np.full(5, np.nan), (1.0, 2.0))


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


@pytest.mark.parametrize("kind", ["array", "list", "tuple"])
def test_a_window_in_another_unit_is_converted(kind: str) -> None:
    units = pytest.importorskip("astropy.units")
    window = {
        "array": [655.0, 0.658e3] * units.nm,
        "list": [655 * units.nm, 0.658 * units.um],
        "tuple": (6550, 658 * units.nm),
    }[kind]
    assert check_window(window) == pytest.approx((6550.0, 6580.0))
    assert [type(edge) for edge in check_window(window) or ()] == [float, float]
    with pytest.raises(WavelengthError, match="window: 'pix' is not a known unit"):
        check_window([3, 5] * units.pixel)
