"""A training run: its options, and the folder that holds its files."""

import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from galahstream.errors import DestinationExistsError, OptionError
from galahstream.learn.losses import LossName
from galahstream.learn.models import Model, check_model
from galahstream.learn.schedule import ScheduleName
from galahstream.store.formats.base import is_ignored_name
from galahstream.store.formats.npy import is_store_folder
from galahstream.stream.augmentation import Augmentation, check_augmentation
from galahstream.stream.label_table import Missing
from galahstream.survey.labels import DEFAULT_LABELS
from galahstream.survey.windows import Window, check_window
from galahstream.system.lock import locked
from galahstream.validation import MAX_SEED, check_choice, check_count


@dataclass(frozen=True)
class TrainOptions:
    """The options of a training run, checked and as plain Python values.

    NumPy numbers and arrays are accepted wherever Python numbers and sequences are.

    Attributes
    ----------
    epochs, batch_size : int
        At least 1.
    lr : float
        Learning rate of Adam, above 0.
    seed : int
        Seed of the weights and of the order, 0 to 2⁶³ - 1.
    device : str
        ``"auto"`` chooses cuda, else mps, else cpu.
    labels : tuple of str
        The labels to predict.
    window : str, (float, float), tuple of them, PixelMask or None
        Which pixels to learn from; None for all of them.
    model : str, Module or callable
        The network: a name, a module of the user, or a class or function that makes one.
    missing : {"raise", "drop", "mask"}
        What to do with stars that lack a label: ``"mask"`` uses the labels that they have.
    num_workers : int
        Threads that prepare batches; 0 prepares them in the calling thread.
    shuffle_block : int or None
        Rows per shuffled block; None shuffles single stars.
    augment : str or None
        Augmentation of the training stars, in its text form.
    loss : {"mse", "nll", "full-nll"}
        What training minimises.
    label_errors : bool
        Whether the errors of labels enter the loss.
    schedule : {"constant", "cosine", "plateau"}
        How the learning rate changes from epoch to epoch.
    patience : int or None
        Epochs without a better validation loss after which training stops.
    clip_norm : float or None
        Largest norm of the gradients of a step.
    overfit_batch : bool
        Whether all batches are the first one.

    Raises
    ------
    OptionError
        For a value that cannot be used.
    WavelengthError
        For a window that cannot be used.
    """

    epochs: int = 10
    batch_size: int = 32
    lr: float = 1e-3
    seed: int = 42
    device: str = "auto"
    labels: Sequence[str] = DEFAULT_LABELS
    window: Window = None
    model: Model = "reference"
    missing: Missing = "raise"
    num_workers: int = 2
    shuffle_block: int | None = None
    augment: Augmentation | str | None = None
    loss: LossName = "mse"
    label_errors: bool = False
    schedule: ScheduleName = "constant"
    patience: int | None = None
    clip_norm: float | None = None
    overfit_batch: bool = False

    def __post_init__(self) -> None:
        check_choice("missing", self.missing, get_args(Missing))
        check_choice("loss", self.loss, get_args(LossName))
        check_choice("schedule", self.schedule, get_args(ScheduleName))
        check_model(self.model)
        block, patience = self.shuffle_block, self.patience
        augmentation = check_augmentation(self.augment)
        plain = {
            "epochs": check_count("epochs", self.epochs, flag="--epochs", minimum=1),
            "batch_size": check_count(
                "batch_size", self.batch_size, flag="--batch-size", minimum=1
            ),
            "lr": _above_zero("learning rate", self.lr, "1e-3 (lr=, --lr)"),
            "seed": check_count("seed", self.seed, flag="--seed", minimum=0, maximum=MAX_SEED),
            "device": str(self.device),
            "labels": _plain_labels(self.labels),
            "window": check_window(self.window),
            "num_workers": check_count(
                "num_workers", self.num_workers, flag="--workers", minimum=0
            ),
            "shuffle_block": block
            if block is None
            else check_count("shuffle_block", block, flag="--shuffle-block", minimum=1),
            "augment": None if augmentation is None else str(augmentation),
            "label_errors": bool(self.label_errors),
            "patience": patience
            if patience is None
            else check_count("patience", patience, flag="--patience", minimum=1),
            "clip_norm": None
            if self.clip_norm is None
            else _above_zero("clip_norm", self.clip_norm, "1 (clip_norm=, --clip-norm)"),
            "overfit_batch": bool(self.overfit_batch),
        }
        for name, value in plain.items():
            object.__setattr__(self, name, value)
        self._check_combinations()

    def _check_combinations(self) -> None:
        if self.overfit_batch and (self.augment is not None or self.shuffle_block is not None):
            msg = (
                "overfitting takes the stars of one batch as they are, in one order; leave out "
                "augment and shuffle_block (--augment, --shuffle-block), or overfit_batch "
                "(--overfit-batch)"
            )
            raise OptionError(msg)
        if self.loss == "full-nll" and len(self.labels) == 1:
            msg = (
                f"loss 'full-nll' predicts how the errors of several labels are correlated, and "
                f"{self.labels[0]!r} is the only one; use 'nll' (loss=, --loss), or more labels "
                f"(labels=, --labels)"
            )
            raise OptionError(msg)


def _above_zero(name: str, given: object, example: str) -> float:
    try:
        value = float(given)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if isinstance(given, str | bool) or not (math.isfinite(value) and value > 0):
        msg = f"{name} {given!r} cannot be used; expected a number above 0, such as {example}"
        raise OptionError(msg)
    return value


def _plain_labels(labels: object) -> tuple[str, ...]:
    if isinstance(labels, str):
        return (str(labels),)
    try:
        return tuple(str(name) for name in labels)  # type: ignore[attr-defined]
    except TypeError as error:
        msg = f"labels {labels!r} cannot be used; expected names, such as ('teff', 'logg')"
        raise OptionError(msg) from error


_EVENTS = "events.out.tfevents."
_REPLACED, _REPLACING = ".replaced-run", ".replacing-run"
# The kind of saved files, the first tag of event files, and the first columns of the history.
_MARKS = (b"galahstream ", b"model/text_summary", b"epoch,train_loss")
_MARK_BYTES = 1024 * 1024


def _is_hidden(name: str) -> bool:
    """Return whether a file is of no interest: the lock, or one that the system puts there."""
    return name in (".lock", _REPLACED, _REPLACING) or is_ignored_name(name)


def _is_written_by_us(path: Path) -> bool:
    with path.open("rb") as file:
        beginning = file.read(_MARK_BYTES)
    return any(mark in beginning for mark in _MARKS)


PictureName: TypeAlias = Literal[
    "loss", "predictions", "residuals", "kiel", "calibration", "sensitivity"
]
"""The pictures of a run."""


class RunFolder:
    """The folder of a run and the names of its files.

    Attributes
    ----------
    path : Path
        The folder; it need not exist.
    model : Path
        The trained model, after the last epoch.
    best_model : Path
        The model after the epoch with the lowest validation loss.
    metrics : Path
        The settings and errors of the finished run; written last.
    history : Path
        One line per finished epoch.
    report : Path
        The page that ``galahstream report`` may write here.
    checkpoint : Path
        The state from which the run is resumed or continued.
    pictures : tuple of Path
        All pictures that a run may draw.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = path / "model.pt"
        self.best_model = path / "best.pt"
        self.metrics = path / "metrics.json"
        self.history = path / "history.csv"
        self.checkpoint = path / "checkpoint.pt"
        self.report = path / "report.html"
        self.pictures = tuple(self.picture(name) for name in get_args(PictureName))

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> "RunFolder":
        """Return the folder at a path, which is made absolute.

        Raises
        ------
        DestinationExistsError
            If the path is a file.
        """
        folder = Path(path).absolute()
        if folder.exists() and not folder.is_dir():
            msg = f"{folder} is a file; choose another folder for the run (out=, --out)"
            raise DestinationExistsError(msg)
        return cls(folder)

    @property
    def _results(self) -> tuple[Path, ...]:
        """The files that a run writes over, but its checkpoint."""
        return (self.model, self.metrics, self.history, self.best_model, *self.pictures)

    def picture(self, name: PictureName) -> Path:
        """Return the file of a picture."""
        return self.path / f"{name}.png"

    def finished_epochs(self) -> int | None:
        """Return the epochs of the finished run in this folder, or None if there is none."""
        try:
            metrics = json.loads(self.metrics.read_bytes())
            # Runs of early versions trained all epochs that were asked for.
            epochs = metrics.get("trained_epochs", metrics["settings"]["epochs"])
            return int(epochs) if self.model.exists() else None
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None

    def looks_like_a_run(self) -> bool:
        """Return whether a run was begun in this folder, finished or not."""
        return any(path.exists() for path in (self.metrics, self.checkpoint, self.history))

    def set_aside(self) -> None:
        """Move the files of the run in this folder to ``.replaced-run``, for a new one to begin.

        They stay there until :meth:`discard_replaced`. Of several runs in a row that do
        not finish, the first one stays.

        Raises
        ------
        DestinationExistsError
            If the folder holds anything else, or a run of another program.
        """
        files = [path for path in self.path.iterdir() if not _is_hidden(path.name)]
        foreign = [path.name for path in sorted(files) if not self._belongs(path)]
        if foreign and len(foreign) < len(files):
            reason = f"it holds {foreign[0]!r}, which does not belong to a run"
        elif foreign or not files:
            return  # nothing that a run would overwrite
        elif not any(map(_is_written_by_us, files)):
            reason = f"{sorted(files)[0].name} is not of a run of galahstream"
        else:
            self._move_aside(files)
            return
        msg = (
            f"{self.path} cannot be replaced: {reason}; choose another folder (out=, --out), or "
            f"remove it yourself"
        )
        raise DestinationExistsError(msg)

    def discard_replaced(self) -> None:
        """Remove the run that was set aside, once the new one is finished."""
        shutil.rmtree(self.path / _REPLACED, ignore_errors=True)

    def _belongs(self, path: Path) -> bool:
        known = (*self._results, self.checkpoint, self.report)
        is_known = path in known or path.name.startswith(_EVENTS)
        return is_known and path.is_file()

    def _move_aside(self, files: Sequence[Path]) -> None:
        moving, replaced = self.path / _REPLACING, self.path / _REPLACED
        moving.mkdir(exist_ok=True)  # it may hold files of a move that was interrupted
        for path in files:
            path.rename(moving / path.name)
        if replaced.exists():
            shutil.rmtree(moving)
        else:
            moving.rename(replaced)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Create the folder where it is missing, and let no other process train in it.

        Raises
        ------
        DestinationExistsError
            If it is in a store.
        LockedError
            If a process trains in it; the message says which one.
        """
        for folder in (self.path, *self.path.parents):
            if is_store_folder(folder):
                msg = f"{self.path} is in the store {folder}; choose another folder (out=, --out)"
                raise DestinationExistsError(msg)
        self.path.mkdir(parents=True, exist_ok=True)
        lock = self.path / ".lock"
        with locked(lock, f"the run in {self.path}"):
            try:
                yield
            finally:
                lock.unlink(missing_ok=True)

    def check_usable(self, *, resume: bool) -> None:
        """Check that a run may be started, or resumed, in this folder.

        Raises
        ------
        DestinationExistsError
            If it holds a run that would be overwritten.
        """
        remains = [path.name for path in self._results if path.exists()]
        remains += [path.name for path in self.path.glob(f"{_EVENTS}*")][:1]
        elsewhere = (
            "choose another folder (out=, --out), or replace it (overwrite=True, --overwrite)"
        )
        if self.finished_epochs() is not None or (resume and self.model.exists()):
            if resume and self.checkpoint.exists():
                return
            cure = (
                f"continue it with more epochs (resume=True, --resume), or {elsewhere}"
                if self.checkpoint.exists()
                else elsewhere
            )
            msg = f"{self.path} holds a finished run (model.pt); {cure}"
            raise DestinationExistsError(msg)
        if resume:
            return
        if self.checkpoint.exists():
            msg = f"{self.path} holds an interrupted run; resume it (resume=True, --resume), or "
            raise DestinationExistsError(msg + elsewhere)
        if remains:
            msg = f"{self.path} holds a run already ({remains[0]}); {elsewhere}"
            raise DestinationExistsError(msg)
