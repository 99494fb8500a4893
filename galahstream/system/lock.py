"""One writer at a time: a lock file that names its holder, and outlives no process by itself."""

import errno
import fcntl
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from galahstream.errors import LockedError

# A file system without locks; the process id alone then tells whether its holder lives.
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


@contextmanager
def locked(path: Path, what: str, *, take_over: bool = False) -> Iterator[None]:
    """Hold a lock file while the block runs.

    The lock of a process that ended without releasing it is taken over, on this
    host by itself, of another host, which cannot be asked, only when told to.

    Parameters
    ----------
    path : Path
        The lock file; its folder is made where it is missing.
    what : str
        What it stands for in messages.
    take_over : bool
        Take over the lock of another host.

    Raises
    ------
    LockedError
        If another process holds it; the message names host and process id.
    """
    descriptor = _held(path, what)
    try:
        holder = _holder(descriptor)
        if holder is not None and holder[0] != platform.node() and not take_over:
            msg = (
                f"{what} is being written by process {holder[1]} on host {holder[0]}, which "
                f"cannot be asked from here; if that process is gone, take over its work with "
                f"take_over=True (--take-over)"
            )
            raise LockedError(msg)
        _write(descriptor, json.dumps([platform.node(), os.getpid()]))
        try:
            yield
        finally:
            _write(descriptor, "")
    finally:
        os.close(descriptor)


def _held(path: Path, what: str) -> int:
    """Return the open lock file, locked for as long as it stays open."""
    while True:
        # Its last holder may remove file and folder between any two of these calls.
        path.parent.mkdir(exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _holder(descriptor)
            if error.errno not in _NO_LOCKS or (holder is not None and _lives(*holder)):
                os.close(descriptor)
                raise _in_use(what, holder) from error
        if path.exists() and path.stat().st_ino == os.fstat(descriptor).st_ino:
            return descriptor
        os.close(descriptor)


def _in_use(what: str, holder: tuple[str, int] | None) -> LockedError:
    host, process = holder or ("unknown", 0)
    return LockedError(
        f"{what} is being written by process {process} on host {host}; wait until it has ended, "
        f"or choose another destination"
    )


def _lives(host: str, process: int) -> bool:
    return host == platform.node() and psutil.pid_exists(process)


def _holder(descriptor: int) -> tuple[str, int] | None:
    """Return host and process id from a lock file; None for one that was released."""
    text = os.pread(descriptor, 4096, 0).decode("utf-8", errors="replace")
    try:
        host, process = json.loads(text)
        return str(host), int(process)
    except (ValueError, TypeError):  # released, or its holder ended while it was written
        return None


def _write(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)
