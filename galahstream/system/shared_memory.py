"""Files in memory without a name, which processes share by a path that outlives nothing."""

import os
import tempfile
import weakref
from typing import Any


def anonymous_shared_file(owner: Any) -> tuple[int, str]:
    """Create an empty file in memory; return its descriptor, and a path for other processes.

    It ends with its owner, and with the process. Where the system has no such
    files it is a temporary one.
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("galahstream")
        path = f"/proc/{os.getpid()}/fd/{descriptor}"
    else:
        descriptor, path = tempfile.mkstemp(prefix="galahstream-")
        weakref.finalize(owner, os.unlink, path)
    return descriptor, path
