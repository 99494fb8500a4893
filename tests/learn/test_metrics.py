import numpy as np
import pytest

from galahstream.learn.metrics import label_metrics


def test_errors_are_those_computed_by_hand() -> None:
    true = np.array([[1.0], [2.0], [3.0], [6.0]])
    error = np.array([[1.0], [-1.0], [1.0], [1.0]])
    (metrics,) = label_metrics(true + error, true, ("teff",), ("K",))
    assert (metrics.rmse, metrics.mae, metrics.bias) == (1.0, 1.0, 0.5)
    assert metrics.r2 == pytest.approx(1 - 4 / 14)


def test_a_label_that_does_not_vary_has_no_r2() -> None:
    (metrics,) = label_metrics(np.ones((3, 1)), np.ones((3, 1)), ("teff",), ("K",))
    assert np.isnan(metrics.r2)
