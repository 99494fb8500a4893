"""Evict a file from the page cache, and read it without any library."""

import ctypes
import mmap
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

_EVICT = (
    "import os, sys\n"
    "for name in sys.argv[1:]:\n"
    "    with open(name, 'rb') as file:\n"
    "        os.fsync(file.fileno())\n"
    "        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)\n"
)


def evict(*paths: Path) -> None:
    """Drop the pages of files in a fresh process, and check that they are gone.

    Raises
    ------
    RuntimeError
        If pages are left because a mapping somewhere holds them.
    """
    subprocess.run([sys.executable, "-S", "-c", _EVICT, *map(str, paths)], check=True)
    for path in paths:
        left = int(resident_pages(path).sum())
        if left:
            msg = f"{path}: {left} pages are still in memory; a mapping holds them"
            raise RuntimeError(msg)


def resident_pages(path: Path) -> npt.NDArray[np.bool_]:
    """Return which pages of a file are in memory, according to mincore."""
    size = path.stat().st_size
    with path.open("rb") as file:
        # Copy-on-write, because ctypes takes the address of writable memory only.
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    address = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
    flags = np.zeros(-(-size // mmap.PAGESIZE), dtype=np.uint8)
    library = ctypes.CDLL(None, use_errno=True)
    if library.mincore(ctypes.c_void_p(address), ctypes.c_size_t(size), flags.ctypes):
        raise OSError(ctypes.get_errno(), f"mincore of {path}")
    return (flags & 1).astype(bool)


def read_sequentially(path: Path, stop: int, request: int = 1024 * 1024) -> int:
    """Read a file from its beginning to byte `stop` and return the number of bytes read."""
    buffer = memoryview(mmap.mmap(-1, request))
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return sum(
            os.preadv(descriptor, [buffer[: min(request, stop - offset)]], offset)
            for offset in range(0, stop, request)
        )
    finally:
        os.close(descriptor)


def read_rows(path: Path, offsets: npt.NDArray[np.int64], row_bytes: int, in_flight: int) -> int:
    """Read rows with `in_flight` requests at a time and return the number of rows."""
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_RANDOM)

    def work(offsets: npt.NDArray[np.int64]) -> None:
        buffer = bytearray(row_bytes)
        for offset in offsets.tolist():
            os.preadv(descriptor, [buffer], offset)

    try:
        with ThreadPoolExecutor(in_flight) as threads:
            list(threads.map(work, [offsets[start::in_flight] for start in range(in_flight)]))
    finally:
        os.close(descriptor)
    return len(offsets)
