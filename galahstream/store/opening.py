"""Explain errors of the operating system while a store is opened, which say nothing of damage."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from galahstream.errors import StoreFormatError

_PERMISSION = "the store may be intact: ask its owner for permission to read it"
_TOO_MANY_FILES = "the store may be intact: close other files and stores, or raise the limit"
_LOCKED = (
    "another program has it open for writing: close it there; on a file system without "
    "locks, set HDF5_USE_FILE_LOCKING=FALSE"
)
_CURES = {
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.EMFILE: f"{_TOO_MANY_FILES} (ulimit -n)",
    errno.ENFILE: _TOO_MANY_FILES,
    errno.EAGAIN: _LOCKED,
    errno.ENOLCK: _LOCKED,
    errno.EIO: "the disk or the network failed: try again, or copy the store to another disk",
    errno.ESTALE: "the network file system lost the file: open the store again",
}


@contextmanager
def explain_open_errors(path: Path) -> Iterator[None]:
    """Replace errors of the operating system by ones that say what it reported and the cure.

    Raises
    ------
    StoreFormatError
        If a file is locked, may not be read, or cannot be opened for another reason
        that has nothing to do with what it holds.
    """
    try:
        yield
    except OSError as error:
        # Readers of a format may have taken the system's error for damage.
        reported = error.__cause__ if isinstance(error, StoreFormatError) else error
        number = reported.errno if isinstance(reported, OSError) else None
        if number not in _CURES:
            raise
        name = getattr(reported, "filename", None) or path
        msg = f"{name} cannot be opened: {os.strerror(number)}; {_CURES[number]}"
        raise StoreFormatError(msg) from error
