"""Keep the model of the epoch with the lowest validation loss."""

from collections.abc import Sequence
from pathlib import Path

from galahstream.learn.models.base import SpectraNetwork
from galahstream.learn.observers.base import Observer
from galahstream.learn.results import EpochRecord
from galahstream.learn.schedule import epochs_since_best
from galahstream.learn.trained_model import TrainedModel, save_model


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
    """

    def __init__(self, path: Path, model: TrainedModel, history: Sequence[EpochRecord]) -> None:
        self._path, self._model = path, model
        self._val_losses = [record.val_loss for record in history]

    def epoch_finished(self, record: EpochRecord, network: SpectraNetwork) -> None:
        """Write the model if no epoch before was as good."""
        self._val_losses.append(record.val_loss)
        if epochs_since_best(self._val_losses) == 0:
            save_model(self._model, self._path)
