"""Why the operating system does not let a file be read, and what to do about it."""

import errno
import os

_UNLOCKED = "read it without a lock: locking=False, or HDF5_USE_FILE_LOCKING=FALSE"
_CURES = {
    errno.EACCES: "ask its owner for permission to read it",
    errno.EPERM: "ask its owner for permission to read it",
    errno.EAGAIN: f"it is locked: close the program that writes it; if none does, {_UNLOCKED}",
    errno.ENOLCK: f"its file system has no locks: {_UNLOCKED}",
    errno.EMFILE: "close other files, or allow more of them (ulimit -n)",
    errno.ENFILE: "close other programs that hold many files open",
    errno.ENOMEM: "free memory, or raise its limit (ulimit -v)",
    errno.EIO: "the disk or the network failed: check it, and try again",
    errno.ESTALE: "the network disk replaced it: try again",
}


def access_reason(error: BaseException | None) -> str | None:
    """Return what the system reported and the cure, or None if the error does not say.

    A file with such an error is locked or forbidden, for example, and not damaged.
    """
    if not isinstance(error, OSError) or error.errno not in _CURES:
        return None
    return f"{os.strerror(error.errno)}; {_CURES[error.errno]}"
