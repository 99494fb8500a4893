from typing import Any

import numpy as np
import pytest
import torch

from galahstream.errors import OptionError
from galahstream.learn.models import MODELS, build_network
from galahstream.learn.models.base import Architecture, Prediction, as_prediction, layer_table
from galahstream.learn.models.cnn import SpectraCNN


def test_the_network_has_the_parameters_of_the_published_run() -> None:
    with torch.device("meta"):
        model = SpectraCNN(16384, 3)
    assert sum(weights.numel() for weights in model.parameters()) == 33_563_299
    assert "33,563,299" in layer_table(model)


@pytest.mark.parametrize("n_pixels", [8, 9, 64, 1001, 3904])
def test_any_length_gives_one_output_per_label(n_pixels: int) -> None:
    assert SpectraCNN(n_pixels, 2)(torch.zeros(5, n_pixels)).shape == (5, 2)


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
