"""The events of a training run, and the observers that are told of them."""

from collections.abc import Sequence
from typing import NamedTuple

from galahstream.learn.models.base import SpectraNetwork
from galahstream.learn.results import EpochRecord, LabelPairs, TrainingResult


class EpochStart(NamedTuple):
    """An epoch that begins or, in a resumed run, continues.

    Attributes
    ----------
    epoch, epochs : int
        The number of the epoch, from 1, and of the last one.
    n_batches, batches_done : int
        Batches of the epoch, and those of them that were learned already.
    """

    epoch: int
    epochs: int
    n_batches: int
    batches_done: int


class Observer:
    """Base class of what watches a run: every method does nothing until it is overridden.

    An error in an observer ends the run.
    """

    def started(self, network: SpectraNetwork) -> None:
        """Run before the first epoch."""

    def epoch_started(self, start: EpochStart) -> None:
        """Run before the first batch of an epoch, and before the next one of a resumed epoch."""

    def batch_finished(self) -> None:
        """Run after each optimiser step, whose loss may still be on the device."""

    def losses_read(self, losses: Sequence[float]) -> None:
        """Run when losses come from the device: those of the batches since the last time."""

    def epoch_finished(self, record: EpochRecord, network: SpectraNetwork) -> None:
        """Run after the validation of an epoch, when the state is that of the next one."""

    def interrupted(self, error: BaseException) -> None:
        """Run when an interrupt or an error ends training, except one of the loss."""

    def finished(self, result: TrainingResult, test: LabelPairs) -> None:
        """Run after the last epoch with the result and the labels of the test stars."""

    def close(self) -> None:
        """Run at the end, after errors too."""
