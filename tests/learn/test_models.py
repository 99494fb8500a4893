from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from galahstream.errors import OptionError
from galahstream.learn.models import MODELS, build_network, check_model, make_network, models
from galahstream.learn.models.base import (
    Architecture,
    OutputKind,
    Prediction,
    as_prediction,
    layer_table,
)
from galahstream.learn.models.cnn import SpectraCNN
from galahstream.learn.models.galah import PipelineCNN
from galahstream.learn.models.heads import LabelHead
from galahstream.learn.models.starnet import StarNet


def test_the_network_has_the_parameters_of_the_published_run() -> None:
    with torch.device("meta"):
        model = SpectraCNN(16384, 3)
    assert sum(weights.numel() for weights in model.parameters()) == 33_563_299
    assert "33,563,299" in layer_table(model)


def test_the_reference_is_the_published_network_to_the_bit() -> None:
    torch.manual_seed(3)
    published = nn.Sequential(
        nn.Conv1d(1, 16, 3, padding=1), nn.MaxPool1d(2), nn.ReLU(),
        nn.Conv1d(16, 32, 3, padding=1), nn.MaxPool1d(2), nn.ReLU(),
        nn.Conv1d(32, 64, 3, padding=1), nn.MaxPool1d(2), nn.ReLU(),
        nn.Flatten(), nn.Linear(64 * 12, 256), nn.ReLU(), nn.Linear(256, 3),
    )  # fmt: skip
    torch.manual_seed(3)
    network = make_network("reference", 100, 3)
    assert network.architecture == {"name": "cnn", "n_pixels": 100, "n_labels": 3}
    flux = torch.randn(4, 100)
    assert torch.equal(network(flux), published(flux.unsqueeze(1)))


def test_the_networks_of_others_have_the_parameters_that_they_published() -> None:
    with torch.device("meta"):
        assert round(StarNet(7214).n_parameters / 1e6, 1) == 7.4
        assert round(PipelineCNN(2896, 36).n_parameters / 1e6, 1) == 0.2


def test_models_are_listed_with_their_parameters() -> None:
    listed = {model.name: model for model in models()}
    assert list(listed) == ["reference", "compact", "starnet", "galah"]
    assert listed["reference"].n_parameters == 33_563_299
    assert listed["compact"].n_parameters <= 33_563_299 / 20
    for model in models(n_pixels=np.int64(500), n_labels=7):  # type: ignore[arg-type]
        assert model.n_parameters == make_network(model.name, 500, 7).n_parameters
        assert model.summary


def test_the_document_has_every_model_with_its_parameters() -> None:
    document = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    for model in models():
        assert f"| `{model.name}` | {model.n_parameters:,} |" in document


@pytest.mark.parametrize("name", MODELS)
@given(more_pixels=st.integers(0, 300), n_labels=st.integers(1, 5), n_stars=st.integers(1, 3))
@settings(max_examples=15, deadline=None)
def test_every_network_takes_any_sizes(
    name: str, more_pixels: int, n_labels: int, n_stars: int
) -> None:
    n_pixels = MODELS[name].minimum_pixels + more_pixels
    for output in get_args(OutputKind):
        network = make_network(name, n_pixels, n_labels, output)
        prediction = as_prediction(network(torch.randn(n_stars, n_pixels)))
        assert prediction.mean.shape == (n_stars, n_labels)
        assert (prediction.log_variance is not None) == (output != "mean")
        assert (prediction.covariance_factor is not None) == (output == "covariance")
        assert all(torch.isfinite(tensor).all() for tensor in prediction if tensor is not None)


@pytest.mark.parametrize("name", MODELS)
def test_too_few_pixels_are_an_error_that_says_how_many_are_needed(name: str) -> None:
    minimum = MODELS[name].minimum_pixels
    text = rf"{minimum - 1} pixels .*{name} needs at least {minimum}.* \(window=, --window\)"
    with pytest.raises(OptionError, match=text):
        make_network(name, minimum - 1, 3)


@pytest.mark.parametrize("name", MODELS)
def test_every_weight_of_every_network_is_learned(name: str) -> None:
    torch.manual_seed(0)
    network = make_network(name, 300, 2, "covariance")
    prediction = as_prediction(network(torch.randn(8, 300)))
    parts = [tensor.square().sum() for tensor in prediction if tensor is not None]
    torch.stack(parts).sum().backward()  # type: ignore[no-untyped-call]
    for weights in network.parameters():
        assert weights.grad is not None
        assert torch.isfinite(weights.grad).all()


@pytest.mark.parametrize("model", ["resnet", "", "cnn", 3, None, ("compact",)])
def test_a_model_that_is_not_known_is_refused_with_those_that_are(model: Any) -> None:
    with pytest.raises(OptionError, match="is not known; expected reference or compact or"):
        check_model(model)


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
        network = build_network({"name": name, "n_pixels": 64, "n_labels": 2, "output": "variance"})
        again = build_network(network.architecture)
        assert type(again) is cls
        assert [w.shape for w in again.parameters()] == [w.shape for w in network.parameters()]


@pytest.mark.parametrize(
    ("architecture", "text"),
    [
        ({"name": "transformer"}, "'transformer' is not known; expected one of reference"),
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


@pytest.mark.parametrize("name", MODELS)
def test_a_network_is_float32_whatever_the_default_dtype(name: str) -> None:
    torch.set_default_dtype(torch.float64)
    try:
        network = make_network(name, 64, 1)
    finally:
        torch.set_default_dtype(torch.float32)
    assert {weights.dtype for weights in network.parameters()} == {torch.float32}


def test_a_plain_tensor_and_a_named_pair_are_both_predictions() -> None:
    mean, log_variance = torch.ones(2, 3), torch.zeros(2, 3)
    assert as_prediction(mean) == Prediction(mean, None)
    pair = Prediction(mean, log_variance)
    assert as_prediction(pair) is pair
