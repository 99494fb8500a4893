"""Read-ahead of the rows that come next, and detection of files that change.

A mapped file that is read at random fetches, for each missing page, what the
kernel expects next: 8 MB for 64 KiB that are used, seven times slower than
training when the file is larger than memory. So the kernel's own read-ahead is
turned off, and exactly the coming rows are requested.
"""

import mmap
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from galahstream.errors import StoreChangedError
from galahstream.store.layout import RowIndex
from galahstream.store.opening import explain_open_errors
from galahstream.system.processes import PerProcess

HAS_FADVISE = hasattr(os, "posix_fadvise")
"""Whether this system can be asked to read parts of a file ahead."""

HAS_NOWAIT_READS = hasattr(os, "RWF_NOWAIT")
"""Whether this system tells which parts of a file are in memory."""

_PROBED_ROWS = 2
# After a row was not resident, prefetch this many times before checking residency again.
_RECHECK_INTERVAL = 64
# After repeated page-cache hits, skip prefetching at most this many times.
_MAX_SKIPPED_CHECKS = 15
# Linux cuts longer requests, at a size that depends on the device.
_REQUEST_BYTES = 512 * 1024


class FileIdentity(NamedTuple):
    """Size, time of the last change, device and inode of a file."""

    size: int
    mtime_ns: int
    device: int
    inode: int


class Signature(Protocol):
    """What tells whether the files of a store are still those that were opened."""

    @property
    def identity(self) -> object:
        """What tells whether another process reads the very same files."""

    def raise_if_changed(self) -> None:
        """Raise `StoreChangedError` if a file was replaced, truncated or rewritten."""


class FileSignature:
    """The identity of a file when its store was opened, compared before and after each batch."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.identity = _identity(path.stat())

    def raise_if_changed(self, descriptor: int | None = None) -> None:
        """Compare the file at the path, and the open one, with the file that was opened.

        Raises
        ------
        StoreChangedError
            If the file was replaced, truncated or rewritten.
        """
        try:
            current = _identity(os.stat(self._path))  # noqa: PTH116  a microsecond per batch
        except FileNotFoundError:
            raise self._error("was removed") from None
        if current == self.identity and descriptor is not None:
            current = _identity(os.fstat(descriptor))
        if current != self.identity:
            raise self._error(self._describe_change(current))

    def _describe_change(self, current: FileIdentity) -> str:
        if current[2:] != self.identity[2:]:
            return "was replaced by another file"
        if current.size != self.identity.size:
            return f"had {self.identity.size:,} bytes and has {current.size:,}"
        return "was written to"

    def _error(self, change: str) -> StoreChangedError:
        msg = f"{self._path} {change} since the store was opened; open the store again"
        return StoreChangedError(msg)


def _identity(status: os.stat_result) -> FileIdentity:
    return FileIdentity(status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino)


class ReadAheadFile:
    """The file that holds rows of flux, opened by each process on first use.

    Parameters
    ----------
    index : RowIndex
        Offsets of the rows.
    """

    def __init__(self, index: RowIndex) -> None:
        self.index = index
        self.signature = FileSignature(index.path)
        self._descriptor: PerProcess[int] = PerProcess()
        self._policy = ReadAheadPolicy()

    def descriptor(self) -> int:
        """Return the descriptor of the open file."""
        return self._descriptor.get(self._open)

    def prefetch(self, rows: npt.NDArray[np.int64]) -> None:
        """Request rows from the disk if they are not in memory already."""
        if self._policy.is_due(rows, self._is_in_memory):
            for first, size in runs(self.index.offsets(rows), self.index.row_bytes):
                request(self.descriptor(), first, size)

    def raise_if_changed(self) -> None:
        """Raise `StoreChangedError` if the file is not the one that was opened."""
        self.signature.raise_if_changed(self.descriptor())

    def close(self) -> None:
        """Close the file."""
        if self._descriptor.pop() is not None:
            self._closing()

    def _open(self) -> int:
        with explain_open_errors(self.index.path):
            descriptor = os.open(self.index.path, os.O_RDONLY)
        if HAS_FADVISE:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)
        self._closing = weakref.finalize(self, os.close, descriptor)
        return descriptor

    def _is_in_memory(self, row: int) -> bool:
        first = int(self.index.offsets(np.array([row]))[0])
        return is_in_memory(self.descriptor(), first + self.index.row_bytes // 2)


class ReadAheadPolicy:
    """When rows are requested from the disk: not while they are in memory already.

    A request costs a seventh of the time that transforming the row takes. So the residency of
    some rows is checked first, and ever more rarely as long as they are resident.
    """

    def __init__(self) -> None:
        self._unchecked_left = 0
        self._skips_left = self._skips = 0

    def is_due(self, rows: npt.NDArray[np.int64], is_row_in_memory: Callable[[int], bool]) -> bool:
        """Return whether to request rows that will be read soon."""
        if self._skips_left > 0:
            self._skips_left -= 1
            return False
        if not HAS_FADVISE or len(rows) == 0:
            return False
        if self._unchecked_left == 0:
            probed = rows[:: max(len(rows) // _PROBED_ROWS, 1)][:_PROBED_ROWS]
            if all(map(is_row_in_memory, probed.tolist())):
                self._skips_left = self._skips = min(2 * self._skips + 1, _MAX_SKIPPED_CHECKS)
                return False
            self._unchecked_left, self._skips = _RECHECK_INTERVAL, 0
        self._unchecked_left = max(self._unchecked_left - 1, 0)
        return True


def runs(offsets: npt.NDArray[np.int64], row_bytes: int) -> list[tuple[int, int]]:
    """Return (offset, bytes) of each run of rows that are adjacent."""
    ordered = np.sort(offsets)
    starts = np.flatnonzero(np.diff(ordered, prepend=-1) != row_bytes)
    sizes = np.diff(starts, append=len(ordered)) * row_bytes
    return list(zip(ordered[starts].tolist(), sizes.tolist(), strict=True))


def request(descriptor: int, first: int, size: int) -> None:
    """Ask the system to read a part of an open file ahead."""
    for start in range(first, first + size, _REQUEST_BYTES):
        length = min(_REQUEST_BYTES, first + size - start)
        os.posix_fadvise(descriptor, start, length, os.POSIX_FADV_WILLNEED)


def is_in_memory(descriptor: int, offset: int) -> bool:
    """Return whether a byte of an open file is in memory; False where nobody can tell."""
    if not HAS_NOWAIT_READS:
        return False
    try:
        os.preadv(descriptor, [bytearray(1)], offset, os.RWF_NOWAIT)
    except OSError:  # not in memory, or a file system that cannot tell
        return False
    return True


def advise(mapping: mmap.mmap, advice: str) -> None:
    """Give advice on a mapping, such as ``"MADV_RANDOM"``, if the system knows it."""
    if hasattr(mapping, "madvise") and hasattr(mmap, advice):
        mapping.madvise(getattr(mmap, advice))
