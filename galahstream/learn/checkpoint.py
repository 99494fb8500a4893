"""The checkpoint of a run: all that training needs to go on in mid-epoch, to the same bits."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import torch

from galahstream.errors import CheckpointError, StorageFullError
from galahstream.learn.metrics import LabelMetrics
from galahstream.learn.models.cnn import SpectraCNN
from galahstream.learn.observers.tensorboard import EpochRecord
from galahstream.learn.trained_model import find_corruption
from galahstream.stream.loader import SpectraLoader
from galahstream.survey.wavelength import Window
from galahstream.system.atomic import atomic_write

CHECKPOINT = "checkpoint.pt"
"""Name of the checkpoint in the folder of a run."""

SAVE_SECONDS = 60.0
"""Training goes on for so long before its checkpoint is saved again."""

_KIND = "galahstream checkpoint"
_VERSION = 1

Setting: TypeAlias = str | int | float | list[str] | list[float] | None


@dataclass(frozen=True)
class RunSettings:
    """What decides the weights of a run; device and number of workers do not.

    `store` is the fingerprint of the store.
    """

    epochs: int
    batch_size: int
    lr: float
    seed: int
    labels: tuple[str, ...]
    window: Window
    missing: str
    shuffle_block: int | None
    store: str

    def as_dict(self) -> dict[str, Setting]:
        """Return the settings as plain values, for a file and to compare with one."""
        values: dict[str, Setting] = {
            **asdict(self),
            "lr": float(self.lr),
            "labels": list(self.labels),
        }
        if self.window is not None and not isinstance(self.window, str):
            values["window"] = [float(edge) for edge in self.window]
        return values


@dataclass
class Progress:
    """How far a run is, between two batches and never within one.

    Attributes
    ----------
    position : dict
        The loader's state behind the last batch that was learnt from.
    epoch : int
        The epoch that is trained, from 1; one more than all when they are finished.
    total, stars, waited, seconds
        Of that epoch so far: sum of the stars' losses, stars seen, seconds spent
        waiting for data, seconds of training.
    saving : float
        Seconds that checkpoints took, in all epochs.
    history : list of EpochRecord
        The finished epochs.
    """

    position: dict[str, Any]
    epoch: int = 1
    total: float = 0.0
    stars: int = 0
    waited: float = 0.0
    seconds: float = 0.0
    saving: float = 0.0
    history: list[EpochRecord] = field(default_factory=list)

    def finish_epoch(self, record: EpochRecord, position: dict[str, Any]) -> None:
        """Go to the beginning of the next epoch, with the loader's state there."""
        self.history.append(record)
        self.position, self.epoch = position, self.epoch + 1
        self.total, self.stars, self.waited, self.seconds = 0.0, 0, 0.0, 0.0


class RunCheckpoint:
    """The file that a cut run goes on from, and the parts of the run that are kept in it.

    Parameters
    ----------
    path : Path
        The file.
    settings : RunSettings
        Of this run; a checkpoint of other settings is refused.
    model, optimizer, loader
        What is trained, by which Adam, on which stars. The optimiser's state must
        be there to be filled: Adam with one group of all parameters.

    Attributes
    ----------
    progress : Progress
        How far the run is.
    """

    def __init__(
        self,
        path: Path,
        settings: RunSettings,
        model: SpectraCNN,
        optimizer: torch.optim.Adam,
        loader: SpectraLoader,
    ) -> None:
        self.path = path
        self.settings = settings
        self.progress = Progress(loader.state_dict())
        self._model, self._optimizer, self._loader = model, optimizer, loader
        self._saved_at = time.perf_counter()

    def save(self) -> None:
        """Write the checkpoint, atomic_write the one before whole.

        Raises
        ------
        StorageFullError
            If it cannot be written; the one before stays.
        """
        start = time.perf_counter()
        content = {
            "kind": _KIND,
            "version": _VERSION,
            "settings": self.settings.as_dict(),
            "progress": asdict(self.progress),
            "weights": _on_cpu(self._model.state_dict()),
            "optimizer": {
                number: _on_cpu(state)
                for number, state in self._optimizer.state_dict()["state"].items()
            },
            "random": torch.get_rng_state(),
        }
        try:
            with atomic_write(self.path) as temporary:
                torch.save(content, temporary)
        except (OSError, RuntimeError) as error:  # torch's own writer raises RuntimeError
            msg = (
                f"{self.path} cannot be written ({_first_line(error)}); make room, and go on from "
                "the last checkpoint (resume=True, --resume)"
            )
            raise StorageFullError(msg) from error
        self._saved_at = time.perf_counter()
        self.progress.saving += self._saved_at - start

    def save_when_due(self) -> None:
        """Write the checkpoint if the last one was written `SAVE_SECONDS` ago or earlier."""
        if time.perf_counter() - self._saved_at >= SAVE_SECONDS:
            self.save()

    def load(self) -> None:
        """Put model, optimiser, loader, random numbers and progress where the file says.

        Raises
        ------
        CheckpointError
            If the file is no checkpoint, is damaged, or belongs to other settings.
        """
        content = _read(self.path)
        try:
            _check_settings(self.path, dict(content["settings"]), self.settings.as_dict())
            progress = _progress(content["progress"], len(self._loader.order))
            weights, moments = content["weights"], content["optimizer"]
            _check_tensors(weights, moments, self._model)
            random = _tensor_like(torch.get_rng_state(), content["random"], "random")
            torch.set_rng_state(random)
            self._loader.load_state_dict(progress.position)
            self._model.load_state_dict(weights)
            groups = self._optimizer.state_dict()["param_groups"]
            self._optimizer.load_state_dict({"state": moments, "param_groups": groups})
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            if isinstance(error, CheckpointError):
                raise
            reason = f"no {error}" if isinstance(error, KeyError) else _first_line(error)
            raise _unusable(self.path, reason) from error
        self.progress = progress

    def remove(self) -> None:
        """Remove the file, of a run that is complete."""
        self.path.unlink(missing_ok=True)


def _on_cpu(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().cpu() for name, tensor in state.items()}


def _read(path: Path) -> Mapping[str, Any]:
    if not path.is_file():
        raise _unusable(path, "not a file")
    why = find_corruption(path)
    if why is not None:
        raise _unusable(path, why)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # both raise whatever they meet in a damaged file
        raise _unusable(path, _first_line(error)) from error
    if not isinstance(content, Mapping) or content.get("kind") != _KIND:
        raise _unusable(path, "another kind of file")
    if content.get("version") != _VERSION:
        msg = f"{path}: version {content.get('version')} of the format, and this galahstream reads "
        raise CheckpointError(msg + f"version {_VERSION}; go on with the version that wrote it")
    return content


def _check_settings(path: Path, were: Mapping[str, Setting], are: Mapping[str, Setting]) -> None:
    other = [
        f"{name} was {were[name]!r} and is {value!r}"
        for name, value in are.items()
        if were[name] != value
    ]
    if other:
        msg = (
            f"{path} belongs to a run with other settings: {', '.join(other)}; go on with those "
            "it was started with, or choose another folder (out=, --out)"
        )
        raise CheckpointError(msg)


def _check_tensors(weights: Any, moments: Any, model: SpectraCNN) -> None:
    """Raise where weights or Adam's state are not tensors as the model's are."""
    own = model.state_dict()
    for name, tensor in own.items():
        _tensor_like(tensor, weights[name], name)
    parameters = dict(enumerate(model.parameters()))
    if moments and set(moments) != set(parameters):  # before the first step there are none
        msg = f"Adam's state of {len(moments)} instead of {len(parameters)} parameters"
        raise ValueError(msg)
    for number, state in moments.items():
        _tensor_like(torch.zeros(()), state["step"], "step")
        for name in ("exp_avg", "exp_avg_sq"):
            _tensor_like(parameters[number], state[name], name)


def _tensor_like(own: torch.Tensor, stored: Any, name: str) -> torch.Tensor:
    if (
        not isinstance(stored, torch.Tensor)
        or stored.dtype != own.dtype
        or stored.shape != own.shape
    ):
        msg = f"{name} is not a tensor of {own.dtype} of shape {tuple(own.shape)}"
        raise TypeError(msg)
    return stored


def _progress(stored: Mapping[str, Any], n_rows: int) -> Progress:
    history = [_record(record) for record in stored["history"]]
    progress = Progress(
        position=dict(stored["position"]),
        epoch=_whole(stored["epoch"]),
        total=_number(stored["total"]),
        stars=_whole(stored["stars"]),
        waited=_number(stored["waited"]),
        seconds=_number(stored["seconds"]),
        saving=_number(stored["saving"]),
        history=history,
    )
    place = (progress.position["epoch"] + 1, progress.position["rows_served"])
    if place != (progress.epoch, progress.stars) or not 0 <= progress.stars <= n_rows:
        msg = f"the loader is in epoch {place[0]} at row {place[1]}, the training in epoch "
        raise ValueError(msg + f"{progress.epoch} at star {progress.stars}")
    if [record.epoch for record in history] != list(range(1, progress.epoch)):
        msg = f"{len(history)} finished epochs, and epoch {progress.epoch} is trained"
        raise ValueError(msg)
    return progress


def _record(stored: Mapping[str, Any]) -> EpochRecord:
    return EpochRecord(
        epoch=_whole(stored["epoch"]),
        train_loss=_number(stored["train_loss"]),
        val_loss=_number(stored["val_loss"]),
        labels=tuple(_label(label) for label in stored["labels"]),
        learning_rate=_number(stored["learning_rate"]),
        spectra_per_s=_number(stored["spectra_per_s"]),
        waiting_share=_number(stored["waiting_share"]),
        seconds=_number(stored["seconds"]),
    )


def _label(stored: Mapping[str, Any]) -> LabelMetrics:
    return LabelMetrics(
        name=str(stored["name"]),
        unit=str(stored["unit"]),
        **{name: _number(stored[name]) for name in ("rmse", "mae", "bias", "r2")},
    )


def _whole(value: Any) -> int:
    if type(value) is not int:
        msg = f"{value!r} is not a whole number"
        raise TypeError(msg)
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        msg = f"{value!r} is not a number"
        raise TypeError(msg)
    return float(value)


def _first_line(error: BaseException) -> str:
    return str(error).split("\n", 1)[0] or type(error).__name__


def _unusable(path: Path, reason: str) -> CheckpointError:
    msg = (
        f"{path}: no checkpoint of a run, or a damaged one ({reason}); expected the {CHECKPOINT} "
        "that 'galahstream train' saves; remove it to start from the beginning"
    )
    return CheckpointError(msg)
