"""What a network predicts for the stars of a loader: scaled labels and uncertainties."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from galahstream.learn.distributed import Ranks
from galahstream.learn.losses import Loss, MeanSquaredError, check_outputs
from galahstream.learn.models.base import Prediction, SpectraNetwork, as_prediction
from galahstream.learn.recipe import Recipe
from galahstream.learn.results import LabelPairs
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.loader import SpectraLoader


class ScaledPredictions(NamedTuple):
    """Predictions of n stars as networks give them, scaled, each (n, K) float64.

    Attributes
    ----------
    labels : ndarray
    uncertainties : ndarray or None
        1 σ, if the network was trained with a loss that uses its variances.
    """

    labels: npt.NDArray[np.float64]
    uncertainties: npt.NDArray[np.float64] | None

    @classmethod
    def of_output(cls, prediction: Prediction, loss: Loss) -> "ScaledPredictions":
        """Return the output of a network for a batch, as far as the loss trained it, on the CPU."""
        labels = prediction.mean.cpu().numpy().astype(np.float64)
        if prediction.log_variance is None or "log_variance" not in loss.required_outputs:
            return cls(labels, None)
        sigma = (0.5 * prediction.log_variance).exp()
        return cls(labels, sigma.cpu().numpy().astype(np.float64))

    def in_units(
        self, recipe: Recipe
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64] | None]:
        """Return labels and uncertainties in the units of the labels."""
        sigma = self.uncertainties
        scaled_back = None if sigma is None else recipe.to_uncertainties(sigma)
        return recipe.to_labels(self.labels), scaled_back

    def paired(self, recipe: Recipe, dataset: SpectraDataset) -> LabelPairs:
        """Return them in the units of the labels, with the true labels of the same stars."""
        labels, uncertainties = self.in_units(recipe)
        return LabelPairs(labels, dataset.targets, uncertainties, dataset.target_errors)


def predict_scaled(
    network: SpectraNetwork,
    loader: SpectraLoader,
    loss: Loss | None = None,
    columns: Sequence[int] | None = None,
    ranks: Ranks = Ranks(),
) -> tuple[ScaledPredictions, float]:
    """Return the predictions of all stars of a loader, and the mean loss.

    Parameters
    ----------
    network : SpectraNetwork
        Moved to the loader's device; its mode of training stays.
    loader : SpectraLoader
        Not shuffled.
    loss : Loss, optional
        The one that the network was trained with; by default the mean squared error.
    columns : sequence of int, optional
        The network's labels that the loader gives, in this order; all of them by default.
    ranks : Ranks
        Those whose loaders have the stars in shares; each returns all predictions.

    Returns
    -------
    scaled : ScaledPredictions
    loss : float
        NaN if the loader gives no labels.
    """
    loss = loss or MeanSquaredError()
    outputs, total, weight = [], 0.0, 0.0
    for prediction, targets in predicted_batches(network, loader):
        check_outputs(loss, prediction)
        if columns is not None:
            prediction = prediction.select(columns)
        outputs.append(ScaledPredictions.of_output(prediction, loss))
        if targets:
            total += float(loss.total(prediction, *targets))
            weight += float(loss.weight(*targets))
    n_labels = network.n_labels if columns is None else len(columns)
    scaled = _concatenated(outputs, n_labels, loss)
    total, weight = ranks.joined(np.array([[total, weight]])).sum(axis=0).tolist()
    sigma = scaled.uncertainties
    everywhere = ScaledPredictions(
        ranks.joined(scaled.labels), None if sigma is None else ranks.joined(sigma)
    )
    return everywhere, total / weight if weight else float("nan")


@torch.inference_mode()
def predicted_batches(
    network: SpectraNetwork, loader: SpectraLoader
) -> Iterator[tuple[Prediction, list[torch.Tensor]]]:
    """Yield the predictions of each batch, and its labels and their errors if there are any.

    Parameters
    ----------
    network, loader
        As for :func:`predict_scaled`; until the end, the network is in evaluation mode and on
        the device of the loader.
    """
    was_training, device = network.training, next(network.parameters()).device
    network.eval().to(loader.device)
    try:
        for batch in loader:
            flux, *targets = batch if isinstance(batch, tuple) else (batch,)
            yield as_prediction(network(flux)), targets
    finally:
        network.train(was_training).to(device)


def _concatenated(outputs: list[ScaledPredictions], n_labels: int, loss: Loss) -> ScaledPredictions:
    none = np.empty((0, n_labels))
    has_uncertainties = "log_variance" in loss.required_outputs
    labels = np.concatenate([none, *(output.labels for output in outputs)])
    if not has_uncertainties:
        return ScaledPredictions(labels, None)
    sigma = [output.uncertainties for output in outputs if output.uncertainties is not None]
    return ScaledPredictions(labels, np.concatenate([none, *sigma]))
