"""Which rows of flux have matched their digests, shared by all threads and processes."""

import mmap
import os
import weakref
from typing import Any

import numpy as np
import numpy.typing as npt

from galahstream.system.shared_memory import anonymous_shared_file


class VerifiedRows:
    """A flag for each of N rows, in memory that processes share.

    Forked children inherit the flags; spawned ones attach to them with
    :meth:`export` and :meth:`attach`. If a flag is lost, its row is verified twice.
    """

    def __init__(self, n_rows: int) -> None:
        descriptor, self._path = anonymous_shared_file(self)
        weakref.finalize(self, os.close, descriptor)
        os.ftruncate(descriptor, n_rows)
        self._inode = os.fstat(descriptor).st_ino
        self._flags = _map_flags(descriptor, n_rows)

    def all_verified(self, rows: npt.NDArray[np.int64]) -> bool:
        """Return whether all of the rows are flagged."""
        return bool(self._flags[rows].all())

    def add(self, rows: npt.NDArray[np.int64]) -> None:
        """Flag rows as verified."""
        self._flags[rows] = 1

    def export(self) -> tuple[str, int]:
        """Return path and inode of the flags, with which other processes attach to them."""
        return self._path, self._inode

    def attach(self, path: str, inode: int) -> None:
        """Use the flags of another process from now on, if they still exist."""
        try:
            descriptor = os.open(path, os.O_RDWR)
        except OSError:
            return
        try:
            if os.fstat(descriptor).st_ino == inode:
                self._flags = _map_flags(descriptor, len(self._flags))
                self._path, self._inode = path, inode
        finally:
            os.close(descriptor)


def _map_flags(descriptor: int, n_rows: int) -> npt.NDArray[Any]:
    return np.frombuffer(mmap.mmap(descriptor, n_rows), np.uint8, n_rows)
