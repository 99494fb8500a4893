"""Read the files of a finished run, whose values are checked before they are shown."""

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from galahstream.errors import CheckpointError, SourceMissingError
from galahstream.learn.metrics import LabelMetrics, UncertaintyMetrics
from galahstream.learn.record import RunRecord
from galahstream.learn.run import RunFolder
from galahstream.validation import (
    FieldError,
    checked,
    from_mapping,
    integer,
    number,
    optional,
    record,
    sequence,
    text,
)

_MAX_GROUPS = 4096
# Absent numbers that are not NaN.
_MAY_BE_NONE = ("n", "information_limit", "uncertainty")


def _with_nan(value: Any) -> Any:
    """Return the fields of metrics with NaN where JSON, which cannot hold it, has null."""
    if not isinstance(value, dict):
        return value
    return {
        name: math.nan if entry is None and name not in _MAY_BE_NONE else _with_nan(entry)
        for name, entry in value.items()
    }


def _labels(value: Any) -> tuple[LabelMetrics, ...]:
    if not isinstance(value, dict):
        msg = f"found a {type(value).__name__}, expected an object"
        raise ValueError(msg)
    return tuple(from_mapping(LabelMetrics, _with_nan(entry)) for entry in value.values())


@dataclass(frozen=True)
class Group:
    """Errors on some of the test stars: by which column, which of them, and how many."""

    by: str = checked(text)
    group: str = checked(text)
    n_stars: int = checked(integer)
    labels: tuple[LabelMetrics, ...] = checked(_labels)


def _settings(value: Any) -> Mapping[str, str]:
    if not isinstance(value, dict):
        msg = f"found a {type(value).__name__}, expected an object"
        raise ValueError(msg)
    return {str(name): str(setting) for name, setting in value.items()}


def _stars(value: Any) -> Mapping[str, int]:
    if not isinstance(value, dict):
        msg = f"found a {type(value).__name__}, expected an object"
        raise ValueError(msg)
    return {str(name): integer(count) for name, count in value.items()}


@dataclass(frozen=True)
class RunMetrics:
    """What ``metrics.json`` holds.

    Attributes
    ----------
    test_loss, train_loss, val_loss : float or None
        None where the loss was not a number.
    test : tuple of LabelMetrics
    test_groups : tuple of Group
    trained_epochs, best_epoch : int
    seconds : float
        Duration of training and validation.
    stars : mapping of str to int
        Number of stars in each split.
    parameters : int
    settings : mapping of str to str
    record : RunRecord or None
        None in runs of early versions.
    """

    test_loss: float | None = checked(optional(number))
    train_loss: float | None = checked(optional(number))
    val_loss: float | None = checked(optional(number))
    test: tuple[LabelMetrics, ...] = checked(_labels)
    test_groups: tuple[Group, ...] = checked(
        partial(sequence, check=record(Group), maximum=_MAX_GROUPS)
    )
    trained_epochs: int = checked(integer)
    best_epoch: int = checked(integer)
    seconds: float = checked(number)
    stars: Mapping[str, int] = checked(_stars)
    parameters: int = checked(integer)
    settings: Mapping[str, str] = checked(_settings)
    record: RunRecord | None = checked(optional(record(RunRecord)), default=None)

    @property
    def uncertainties(self) -> tuple[tuple[LabelMetrics, UncertaintyMetrics], ...]:
        """The labels that have uncertainties, with how good they are."""
        return tuple(
            (label, label.uncertainty) for label in self.test if label.uncertainty is not None
        )


def read_metrics(folder: RunFolder) -> RunMetrics:
    """Read the settings and errors of a finished run.

    Raises
    ------
    SourceMissingError
        If the run is not finished.
    CheckpointError
        If the file is not that of a run.
    """
    path = folder.metrics
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        msg = (
            f"{folder.path} holds no finished run (metrics.json); finish it with "
            f"'galahstream train STORE --out {folder.path} --resume', or give the folder of a run "
            f"or a store"
        )
        raise SourceMissingError(msg) from error
    except ValueError as error:
        raise _unusable(path, error) from error
    try:
        return from_mapping(RunMetrics, content)
    except ValueError as error:
        raise _unusable(path, error) from error


def read_history(folder: RunFolder) -> list[dict[str, float]]:
    """Read the values of each epoch by the names of their columns.

    Raises
    ------
    SourceMissingError
        If the file is missing.
    CheckpointError
        If it is not that of a run.
    """
    path = folder.history
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                {name: float(value) for name, value in row.items()} for row in csv.DictReader(file)
            ]
    except FileNotFoundError as error:
        msg = f"{path} is missing; train again (--overwrite)"
        raise SourceMissingError(msg) from error
    except (ValueError, TypeError, csv.Error) as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: Exception) -> CheckpointError:
    reason = str(error) if isinstance(error, FieldError) else "it is not what training writes"
    msg = f"{path} is not of a run of galahstream: {reason}; train again (--overwrite)"
    return CheckpointError(msg)
