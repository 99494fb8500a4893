from typing import Any

import numpy as np
import pytest
import torch

from galahstream.errors import OptionError
from galahstream.learn.models import MODELS, build_network
from galahstream.learn.models.base import Architecture, Prediction, as_prediction, layer_table
from galahstream.learn.models.cnn import SpectraCNN
from galahstream.learn.models.heads import LabelHead


def test_the_network_has_the_parameters_of_the_published_run() -> None:
    with torch.device("meta"):
        model = SpectraCNN(16384, 3)
    assert sum(weights.numel() for weights in model.parameters()) == 33_563_299
    assert "33,563,299" in layer_table(model)


@pytest.mark.parametrize("n_pixels", [8, 9, 64, 1001, 3904])
def test_any_length_gives_one_output_per_label(n_pixels: int) -> None:
    output = SpectraCNN(n_pixels, 2)(torch.zeros(5, n_pixels))
    assert as_prediction(output).mean.shape == (5, 2)


def test_a_network_with_variances_is_built_again_and_predicts_them() -> None:
    network = build_network({"name": "cnn", "n_pixels": 64, "n_labels": 2, "output": "variance"})
    prediction = build_network(network.architecture)(torch.zeros(5, 64))
    assert prediction.mean.shape == prediction.log_variance.shape == (5, 2)
    assert prediction.covariance_factor is None


def test_a_predicted_covariance_is_positive_definite_and_has_the_variances() -> None:
    torch.manual_seed(0)
    prediction = LabelHead(6, 3, "covariance")(10 * torch.randn(50, 6))
    factor = prediction.covariance_factor.double()
    assert torch.equal(factor, factor.tril())
    assert (factor.diagonal(dim1=1, dim2=2) > 0).all()
    covariance = factor @ factor.transpose(1, 2)
    variance = covariance.diagonal(dim1=1, dim2=2)
    torch.testing.assert_close(
        variance.log(), prediction.log_variance.double(), rtol=1e-4, atol=1e-4
    )


def test_an_unknown_kind_of_output_is_refused() -> None:
    with pytest.raises(OptionError, match="output"):
        LabelHead(6, 3, "median")  # type: ignore[arg-type]


@pytest.mark.parametrize("sizes", [(7, 3), (64, 0), (64.5, 3), (True, 3)])
def test_sizes_that_make_no_network_are_refused(sizes: tuple[Any, Any]) -> None:
    with pytest.raises(OptionError, match="expected an integer of at least"):
        SpectraCNN(*sizes)


def test_every_network_is_built_again_from_its_architecture() -> None:
    for name, cls in MODELS.items():
        assert cls.name == name
        network = build_network({"name": name, "n_pixels": 64, "n_labels": 2})
        again = build_network(network.architecture)
        assert type(again) is cls
        assert [w.shape for w in again.parameters()] == [w.shape for w in network.parameters()]


@pytest.mark.parametrize(
    ("architecture", "text"),
    [
        ({"name": "transformer"}, "'transformer' is not known; expected one of cnn"),
        ({"n_pixels": 64}, "None is not known"),
        ({"name": "cnn", "depth": 3}, "depth"),
    ],
)
def test_unknown_architectures_are_refused(architecture: Architecture, text: str) -> None:
    with pytest.raises(OptionError, match=text):
        build_network(architecture)


def test_sizes_may_be_numpy_integers_and_are_stored_as_python_ones() -> None:
    network = SpectraCNN(np.int64(64), np.int16(2))  # type: ignore[arg-type]
    assert {type(value) for value in network.architecture.values()} == {str, int}


def test_a_network_is_float32_whatever_the_default_dtype() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        network = SpectraCNN(64, 1)
    finally:
        torch.set_default_dtype(torch.float32)
    assert {weights.dtype for weights in network.parameters()} == {torch.float32}


def test_a_plain_tensor_and_a_named_pair_are_both_predictions() -> None:
    mean, log_variance = torch.ones(2, 3), torch.zeros(2, 3)
    assert as_prediction(mean) == Prediction(mean, None)
    pair = Prediction(mean, log_variance)
    assert as_prediction(pair) is pair
