"""What a model keeps of the stars that it learned from, to tell which others are unlike them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import torch

from galahstream.learn.features import FeatureDistribution, recorded_hidden_layer
from galahstream.learn.flags import ALL_FLAGS, MAX_EXTRA_BAD_PIXELS, PredictionFlag
from galahstream.learn.models.base import SpectraNetwork
from galahstream.stream.dataset import SpectraDataset
from galahstream.validation import FieldError, checked, number, optional, record, sequence

MAX_STARS = 1024
"""Training stars, and validation stars, whose spectra are looked at."""

_BATCH_SIZE = 32
_MAX_LABELS = 4096

_numbers = partial(sequence, check=number, minimum=1, maximum=_MAX_LABELS)


@dataclass(frozen=True)
class TrainingSample:
    """Labels and spectra of the training stars, in short.

    Attributes
    ----------
    minimum, maximum : tuple of float
        Of the K labels, in their units.
    bad_pixels : float
        Fraction of the pixels that a typical star lacks.
    features : FeatureDistribution or None
        Of the last hidden layer; None for a user's own network, whose layers are not known, and
        if its values are not finite.
    """

    minimum: tuple[float, ...] = checked(_numbers)
    maximum: tuple[float, ...] = checked(_numbers)
    bad_pixels: float = checked(number)
    features: FeatureDistribution | None = checked(
        optional(record(FeatureDistribution)), default=None
    )

    def __post_init__(self) -> None:
        if len(self.minimum) != len(self.maximum):
            reason = f"found {len(self.maximum)} values for {len(self.minimum)} labels"
            raise FieldError("maximum", reason)

    @classmethod
    def of_datasets(
        cls, network: SpectraNetwork, training: SpectraDataset, validation: SpectraDataset
    ) -> "TrainingSample":
        """Return the sample of a trained network.

        Parameters
        ----------
        network : SpectraNetwork
            Stays on its device and in its mode of training.
        training, validation : SpectraDataset
            Those that it was trained with; up to `MAX_STARS` of each are looked at.
        """
        hidden = [_hidden_values(network, dataset) for dataset in (training, validation)]
        known = [
            values for values in hidden if values is not None and bool(values.isfinite().all())
        ]
        labels = training.targets
        return cls(
            minimum=tuple(np.nanmin(labels, axis=0).tolist()),
            maximum=tuple(np.nanmax(labels, axis=0).tolist()),
            bad_pixels=_typical_bad_pixels(training),
            features=FeatureDistribution.fit(*known) if len(known) == len(hidden) else None,
        )


class StarChecks:
    """The checks that a model makes of the stars whose labels it predicts.

    Parameters
    ----------
    sample : TrainingSample or None
        None for models of early versions: only bad pixels are checked then.
    device : torch.device, optional
        Where the network runs.

    Attributes
    ----------
    checked : PredictionFlag
        The bits that can be set.
    """

    def __init__(self, sample: TrainingSample | None, device: torch.device | None = None) -> None:
        self._sample = sample
        self._features = None
        self.checked = PredictionFlag.BAD_PIXELS
        if sample is not None:
            self.checked |= PredictionFlag.LABEL_RANGE
        if sample is not None and sample.features is not None:
            self._features = sample.features.to(device or "cpu")
            self.checked = ALL_FLAGS

    def flags(
        self,
        labels: npt.NDArray[np.float64],
        bad_pixels: npt.NDArray[np.float64],
        hidden: torch.Tensor | None,
    ) -> npt.NDArray[np.int32]:
        """Return the flags of stars, shape (n,).

        Parameters
        ----------
        labels : ndarray, shape (n, K), float64
            Predicted, in their units.
        bad_pixels : ndarray, shape (n,), float64
            Fractions of the pixels.
        hidden : Tensor, shape (n, F), or None
            Values of the last hidden layer, if it is known.
        """
        sample = self._sample
        flags = np.zeros(len(labels), np.int32)
        usual = 0.0 if sample is None else sample.bad_pixels
        flags[bad_pixels > usual + MAX_EXTRA_BAD_PIXELS] |= PredictionFlag.BAD_PIXELS
        if sample is not None:
            inside = (labels >= sample.minimum) & (labels <= sample.maximum)
            flags[~inside.all(axis=1)] |= PredictionFlag.LABEL_RANGE
        if self._features is not None and hidden is not None:
            is_unusual = self._features.is_unusual(hidden).cpu().numpy()
            flags[is_unusual] |= PredictionFlag.UNUSUAL_SPECTRUM
        return flags


def bad_pixel_fractions(
    dataset: SpectraDataset, rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Return the fractions of a dataset's pixels without a flux above 0, which none really has.

    Parameters
    ----------
    dataset : SpectraDataset
    rows : ndarray, shape (n,), int64
        Rows of its store.
    """
    flux = dataset.store.flux[rows]
    is_good = (flux > 0) & (flux < np.inf)
    if dataset.n_pixels < is_good.shape[1]:
        is_good = is_good[:, dataset.pixels]
    n_good: npt.NDArray[np.int64] = np.count_nonzero(is_good, axis=1)
    return 1 - n_good / dataset.n_pixels


def sample_batches(dataset: SpectraDataset, maximum: int) -> Iterator[npt.NDArray[np.int64]]:
    """Yield batches of indices of a dataset, of at most `maximum` stars, spread evenly."""
    count = min(len(dataset), maximum)
    chosen = np.arange(count) * len(dataset) // count
    for start in range(0, count, _BATCH_SIZE):
        yield chosen[start : start + _BATCH_SIZE]


def _typical_bad_pixels(dataset: SpectraDataset) -> float:
    batches = sample_batches(dataset, MAX_STARS)
    fractions = [bad_pixel_fractions(dataset, dataset.rows[batch]) for batch in batches]
    return float(np.median(np.concatenate(fractions)))


@torch.inference_mode()
def _hidden_values(network: SpectraNetwork, dataset: SpectraDataset) -> torch.Tensor | None:
    """Return the last hidden layer for stars of a dataset, (n, F) on the CPU, if it is known."""
    device = next(network.parameters()).device
    was_training, values = network.training, []
    network.eval()
    with recorded_hidden_layer(network) as hidden:
        for batch in sample_batches(dataset, MAX_STARS):
            network(dataset.read_batch(batch)[0].to(device))
            if hidden.values is None:
                break
            values.append(hidden.values.cpu())
    network.train(was_training)
    return torch.cat(values) if values else None
