"""The pictures of a run, in its folder and for TensorBoard."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import galahstream as gs
from galahstream.learn.run import RunFolder
from galahstream.learn.sensitivity import mean_sensitivity
from galahstream.store import Store
from tests.conftest import Pair

ALL = {"loss", "predictions", "residuals", "kiel", "calibration", "sensitivity"}
OPTIONS: dict[str, Any] = {"epochs": 1, "device": "cpu", "progress": False}


def events_of(folder: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    events = EventAccumulator(str(folder), {"images": 0})
    events.Reload()
    return events


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({"loss": "nll", "labels": ("teff", "logg", "fe_h")}, set()),
        ({"loss": "full-nll", "labels": ("logg", "teff")}, set()),
        ({"labels": ("teff", "logg")}, {"calibration"}),
        ({"labels": ("mass", "logg")}, {"kiel", "calibration"}),
    ],
    ids=["nll", "full-nll", "mse", "no teff"],
)
def test_a_run_draws_the_pictures_that_its_labels_allow(
    toy_store: Store, tmp_path: Path, options: dict[str, Any], missing: set[str]
) -> None:
    gs.train(toy_store, tmp_path / "run", model="compact", **options, **OPTIONS)
    drawn = {path.stem: path for path in (tmp_path / "run").glob("*.png")}
    assert set(drawn) == ALL - missing
    events = events_of(tmp_path / "run")
    assert set(events.Tags()["images"]) == {f"pictures/{name}" for name in drawn}
    for name, path in drawn.items():
        (image,) = events.Images(f"pictures/{name}")
        assert image.encoded_image_string == path.read_bytes()
        assert (image.step, image.width > 300, image.height > 300) == (1, True, True)


@pytest.mark.slow
def test_a_store_without_signal_to_noise_has_no_residuals_against_it(
    pair: Pair, tmp_path: Path
) -> None:
    labels = {"teff": pair.labels[:, 4], "logg": pair.labels[:, 5]}
    store = gs.convert((pair.spectra, labels), tmp_path / "store", labels=["teff[K]", "logg[dex]"])
    gs.train(store, tmp_path / "run", model="compact", labels=("teff",), **OPTIONS)
    names = {path.stem for path in (tmp_path / "run").glob("*.png")}
    assert names == {"loss", "predictions", "sensitivity"}


def test_the_pictures_belong_to_the_files_of_a_run(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert {path.stem for path in folder.pictures} == ALL
    assert folder.picture("kiel") in folder.pictures


class LogFluxSum(nn.Module):
    """Labels that are linear in the logarithm of the flux."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(64, 2, generator=torch.Generator().manual_seed(0)))

    def forward(self, flux: torch.Tensor) -> torch.Tensor:
        return flux @ self.weights


@pytest.mark.slow
def test_the_sensitivity_of_a_linear_network_is_its_weights(
    toy_store: Store, tmp_path: Path
) -> None:
    labels = ("teff", "logg")
    result = gs.train(toy_store, tmp_path / "run", model=LogFluxSum(), labels=labels, **OPTIONS)
    dataset = gs.SpectraDataset(toy_store, "test", labels=labels)
    before = [weights.grad for weights in result.model.parameters()]
    found = mean_sensitivity(result.model, dataset)
    weights = result.model.state_dict()["module.weights"].abs().numpy().T
    expected = 0.01 * weights * np.array(result.model.recipe.std)[:, None]
    np.testing.assert_allclose(found.gradients, expected, rtol=1e-5)
    assert found.n_stars == len(dataset) == 45
    assert found.flux.shape == (64,)
    assert 0.5 < found.flux.min() < found.flux.max() < 1.1
    assert [weights.grad for weights in result.model.parameters()] == before
