"""The kernels that augment: numba against numpy, and both against plain formulas."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import galahstream as gs
from galahstream.errors import WavelengthError
from galahstream.store.quantization import DEFAULT_RANGE, Encoding, Float32, Quantized16
from galahstream.stream.augmentation import Augmentation, check_augmentation
from galahstream.stream.draws import RUN_PIXELS, EpochDraws, RowDraws
from galahstream.stream.kernels import (
    AugmentPlan,
    KernelBackend,
    choose_augment_kernel,
    numba_backend,
    numpy_backend,
)
from galahstream.stream.transforms import LogFlux
from galahstream.survey.resampling import SPEED_OF_LIGHT
from galahstream.survey.wavelength import nominal_grid

Array32 = npt.NDArray[np.float32]
BOTH = [numpy_backend(), numba_backend()]
ENCODINGS = [Float32(), Quantized16.over(*DEFAULT_RANGE), Quantized16.over(-1e4, 1e4)]
ALL = "noise=20:200,velocity=2,mask=0.02"
GRID = nominal_grid()

with_both = pytest.mark.parametrize("backend", BOTH, ids=lambda backend: str(backend.name))


def of_text(text: str) -> Augmentation:
    augmentation = check_augmentation(text)
    assert augmentation is not None
    return augmentation


def run(
    backend: KernelBackend,
    augmentation: Augmentation,
    flux: npt.NDArray[Any],
    draws: RowDraws,
    *,
    wavelength: npt.NDArray[np.float64] | None = None,
    pixels: npt.NDArray[np.int64] | None = None,
    encoding: Encoding = Float32(),  # noqa: B008  frozen
    log: LogFlux | None = None,
) -> Array32:
    """Return what a kernel makes of rows, shape (n, L), of an unknown grid if none is given."""
    n_rows, n_pixels = flux.shape
    pixels = np.arange(n_pixels) if pixels is None else pixels
    wavelength = np.full(n_pixels, np.nan) if wavelength is None else wavelength
    plan = AugmentPlan.of_pixels(augmentation, wavelength[pixels], pixels, "store")
    kernel = choose_augment_kernel(encoding, log, plan, backend)
    out = np.full((n_rows + 1, len(pixels)), 7, dtype=np.float32)
    rows = np.arange(n_rows)[::-1].copy()
    stored = flux.reshape(-1).copy()
    stored.setflags(write=False)  # as a mapped file is
    kernel(stored, np.arange(n_rows) * n_pixels, out, rows, draws)
    assert (out[n_rows] == 7).all()
    return out[rows]


def shifts(*velocities: float) -> RowDraws:
    """Return draws without noise of given velocities, km/s."""
    z = np.array(velocities) / SPEED_OF_LIGHT
    zeros = np.zeros(len(z))
    return RowDraws(
        zeros.astype(np.uint64), zeros.astype(np.float32), (-z / (1 + z)).astype(np.float32)
    )


def some_flux(n_rows: int, n_pixels: int) -> Array32:
    generator = np.random.default_rng(0)
    flux = generator.uniform(-0.2, 1.4, (n_rows, n_pixels)).astype(np.float32)
    flux[generator.random(flux.shape) < 0.01] = np.nan
    return flux


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
@pytest.mark.parametrize("text", [ALL, "velocity=1000", "mask=0.5", "noise=1:3"])
@pytest.mark.parametrize("window", ["all", "adjacent", "many"])
def test_numba_and_numpy_give_the_same_numbers(encoding: Encoding, text: str, window: str) -> None:
    flux = some_flux(3, len(GRID))
    if isinstance(encoding, Float32):
        flux[0, ::517], flux[1, ::519] = np.inf, -np.inf
    some = np.flatnonzero(np.random.default_rng(1).random(len(GRID)) < 0.95)
    pixels = {"all": np.arange(len(GRID)), "adjacent": np.arange(777, 9001), "many": some}[window]
    augmentation = of_text(text)
    draws = EpochDraws.of_epoch(augmentation, 1, 2).of_rows(np.array([5, 0, 8]))
    numpy, numba = (
        run(backend, augmentation, encoding.encode(flux), draws,
            wavelength=GRID, pixels=pixels, encoding=encoding)
        for backend in BOTH
    )  # fmt: skip
    assert np.array_equal(numpy, numba, equal_nan=True)
    assert 0 < np.isnan(numpy).mean() < 1


@settings(deadline=None, max_examples=50)
@given(
    flux=hnp.arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 3 * RUN_PIXELS))),
    text=st.sampled_from([ALL, "velocity=300", "noise=1:1", "mask=0.3"]),
    epoch=st.integers(0, 9),
)
def test_any_flux_gives_the_same_numbers(flux: Array32, text: str, epoch: int) -> None:
    grid = np.geomspace(4000, 4000 * 1.00001 ** flux.shape[1], flux.shape[1] + 1)[:-1]
    augmentation = of_text(text)
    draws = EpochDraws.of_epoch(augmentation, 0, epoch).of_rows(np.arange(len(flux)))
    with np.errstate(all="ignore"):
        numpy, numba = (run(one, augmentation, flux, draws, wavelength=grid) for one in BOTH)
    assert np.array_equal(numpy, numba, equal_nan=True)


@with_both
@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
def test_the_logarithm_is_that_of_the_augmented_flux(
    backend: KernelBackend, encoding: Encoding
) -> None:
    stored, augmentation, log = encoding.encode(some_flux(3, 3000)), of_text(ALL), LogFlux(0.1, 0.9)
    draws = EpochDraws.of_epoch(augmentation, 1, 2).of_rows(np.arange(3))
    flux, logged = (
        run(backend, augmentation, stored, draws,
            wavelength=GRID[:3000], encoding=encoding, log=one)
        for one in (None, log)
    )  # fmt: skip
    assert np.allclose(logged, log(flux), rtol=1e-6, atol=1e-6)
    assert np.isfinite(logged).all()


@with_both
@pytest.mark.parametrize("velocity", [1e-3, 0.5, -0.5, 2, -2, 30, -30, 300, -300, 1000, -1000])
def test_a_shift_is_linear_interpolation_on_the_grid_of_each_camera(
    backend: KernelBackend, velocity: float
) -> None:
    flux = np.random.default_rng(3).uniform(0.3, 1.1, (1, len(GRID))).astype(np.float32)
    shifted = run(backend, gs.ShiftVelocity(1000), flux, shifts(velocity), wavelength=GRID)
    for first in range(0, len(GRID), 4096):
        camera = slice(first, first + 4096)
        grid = GRID[camera]
        rest = grid / (1 + velocity / SPEED_OF_LIGHT)
        assert np.allclose(shifted[0, camera], np.interp(rest, grid, flux[0, camera]), atol=5e-4)


@with_both
def test_a_velocity_above_zero_moves_lines_to_longer_wavelengths(backend: KernelBackend) -> None:
    center = 6562.8
    line = 1 - 0.5 * np.exp(-(((GRID - center) / 1.0) ** 2))
    flux = np.repeat(line[None].astype(np.float32), 2, axis=0)
    shifted = run(backend, gs.ShiftVelocity(100), flux, shifts(100, -100), wavelength=GRID)
    for row, velocity in zip(1 - shifted.astype(np.float64), (100, -100), strict=True):
        measured = (row * GRID).sum() / row.sum()
        expected = center * (1 + velocity / SPEED_OF_LIGHT)
        assert measured == pytest.approx(expected, abs=2e-3)


@with_both
@pytest.mark.parametrize("velocity", [-1000, -40, 40, 1000])
def test_no_flux_crosses_a_gap_and_ends_are_repeated(
    backend: KernelBackend, velocity: float
) -> None:
    # Cameras at 0 to 3, and a window that takes out 100 pixels of the second one.
    pixels = np.concatenate((np.arange(5000), np.arange(5100, len(GRID))))
    part = (np.arange(len(GRID)) // 4096 + 10 * (np.arange(len(GRID)) > 5050)).astype(np.float32)
    flux = part[None].copy()
    shifted = run(
        backend, gs.ShiftVelocity(1000), flux, shifts(velocity), wavelength=GRID, pixels=pixels
    )
    assert np.array_equal(shifted[0], part[pixels])


@with_both
def test_a_missing_pixel_stays_missing_and_spreads_to_one_neighbour(
    backend: KernelBackend,
) -> None:
    flux = np.ones((2, 2000), dtype=np.float32)
    flux[:, 1000] = np.nan
    shifted = run(backend, gs.ShiftVelocity(1), flux, shifts(0.5, -0.5), wavelength=GRID[:2000])
    assert np.flatnonzero(np.isnan(shifted[0])).tolist() == [1000, 1001]
    assert np.flatnonzero(np.isnan(shifted[1])).tolist() == [999, 1000]


@with_both
def test_pixels_on_their_own_are_not_shifted(backend: KernelBackend) -> None:
    flux, pixels = some_flux(1, 2000), np.arange(0, 2000, 2)
    shifted = run(
        backend, gs.ShiftVelocity(99), flux, shifts(80), wavelength=GRID[:2000], pixels=pixels
    )
    assert np.array_equal(shifted, flux[:, pixels], equal_nan=True)


@with_both
def test_without_noise_or_mask_flux_is_exact(backend: KernelBackend) -> None:
    flux = some_flux(3, 3000)
    mask = gs.MaskPixels(0.1)
    draws = EpochDraws.of_epoch(mask, 1, 2).of_rows(np.arange(3))
    masked = run(backend, mask, flux, draws)
    kept = ~np.isnan(masked)
    assert np.array_equal(masked[kept], flux[kept])
    assert 0.85 < kept.mean() < 0.93


def test_spectra_of_unknown_wavelengths_are_not_shifted() -> None:
    unknown, pixels = np.full(8, np.nan), np.arange(8)
    for text in ("velocity=2", "velocity=2,mask=0.1"):
        with pytest.raises(WavelengthError, match=r"some/store: .*not known.*--wavelength"):
            AugmentPlan.of_pixels(of_text(text), unknown, pixels, "some/store")
    assert len(AugmentPlan.of_pixels(of_text("noise=1:2"), unknown, pixels, "store").scale) == 0
