from dataclasses import asdict

import numpy as np
import pytest

from galahstream.learn.metrics import LabelMetrics, group_metrics, label_metrics
from galahstream.validation import from_mapping


def test_errors_are_those_computed_by_hand() -> None:
    true = np.array([[1.0], [2.0], [3.0], [6.0]])
    error = np.array([[1.0], [-1.0], [1.0], [1.0]])
    (metrics,) = label_metrics(true + error, true, ("teff",), ("K",))
    assert (metrics.rmse, metrics.mae, metrics.bias) == (1.0, 1.0, 0.5)
    assert metrics.r2 == pytest.approx(1 - 4 / 14)


def test_a_label_that_does_not_vary_has_no_r2() -> None:
    (metrics,) = label_metrics(np.ones((3, 1)), np.ones((3, 1)), ("teff",), ("K",))
    assert np.isnan(metrics.r2)


def test_missing_labels_do_not_count() -> None:
    true = np.array([[1.0, np.nan], [2.0, 5.0], [np.nan, 6.0]])
    predicted = np.array([[2.0, 99.0], [2.0, 5.0], [99.0, 8.0]])
    first, second = label_metrics(predicted, true, ("teff", "logg"), ("K", "dex"))
    assert (first.n, first.bias, first.mae) == (2, 0.5, 0.5)
    assert (second.n, second.bias, second.mae) == (2, 1.0, 1.0)


def test_a_label_that_no_star_has_is_counted_and_has_no_errors() -> None:
    (metrics,) = label_metrics(np.ones((3, 1)), np.full((3, 1), np.nan), ("teff",), ("K",))
    assert metrics.n == 0
    assert np.isnan([metrics.rmse, metrics.bias, metrics.scatter, metrics.r2]).all()


def test_the_scatter_is_that_of_normal_errors_and_outliers_hardly_change_it() -> None:
    error = 3 * np.random.default_rng(0).normal(size=(20_000, 1)) + 7
    error[:200] = 1e6
    (metrics,) = label_metrics(error, np.zeros_like(error), ("teff",), ("K",))
    assert metrics.scatter == pytest.approx(3, rel=0.04)
    assert metrics.rmse > 1e4


@pytest.mark.parametrize(
    ("factor", "coverage_68", "coverage_95"),
    [(1, 0.6827, 0.9545), (2, 0.9545, 1), (0.5, 0.383, 0.6827)],
)
def test_coverage_and_pulls_tell_right_uncertainties_from_wrong_ones(
    factor: float, coverage_68: float, coverage_95: float
) -> None:
    generator = np.random.default_rng(1)
    sigma = generator.uniform(0.5, 2, size=(50_000, 1))
    error = sigma * generator.normal(size=sigma.shape)
    (metrics,) = label_metrics(error, 0 * error, ("teff",), ("K",), factor * sigma)
    found = metrics.uncertainty
    assert found is not None
    assert found.pull_mean == pytest.approx(0, abs=0.05)
    assert found.pull_std == pytest.approx(1 / factor, rel=0.02)
    assert found.coverage_68 == pytest.approx(coverage_68, abs=0.01)
    assert found.coverage_95 == pytest.approx(coverage_95, abs=0.01)
    is_flat = np.ptp(found.calibration) < 0.1 * 5_000
    assert (sum(found.calibration), bool(is_flat)) == (50_000, factor == 1)


def test_the_calibration_is_that_of_the_true_value_in_the_predicted_distribution() -> None:
    true = np.array([[-9.0], [9.0], [9.0]])
    (metrics,) = label_metrics(0 * true, true, ("teff",), ("K",), np.ones_like(true))
    assert metrics.uncertainty is not None
    assert metrics.uncertainty.calibration == (1, 0, 0, 0, 0, 0, 0, 0, 0, 2)


def test_stars_are_grouped_by_snr_and_gravity_and_those_without_are_in_no_group() -> None:
    snr = np.array([10.0, 25.0, 49.9, 1e6, np.nan])
    logg = np.array([3.5, 3.4, 4.5, np.nan, 4.0])
    values = np.arange(5.0)[:, None]
    groups = group_metrics(
        values + 1, values, ("teff",), ("K",), None, [("snr", snr), ("logg", logg)]
    )
    assert [(group.by, group.group, group.n_stars) for group in groups] == [
        ("snr", "0 to 25", 1),
        ("snr", "25 to 50", 2),
        ("snr", "200 and more", 1),
        ("logg", "dwarfs", 3),
        ("logg", "giants", 1),
    ]
    assert {group.labels[0].bias for group in groups} == {1.0}


def test_metrics_come_back_from_a_file_and_those_of_early_versions_too() -> None:
    (metrics,) = label_metrics(
        np.ones((3, 1)), np.arange(3.0)[:, None], ("teff",), ("K",), np.ones((3, 1))
    )
    assert from_mapping(LabelMetrics, asdict(metrics)) == metrics
    early = {name: asdict(metrics)[name] for name in ("name", "unit", "rmse", "mae", "bias", "r2")}
    read = from_mapping(LabelMetrics, early)
    assert (read.rmse, read.n, read.uncertainty) == (metrics.rmse, None, None)
