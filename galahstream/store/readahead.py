"""Telling the system which rows of a file come next, and which may go.

A mapped file that is read at random fetches, for each page that is missing, what
the system thinks comes next: 8 MB for 64 KiB used, seven times slower than
training when the file is larger than memory. So the system's own guess is turned
off, and exactly the coming rows are asked for ahead.
"""

import mmap
import os
import weakref
from pathlib import Path

import numpy as np
import numpy.typing as npt

from galahstream.errors import StoreChangedError
from galahstream.store.layout import RowIndex

_CAN_ADVISE = hasattr(os, "posix_fadvise")
_CAN_ASK = hasattr(os, "RWF_NOWAIT")
_PROBES = 2
# Announcements that follow one that found a row missing, before residency is asked again.
_RECHECK_INTERVAL = 64
# Announcements that are taken to be of resident rows, after several that were.
_MAX_SKIPPED_CHECKS = 15
_CURE = "since the store was opened; open the store again"
# Linux cuts longer requests, at a size that depends on the device.
_REQUEST_BYTES = 512 * 1024


class FileSignature:
    """What a file was when its store was opened: to be asked before and after each batch."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.known = _identity(path.stat())

    def check(self, descriptor: int | None = None) -> None:
        """Raise where path, or the open file, is no longer what it was.

        Raises
        ------
        StoreChangedError
            If the file was replaced, truncated or rewritten.
        """
        try:
            found = _identity(os.stat(self._path))  # noqa: PTH116  a microsecond for each batch
        except FileNotFoundError:
            raise StoreChangedError(f"{self._path} was removed {_CURE}") from None
        if found == self.known and descriptor is not None:
            found = _identity(os.fstat(descriptor))
        if found != self.known:
            size, _, file = self.known
            what = (
                "was replaced by another file"
                if found[2] != file
                else f"had {size:,} bytes and has {found[0]:,}"
                if found[0] != size
                else "was written to"
            )
            raise StoreChangedError(f"{self._path} {what} {_CURE}")


def _identity(status: os.stat_result) -> tuple[int, int, tuple[int, int]]:
    """Return size, time of the last change in ns, and (device, inode)."""
    return status.st_size, status.st_mtime_ns, (status.st_dev, status.st_ino)


class ReadAheadFile:
    """The file behind rows of flux, opened on first use in each process anew."""

    def __init__(self, places: RowIndex) -> None:
        self.places = places
        self.watched = FileSignature(places.path)
        self._descriptor = -1
        self._process = -1
        self._watchful = 0
        self._trusted = self._trust = 0

    def descriptor(self) -> int:
        """Return the open file."""
        if self._process != os.getpid():
            descriptor = os.open(self.places.path, os.O_RDONLY)
            if _CAN_ADVISE:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
            self._closing = weakref.finalize(self, os.close, descriptor)
            self._descriptor, self._process = descriptor, os.getpid()
        return self._descriptor

    def prefetch(self, rows: npt.NDArray[np.int64]) -> None:
        """Have the system read rows ahead, where they are not in memory already.

        Asking for each row costs a seventh of what transforming it does, so that
        some rows are looked up first, and ever more seldom as long as they are
        there. Nothing happens where the system lacks ``posix_fadvise``.
        """
        if self._trusted > 0:
            self._trusted -= 1
            return
        if not _CAN_ADVISE or len(rows) == 0:
            return
        if self._watchful == 0:
            if self._seems_resident(rows):
                self._trusted = self._trust = min(2 * self._trust + 1, _MAX_SKIPPED_CHECKS)
                return
            self._watchful, self._trust = _RECHECK_INTERVAL, 0
        self._watchful = max(self._watchful - 1, 0)
        descriptor = self.descriptor()
        for first, size in self._runs(rows):
            for start in range(first, first + size, _REQUEST_BYTES):
                length = min(_REQUEST_BYTES, first + size - start)
                os.posix_fadvise(descriptor, start, length, os.POSIX_FADV_WILLNEED)

    def check(self) -> None:
        """Raise `StoreChangedError` where the file is no longer what it was."""
        self.watched.check(self.descriptor())

    def close(self) -> None:
        """Close the file."""
        if self._process == os.getpid():
            self._closing()
        self._process = -1

    def _runs(self, rows: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
        """Return (first byte, bytes) of each run of rows that follow one another in the file."""
        offsets = np.sort(self.places.offsets(rows))
        starts = np.flatnonzero(np.diff(offsets, prepend=-1) != self.places.row_bytes)
        counts = np.diff(starts, append=len(offsets))
        sizes = counts * self.places.row_bytes
        return list(zip(offsets[starts].tolist(), sizes.tolist(), strict=True))

    def _seems_resident(self, rows: npt.NDArray[np.int64]) -> bool:
        if not _CAN_ASK:
            return False
        chosen = rows[:: max(len(rows) // _PROBES, 1)][:_PROBES]
        middle = self.places.row_bytes // 2
        byte = bytearray(1)
        for offset in self.places.offsets(chosen).tolist():
            try:
                os.preadv(self.descriptor(), [byte], offset + middle, os.RWF_NOWAIT)
            except OSError:  # not in memory, or a file system that cannot tell
                return False
        return True


def advise(mapping: mmap.mmap, advice: str) -> None:
    """Give advice on a whole mapping, such as ``"MADV_RANDOM"``, where the system knows it."""
    if hasattr(mapping, "madvise") and hasattr(mmap, advice):
        mapping.madvise(getattr(mmap, advice))
