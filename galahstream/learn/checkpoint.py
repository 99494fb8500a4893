"""The checkpoint of a run: all that training needs to resume in mid-epoch, to the same bits."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

import torch

from galahstream.errors import CheckpointError, StorageFullError
from galahstream.learn.models.base import SpectraNetwork
from galahstream.learn.models.cnn import SpectraCNN
from galahstream.learn.observers.base import Observer
from galahstream.learn.recipe import check_texts
from galahstream.learn.results import EpochRecord, LabelPairs, TrainingResult
from galahstream.learn.run import TrainOptions
from galahstream.learn.saved_file import (
    FileKind,
    check_tensor_like,
    check_weights,
    first_line,
    read_record,
    read_saved,
    unusable,
    write_saved,
)
from galahstream.learn.trainer import LoaderState, Snapshot, Tensors, Trainer, TrainerState
from galahstream.survey.windows import PlainWindow, window_from_file
from galahstream.validation import (
    FieldError,
    boolean,
    checked,
    integer,
    number,
    optional,
    record,
    sequence,
    shown,
    text,
)

SAVE_SECONDS = 60.0
"""Seconds of training after which its checkpoint is saved again, in mid-epoch."""

MAX_SAVE_SHARE = 0.1
"""Share of the time that saving after epochs may take."""

_CHECKPOINT_FILE = FileKind(
    "galahstream checkpoint", 2, "remove it to start from scratch, or choose another folder"
)
_MAX_EPOCHS = 1_000_000
# Names of version 1, which counted the seconds of saving too.
_RENAMED = {"total": "loss_sum", "waited": "wait_seconds", "seconds": "train_seconds"}


@dataclass(frozen=True)
class RunSettings:
    """The settings that decide the weights of a run; device and number of workers do not.

    The number of epochs may grow, unless the learning rate depends on it, and patience may change:
    a finished run can be continued.

    Attributes
    ----------
    batch_size : int
        Stars per batch, of all ranks together.
    lr, seed, labels, window, missing, shuffle_block, augment, loss, label_errors, schedule,
    clip_norm, overfit_batch
        Those of :class:`~galahstream.learn.run.TrainOptions`.
    model : str
        The name of the network; that of its class if it is the user's own.
    store : str
        Fingerprint of the store.
    schedule_epochs : int or None
        The number of epochs, if the schedule of the learning rate depends on it.
    """

    batch_size: int = checked(partial(integer, minimum=1))
    lr: float = checked(partial(number, above=0))
    seed: int = checked(integer)
    labels: tuple[str, ...] = checked(check_texts)
    window: PlainWindow = checked(optional(window_from_file))
    missing: str = checked(text)
    shuffle_block: int | None = checked(optional(partial(integer, minimum=1)))
    store: str = checked(text)
    augment: str | None = checked(optional(text), default=None)
    loss: str = checked(text, default="mse")
    label_errors: bool = checked(boolean, default=False)
    model: str = checked(text, default=SpectraCNN.name)
    schedule: str = checked(text, default="constant")
    clip_norm: float | None = checked(optional(number), default=None)
    overfit_batch: bool = checked(boolean, default=False)
    schedule_epochs: int | None = checked(optional(integer), default=None)

    @classmethod
    def of_options(
        cls, options: TrainOptions, store: str, model: str, world_size: int = 1
    ) -> "RunSettings":
        """Return the settings of a run of the network `model` on the store `store`."""
        others = ("store", "model", "schedule_epochs", "batch_size")
        names = [field.name for field in fields(cls) if field.name not in others]
        values = {name: getattr(options, name) for name in names}
        epochs = options.epochs if options.schedule == "cosine" else None
        return cls(
            **values,
            batch_size=options.batch_size * world_size,
            store=store,
            model=model,
            schedule_epochs=epochs,
        )


@dataclass(frozen=True)
class _Position:
    """The state of a :class:`~galahstream.SpectraLoader`."""

    store: str = checked(text)
    split: str = checked(text)
    rows: int = checked(integer)
    seed: int = checked(integer)
    shuffle: bool = checked(boolean)
    shuffle_block: int | None = checked(optional(integer))
    epoch: int = checked(integer)
    rows_served: int = checked(integer)
    selection: str | None = checked(optional(text), default=None)


@dataclass(frozen=True)
class _Progress:
    """The fields of a trainer's state, as they are in a file."""

    position: _Position = checked(record(_Position))
    epoch: int = checked(partial(integer, minimum=1, maximum=_MAX_EPOCHS))
    stars: int = checked(integer)
    loss_sum: float = checked(number)
    wait_seconds: float = checked(number)
    train_seconds: float = checked(number)
    history: tuple[EpochRecord, ...] = checked(
        partial(sequence, check=record(EpochRecord), maximum=_MAX_EPOCHS)
    )

    def __post_init__(self) -> None:
        where = self.position
        in_epoch = (self.epoch - 1, self.stars)
        # Once the last batch of an epoch is handed over, the loader is in the next epoch. In files
        # of version 1 it is at the end of the same epoch.
        is_complete = self.stars == where.rows > 0 and where.rows_served == 0
        expected = (self.epoch, 0) if is_complete else in_epoch
        if (where.epoch, where.rows_served) != expected or self.stars > where.rows:
            reason = (
                f"the loader is in epoch {where.epoch + 1} after {where.rows_served} rows, the "
                f"training in epoch {self.epoch} after {self.stars} of {where.rows} stars"
            )
            raise FieldError("position", reason)
        if [one.epoch for one in self.history] != list(range(1, self.epoch)):
            reason = f"{len(self.history)} epochs are finished, and epoch {self.epoch} is current"
            raise FieldError("history", reason)


class Checkpoint:
    """The file from which an interrupted run is resumed, or a finished one continued.

    Parameters
    ----------
    path : Path
    settings : RunSettings
        Those of this run; a checkpoint with other settings is not used.
    """

    def __init__(self, path: Path, settings: RunSettings) -> None:
        self.path = path
        self.settings = settings

    def save(self, trainer: Trainer) -> None:
        """Write the state of a trainer, atomically.

        Raises
        ------
        StorageFullError
            If the file cannot be written; the checkpoint before it stays.
        TrainingDivergedError
            If the loss is not finite; the checkpoint before it stays.
        """
        snapshot = trainer.snapshot()
        content = {
            "settings": self.settings,
            "progress": {**vars(snapshot.state), "position": snapshot.position},
            "weights": snapshot.weights,
            "optimizer": snapshot.moments,
            "random": snapshot.random,
        }
        try:
            write_saved(self.path, _CHECKPOINT_FILE, content)
        except (OSError, RuntimeError) as error:  # torch's own writer raises RuntimeError
            msg = (
                f"{self.path} cannot be written ({first_line(error)}); free some space, and resume "
                f"from the last checkpoint (resume=True, --resume)"
            )
            raise StorageFullError(msg) from error

    def load(self, trainer: Trainer) -> None:
        """Continue a trainer from the state in the file.

        Raises
        ------
        CheckpointError
            If the file is not a checkpoint, is damaged, or belongs to other settings
            or to more epochs than the trainer's.
        """
        content = read_saved(self.path, _CHECKPOINT_FILE)
        try:
            self._check_settings(read_record(RunSettings, content, "settings", ignore_unknown=True))
            snapshot = _read_snapshot(content, trainer)
            self._check_epochs(snapshot.state, trainer.options.epochs)
            trainer.restore(snapshot)
        except CheckpointError:
            raise
        except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise unusable(self.path, _CHECKPOINT_FILE, first_line(error)) from error

    def _check_settings(self, stored: RunSettings) -> None:
        changes = [
            f"{name} was {shown(before)} and is {value!r}"
            for name, value in vars(self.settings).items()
            if (before := getattr(stored, name)) != value
        ]
        if changes:
            msg = (
                f"{self.path} belongs to a run with other settings: {', '.join(changes)}; use the "
                f"settings it was started with, or choose another folder (out=, --out)"
            )
            raise CheckpointError(msg)

    def _check_epochs(self, state: TrainerState, epochs: int) -> None:
        trained = state.epoch if state.stars else state.epoch - 1
        if trained > epochs:
            msg = (
                f"{self.path} belongs to a run that is in epoch {trained}, more than the {epochs} "
                f"to train; give at least {trained} epochs (epochs=, --epochs), or choose another "
                f"folder (out=, --out)"
            )
            raise CheckpointError(msg)


class CheckpointSaver(Observer):
    """Save a checkpoint every `SAVE_SECONDS`, after epochs, at an interrupt and at the end.

    After an epoch it is saved unless saving would take more than `MAX_SAVE_SHARE` of the time:
    that of a network of 33 million parameters takes longer than its epochs on a GPU.

    Parameters
    ----------
    checkpoint : Checkpoint
    trainer : Trainer
        The trainer that is observed.
    """

    def __init__(self, checkpoint: Checkpoint, trainer: Trainer) -> None:
        self._checkpoint, self._trainer = checkpoint, trainer
        self._saved_at, self._save_seconds = time.perf_counter(), 0.0
        self._is_saved = False

    def batch_finished(self) -> None:
        """Save if the last checkpoint was saved `SAVE_SECONDS` ago or earlier."""
        self._is_saved = False
        self._save_after(SAVE_SECONDS)

    def epoch_finished(self, record: EpochRecord, network: SpectraNetwork) -> None:
        """Save the state between two epochs, if that is worth its time."""
        self._is_saved = False
        self._save_after(min(self._save_seconds / MAX_SAVE_SHARE, SAVE_SECONDS))

    def finished(self, result: TrainingResult, test: LabelPairs) -> None:
        """Save the last state, from which a run is continued to more epochs."""
        if not self._is_saved:
            self._save()

    def interrupted(self, error: BaseException) -> None:
        """Save what was learned, and say in the error how to resume."""
        self._save()
        error.add_note(f"the run up to here is in {self._checkpoint.path}: resume it with --resume")

    def _save_after(self, seconds: float) -> None:
        if time.perf_counter() - self._saved_at >= seconds:
            self._save()

    def _save(self) -> None:
        started_at = time.perf_counter()
        self._checkpoint.save(self._trainer)
        self._saved_at = time.perf_counter()
        self._save_seconds = self._saved_at - started_at
        self._is_saved = True


def _read_snapshot(content: Mapping[str, Any], trainer: Trainer) -> Snapshot:
    if content["version"] == 1 and isinstance(content.get("progress"), Mapping):
        progress = {_RENAMED.get(key, key): value for key, value in content["progress"].items()}
        content = {**content, "progress": progress}
    stored = read_record(_Progress, content, "progress", ignore_unknown=True)
    position: LoaderState = asdict(stored.position)
    values = {field.name: getattr(stored, field.name) for field in fields(TrainerState)}
    state = TrainerState(**{**values, "history": list(stored.history)})
    weights = check_weights(trainer.model.state_dict(), content)
    random = check_tensor_like(torch.get_rng_state(), content.get("random"), "random")
    is_untrained = state.epoch == 1 and state.stars == 0
    moments = {} if is_untrained else _read_moments(content.get("optimizer"), trainer)
    return Snapshot(state, position, weights, moments, random)


def _read_moments(stored: object, trainer: Trainer) -> dict[int, Tensors]:
    parameters = dict(enumerate(trainer.model.parameters()))
    # A parameter without influence on the loss, or a frozen one, has no state.
    if not isinstance(stored, Mapping) or not stored or set(stored) - set(parameters):
        reason = f"expected Adam's state of {len(parameters)} parameters"
        raise FieldError("optimizer", reason)
    moments: dict[int, Tensors] = {}
    for index in stored:
        parameter = parameters[index]
        field = f"optimizer.{index}"
        step = _entry(stored, index, "step")
        # Its dtype is torch's default of the run that saved it.
        dtype = torch.float64 if getattr(step, "dtype", None) == torch.float64 else torch.float32
        moments[index] = {"step": check_tensor_like(torch.zeros((), dtype=dtype), step, field)}
        for name in ("exp_avg", "exp_avg_sq"):
            moment = _entry(stored, index, name)
            moments[index][name] = check_tensor_like(parameter, moment, f"{field}.{name}")
    return moments


def _entry(content: Mapping[Any, Any], name: object, key: object) -> object:
    entries = content.get(name)
    return entries.get(key) if isinstance(entries, Mapping) else None
