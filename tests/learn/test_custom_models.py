"""Networks that users bring: trained, saved and loaded by giving their class again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

import galahstream as gs
from galahstream.cli.main import main
from galahstream.errors import CheckpointError, OptionError
from galahstream.learn.models import make_network
from galahstream.learn.models.base import Prediction
from galahstream.learn.models.compact import CompactCNN
from galahstream.learn.models.custom import CustomNetwork
from galahstream.learn.recipe import Recipe
from galahstream.learn.results import TrainingResult
from galahstream.learn.run import RunFolder
from galahstream.learn.trained_model import TrainedModel, save_model
from galahstream.store import Store

pytestmark = pytest.mark.usefixtures("without_pictures")

OPTIONS: dict[str, Any] = {"epochs": 2, "device": "cpu", "labels": ("teff",), "progress": False}


class Small(nn.Module):
    """A network of a user, with a layer that has buffers and one that draws random numbers."""

    def __init__(self, n_pixels: int = 64, n_labels: int = 1, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(n_pixels, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.1),
            nn.Linear(width, n_labels),
        )  # fmt: skip

    def forward(self, flux: torch.Tensor) -> Any:
        return self.layers(flux)


class Other(Small):
    """Another network with the same weights."""


class WithVariance(Small):
    """A network that predicts variances too."""

    def forward(self, flux: torch.Tensor) -> Any:
        mean = super().forward(flux)
        return Prediction(mean, torch.zeros_like(mean))


class HalfUsed(nn.Module):
    """A network with a frozen layer, and one that nothing depends on."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen, self.used, self.unused = nn.Linear(64, 4), nn.Linear(4, 1), nn.Linear(3, 3)
        self.frozen.requires_grad_(False)

    def forward(self, flux: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.used(self.frozen(flux))
        return output


class SharedWeights(nn.Module):
    """A network that uses one layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(64, 64)
        self.second = self.first
        self.last = nn.Linear(64, 1)

    def forward(self, flux: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.last(self.second(self.first(flux).relu()).relu())
        return output


def small_of_width_3(n_labels: int) -> nn.Module:
    return Small(n_labels=n_labels, width=3)


def assert_same_weights(a: TrainingResult, b: TrainingResult) -> None:
    weights = b.model.state_dict()
    assert a.model.state_dict().keys() == weights.keys()
    for name, tensor in a.model.state_dict().items():
        assert torch.equal(tensor, weights[name]), name


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        Small, Small(), small_of_width_3, WithVariance, HalfUsed, SharedWeights,
        nn.Sequential(nn.LazyLinear(5), nn.GELU(), nn.Linear(5, 1)),
    ],
    ids=lambda model: getattr(model, "__name__", type(model).__name__),
)  # fmt: skip
def test_a_network_of_a_user_is_trained_saved_resumed_and_loaded(
    toy_store: Store, tmp_path: Path, model: Any
) -> None:
    first = gs.train(toy_store, tmp_path / "run", model=model, **{**OPTIONS, "epochs": 1})
    before = first.history[0].val_loss
    result = gs.train(toy_store, tmp_path / "run", model=model, resume=True, **OPTIONS)
    assert result.history[0].val_loss == before
    assert result.model.network.name == result.settings["model"]
    loaded = gs.load_model(result.out / "model.pt", model=model)
    assert gs.evaluate(loaded, toy_store, device="cpu").loss == result.test_loss
    np.testing.assert_array_equal(
        gs.predict(loaded, toy_store).labels, gs.predict(result.model, toy_store).labels
    )


@pytest.mark.slow
@pytest.mark.parametrize("model", [Small, HalfUsed, "galah", "compact"])
def test_a_run_in_two_parts_gives_the_weights_of_one(
    toy_store: Store, tmp_path: Path, model: Any
) -> None:
    uncut = gs.train(toy_store, tmp_path / "uncut", model=model, **OPTIONS)
    gs.train(toy_store, tmp_path / "run", model=model, **{**OPTIONS, "epochs": 1})
    torch.rand(7)
    resumed = gs.train(toy_store, tmp_path / "run", model=model, resume=True, **OPTIONS)
    assert_same_weights(resumed, uncut)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["nll", "full-nll"])
@pytest.mark.parametrize("name", ["compact", "starnet", "galah"])
def test_every_network_learns_with_every_loss(
    toy_store: Store, tmp_path: Path, name: str, loss: Any
) -> None:
    options = {**OPTIONS, "labels": ("teff", "logg"), "loss": loss}
    result = gs.train(toy_store, tmp_path / "run", model=name, **options)
    assert result.history[-1].train_loss < result.history[0].train_loss
    model = gs.load_model(result.out / "model.pt")
    assert model.network.name == name
    assert gs.evaluate(model, toy_store, device="cpu").loss == result.test_loss


def test_the_seed_decides_the_weights_of_a_class_and_not_those_of_a_network() -> None:
    networks = []
    for model in (Small, Small()):
        for _ in range(2):
            torch.manual_seed(5)
            networks.append(make_network(model, 64, 1).state_dict())
    name = "module.layers.0.weight"
    assert torch.equal(networks[0][name], networks[1][name])
    assert networks[2][name] is not networks[0][name]
    assert not torch.equal(networks[2][name], networks[0][name])


def test_a_network_is_tried_without_changing_it() -> None:
    module = Small()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    torch.manual_seed(0)
    state = torch.get_rng_state()
    network = make_network(module, 64, 1)
    assert module.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert network.n_parameters == sum(weights.numel() for weights in module.parameters())


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (nn.Linear(63, 1), r"Linear cannot take spectra of shape \(1, 64\).*\(model=\)"),
        (nn.Linear(64, 2), r"Linear returns mean of shape \(1, 2\).*expected \(1, 1\)"),
        (nn.Linear(64, 1).double(), "Linear cannot take spectra .*float32"),
        (nn.Flatten(0), r"Flatten returns mean of shape \(64,\)"),
        (nn.GRU(64, 1), "GRU returns tuple"),
        (nn.Dropout(), r"Dropout returns mean of shape \(1, 64\)"),
        (Small, None),
        (lambda: nn.Linear(64, 1), None),
        (lambda: 3, "3 is not a network; expected a torch.nn.Module"),
        (lambda width: nn.Linear(64, 1), r"<lambda>\(width\) cannot be called .*'width'"),
        (nn.Linear, "Linear.* cannot be called with no arguments"),
        (nn.Identity(), r"Identity returns mean of shape \(1, 64\)"),
        (CompactCNN(128, 1), r"compact takes 128 pixels .*expected 64 and 1 \(model=\)"),
        (CompactCNN, None),
    ],
)
def test_networks_that_do_not_turn_spectra_into_labels_are_refused(
    model: Any, text: str | None
) -> None:
    if text is None:
        make_network(model, 64, 1)
        return
    with pytest.raises(OptionError, match=text):
        make_network(model, 64, 1)


def test_a_network_without_anything_to_train_is_refused() -> None:
    with pytest.raises(OptionError, match="no trainable parameters"):
        make_network(nn.Linear(64, 1).requires_grad_(False), 64, 1)


def test_weights_that_a_file_could_not_hold_are_refused() -> None:
    module = nn.Linear(64, 2)
    module.weight = nn.Parameter(torch.zeros(64, 2).t())
    with pytest.raises(OptionError, match="'weight' of Linear is not contiguous"):
        make_network(module, 64, 2)


def returning(output: Callable[[torch.Tensor], object]) -> nn.Module:
    class Returning(nn.Linear):
        def forward(self, flux: torch.Tensor) -> Any:
            return output(super().forward(flux))

    return Returning(64, 2)


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (lambda mean: Prediction(mean, mean[:, :1]), r"log_variance of shape \(1, 1\)"),
        (lambda mean: Prediction(mean, mean, mean), r"covariance_factor of shape \(1, 2\)"),
        (lambda mean: Prediction(mean, cast(Any, 1)), "log_variance as int"),
        (lambda mean: Prediction(cast(Any, None)), "mean as NoneType"),
        (lambda mean: mean.double(), "torch.float64"),
        (lambda mean: mean[0], r"mean of shape \(2,\)"),
        (lambda mean: {"mean": mean}, "returns dict"),
    ],
)
def test_each_part_of_a_prediction_has_its_shape(
    output: Callable[[torch.Tensor], object], text: str
) -> None:
    with pytest.raises(OptionError, match=text):
        make_network(returning(output), 64, 2)


@pytest.mark.parametrize("model", [Small, CompactCNN(64, 2)])
def test_a_loss_that_needs_more_than_a_network_predicts_is_refused(
    toy_store: Store, tmp_path: Path, model: Any
) -> None:
    options = {**OPTIONS, "labels": ("teff", "logg"), "loss": "nll"}
    with pytest.raises(OptionError, match=r"predicts the mean .*needs their variance.*\(loss=\)"):
        gs.train(toy_store, tmp_path / "run", model=model, **options)
    assert not (tmp_path / "run").exists()
    assert make_network(WithVariance, 64, 2, "variance").architecture["class"] == "WithVariance"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """The file of a network of a user."""
    recipe = Recipe(64, ("teff",), ("K",), (5.0,), (1.0,), 0.2, 1.0, None, None, "0", 42)
    save_model(TrainedModel(CustomNetwork(Small(), 64, 1), recipe), tmp_path / "model.pt")
    return tmp_path / "model.pt"


def test_a_file_says_which_class_it_needs(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CheckpointError, match=r"network Small, .*gs\.load_model\(.*model=Small\)"):
        gs.load_model(saved)
    assert main(["evaluate", str(saved), "store"]) == 1
    assert "no code; load it in Python and give its class" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (Other, "holds the weights of the network Small, not of Other"),
        ("compact", "holds the weights of the network Small, not of compact"),
        (Small(width=9), r"do not fit Small: field 'weights\.module\.layers\.0\.weight'"),
        (Small(n_pixels=63), "model= cannot be it: Small cannot take spectra"),
        (nn.Linear, "model= cannot be it: Linear"),
        (3, "model= cannot be it: model 3 is not known"),
    ],
    ids=str,
)
def test_another_network_than_the_trained_one_is_refused(
    saved: Path, model: Any, text: str
) -> None:
    with pytest.raises(CheckpointError, match=rf"model\.pt.*{text}"):
        gs.load_model(saved, model=model)


def test_a_class_for_a_file_that_needs_none_is_refused(saved: Path) -> None:
    recipe = gs.load_model(saved, model=Small).recipe
    save_model(TrainedModel(CompactCNN(64, 1), recipe), saved)
    with pytest.raises(CheckpointError, match=r"holds the network compact.*load it without model="):
        gs.load_model(saved, model=Small)


@pytest.mark.parametrize("name", [None, 3, ["Small"]])
def test_a_file_without_the_name_of_a_class_is_refused(saved: Path, name: Any) -> None:
    content = torch.load(saved, weights_only=True)
    content["architecture"]["class"] = name
    torch.save(content, saved)
    with pytest.raises(CheckpointError, match=r"model\.pt .*field 'architecture"):
        gs.load_model(saved, model=Small)


@pytest.mark.slow
def test_a_run_is_not_resumed_with_another_class(toy_store: Store, tmp_path: Path) -> None:
    gs.train(toy_store, tmp_path, model=Small, **{**OPTIONS, "epochs": 1})
    with pytest.raises(CheckpointError, match="model was 'Small' and is 'Other'"):
        gs.train(toy_store, tmp_path, model=Other, resume=True, **OPTIONS)
    with pytest.raises(CheckpointError, match=r"weights\.module\.layers\.0\.weight"):
        gs.train(toy_store, tmp_path, model=Small(width=9), resume=True, **OPTIONS)
    assert RunFolder.at(tmp_path).finished_epochs() == 1


def test_a_network_that_is_wrapped_already_is_used_as_it_is() -> None:
    network = CustomNetwork(Small(), 64, 1)
    again = make_network(network, 64, 1)
    assert isinstance(again, CustomNetwork)
    assert again.module is network.module
