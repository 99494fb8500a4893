"""Random numbers of augmentation: golden values, and how random they are."""

from math import erf, sqrt

import numpy as np
import numpy.typing as npt
import pytest

import galahstream as gs
from galahstream.store.quantization import Float32
from galahstream.stream.augmentation import Augmentation
from galahstream.stream.draws import RUN_PIXELS, TABLE_SIZE, EpochDraws, noise_table, splitmix64
from galahstream.stream.kernels import AugmentPlan, choose_augment_kernel
from galahstream.survey.resampling import SPEED_OF_LIGHT

NOISE = gs.AddNoise(10, 10)


def augmented_ones(
    augmentation: Augmentation, rows: npt.NDArray[np.int64], epoch: int, width: int = 4096
) -> npt.NDArray[np.float32]:
    """Return what becomes of rows of 1, without wavelengths."""
    pixels = np.arange(width)
    plan = AugmentPlan.of_pixels(augmentation, np.full(width, np.nan), pixels, "store")
    kernel = choose_augment_kernel(Float32(), None, plan)
    out = np.empty((len(rows), width), dtype=np.float32)
    draws = EpochDraws.of_epoch(augmentation, 42, epoch).of_rows(rows)
    starts = np.zeros(len(rows), dtype=np.int64)
    kernel(np.ones(width, np.float32), starts, out, np.arange(len(rows)), draws)
    return out


def noise_of(rows: npt.NDArray[np.int64], epoch: int = 0) -> npt.NDArray[np.float64]:
    """Return the noise of rows in units of its standard deviation."""
    return 10 * (augmented_ones(NOISE, rows, epoch).astype(np.float64) - 1)


def correlations(noise: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    matrix = np.asarray(np.corrcoef(noise))
    return matrix[np.triu_indices(len(matrix), 1)]


def test_the_sequence_is_that_of_the_published_generator() -> None:
    # The first numbers of Vigna's splitmix64.c for the state 1234567.
    expected = [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431,
        16408922859458223821,
    ]  # fmt: skip
    numbers = np.arange(5, dtype=np.uint64)
    assert splitmix64(np.uint64(1234567), numbers).tolist() == expected


def test_golden_numbers_of_a_few_rows() -> None:
    draws = EpochDraws.of_epoch(gs.Compose(gs.AddNoise(20, 200), gs.ShiftVelocity(2)), 42, 3)
    assert draws.key == 18141372322412330060
    rows = draws.of_rows(np.array([0, 1, 6239]))
    assert rows.keys.tolist() == [
        12741120699147198215, 7107790377182024279, 17888508830395271930,
    ]  # fmt: skip
    assert np.allclose(1 / rows.sigma, [115.5032, 104.1184, 25.7399])
    assert np.allclose(rows.displacement * -SPEED_OF_LIGHT, [-1.572037, -0.413657, -0.313831])
    noise = noise_of(np.array([5]))[0, ::RUN_PIXELS]
    assert np.allclose(noise, [1.4809, -1.4031, -0.7571, -0.5831], atol=1e-4)


def test_the_distribution_is_normal_and_its_moments_are_exact() -> None:
    table = noise_table(NOISE)[:TABLE_SIZE].astype(np.float64)
    assert abs(table.mean()) < 1e-7
    assert table.std() == pytest.approx(sqrt(1 / 2), abs=1e-7)
    assert (table**3).mean() == pytest.approx(0, abs=1e-6)
    assert 4 * (table**4).mean() == pytest.approx(3, abs=5e-3)
    assert np.array_equal(noise_table(NOISE)[TABLE_SIZE:], noise_table(NOISE)[:RUN_PIXELS])


def test_noise_has_the_moments_and_tails_of_a_normal_distribution() -> None:
    noise = noise_of(np.arange(500)).reshape(-1)
    assert abs(noise.mean()) < 5 / sqrt(noise.size)
    assert noise.std() == pytest.approx(1, abs=5 / sqrt(noise.size))
    assert (noise**3).mean() == pytest.approx(0, abs=0.02)
    assert (noise**4).mean() == pytest.approx(3, abs=0.05)
    for limit in (1, 2, 3, 4):
        beyond = 1 - erf(limit / sqrt(2))
        share = (abs(noise) > limit).mean()
        assert share == pytest.approx(beyond, abs=6 * sqrt(beyond / noise.size))
    assert 4.4 < abs(noise).max() < 6.2


def test_noise_of_neighbouring_pixels_is_hardly_correlated() -> None:
    noise = noise_of(np.arange(200))
    for distance in (1, 2, 3, 10, 100, 1000, 1024, 2048):
        correlation = (noise[:, distance:] * noise[:, :-distance]).mean()
        assert abs(correlation) < 0.02


def test_noise_of_different_rows_and_epochs_is_not_correlated() -> None:
    rows = noise_of(np.arange(100))
    epochs = np.concatenate([noise_of(np.array([7]), epoch) for epoch in range(100)])
    for noise in (rows, epochs):
        assert abs(noise.mean(axis=0)).max() < 0.6
        expected = 1 / sqrt(noise.shape[1])
        assert correlations(noise).std() == pytest.approx(expected, rel=0.1)
        # One pair in 16,384 shares a run at the same place.
        assert (abs(correlations(noise)) > 6 * expected).mean() < 1e-3


def test_keys_differ_between_seeds_epochs_and_rows() -> None:
    rows = np.arange(1000)
    keys = [
        EpochDraws.of_epoch(NOISE, seed, epoch).of_rows(rows).keys
        for seed in (0, 1, 2**63 - 1)
        for epoch in range(5)
    ]
    assert len(np.unique(np.concatenate(keys))) == 15_000


def test_snr_is_uniform_in_its_logarithm_and_velocity_within_its_maximum() -> None:
    augmentation = gs.Compose(gs.AddNoise(20, 200), gs.ShiftVelocity(30))
    draws = EpochDraws.of_epoch(augmentation, 1, 0).of_rows(np.arange(20_000))
    share = np.log(1 / draws.sigma / 20) / np.log(10)
    speed = draws.displacement * -SPEED_OF_LIGHT / 30
    for values in (share, (speed + 1) / 2):
        assert values.min() > -1e-3
        assert values.max() < 1 + 1e-3
        assert np.allclose(np.histogram(values, 10, (0, 1))[0], 2000, atol=250)
    assert abs(np.corrcoef(share, speed)[0, 1]) < 0.03


@pytest.mark.parametrize("fraction", [1e-9, 0.02, 0.5, 0.999, 1 - 1e-9])
def test_the_fraction_of_missing_pixels_is_the_one_asked_for(fraction: float) -> None:
    missing = np.isnan(augmented_ones(gs.MaskPixels(fraction), np.arange(200), 0))
    spread = sqrt(fraction * (1 - fraction) / missing.size)
    assert missing.mean() == pytest.approx(fraction, abs=6 * spread + 4 / TABLE_SIZE)
    assert missing.any()
    if fraction == 0.02:
        both = (missing[:, 1:] & missing[:, :-1]).mean()
        assert both == pytest.approx(fraction**2, rel=0.5)
        assert missing.mean(axis=0).max() < 0.12
        assert (abs(correlations(missing.astype(np.float64))) > 0.15).mean() < 1e-3


def test_an_augmentation_does_not_change_the_numbers_of_another() -> None:
    rows = np.arange(50)
    alone = augmented_ones(NOISE, rows, 2)
    both = augmented_ones(gs.Compose(NOISE, gs.MaskPixels(0.3)), rows, 2)
    kept = ~np.isnan(both)
    assert 0.6 < kept.mean() < 0.8
    assert np.array_equal(alone[kept], both[kept])
    shifted = EpochDraws.of_epoch(gs.Compose(NOISE, gs.ShiftVelocity(2)), 42, 2).of_rows(rows)
    assert np.array_equal(shifted.keys, EpochDraws.of_epoch(NOISE, 42, 2).of_rows(rows).keys)
