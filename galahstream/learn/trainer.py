"""The training loop and its state."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import torch

from galahstream.errors import TrainingDivergedError
from galahstream.learn.data import Loaders, complete_dataset, store_rows
from galahstream.learn.distributed import Ranks, explained_loss_of_ranks
from galahstream.learn.losses import Loss, MeanSquaredError
from galahstream.learn.observers.base import EpochStart, Observer
from galahstream.learn.optimizer import make_adam
from galahstream.learn.results import EpochRecord, LabelPairs
from galahstream.learn.run import TrainOptions
from galahstream.learn.scaled_predictions import predict_scaled
from galahstream.learn.schedule import epochs_since_best, learning_rate
from galahstream.learn.step import TrainingStep
from galahstream.learn.trained_model import TrainedModel
from galahstream.stream.loader import SpectraLoader
from galahstream.system.interrupts import delayed_interrupts

LoaderState: TypeAlias = Mapping[str, str | int | bool | None]
"""A position that ``SpectraLoader.state_dict`` returned."""

Tensors: TypeAlias = dict[str, torch.Tensor]

READ_STEPS = 50
"""Steps after which the losses are read from the device, which the host then waits for."""

_MAX_ROWS_SHOWN = 64


@dataclass
class TrainerState:
    """The progress of a run, at a boundary between two batches.

    Attributes
    ----------
    epoch : int
        The current epoch, from 1; one more than the number of epochs at the end.
    stars : int
        Stars of this epoch that were learned; all of them between the last batch
        and the end of the validation.
    loss_sum : float
        Sum of the losses of these stars, as far as they were read from the device.
    wait_seconds, train_seconds : float
        Time of this epoch spent waiting for data, and in training altogether.
    history : list of EpochRecord
        The finished epochs.
    """

    epoch: int = 1
    stars: int = 0
    loss_sum: float = 0.0
    wait_seconds: float = 0.0
    train_seconds: float = 0.0
    history: list[EpochRecord] = field(default_factory=list)

    def start_next_epoch(self, record: EpochRecord) -> None:
        """Add the record of the current epoch and move to the beginning of the next one."""
        self.history.append(record)
        self.epoch += 1
        self.stars, self.loss_sum, self.wait_seconds, self.train_seconds = 0, 0.0, 0.0, 0.0


class Snapshot(NamedTuple):
    """The complete state of a training, from which it resumes to the same bits.

    Attributes
    ----------
    state : TrainerState
    position : mapping
        The state of the training loader after the last batch that was learned.
    weights : dict of Tensor
        Weights of the network by name, on the CPU.
    moments : dict of int to dict of Tensor
        Adam's state of each parameter, on the CPU; empty before the first step.
    random : Tensor, uint8
        State of torch's random numbers.
    """

    state: TrainerState
    position: LoaderState
    weights: Tensors
    moments: dict[int, Tensors]
    random: torch.Tensor


class Trainer:
    """Train a model with Adam, and tell observers about it.

    Parameters
    ----------
    model : TrainedModel
        The network, on the loaders' device, and its recipe.
    loaders : Loaders
        The loader of the training stars is the only shuffled one.
    options : TrainOptions
        `epochs`, `batch_size` and the options of the optimisation are used.
    loss : Loss, optional
        By default the mean squared error.
    ranks : Ranks
        Those that train together, each with its part of every batch. Their weights and states
        are equal.

    Attributes
    ----------
    state : TrainerState
        The progress of the run.
    observers : list of Observer
        They are called in this order.

    Notes
    -----
    Each epoch ends with a validation. Weights and state change together between
    two batches, so that a snapshot at any such moment can be resumed.

    In a step, the host does not wait for the device: losses stay there, and are read
    every `READ_STEPS` steps, at the end of an epoch and for a snapshot.
    """

    def __init__(
        self,
        model: TrainedModel,
        loaders: Loaders,
        options: TrainOptions,
        loss: Loss | None = None,
        ranks: Ranks = Ranks(),
    ) -> None:
        self.model = model
        self.ranks = ranks
        self.loaders = loaders
        self.options = options
        self.loss: Loss = loss or MeanSquaredError()
        self.optimizer = make_adam(model.parameters(), options.lr, loaders.train.device)
        self._step = TrainingStep(
            model.network, self.loss, self.optimizer, options.clip_norm, ranks
        )
        self.state = TrainerState()
        self.observers: list[Observer] = []
        self.n_stars = len(loaders.train.dataset)
        self._unread: list[_BatchLoss] = []
        self._upcoming: Iterator[Sequence[torch.Tensor]] | None = None

    @property
    def global_batch_size(self) -> int:
        """Stars per batch, of all ranks together."""
        return self.options.batch_size * self.ranks.world_size

    def fit(self) -> tuple[EpochRecord, ...]:
        """Train until all epochs are finished, or patience ends, and return their records.

        Raises
        ------
        TrainingDivergedError
            If a loss was not finite, at most `READ_STEPS` steps ago.
        """
        while not self.is_finished:
            try:
                self._run_epoch()
            except TrainingDivergedError:
                raise
            except BaseException as error:
                for observer in self.observers:
                    observer.interrupted(error)
                raise
        return tuple(self.state.history)

    @property
    def is_finished(self) -> bool:
        """Whether all epochs are trained, or training stopped early."""
        return self.state.epoch > self.options.epochs or self.has_stopped_early

    @property
    def has_stopped_early(self) -> bool:
        """Whether the last `patience` epochs have not lowered the validation loss."""
        patience = self.options.patience
        if patience is None or self.state.stars:
            return False
        return epochs_since_best(self._val_losses) >= patience

    @property
    def _val_losses(self) -> list[float]:
        return [record.val_loss for record in self.state.history]

    def test(self) -> tuple[LabelPairs, float]:
        """Return predicted and true labels of the test stars, and their mean loss."""
        return self._predict(self.loaders.test)

    def _predict(self, loader: SpectraLoader) -> tuple[LabelPairs, float]:
        with explained_loss_of_ranks():
            scaled, loss = predict_scaled(self.model.network, loader, self.loss, ranks=self.ranks)
        return scaled.paired(self.model.recipe, complete_dataset(loader.dataset)), loss

    def snapshot(self) -> Snapshot:
        """Return the state of the run, with copies of tensors that are not on the CPU.

        Raises
        ------
        TrainingDivergedError
            If a loss was not finite.
        """
        self._read_losses()
        moments = self.optimizer.state_dict()["state"]
        return Snapshot(
            state=self.state,
            position=self._position(),
            weights=_on_cpu(self.model.state_dict()),
            moments={index: _on_cpu(tensors) for index, tensors in moments.items()},
            random=torch.get_rng_state(),
        )

    def restore(self, snapshot: Snapshot) -> None:
        """Continue from a snapshot of a run with the same settings.

        Raises
        ------
        OrderError
            If the position of the loader belongs to another store, split or order.
        """
        self._upcoming = None
        self.loaders.train.load_state_dict(snapshot.position)
        torch.set_rng_state(snapshot.random)
        self.model.network.load_state_dict(snapshot.weights)
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": snapshot.moments, "param_groups": groups})
        self.state = snapshot.state

    def _position(self) -> LoaderState:
        """Return the state of the training loader after the last batch that was learned."""
        epoch, stars = self.state.epoch, self.state.stars
        # After its last batch, the loader is in the next epoch.
        is_complete = stars == self.n_stars
        place = (epoch, 0) if is_complete else (epoch - 1, stars)
        return {**self.loaders.train.state_dict(), "epoch": place[0], "rows_served": place[1]}

    def _run_epoch(self) -> None:
        state, options = self.state, self.options
        rate = learning_rate(options.schedule, options.lr, options.epochs, self._val_losses)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        if state.stars < self.n_stars:
            self._train_epoch()
        self._read_next_epoch_ahead()
        started_at = time.perf_counter()
        pairs, val_loss = self._predict(self.loaders.val)
        record = EpochRecord(
            epoch=state.epoch,
            train_loss=state.loss_sum / state.stars,
            val_loss=val_loss,
            labels=pairs.metrics(self.model.recipe),
            learning_rate=rate,
            spectra_per_s=state.stars / state.train_seconds,
            waiting_share=state.wait_seconds / state.train_seconds,
            seconds=state.train_seconds + time.perf_counter() - started_at,
        )
        # Records and state together: Ctrl-C is delayed until both are complete.
        with delayed_interrupts():
            state.start_next_epoch(record)
            for observer in self.observers:
                observer.epoch_finished(record, self.model.network)

    def _read_next_epoch_ahead(self) -> None:
        """Let the workers read the first batches of the next epoch, during the validation."""
        # The number of the next epoch, from 0, is that of this one, from 1.
        self.loaders.train.set_epoch(self.state.epoch)
        if self.state.epoch < self.options.epochs:
            self._upcoming = iter(self.loaders.train)

    def _train_epoch(self) -> None:
        """Learn from the remaining batches of the current epoch."""
        start = EpochStart(
            epoch=self.state.epoch,
            epochs=self.options.epochs,
            n_batches=len(self.loaders.train),
            batches_done=-(-self.state.stars // self.global_batch_size),
        )
        for observer in self.observers:
            observer.epoch_started(start)
        self.model.train()
        requested_at = time.perf_counter()
        batches, self._upcoming = self._upcoming or iter(self.loaders.train), None
        for flux, *targets in batches:
            self._train_batch(flux, targets, requested_at)
            for observer in self.observers:
                observer.batch_finished()
            requested_at = time.perf_counter()
        self._read_losses()

    def _train_batch(
        self, flux: torch.Tensor, targets: list[torch.Tensor], requested_at: float
    ) -> None:
        received_at = time.perf_counter()
        loss = self._step.differentiate(flux, *targets)
        state = self.state
        # Weights and state together: Ctrl-C is delayed until both are updated.
        with delayed_interrupts():
            self._step.update()
            finished_at = time.perf_counter()
            stars = self._stars_handed_over() - state.stars
            self._unread.append(_BatchLoss(loss, stars))
            state.stars += stars
            state.wait_seconds += received_at - requested_at
            state.train_seconds += finished_at - requested_at
        if len(self._unread) == READ_STEPS:
            self._read_losses()

    def _stars_handed_over(self) -> int:
        """Return how many stars of the epoch the ranks together have received."""
        # After the last batch, the loader is at the beginning of the next epoch.
        return self.loaders.train.order.position.rows_served or self.n_stars

    def _read_losses(self) -> None:
        """Wait for the device, and add the losses of the last batches to that of the epoch."""
        if not self._unread:
            return
        started_at = time.perf_counter()
        batches = self._unread
        losses = torch.stack([batch.loss for batch in batches]).tolist()
        if not all(map(math.isfinite, losses)):
            raise self._diverged(losses)
        state = self.state
        with delayed_interrupts():
            # On the host and one by one: the sum is the same whenever they are read.
            for loss, batch in zip(losses, batches, strict=True):
                state.loss_sum += loss * batch.n_stars
            state.train_seconds += time.perf_counter() - started_at
            self._unread = []
        for observer in self.observers:
            observer.losses_read(losses)

    def _diverged(self, losses: list[float]) -> TrainingDivergedError:
        """Return the error that names the first batch whose loss is not finite, and its rows."""
        state, options, sizes = self.state, self.options, [one.n_stars for one in self._unread]
        number = next(index for index, loss in enumerate(losses) if not math.isfinite(loss))
        start = state.stars - sum(sizes[number:])
        items = self.loaders.train.order.rows(state.epoch - 1)[start : start + sizes[number]]
        rows = sorted(store_rows(self.loaders.train.dataset, items).tolist())
        more = f" and {len(rows) - _MAX_ROWS_SHOWN:,} more" if len(rows) > _MAX_ROWS_SHOWN else ""
        before = f", after {losses[number - 1]:.3g} in the batch before" if number else ""
        batch = f"{start // self.global_batch_size + 1} of {len(self.loaders.train)}"
        msg = (
            f"epoch {state.epoch}/{options.epochs}, batch {batch}: the loss is "
            f"{losses[number]}{before}; its "
            f"stars are the rows {', '.join(map(str, rows[:_MAX_ROWS_SHOWN]))}{more} of the store; "
            f"train with a smaller learning rate (lr=, --lr) over this run (overwrite=True, "
            f"--overwrite) or into another folder (out=, --out), and look at the labels with "
            f"'galahstream info'"
        )
        return TrainingDivergedError(msg)


class _BatchLoss(NamedTuple):
    """The mean loss of a batch, on the device, and the number of its stars."""

    loss: torch.Tensor
    n_stars: int


def _on_cpu(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    return {name: tensor.detach().cpu() for name, tensor in tensors.items()}
