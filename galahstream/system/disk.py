"""Write arrays at file offsets, reserve space, and explain errors of a full disk."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from galahstream.errors import StorageFullError


def write_at(descriptor: int, array: npt.NDArray[np.generic], offset: int) -> None:
    """Write the bytes of a C-ordered array at an offset, in as many calls as are needed.

    Parameters
    ----------
    descriptor : int
        An open file.
    array : ndarray
    offset : int
        Offset of the first byte in the file.
    """
    data = memoryview(array.reshape(-1).view(np.uint8).data)
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


def preallocate(path: Path, size: int) -> None:
    """Create a file of `size` bytes and reserve its space on disk where the system can do so.

    An existing file of at most `size` bytes keeps its contents.

    Raises
    ------
    StorageFullError
        If the file system does not have enough free space.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        with explain_disk_full(path, size):
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, size)
            else:
                os.ftruncate(descriptor, size)
    finally:
        os.close(descriptor)


@contextmanager
def explain_disk_full(path: Path, size: int | None = None) -> Iterator[None]:
    """Raise `StorageFullError` instead of the operating system's error for a full disk.

    Parameters
    ----------
    path : Path
        File that the block writes to.
    size : int, optional
        Bytes that the file needs, if known.

    Raises
    ------
    StorageFullError
        With the path, the bytes that are needed and free, and what to do.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        free = shutil.disk_usage(path.parent).free
        needed = "more bytes" if size is None else f"{size:,} bytes"
        msg = (
            f"{path}: {needed} are needed and the file system has {free:,} free; make "
            f"room, or store 16-bit flux (dtype='uint16', --dtype uint16)"
        )
        raise StorageFullError(msg) from error
