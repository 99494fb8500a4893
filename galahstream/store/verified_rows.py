"""Which rows of flux were found to be sound, known to all threads and processes that read them."""

import mmap
import os
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

from galahstream.system.shared_memory import anonymous_shared_file


class VerifiedRows:
    """A mark for each of N rows, in memory that processes share.

    A forked process shares the marks of its parent; one that is started anew
    they go by :meth:`shared_path` and :meth:`join`. A mark that is lost on the way
    costs a second check, never a missing one.
    """

    def __init__(self, n_rows: int) -> None:
        self._marks = _marks_in(mmap.mmap(-1, n_rows), n_rows)
        self._path: str | None = None
        self._inode = -1

    def holds(self, rows: npt.NDArray[np.int64]) -> bool:
        """Return whether all of the rows are marked."""
        return bool(self._marks[rows].all())

    def mark(self, rows: npt.NDArray[np.int64]) -> None:
        """Mark rows as sound."""
        self._marks[rows] = 1

    def share(self) -> tuple[str, int]:
        """Return path and inode of the marks, with which other processes can join them."""
        if self._path is None:
            descriptor, path = anonymous_shared_file(self)
            weakref.finalize(self, os.close, descriptor)
            os.ftruncate(descriptor, len(self._marks))
            marks = _marks_in(mmap.mmap(descriptor, len(self._marks)), len(self._marks))
            marks[:] = self._marks
            self._marks, self._path, self._inode = marks, path, os.fstat(descriptor).st_ino
        return self._path, self._inode

    def join(self, path: str, inode: int) -> None:
        """Take over the marks of another process, if it is still there."""
        try:
            descriptor = os.open(path, os.O_RDWR)
        except OSError:
            return
        try:
            if os.fstat(descriptor).st_ino == inode:
                mapping = mmap.mmap(descriptor, len(self._marks))
                self._marks = _marks_in(mapping, len(self._marks))
        finally:
            os.close(descriptor)


def _marks_in(mapping: mmap.mmap, n_rows: int) -> npt.NDArray[Any]:
    return np.frombuffer(mapping, np.uint8, n_rows)
