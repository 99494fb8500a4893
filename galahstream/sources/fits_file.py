"""One FITS file, read once: header values and pixels, and our errors for what is wrong with it.

A plain file is taken apart by :mod:`galahstream.sources.plain_fits`, several times faster
than cfitsio or astropy do it. astropy reads all others, and says what is wrong with a
damaged one.
"""

import bz2
import errno
import gzip
import lzma
import os
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from galahstream.errors import (
    ExtraMissingError,
    GalahStreamError,
    SourceAccessError,
    SourceFormatError,
)
from galahstream.sources.base import explain_access_errors, pointer_reason
from galahstream.sources.galah_names import printable
from galahstream.sources.plain_fits import NotPlainError, PlainFits

COPY_AGAIN = "; copy the file again"
"""The cure for a damaged file, at the end of its message."""

_MAX_BYTES = 64 * 1024 * 1024  # a hundred times the largest file of a star
_DECOMPRESS: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"BZh": bz2.decompress,
    b"\xfd7zXZ\x00": lzma.decompress,
}
# An OSError of astropy has no number; a header that claims too much leads to an impossible offset.
_DAMAGE_ERRNOS = (None, errno.EINVAL)

_Taken = TypeVar("_Taken")


class FitsFile(Protocol):
    """The extensions of an open file, counted from 0."""

    @property
    def names(self) -> Sequence[str]:
        """The name of each extension in upper case."""

    def value(self, extension: int, keyword: str) -> object:
        """Return the value of a keyword in a header; None if there is none."""

    def pixels(self, extension: int) -> npt.NDArray[Any]:
        """Return the pixels of an extension, shape (m,), in the dtype of the file."""


def read_fits(path: Path, take: Callable[[FitsFile], _Taken]) -> _Taken:
    """Open a file, whatever its compression, and return what `take` makes of it.

    Parameters
    ----------
    path : Path
    take : callable
        May be called a second time, if it asked for what only astropy can read.

    Raises
    ------
    SourceFormatError
        If the file is damaged, or not a FITS file.
    SourceAccessError
        If the system does not let it be read.
    ExtraMissingError
        If it is not a plain file, and astropy is not installed.
    """
    try:
        with explain_access_errors(path):
            content = _decompressed(_content(path), path)
            try:
                return take(PlainFits(content))
            except NotPlainError:
                return _read_with_astropy(content, path, take)
    except GalahStreamError:
        raise
    except Exception as error:  # astropy raises errors of many kinds
        raise _explained(error, path) from error


def _content(path: Path) -> bytes:
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size > _MAX_BYTES:
            msg = (
                f"{path}: more than {_MAX_BYTES // 2**20} MiB, and the file of a star has less "
                f"than one; check the file"
            )
            raise SourceFormatError(msg)
        return file.read()  # with a limit, memory for all of it would be taken first


def _decompressed(content: bytes, path: Path) -> bytes:
    """Return what a file holds, decompressed if it is compressed, whatever its name says.

    The checksum of compressed files covers all bytes, so that a truncated or damaged
    one is found.
    """
    for magic, decompress in _DECOMPRESS.items():
        if content.startswith(magic):
            return decompress(content)
    if content.startswith(b"SIMPLE"):
        return content
    pointer = pointer_reason(content[:64])
    if pointer is not None:
        msg = f"{path} is {pointer}"
        raise SourceFormatError(msg)
    found = f"begins with {content[:8]!r}" if content else "is empty"
    msg = f"{path} {found}: not a FITS file, or a damaged one{COPY_AGAIN}"
    raise SourceFormatError(msg)


def _read_with_astropy(content: bytes, path: Path, take: Callable[[FitsFile], _Taken]) -> _Taken:
    try:
        fits = import_module("astropy.io.fits")
    except ImportError as error:
        msg = (
            f"{path}: not a plain FITS file (it is compressed in tiles, scaled or damaged), which "
            f"needs astropy: pip install 'galahstream[fits]'"
        )
        raise ExtraMissingError(msg) from error
    # What astropy warns of is in the error, which names the file.
    with (
        warnings.catch_warnings(action="ignore"),
        fits.open(BytesIO(content), memmap=False, lazy_load_hdus=False) as extensions,
    ):
        unpacked = _unpacked(extensions, fits.CompImageHDU)
        return take(_AstropyFits(unpacked, fits.CompImageHDU, len(content), path))


class _AstropyFits:
    """The extensions of a file that astropy opened, checked where astropy is not strict."""

    def __init__(
        self, extensions: list[Any], compressed_image: type, size: int, path: Path
    ) -> None:
        self._extensions = extensions
        self._compressed_image = compressed_image
        self._size, self._path = size, path

    @property
    def names(self) -> Sequence[str]:
        """The name of each extension in upper case."""
        return [extension.name.upper() for extension in self._extensions]

    def value(self, extension: int, keyword: str) -> object:
        """Return the value of a keyword in a header; None if there is none."""
        value = self._extensions[extension].header.get(keyword)
        return value if isinstance(value, str | bool | int | float) else None

    def pixels(self, extension: int) -> npt.NDArray[Any]:
        """Return the pixels of an extension, after checking that it is one row, and complete."""
        image = self._extensions[extension]
        name = f"{self._path}: extension {extension}"
        if not image.is_image:  # its data would be bytes, not pixels
            msg = f"{name} should be an image, and is not{COPY_AGAIN}"
            raise SourceFormatError(msg)
        if image.header.get("NAXIS") != 1:
            msg = f"{name} should be one row of pixels{COPY_AGAIN}"
            raise SourceFormatError(msg)
        scale = (image.header.get("BSCALE", 1), image.header.get("BZERO", 0))
        if not all(type(number) in (int, float) for number in scale):
            msg = f"{name}: BSCALE and BZERO should be numbers, found {scale}{COPY_AGAIN}"
            raise SourceFormatError(msg)
        if not isinstance(image, self._compressed_image):
            n_bytes = abs(image.header.get("BITPIX", 0)) // 8 * image.header.get("NAXIS1", 0)
            end = image.fileinfo()["datLoc"] + n_bytes
            if self._size < end:
                msg = (
                    f"{name} is truncated: it ends at byte {end:,}, and the file has "
                    f"{self._size:,} bytes{COPY_AGAIN}"
                )
                raise SourceFormatError(msg)
        return np.asarray(image.data)


def _unpacked(extensions: Any, compressed_image: type) -> list[Any]:
    """Return the extensions without the empty one that fpack puts before the primary image."""
    is_packed = (
        len(extensions) > 1
        and isinstance(extensions[1], compressed_image)
        and extensions[0].header.get("NAXIS") == 0
    )
    return list(extensions)[1:] if is_packed else list(extensions)


def _explained(error: Exception, path: Path) -> GalahStreamError:
    """Return our error for one of astropy or of the system."""
    text = getattr(error, "strerror", None) or str(error)  # strerror is without the path
    reason = printable(" ".join(text.split()))[:300]
    is_of_the_system = isinstance(error, OSError) and error.errno not in _DAMAGE_ERRNOS
    if is_of_the_system or isinstance(error, MemoryError):
        return SourceAccessError(
            f"{path} cannot be read: {reason or 'out of memory'}; check whether it is still there, "
            f"its disk or network and the free memory, and try again"
        )
    return SourceFormatError(f"{path}: not a FITS file, or a damaged one ({reason}){COPY_AGAIN}")
