"""Keep the history of a run as a table."""

import csv
from collections.abc import Sequence
from pathlib import Path

from galahstream.learn.models.base import SpectraNetwork
from galahstream.learn.observers.base import Observer
from galahstream.learn.results import EpochRecord
from galahstream.system.atomic import atomic_write


class HistoryWriter(Observer):
    """Write ``history.csv`` again after each epoch.

    Parameters
    ----------
    path : Path
        The file.
    history : sequence of EpochRecord
        The epochs that were finished before.
    """

    def __init__(self, path: Path, history: Sequence[EpochRecord] = ()) -> None:
        self._path = path
        self._history = list(history)

    def epoch_finished(self, record: EpochRecord, network: SpectraNetwork) -> None:
        """Write the table with this epoch as its last line."""
        self._history.append(record)
        write_history(self._history, self._path)


def write_history(history: Sequence[EpochRecord], path: Path) -> None:
    """Write one line per epoch, atomically; the header names the columns."""
    rows = [record.as_row() for record in history]
    with (
        atomic_write(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
