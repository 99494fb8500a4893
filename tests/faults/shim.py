"""A shim over the file calls of a process, which counts them and lets one of them fail."""

import errno
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

FAULTS = ("kill", "torn", "ENOSPC", "EIO", "short")
# All calls that change files, also those that pathlib and shutil make.
_CALLS = (
    "open",
    "write",
    "pwrite",
    "ftruncate",
    "posix_fallocate",
    "fsync",
    "mkdir",
    "rename",
    "replace",
    "link",
    "unlink",
    "rmdir",
    "close",
)
_WRITES = ("write", "pwrite")


class Shim:
    """Counts file calls from 1 on; call number `point` fails.

    ``"kill"`` ends the process before the call; ``"torn"`` half-way through a
    write, or right after another call; ``"short"`` writes half, as a system may.
    Errors are raised for calls that can have them.
    """

    def __init__(self, point: int, fault: str) -> None:
        self.count = 0
        self._point, self._fault = point, fault
        self._lock = threading.Lock()

    def install(self) -> None:
        """Wrap the calls, for the rest of the process."""
        for name in _CALLS:
            if hasattr(os, name):
                setattr(os, name, self._over(name, getattr(os, name)))

    def _over(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def faulty(*arguments: Any, **keywords: Any) -> Any:
            with self._lock:
                self.count += 1
                is_here = self.count == self._point
            if not is_here:
                return call(*arguments, **keywords)
            if self._fault == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self._fault in ("torn", "short") and name in _WRITES:
                descriptor, data, *rest = arguments
                done = call(descriptor, memoryview(data)[: max(len(data) // 2, 1)], *rest)
            else:
                if self._fault in ("ENOSPC", "EIO") and name != "close":
                    number = getattr(errno, self._fault)
                    raise OSError(number, os.strerror(number))
                done = call(*arguments, **keywords)
            if self._fault == "torn":
                os.kill(os.getpid(), signal.SIGKILL)
            return done

        return faulty
