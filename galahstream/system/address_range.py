"""Many files mapped side by side into one range of addresses, without an open file for each.

Python's mmap chooses the address of each mapping itself; the C function behind it does not have to.
"""

import ctypes
import mmap
import os
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_MAP_FIXED = 0x10  # on Linux and macOS
_PROT_NONE = 0
_FAILED = ctypes.c_void_p(-1).value
_LIBC = ctypes.CDLL(None, use_errno=True)
_MMAP: Callable[..., int | None] = _LIBC.mmap
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = (
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
)  # fmt: skip
for _function in (_LIBC.munmap, _LIBC.madvise):
    _function.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_LIBC.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


def page_ceil(size: int) -> int:
    """Return the smallest multiple of the page size that is not below `size`."""
    return -(-size // mmap.PAGESIZE) * mmap.PAGESIZE


class AddressRange:
    """A range of addresses, into which files are mapped read-only.

    The range is released when neither this object nor an array of :attr:`buffer` is left.

    Parameters
    ----------
    size : int
        Bytes, at least 1.

    Attributes
    ----------
    buffer : ndarray, shape (size,), uint8
        The bytes of the range; those where no file is mapped must not be read.

    Raises
    ------
    OSError
        If there is no such range left (ENOMEM).
    """

    def __init__(self, size: int) -> None:
        self.size = page_ceil(size)
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANON
        self._address = _checked(_MMAP(None, self.size, _PROT_NONE, flags, -1, 0))
        weakref.finalize(self, _LIBC.munmap, self._address, self.size)

    @property
    def __array_interface__(self) -> dict[str, Any]:
        # Arrays made of this keep the object, and so the range.
        return {
            "version": 3, "typestr": "|u1", "shape": (self.size,), "data": (self._address, True),
        }  # fmt: skip

    @property
    def buffer(self) -> npt.NDArray[np.uint8]:
        """The bytes of the range."""
        return np.asarray(self)

    def map_file(self, path: Path, offset: int) -> int:
        """Map a complete file at an offset, a multiple of the page size, and return its size.

        Raises
        ------
        OSError
            If the file cannot be opened or mapped.
        ValueError
            If the file is larger than what is left of the range.
        """
        descriptor = os.open(path, os.O_RDONLY)
        try:
            size = os.fstat(descriptor).st_size
            if offset + size > self.size:
                msg = f"{path}: {size} bytes, and {self.size - offset} are left"
                raise ValueError(msg)
            flags = mmap.MAP_SHARED | _MAP_FIXED
            address = self._address + offset
            _checked(_MMAP(address, size, mmap.PROT_READ, flags, descriptor, 0))
        finally:
            os.close(descriptor)
        return size

    def advise(self, advice: str, offset: int = 0, size: int | None = None) -> None:
        """Give advice on a part of the range, such as ``"MADV_RANDOM"``, if the system knows it."""
        if hasattr(mmap, advice):
            start = offset // mmap.PAGESIZE * mmap.PAGESIZE
            length = (self.size if size is None else offset + size) - start
            _LIBC.madvise(self._address + start, length, getattr(mmap, advice))


def _checked(address: int | None) -> int:
    if address is None or address == _FAILED:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return address
