"""A limited number of open files out of many."""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from galahstream.system.processes import PerProcess


def _open(path: Path) -> int:
    descriptor = os.open(path, os.O_RDONLY)
    if hasattr(os, "posix_fadvise"):  # the system would read on where rows are read at random
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
    return descriptor


@dataclass
class _OpenFile:
    descriptor: int
    users: int = 0


class OpenFiles:
    """Files that are read by number, of which the least recently used are closed.

    Threads may share it. Each process opens the files itself.

    Parameters
    ----------
    paths : sequence of Path
    limit : int
        Files that stay open; more only while that many are in use at the same time.
    """

    def __init__(self, paths: Sequence[Path], limit: int) -> None:
        self._paths, self._limit = paths, limit
        self._files: PerProcess[OrderedDict[int, _OpenFile]] = PerProcess()
        self._lock: PerProcess[threading.Lock] = PerProcess()

    @contextmanager
    def opened(self, number: int) -> Iterator[int]:
        """Yield the descriptor of a file, which stays open during the block."""
        files, lock = self._files.get(OrderedDict), self._lock.get(threading.Lock)
        with lock:
            file = files.get(number)
            if file is None:
                file = files[number] = _OpenFile(_open(self._paths[number]))
            files.move_to_end(number)
            file.users += 1
        try:
            yield file.descriptor
        finally:
            with lock:
                file.users -= 1
                self._close_down_to(files, self._limit)

    def close(self) -> None:
        """Close the files that are not in use; they are opened again when they are needed."""
        files = self._files.peek()
        if files is not None:
            with self._lock.get(threading.Lock):
                self._close_down_to(files, 0)

    def __del__(self) -> None:
        self.close()

    @staticmethod
    def _close_down_to(files: "OrderedDict[int, _OpenFile]", limit: int) -> None:
        unused = [number for number, file in files.items() if file.users == 0]
        for number in unused[: max(len(files) - limit, 0)]:
            os.close(files.pop(number).descriptor)
