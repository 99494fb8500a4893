"""A lock file that allows one writer at a time and names the process that holds it."""

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

# Errors of file systems without locks. There, only the process id in the file tells whether the
# holder is alive.
_LOCKS_UNSUPPORTED = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)


@contextmanager
def locked(path: Path, target: str, *, take_over: bool = False) -> Iterator[None]:
    """Hold a lock file while the block runs.

    The lock of a process that ended without releasing it is taken over: always if
    it ran on this host, and only with `take_over` if it ran on another host, where
    nobody can check whether it is alive.

    Parameters
    ----------
    path : Path
        The lock file; its folder is created if it does not exist.
    target : str
        What the lock protects, for messages.
    take_over : bool
        Take over a lock that a process of another host left behind.

    Raises
    ------
    LockedError
        If another process holds the lock; the message names its host and process id.
    """
    descriptor = _acquire(path, target)
    try:
        holder = _read_holder(descriptor)
        if holder is not None and holder[0] != platform.node() and not take_over:
            msg = (
                f"{target} is being written by process {holder[1]} on host {holder[0]}, which "
                f"cannot be checked from this host; if that process has ended, take over its work "
                f"with take_over=True (--take-over)"
            )
            raise LockedError(msg)
        _overwrite(descriptor, json.dumps([platform.node(), os.getpid()]))
        try:
            yield
        finally:
            _overwrite(descriptor, "")
    finally:
        os.close(descriptor)


def _acquire(path: Path, target: str) -> int:
    """Open and lock the file; the lock lasts until the returned descriptor is closed."""
    while True:
        # The previous holder may remove the file and its folder between any two of these calls.
        path.parent.mkdir(exist_ok=True)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _read_holder(descriptor)
            if error.errno not in _LOCKS_UNSUPPORTED or (holder and _is_alive(*holder)):
                os.close(descriptor)
                raise _locked_error(target, holder) from error
        if path.exists() and path.stat().st_ino == os.fstat(descriptor).st_ino:
            return descriptor
        os.close(descriptor)


def _locked_error(target: str, holder: tuple[str, int] | None) -> LockedError:
    host, process = holder or ("unknown", 0)
    return LockedError(
        f"{target} is being written by process {process} on host {host}; wait until it has ended, "
        f"or choose another destination"
    )


def _is_alive(host: str, process: int) -> bool:
    return host == platform.node() and psutil.pid_exists(process)


def _read_holder(descriptor: int) -> tuple[str, int] | None:
    """Return host and process id from a lock file, or None if the lock was released."""
    text = os.pread(descriptor, 4096, 0).decode("utf-8", errors="replace")
    try:
        host, process = json.loads(text)
        return str(host), int(process)
    except (ValueError, TypeError):  # empty, or its holder was killed while writing it
        return None


def _overwrite(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, text.encode(), 0)
