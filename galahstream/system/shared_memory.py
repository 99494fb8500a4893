"""Anonymous files in memory that other processes open by path."""

import os
import tempfile
import weakref


def anonymous_shared_file(owner: object) -> tuple[int, str]:
    """Create an empty file in memory; return its descriptor and a path for other processes.

    The path is valid while the descriptor is open. The caller closes the
    descriptor; the memory is freed when no process has it open or mapped any more.

    Parameters
    ----------
    owner : object
        Object that the file belongs to. Where the operating system has no anonymous
        files (macOS), a temporary file is used, which is removed with its owner.

    Returns
    -------
    descriptor : int
    path : str
        ``/proc/PID/fd/N`` on Linux.
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("galahstream")
        path = f"/proc/{os.getpid()}/fd/{descriptor}"
    else:
        descriptor, path = tempfile.mkstemp(prefix="galahstream-")
        weakref.finalize(owner, os.unlink, path)
    return descriptor, path
