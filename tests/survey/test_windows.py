"""Windows as users and files give them, and the pixels that they select."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from galahstream.errors import WavelengthError
from galahstream.survey.wavelength import CAMERAS, nominal_grid
from galahstream.survey.windows import (
    GALAH_CNN_RANGES,
    SELECTIONS,
    PixelMask,
    check_window,
    pixel_spans,
    window_from_file,
    window_pixels,
)

GRID = nominal_grid()


def steps(start: float, stop: float, step: float) -> npt.NDArray[np.float64]:
    return np.arange(start, stop + 1e-6, step)


PUBLISHED_GRIDS = {
    "galah-cnn": [
        steps(4710, 4910, 0.04), steps(5640, 5880, 0.05), steps(6475, 6745, 0.06),
        steps(7700, 7895, 0.07),
    ],
    "residual-cannon": [
        steps(4719.03, 4893.88, 0.046), steps(5655.53, 5863.02, 0.0547),
        steps(6486.01, 6726.46, 0.0631), steps(7689.13, 7874.31, 0.0735),
    ],
}  # fmt: skip


@pytest.mark.parametrize(("number", "name"), list(enumerate(camera.name for camera in CAMERAS)))
def test_a_camera_is_its_4096_pixels(number: int, name: str) -> None:
    assert window_pixels(GRID, name).tolist() == list(range(4096 * number, 4096 * (number + 1)))


@pytest.mark.parametrize("grid", PUBLISHED_GRIDS)
@pytest.mark.parametrize(("number", "name"), list(enumerate(camera.name for camera in CAMERAS)))
def test_a_camera_is_complete_on_other_grids_too(grid: str, number: int, name: str) -> None:
    cameras = PUBLISHED_GRIDS[grid]
    wavelength = np.concatenate(cameras)
    assert np.array_equal(wavelength[window_pixels(wavelength, name)], cameras[number])


def test_a_range_includes_both_ends() -> None:
    assert window_pixels(np.array([1.0, 2.0, 3.0, 4.0]), (2, 3)).tolist() == [1, 2]


def test_no_window_is_every_pixel_also_of_unknown_wavelength() -> None:
    assert window_pixels(np.full(3, np.nan), None).tolist() == [0, 1, 2]


def test_several_are_in_increasing_order_and_each_pixel_once() -> None:
    expected = [*range(4096), *range(9368, 9685), *range(12288, 16384)]
    windows: Any = ["infrared", (6560.0, 6572.8), "blue", (6552.8, 6565.0), "infrared"]
    assert window_pixels(GRID, windows).tolist() == expected


@given(
    st.lists(
        st.tuples(st.floats(4650, 7900), st.floats(0.05, 900)).map(lambda x: (x[0], x[0] + x[1])),
        min_size=1,
        max_size=5,
    )
)
def test_any_ranges_are_the_pixels_inside_one_of_them(ranges: list[tuple[float, float]]) -> None:
    inside = [(low <= GRID) & (high >= GRID) for low, high in ranges]
    if all(one.any() for one in inside):
        assert np.array_equal(window_pixels(GRID, ranges), np.flatnonzero(np.any(inside, axis=0)))
    else:
        with pytest.raises(WavelengthError, match="no pixel is within"):
            window_pixels(GRID, ranges)


def test_without_tellurics_the_oxygen_a_band_is_missing_and_nothing_else() -> None:
    missing = np.setdiff1d(np.arange(len(GRID)), window_pixels(GRID, "no-tellurics"))
    assert missing.tolist() == np.flatnonzero((GRID > 7590) & (GRID < 7700)).tolist()
    assert len(missing) > 1000
    cnn = np.concatenate(PUBLISHED_GRIDS["galah-cnn"])
    assert len(window_pixels(cnn, "no-tellurics")) == len(cnn)
    assert len(window_pixels(GRID[:4096], "no-tellurics")) == 4096


def test_nothing_but_tellurics_is_an_error() -> None:
    with pytest.raises(WavelengthError, match=r"every pixel of a\.h5 is within 7590\.00 to 7700"):
        window_pixels(np.linspace(7600, 7650, 9), "no-tellurics", "a.h5")


def test_the_galah_cnn_window_is_its_camera_limits() -> None:
    inside = [(low <= GRID) & (high >= GRID) for low, high in GALAH_CNN_RANGES]
    assert np.array_equal(window_pixels(GRID, "galah-cnn"), np.flatnonzero(np.any(inside, axis=0)))
    own = np.concatenate(PUBLISHED_GRIDS["galah-cnn"])
    assert len(window_pixels(own, "galah-cnn")) == len(own)
    with pytest.raises(WavelengthError, match=r"'galah-cnn': no pixel .* 7700\.00 to 7895\.00 Å"):
        window_pixels(GRID[:12288], "galah-cnn")


@pytest.mark.parametrize("noise", [-1e-4, 1e-4])
def test_a_grid_that_was_rounded_loses_no_pixel_to_a_named_selection(noise: float) -> None:
    grid = np.concatenate(PUBLISHED_GRIDS["galah-cnn"]) + noise
    for name in SELECTIONS:
        assert len(window_pixels(grid, name)) == len(grid)


@pytest.mark.parametrize(
    "window",
    [(6550, 6580), [6550, 6580], np.array([6550, 6580]), np.array([6550, 6580], dtype=np.float32)],
)
def test_a_range_becomes_two_plain_floats(window: Any) -> None:
    plain: Any = check_window(window)
    assert plain == (6550.0, 6580.0)
    assert isinstance(plain, tuple)
    assert [type(edge) for edge in plain] == [float, float]


@pytest.mark.parametrize(
    "windows",
    [
        ["red", (4850, 4870)], ("red", [4850, 4870]), [np.str_("red"), np.array([4850, 4870])],
        np.array(["red", (4850, 4870)], dtype=object),
    ],
    ids=repr,
)  # fmt: skip
def test_several_become_a_tuple_of_plain_values(windows: Any) -> None:
    plain: Any = check_window(windows)
    assert plain == ("red", (4850.0, 4870.0))
    assert [type(part) for part in plain] == [str, tuple]
    assert check_window(plain) == plain


def test_an_array_of_ranges_is_several_and_one_in_a_list_is_itself() -> None:
    assert check_window(np.array([[1, 2], [3, 4]])) == ((1.0, 2.0), (3.0, 4.0))
    for one in ("red", (6550.0, 6580.0), "no-tellurics"):
        assert check_window([one]) == one


def test_a_camera_and_no_window_stay_what_they_are() -> None:
    assert check_window("red") == "red"
    assert type(check_window(np.str_("red"))) is str
    assert check_window(None) is None


@pytest.mark.parametrize("kind", ["array", "list", "tuple"])
def test_a_window_in_another_unit_is_converted(kind: str) -> None:
    units = pytest.importorskip("astropy.units")
    window = {
        "array": [655.0, 0.658e3] * units.nm,
        "list": [655 * units.nm, 0.658 * units.um],
        "tuple": (6550, 658 * units.nm),
    }[kind]
    plain: Any = check_window(window)
    assert plain == pytest.approx((6550.0, 6580.0))
    assert [type(edge) for edge in plain] == [float, float]
    with pytest.raises(WavelengthError, match="window: 'pix' is not a known unit"):
        check_window([3, 5] * units.pixel)


def test_several_windows_in_other_units_are_converted() -> None:
    units = pytest.importorskip("astropy.units")
    ranges = [[655.0, 658.0], [485.0, 487.0]] * units.nm
    expected = np.array([[6550.0, 6580.0], [4850.0, 4870.0]])
    windows: list[Any] = [ranges, list(ranges), [tuple(one) for one in ranges]]
    for window in windows:
        assert np.allclose(np.array(check_window(window)), expected)
    several: Any = ["red", [3, 5] * units.pixel]
    with pytest.raises(WavelengthError, match="window: 'pix' is not a known unit"):
        check_window(several)


@pytest.mark.parametrize(
    "window",
    [
        "violet", "", (3.0, 2.0), (1.0,), (1.0, 2.0, 3.0, 4.0), (np.nan, 2.0), (1, 10**400), 5,
        [], (), {6550, 6580}, [None, "red"], ["red", 5], ["red", (3, 2)], [[1, 2], 3],
        [[(1, 2), (3, 4)], "red"], np.ones((2, 3)), np.float64(5), object,
    ],
    ids=lambda window: repr(window)[:40],
)  # fmt: skip
def test_what_is_not_a_window_is_refused_and_the_kinds_are_named(window: Any) -> None:
    with pytest.raises(WavelengthError, match=r"^window .*expected .*red.*no-tellurics.*--window"):
        check_window(window)


@pytest.mark.parametrize("name", SELECTIONS)
def test_a_named_selection_cannot_be_combined(name: str) -> None:
    """The telluric band must not come back through another window."""
    with pytest.raises(WavelengthError, match="cannot be combined: give ranges"):
        check_window(["infrared", name])


@pytest.mark.parametrize("windows", [(5000.0, 5100.0), ["red", (5000.0, 5100.0)]], ids=repr)
def test_a_range_without_a_pixel_is_refused_also_among_others(windows: Any) -> None:
    text = (
        r"window \(5000\.0, 5100\.0\): no pixel .* a\.h5 covers 4713\.20 to 7886\.39 Å, but "
        r"nothing from 4901\.57 to 5648\.90 Å"
    )
    with pytest.raises(WavelengthError, match=text):
        window_pixels(GRID, windows, "a.h5")
    with pytest.raises(WavelengthError, match=r"'blue': no pixel.*covers 6478\.60 to 7886\.39 Å: "):
        window_pixels(GRID[8192:], ["blue", "red"])


def test_a_range_may_reach_beyond_the_store() -> None:
    assert window_pixels(GRID, (0.0, 4713.3)).tolist() == [0, 1, 2]
    assert window_pixels(GRID, (7886.3, np.inf)).tolist() == [16382, 16383]


@pytest.mark.parametrize("window", [(1.0, 2.0), "red", ["red", "blue"], *SELECTIONS], ids=repr)
def test_a_window_needs_known_wavelengths(window: Any) -> None:
    with pytest.raises(WavelengthError, match=r"wavelengths of a\.h5 are not known"):
        window_pixels(np.full(5, np.nan), window, "a.h5")


MASK = [True, False, False, True, True]


@pytest.mark.parametrize(
    "mask",
    [
        MASK, tuple(MASK), np.array(MASK), [np.bool_(value) for value in MASK],
        np.ma.masked_array(np.ones(5, bool), mask=~np.array(MASK)),
    ],
    ids=lambda mask: type(mask).__name__,
)  # fmt: skip
def test_a_mask_selects_its_pixels_also_of_unknown_wavelength(mask: Any) -> None:
    assert window_pixels(np.full(5, np.nan), mask).tolist() == [0, 3, 4]
    assert check_window(mask) == check_window(MASK) == PixelMask(5, (0, 1, 3, 5))
    assert check_window(check_window(mask)) == check_window(mask)


def test_a_mask_of_torch_is_one_too() -> None:
    torch = pytest.importorskip("torch")
    assert check_window(torch.tensor(MASK)) == check_window(MASK)


@pytest.mark.parametrize("mask", [np.zeros(5, bool), np.ones((2, 5), bool), [False, False]])
def test_a_mask_of_nothing_or_of_two_dimensions_is_refused(mask: Any) -> None:
    with pytest.raises(WavelengthError, match="one bool per pixel"):
        check_window(mask)


def test_a_mask_of_another_length_is_refused_with_both_lengths() -> None:
    with pytest.raises(WavelengthError, match=r"a mask of 5 pixels, .* of a\.h5 have 16384"):
        window_pixels(GRID, MASK, "a.h5")


@given(st.lists(st.booleans(), min_size=1, max_size=70).filter(any))
def test_any_mask_is_its_spans_and_comes_back(mask: list[bool]) -> None:
    pixels = np.flatnonzero(mask)
    spans = pixel_spans(pixels)
    assert [pixel for first, end in spans for pixel in range(first, end)] == pixels.tolist()
    assert (spans[1:, 0] > spans[:-1, 1]).all()
    plain = check_window(mask)
    assert isinstance(plain, PixelMask)
    assert plain.pixels.tolist() == pixels.tolist()
    assert window_from_file({"n_pixels": len(mask), "edges": list(plain.edges)}) == plain


@pytest.mark.parametrize(
    ("stored", "window"),
    [
        ("red", "red"),
        ([6550.0, 6580.0], (6550.0, 6580.0)),
        (["red", [6550.0, 6580.0]], ("red", (6550.0, 6580.0))),
        ([[1.0, 2.0], [3.0, np.inf]], ((1.0, 2.0), (3.0, np.inf))),
        ("galah-cnn", "galah-cnn"),
    ],
)
def test_windows_come_back_from_files(stored: Any, window: Any) -> None:
    assert window_from_file(stored) == window


@pytest.mark.parametrize(
    "stored",
    [
        "violet", [1.0], [2.0, 1.0], [[1.0, 2.0], "violet"], 5, 1.5, True, b"red", [None], [[]],
        {}, {"n_pixels": 5}, {"n_pixels": 5, "edges": [0, 1], "more": 1},
        {"n_pixels": 5, "edges": []}, {"n_pixels": 5, "edges": [0]},
        {"n_pixels": 5, "edges": [0, 6]}, {"n_pixels": 5, "edges": [3, 3]},
        {"n_pixels": 5, "edges": [0, 2, 2, 3]}, {"n_pixels": 5, "edges": [-1, 3]},
        {"n_pixels": 5, "edges": [0, 2.0]}, {"n_pixels": 0, "edges": [0, 1]},
        {"n_pixels": 2**40, "edges": [0, 1]}, {"n_pixels": 5, "edges": [0, 2**63 - 1]},
        [1.0, 10**400],
    ],
    ids=lambda stored: repr(stored)[:40],
)  # fmt: skip
def test_what_cannot_be_a_window_in_a_file_is_refused(stored: Any) -> None:
    with pytest.raises(ValueError, match=r"expected|missing"):
        window_from_file(stored)


def test_a_mask_prints_short() -> None:
    mask = check_window(np.arange(16384) % 2 == 0)
    assert repr(mask) == "<mask of 8192 of 16384 pixels: 0:1, 2:3, 4:5, ...>"
