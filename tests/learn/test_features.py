"""Which spectra are unusual in the last hidden layer of a network."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from galahstream.learn.features import FeatureDistribution, recorded_hidden_layer
from galahstream.learn.models import MODELS
from galahstream.learn.models.custom import CustomNetwork


def normal(n: int, n_features: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, n_features, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("output", ["mean", "covariance"])
def test_the_last_hidden_layer_of_each_network_decides_its_labels(name: str, output: str) -> None:
    network = MODELS[name](128, 2, output).eval()  # type: ignore[arg-type]
    flux = normal(3, 128)
    with torch.inference_mode(), recorded_hidden_layer(network) as hidden:
        found = network(flux)
        assert hidden.values is not None
        assert hidden.values.shape == (3, network.label_layer.in_features)
        expected = network.label_layer(hidden.values)
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a, b)
    hidden.values = None
    network(flux)  # not recorded any more
    assert hidden.values is None


def test_the_hidden_layer_of_a_users_network_is_not_known() -> None:
    network = CustomNetwork(MODELS["compact"](64, 1), 64, 1)
    with recorded_hidden_layer(network) as hidden:
        network(torch.zeros(2, 64))
    assert hidden.values is None


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 60),
    n_features=st.integers(1, 40),
    scale=st.sampled_from([0.0, 1e-6, 1.0, 1e6]),
    n_constant=st.integers(0, 5),
)
def test_distances_are_finite_for_any_number_of_stars_and_features(
    n: int, n_features: int, scale: float, n_constant: int
) -> None:
    values = scale * normal(n, n_features)
    values[:, :n_constant] = 3.0
    usual = FeatureDistribution.fit(values, values)
    assert bool(usual.distance(values).isfinite().all())
    assert not bool(usual.is_unusual(values[usual.distance(values).argmin()][None]))
    # Outside of what was seen, also in a direction in which nothing varied.
    away = values.mean(dim=0, keepdim=True) + 1e3 * max(scale, 1.0)
    assert bool(usual.is_unusual(away).all())


def test_the_distance_is_that_of_mahalanobis() -> None:
    mixed = normal(5000, 4) @ normal(4, 4, seed=1) + 7
    usual = FeatureDistribution.fit(mixed, mixed)
    covariance = np.cov(mixed.numpy().T, ddof=0)
    difference = mixed[:50].numpy() - mixed.numpy().mean(axis=0)
    expected = np.sqrt(np.sum(difference @ np.linalg.inv(covariance) * difference, axis=1))
    np.testing.assert_allclose(usual.distance(mixed[:50]), expected, rtol=0.02)


def test_one_in_a_hundred_validation_stars_is_unusual() -> None:
    training, validation = normal(1000, 8), normal(1000, 8, seed=1)
    usual = FeatureDistribution.fit(training, validation)
    assert 0 < int(usual.is_unusual(validation).sum()) <= 10
    assert 5 <= int(usual.is_unusual(normal(2000, 8, seed=2)).sum()) <= 60


def test_features_that_are_not_numbers_are_unusual() -> None:
    usual = FeatureDistribution.fit(normal(50, 3), normal(50, 3))
    values = torch.tensor([[0.0, float("nan"), 0.0], [float("inf"), 0.0, 0.0], [0.0, 0.0, 0.0]])
    assert usual.is_unusual(values).tolist() == [True, True, False]
