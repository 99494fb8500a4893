"""The physics of the mock survey, and that its bytes depend on nothing but the seed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from galahstream.conversion.export import write_npy_pair
from galahstream.errors import OptionError
from galahstream.mock.atomic_data import line_table
from galahstream.mock.source import MockSource, StarLabels, draw_star, noiseless_flux, star_flux
from galahstream.mock.synthesis import (
    SPEED_OF_LIGHT,
    line_forming_layer,
    line_strengths,
    synthesise,
)
from galahstream.survey.labels import KNOWN_LABELS
from galahstream.survey.wavelength import nominal_grid
from galahstream.validation import MAX_SEED

GRID = nominal_grid()
FE_I, FE_II = 6498.94, 6516.08
# Star 0 of seed 42: its labels, and every 3,000th pixel.
GOLDEN_LABELS = (
    0.8375786346238566,
    10.22568130911499,
    0.48555595415977176,
    184.82934349769565,
    5281.845626390865,
    4.520623832233138,
    0.07288263832066955,
    83.68730334424328,
)
GOLDEN_FLUX = (1.0073195, 0.9978853, 0.8528730, 0.9735059, 0.9985449, 1.0165018)


def width(centre: float, teff: float, logg: float, fe_h: float) -> float:
    """Return the equivalent width of a line, Å."""
    near = abs(GRID - centre) < 0.4
    return float(np.trapezoid(1 - synthesise(GRID, teff, logg, fe_h)[near], GRID[near]))


def test_iron_lines_weaken_as_teff_rises() -> None:
    widths = [width(FE_I, teff, 4.4, 0.0) for teff in (5000, 5500, 6000, 6500)]
    assert (np.diff(widths) < 0).all()


def test_ionised_over_neutral_iron_strengthens_as_gravity_falls() -> None:
    ratios = [width(FE_II, 5200, g, 0.0) / width(FE_I, 5200, g, 0.0) for g in (4.5, 3.5, 2.5)]
    assert (np.diff(ratios) > 0).all()


@pytest.mark.parametrize("centre", [FE_I, FE_II, 5778.45, 6717.68, 5772.15])
def test_metal_lines_deepen_with_metallicity(centre: float) -> None:
    widths = [width(centre, 5700, 4.4, fe_h) for fe_h in (-1.0, -0.5, 0.0, 0.4)]
    assert (np.diff(widths) > 0).all()


def test_the_wings_of_h_alpha_deepen_with_teff() -> None:
    wing = np.array([6562.8 - 3, 6562.8 + 3])
    depths = [(1 - synthesise(wing, teff, 4.2, -2.0)).mean() for teff in (5000, 5700, 6400)]
    assert (np.diff(depths) > 0).all()


def test_damping_follows_gravity() -> None:
    wing = np.array([6162.0]) * 0 + 6717.68 + 0.6
    dwarf, giant = (synthesise(wing, 5000, logg, 0.0)[0] for logg in (4.6, 2.5))
    assert dwarf < giant


def test_lines_of_the_sun_have_about_their_widths() -> None:
    """Equivalent widths in mÅ of the solar atlas (Moore et al. 1966)."""
    measured = {5778.45: 22, 6498.94: 46, 6717.68: 120, 5772.15: 54, 6643.63: 95, 7698.96: 165}
    for centre, wanted in measured.items():
        assert 0.6 < 1000 * width(centre, 5772, 4.44, 0.0) / wanted < 1.6, centre


def test_at_least_two_thousand_lines_absorb() -> None:
    strength = line_strengths(line_table(), line_forming_layer(4800, 4.5, 0.0), 0.0)
    assert (strength > 1e-3).sum() >= 2000


@pytest.mark.parametrize("velocity", [-80.0, 0.0, 35.0])
def test_lines_stand_where_velocity_puts_them(velocity: float) -> None:
    fine = np.arange(6490, 6510, 0.01)
    flux = synthesise(fine, 5772, 4.44, 0.0, velocity)
    wanted = FE_I * (1 + velocity / SPEED_OF_LIGHT)
    near = abs(fine - wanted) < 0.3
    assert fine[near][np.argmin(flux[near])] == pytest.approx(wanted, abs=0.04)


def test_pixels_stand_where_zero_point_and_step_put_them() -> None:
    star, _ = draw_star(42, 3, "observed")
    assert np.abs(star_flux(42, 3) - noiseless_flux(star)).max() < 6 / star.labels.snr
    offsets = np.array(star.starts) - GRID[::4096]
    assert (abs(offsets) < 2.7).all()
    assert len(set(offsets.round(4))) == 4


def test_the_rest_frame_has_neither_velocity_nor_zero_points() -> None:
    star, _ = draw_star(42, 3, "rest")
    assert star.velocity == 0
    assert np.allclose(star.wavelength(), GRID, rtol=0, atol=1e-9)
    assert star.labels == draw_star(42, 3, "observed")[0].labels


def test_the_scatter_is_what_the_snr_says() -> None:
    ratios = []
    for number in range(8):
        star, _ = draw_star(7, number, "observed")
        clean = noiseless_flux(star)
        continuum = clean > 0.98
        ratios.append((star_flux(7, number) - clean)[continuum].std() * star.labels.snr)
        assert 15 <= star.labels.snr <= 200
    assert np.allclose(ratios, 1, atol=0.05)


@pytest.mark.slow
def test_labels_have_the_moments_of_the_real_set_and_fit_each_other() -> None:
    labels = MockSource(4000).read_labels()
    mass, age, luminosity, distance, teff, logg, fe_h, snr = labels.T
    assert teff.mean() == pytest.approx(5456.8, abs=25)
    assert teff.std() == pytest.approx(465.9, rel=0.06)
    assert logg.mean() == pytest.approx(3.989, abs=0.04)
    assert logg.std() == pytest.approx(0.685, rel=0.06)
    assert fe_h.mean() == pytest.approx(-0.198, abs=0.02)
    assert fe_h.std() == pytest.approx(0.288, rel=0.06)
    radius_squared = mass * 10 ** (4.438 - logg)
    assert np.allclose(luminosity, radius_squared * (teff / 5772) ** 4)
    assert (age > 0).all()
    assert (age < 13.8).all()
    assert (distance > 0).all()
    assert np.corrcoef(np.log(distance / np.sqrt(luminosity)), np.log(snr))[0, 1] < -0.5


def test_the_fields_of_star_labels_are_the_known_labels_in_order() -> None:
    assert StarLabels._fields == MockSource(1).label_names == tuple(KNOWN_LABELS)
    assert draw_star(42, 0, "rest")[0].labels == tuple(MockSource(1).read_labels()[0])


def test_the_bytes_of_a_seed_never_change() -> None:
    """Golden values: mock surveys made by one version can be made again by the next."""
    assert draw_star(42, 0, "observed")[0].labels == pytest.approx(GOLDEN_LABELS, rel=1e-12)
    assert star_flux(42, 0)[::3000] == pytest.approx(GOLDEN_FLUX, rel=2e-6)


def test_numpy_integers_are_options_too() -> None:
    options: dict[str, Any] = {"stars": np.int64(3), "seed": np.uint8(7), "jobs": np.int32(1)}
    source = MockSource(**options)
    assert source.name == "mock survey (3 stars, seed 7)"
    assert np.array_equal(next(source.iter_blocks(1))[0], star_flux(7, 0))


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_for_any_blocks_and_jobs() -> None:
    one = np.concatenate(list(MockSource(140, jobs=1).iter_blocks(33)))
    two = np.concatenate(list(MockSource(140, jobs=2).iter_blocks(50)))
    assert one.tobytes() == two.tobytes()
    assert one.shape == (140, 16384)
    assert np.array_equal(one[5], star_flux(42, 5))
    assert not np.array_equal(one[5], star_flux(43, 5))


@pytest.mark.slow
def test_a_reader_that_stops_early_ends_the_processes() -> None:
    blocks = MockSource(300, jobs=2).iter_blocks(10)
    next(blocks)
    blocks.close()  # type: ignore[attr-defined]


def test_the_pair_has_the_layout_of_the_real_set(tmp_path: Path) -> None:
    write_npy_pair(MockSource(5), tmp_path / "raw")
    spectra, labels = (np.load(tmp_path / "raw" / f"{x}.npy") for x in ("spectra", "labels"))
    assert (spectra.shape, spectra.dtype) == ((5, 16384), np.float32)
    assert labels.shape == (5, 8)
    assert 4000 < labels[0, 4] < 7500


@pytest.mark.parametrize(
    "options",
    [
        {"stars": 0},
        {"stars": 2.5},
        {"seed": -1},
        {"seed": MAX_SEED + 1},
        {"frame": "moving"},
        {"jobs": -2},
        {"jobs": 0},
    ],
)
def test_bad_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        MockSource(**options)  # type: ignore[arg-type]
