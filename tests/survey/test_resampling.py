import pickle
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from galahstream.errors import OptionError, SourceShapeError, WavelengthError
from galahstream.survey.resampling import (
    SPEED_OF_LIGHT,
    Resampler,
    Resampling,
    Segment,
    pixel_edges,
    split_at_gaps,
)
from galahstream.survey.wavelength import CAMERAS, nominal_grid

Array = npt.NDArray[np.float64]
METHODS: tuple[Resampling, ...] = ("flux-conserving", "linear")


class Case(NamedTuple):
    """Old pixels of uneven width, and a new grid of several cameras with its edges."""

    segment: Segment
    grid: Array
    low: Array
    high: Array


@st.composite
def cases(draw: st.DrawFn) -> Case:
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    size = draw(st.integers(2, 60))
    old = 5000 + np.cumsum(0.05 * generator.uniform(0.8, 1.2, size))
    flux, error = generator.normal(1, 0.3, size), generator.uniform(0, 0.1, size)
    flux[generator.random(size) < draw(st.sampled_from([0, 0.1]))] = np.nan
    error[generator.random(size) < draw(st.sampled_from([0, 0.1]))] = np.inf
    grid, low, high = [], [], []
    start = 5000 + draw(st.floats(-1, 1))
    for _ in range(draw(st.integers(1, 3))):
        step = draw(st.floats(0.01, 0.3))
        pixels = start + step * np.arange(draw(st.integers(2, 40)))
        grid.append(pixels)
        low.append(pixels - step / 2)
        high.append(pixels + step / 2)
        start = pixels[-1] + 1 + step
    segment = Segment(old, flux, error)
    return Case(segment, np.concatenate(grid), np.concatenate(low), np.concatenate(high))


def overlaps(case: Case) -> Array:
    """Return the overlap of each new pixel with each old one, Å."""
    edges = pixel_edges(case.segment.wavelength)
    upper = np.minimum(case.high[:, None], edges[None, 1:])
    lower = np.maximum(case.low[:, None], edges[None, :-1])
    length: Array = upper - lower
    return np.where(length > 1e-10, length, 0)


def is_rounding(length: Array) -> npt.NDArray[np.bool_]:
    """Return where a length is so short that rounding decides whether it is zero."""
    return (length > 1e-10) & (length < 1e-7)


@settings(deadline=None)
@given(case=cases())
def test_flux_and_error_are_those_of_the_matrix_of_overlaps(case: Case) -> None:
    flux, error = Resampler(case.grid).resample([case.segment])
    assert error is not None
    assert case.segment.error is not None
    length, width = overlaps(case), case.high - case.low
    uncovered = width - length.sum(axis=1)
    weight = length / width[:, None]
    known_flux, known_error = np.isfinite(case.segment.flux), np.isfinite(case.segment.error)
    expected = weight @ np.where(known_flux, case.segment.flux, 0)
    expected[((weight > 0) & ~known_flux).any(axis=1) | (uncovered > 1e-10)] = np.nan
    variance = weight**2 @ np.where(known_error, case.segment.error, 0) ** 2
    variance[((weight > 0) & ~known_error).any(axis=1) | np.isnan(expected)] = np.nan
    is_clear = ~is_rounding(length).any(axis=1) & ~is_rounding(uncovered)
    np.testing.assert_allclose(flux[is_clear], expected[is_clear], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(error[is_clear], np.sqrt(variance[is_clear]), rtol=1e-5, atol=1e-7)


@settings(deadline=None)
@given(case=cases(), method=st.sampled_from(METHODS), level=st.floats(-5, 5))
def test_constant_flux_stays_constant(case: Case, method: Resampling, level: float) -> None:
    wavelength = case.segment.wavelength
    segment = Segment(wavelength, np.full(len(wavelength), level))
    flux, error = Resampler(case.grid, method).resample([segment])
    assert error is None
    assert flux[np.isfinite(flux)] == pytest.approx(level, abs=1e-6)


@settings(deadline=None)
@given(case=cases(), velocity=st.floats(-500, 500))
def test_the_integral_over_new_pixels_is_that_over_old_ones(case: Case, velocity: float) -> None:
    wavelength, flux = case.segment.wavelength, np.nan_to_num(case.segment.flux, nan=0.5)
    new, _ = Resampler(case.grid).resample([Segment(wavelength, flux)], velocity)
    edges = pixel_edges(wavelength) / (1 + velocity / SPEED_OF_LIGHT)
    integral = np.concatenate([[0], np.cumsum(flux * np.diff(edges))])
    is_covered = np.isfinite(new)
    expected = np.interp(case.high, edges, integral) - np.interp(case.low, edges, integral)
    found = np.sum((new * (case.high - case.low))[is_covered])
    assert found == pytest.approx(np.sum(expected[is_covered]), rel=1e-5, abs=1e-6)


def spectrum(wavelength: Array, centres: tuple[float, ...], velocity: float = 0) -> Array:
    """Return Gaussian lines at R = 28,000, seen at a velocity."""
    rest = wavelength / (1 + velocity / SPEED_OF_LIGHT)
    sigma = 6500 / 28_000 / 2.355
    depth = [0.6 * np.exp(-0.5 * ((rest - centre) / sigma) ** 2) for centre in centres]
    return np.asarray(1 - np.sum(depth, axis=0), dtype=np.float64)


def equivalent_width(wavelength: Array, flux: npt.NDArray[np.floating], line: float) -> float:
    is_near = np.abs(wavelength - line) < 2
    return float(np.sum(((1 - flux) * np.gradient(wavelength))[is_near]))


def centre_of_line(wavelength: Array, flux: npt.NDArray[np.floating], line: float) -> float:
    is_near = np.abs(wavelength - line) < 1.5
    depth = 1 - flux[is_near].astype(np.float64)
    return float(np.sum(wavelength[is_near] * depth) / np.sum(depth))


LINES = (6643.63, 6663.44, 6677.99)


@settings(deadline=None, max_examples=40)
@given(
    method=st.sampled_from(METHODS),
    velocity=st.floats(-300, 300),
    shift=st.floats(-2.7, 2.7),
    step=st.floats(0.03, 0.12),
)
def test_lines_keep_their_widths_and_come_to_rest(
    method: Resampling, velocity: float, shift: float, step: float
) -> None:
    old: Array = 6478.6 + shift + 0.0631 * np.arange(4096, dtype=np.float64)
    new = 6600 + step * np.arange(100 / step, dtype=np.float64)
    seen = spectrum(old, LINES, velocity)
    flux, _ = Resampler(new, method).resample([Segment(old, seen)], velocity)
    at_rest = old / (1 + velocity / SPEED_OF_LIGHT)
    # Only the first method conserves flux.
    tolerance = 0.001 if method == "flux-conserving" else 0.03
    for line in LINES:
        before = equivalent_width(at_rest, seen, line)
        assert equivalent_width(new, flux, line) == pytest.approx(before, rel=tolerance)
        assert centre_of_line(new, flux, line) == pytest.approx(line, abs=0.003)


@pytest.mark.parametrize("method", METHODS)
def test_a_velocity_shifts_lines_by_its_ratio_to_that_of_light(method: Resampling) -> None:
    grid = CAMERAS[2].grid()
    flux, _ = Resampler(grid, method).resample([Segment(grid, spectrum(grid, (6600.0,)))], 100.0)
    expected = 6600.0 / (1 + 100.0 / 299_792.458)
    assert centre_of_line(grid, flux, expected) == pytest.approx(expected, abs=0.003)


@pytest.mark.parametrize("method", METHODS)
def test_the_same_grid_gives_the_same_pixels_and_errors(method: Resampling) -> None:
    flux = np.random.default_rng(0).normal(1, 0.1, 16384).astype(np.float32)
    flux[[0, 100, 4096, -1]] = np.nan
    error = np.abs(flux) / 50
    cameras = np.split(np.arange(16384), 4)
    # Rounded like wavelengths of a header, which differ from ours in the last digits.
    grid = nominal_grid()
    segments = [Segment((grid[camera] / 3) * 3, flux[camera], error[camera]) for camera in cameras]
    new = Resampler(grid, method).resample(segments)
    np.testing.assert_allclose(new.flux, flux, rtol=1e-6)
    assert new.error is not None
    np.testing.assert_allclose(new.error, error, rtol=1e-6)


def test_pixels_outside_or_next_to_missing_ones_are_missing() -> None:
    old = np.arange(5000.0, 5010.0)
    flux = np.arange(10.0)
    flux[6] = np.inf
    new = np.arange(4998.25, 5012.0)  # a quarter into the pixel that follows
    found, _ = Resampler(new).resample([Segment(old, flux)])
    expected = [0.25, 1.25, 2.25, 3.25, 4.25, np.nan, np.nan, 7.25, 8.25]
    assert np.array_equal(found, [np.nan] * 2 + expected + [np.nan] * 3, equal_nan=True)
    found, _ = Resampler(new, "linear").resample([Segment(old, flux)])
    assert np.array_equal(found, [np.nan] * 2 + expected + [np.nan] * 3, equal_nan=True)


def test_no_pixel_reaches_across_a_gap() -> None:
    grid = np.array([5000.0, 5001.0, 5002.0, 5100.0, 5100.5, 5101.0])
    assert split_at_gaps(grid) == [slice(0, 3), slice(3, 6)]
    old = np.arange(4990.0, 5120.0, 0.25)
    flux, _ = Resampler(grid).resample([Segment(old, old)])
    assert flux == pytest.approx(grid, abs=1e-3)
    # Between the cameras of a star there is nothing, and nothing is made up.
    cameras = [Segment(old[:40], old[:40]), Segment(old[240:], old[240:])]
    flux, _ = Resampler(np.arange(4990.0, 5119.0)).resample(cameras)
    assert np.isnan(flux[12:58]).all()


@pytest.mark.parametrize(
    ("grid", "parts"),
    [
        ([1.0, 2.0], [2]),
        ([1.0, 2.0, 9.0], [3]),
        ([1.0, 2.0, 3.0, 5.0, 6.0], [3, 2]),
        ([1.0, 2.0, 4.0, 8.0, 16.0], [5]),
        ([1.0, 1.1, 700.0, 701.0, 1400.0, 1400.1], [2, 2, 2]),
    ],
)
def test_a_part_has_at_least_two_pixels(grid: list[float], parts: list[int]) -> None:
    assert [part.stop - part.start for part in split_at_gaps(np.array(grid))] == parts


@pytest.mark.parametrize("method", METHODS)
def test_a_wild_pixel_spoils_its_neighbours_only(method: Resampling) -> None:
    grid = CAMERAS[0].grid()
    flux = np.ones(4096)
    error = np.full(4096, 0.01)
    flux[50], error[50] = 1e20, 1e15
    found = Resampler(grid + 0.01, method).resample([Segment(grid, flux, error)])
    assert found.error is not None
    assert found.flux[52:-1] == pytest.approx(1, abs=1e-6)
    assert found.error[52:-1] == pytest.approx(found.error[10], rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["<f4", ">f4", ">f8", "<i4"])
def test_any_real_dtype_and_byte_order_is_resampled(method: Resampling, dtype: str) -> None:
    old = np.arange(5000.0, 5010.0)
    values = np.arange(10) * 2
    segment = Segment(old.astype(">f8"), values.astype(dtype), values.astype(dtype))
    found = Resampler(old[:-1] + 0.5, method).resample([segment])
    assert found.flux.dtype == np.float32
    assert found.flux.tolist() == (values[:-1] + 1).tolist()
    assert found.error is not None
    assert found.error.dtype == np.float32
    assert found.error == pytest.approx(np.hypot(values[:-1], values[1:]) / 2)


@pytest.mark.parametrize("method", METHODS)
def test_an_error_that_is_not_known_is_not_made_up(method: Resampling) -> None:
    old = np.arange(5000.0, 5006.0)
    flux = np.array([1, 1, 1, 1, 1, np.nan])
    error = np.array([0.1, -1.0, 0.1, np.nan, 0.1, 0.1])
    found = Resampler(old, method).resample([Segment(old, flux, error)])
    assert found.error is not None
    assert np.isfinite(found.flux).tolist() == [True] * 5 + [False]
    assert np.isfinite(found.error).tolist() == [True, False, True, False, True, False]


@pytest.mark.parametrize("method", METHODS)
def test_a_camera_without_errors_has_unknown_ones(method: Resampling) -> None:
    blue, green = np.arange(5000.0, 5006.0), np.arange(6000.0, 6006.0)
    ones = np.ones(6)
    resampler = Resampler(np.concatenate([blue, green]), method)
    found = resampler.resample([Segment(blue, ones, ones), Segment(green, ones)])
    assert found.flux.tolist() == [1] * 12
    assert found.error is not None
    assert np.array_equal(found.error, [1] * 6 + [np.nan] * 6, equal_nan=True)
    assert resampler.resample([Segment(blue, ones)]).error is None
    assert np.isnan(resampler.resample([]).flux).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_resampler_can_be_sent_to_another_process(method: Resampling) -> None:
    grid = nominal_grid()
    resampler = Resampler(grid + 0.02, method)
    segment = Segment(grid[:4096], np.linspace(0, 1, 4096))
    again = pickle.loads(pickle.dumps(resampler))
    assert repr(again) == repr(resampler)
    assert method in repr(resampler)
    assert again.resample([segment]).flux.tobytes() == resampler.resample([segment]).flux.tobytes()


def test_pixels_much_wider_and_much_narrower_are_means() -> None:
    old = np.arange(5000.0, 6000.0)
    flux = np.random.default_rng(1).normal(1, 0.1, 1000)
    wide, _ = Resampler([5099.5, 5299.5, 5499.5]).resample([Segment(old, flux)])
    assert wide == pytest.approx(flux[:600].reshape(3, 200).mean(axis=1), rel=1e-6)
    narrow, _ = Resampler(np.arange(5010.0, 5012.0, 0.001)).resample([Segment(old, flux)])
    assert narrow[[0, 400, 1000]] == pytest.approx(flux[[10, 10, 11]], rel=1e-6)


ONES = np.ones(3)


@pytest.mark.parametrize(
    ("segments", "error", "message"),
    [
        ([Segment(np.array([1.0, np.nan, 3.0]), ONES)], WavelengthError, "increasing"),
        ([Segment(np.array([3.0, 2.0, 1.0]), ONES)], WavelengthError, "3.00 Å to 1.00 Å"),
        ([Segment(np.array([1.0, 2.0, np.inf]), ONES)], WavelengthError, "finite"),
        ([Segment(np.array([0.0, 2.0, 3.0]), ONES)], WavelengthError, "positive"),
        ([Segment(np.array([1.0]), ONES[:1])], WavelengthError, "at least two"),
        ([Segment(np.array([]), ONES[:0])], WavelengthError, "at least two"),
        ([Segment(np.array([1.0, 2.0]), ONES)], SourceShapeError, r"\(2,\), \(3,\)"),
        ([Segment(ONES.cumsum(), ONES, ONES[:2])], SourceShapeError, "expected one"),
        ([Segment(np.ones((3, 1)), np.ones((3, 1)))], SourceShapeError, "expected one"),
        ([Segment(ONES.cumsum(), ONES)] * 2, WavelengthError, "overlap"),
    ],
)
def test_a_segment_that_cannot_be_used_is_refused(
    segments: list[Segment], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Resampler([1.0, 2.0, 3.0]).resample(segments)


@pytest.mark.parametrize("velocity", [np.nan, np.inf, -SPEED_OF_LIGHT, 300_000])
def test_a_velocity_that_cannot_be_is_refused(velocity: float) -> None:
    with pytest.raises(OptionError, match=r"velocity .* km/s cannot be used"):
        Resampler([1.0, 2.0]).resample([], velocity)


@pytest.mark.parametrize("grid", [[5000.0], [], [5001.0, 5000.0], [5000.0, np.nan]])
def test_a_grid_that_cannot_be_used_is_refused(grid: list[float]) -> None:
    with pytest.raises(WavelengthError, match="grid"):
        Resampler(grid)


def test_another_method_is_refused() -> None:
    method: Any = "cubic"
    with pytest.raises(OptionError, match="flux-conserving or linear"):
        Resampler([5000.0, 5001.0], method)
