"""Keep the model of the epoch with the lowest validation loss."""

import copy
from collections.abc import Sequence
from pathlib import Path

from galahstream.learn.data import Datasets
from galahstream.learn.models.base import SpectraNetwork
from galahstream.learn.observers.base import Observer
from galahstream.learn.results import EpochRecord, LabelPairs, TrainingResult
from galahstream.learn.schedule import epochs_since_best
from galahstream.learn.trained_model import TrainedModel, read_weights, save_model
from galahstream.learn.training_sample import TrainingSample


class BestModelWriter(Observer):
    """Write ``best.pt`` after each epoch whose validation loss is the lowest so far.

    Parameters
    ----------
    path : Path
        The file.
    model : TrainedModel
        The model that is trained.
    history : sequence of EpochRecord
        The epochs that were finished before.
    datasets : Datasets
        What it is trained with.
    """

    def __init__(
        self,
        path: Path,
        model: TrainedModel,
        history: Sequence[EpochRecord],
        datasets: Datasets,
    ) -> None:
        self._path, self._model, self._datasets = path, model, datasets
        self._val_losses = [record.val_loss for record in history]

    def epoch_finished(self, record: EpochRecord, network: SpectraNetwork) -> None:
        """Write the model if no epoch before was as good."""
        self._val_losses.append(record.val_loss)
        if epochs_since_best(self._val_losses) == 0:
            save_model(self._model, self._path)

    def finished(self, result: TrainingResult, test: LabelPairs) -> None:
        """Add to the file what the flags of predictions need."""
        if epochs_since_best(self._val_losses) == 0:
            save_model(result.model, self._path)
        elif self._path.exists():
            best = copy.deepcopy(result.model)
            read_weights(self._path, best.network)
            train, val = self._datasets.train, self._datasets.val
            best.sample = TrainingSample.of_datasets(best.network, train, val)
            save_model(best, self._path)
