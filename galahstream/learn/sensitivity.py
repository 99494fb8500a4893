"""Which pixels the predictions of a network depend on."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from galahstream.learn.models.base import as_prediction
from galahstream.learn.trained_model import TrainedModel
from galahstream.learn.training_sample import sample_batches
from galahstream.stream.dataset import SpectraDataset

_MAX_STARS, _MIN_STARS = 64, 8
# Gradients of this many labels of stars are taken: a few seconds for the reference network.
_MAX_GRADIENTS = 192


class Sensitivity(NamedTuple):
    """Mean spectrum of some stars, and how labels predicted for them change with it.

    Attributes
    ----------
    flux : ndarray, shape (L,), float32
        Mean flux as the network sees it: limited from below, and 1 where it is missing.
    gradients : ndarray, shape (K, L), float64
        Mean absolute change of each label, in its unit, for a change of a pixel's flux by 1 %.
    n_stars : int
        Stars that the means are taken over.
    """

    flux: npt.NDArray[np.float32]
    gradients: npt.NDArray[np.float64]
    n_stars: int


def mean_sensitivity(model: TrainedModel, dataset: SpectraDataset) -> Sensitivity:
    """Return how the predictions for up to 64 stars of a dataset depend on each pixel.

    Parameters
    ----------
    model : TrainedModel
        In evaluation mode.
    dataset : SpectraDataset
        At least one star, prepared as the model takes them.
    """
    n_stars = min(max(_MAX_GRADIENTS // model.n_labels, _MIN_STARS), _MAX_STARS, len(dataset))
    device = next(model.parameters()).device
    log_flux = np.zeros(model.n_pixels)
    gradients = np.zeros((model.n_labels, model.n_pixels))
    for batch in sample_batches(dataset, n_stars):
        flux = dataset.read_batch(batch)[0].to(device).requires_grad_()
        labels = as_prediction(model(flux)).mean.sum(dim=0)
        log_flux += flux.detach().double().sum(dim=0).cpu().numpy()
        for column, label in enumerate(labels):
            (gradient,) = torch.autograd.grad(
                label, flux, retain_graph=True, materialize_grads=True
            )
            gradients[column] += gradient.double().abs().sum(dim=0).cpu().numpy()
    # The input is the logarithm of the flux: 1 % of it is 0.01.
    scale = 0.01 * np.array(model.recipe.std)[:, None] / n_stars
    return Sensitivity(np.exp(log_flux / n_stars).astype(np.float32), gradients * scale, n_stars)
