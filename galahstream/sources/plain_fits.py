"""FITS files that hold nothing but images of floats, such as GALAH's, taken apart in NumPy.

The standard (FITS 4.0, sections 3 and 4) makes this simple: a file is a sequence of
extensions, each a header of 80-byte cards and data, both padded to blocks of 2,880 bytes.
All that is not exactly as the standard has it raises :class:`NotPlainError`, so that it can
be left to astropy; a file that is accepted is complete, to its last byte.
"""

import math
import re
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

_BLOCK, _CARD = 2880, 80
_END = b"END".ljust(_CARD)
_PRIMARY = (b"SIMPLE", True)
_IMAGE = (b"XTENSION", "IMAGE")
_MAX_AXES = 9  # the standard allows more, which no spectrum has
_DTYPES: dict[int, np.dtype[Any]] = {-32: np.dtype(">f4"), -64: np.dtype(">f8")}
_BITPIX = (8, 16, 32, 64, *_DTYPES)
_VALUE = re.compile(rb" *(?:'((?:[^']|'')*)'|([^ /']*)) *(?:/.*)?", re.DOTALL)
_INTEGER = re.compile(rb"[-+]?\d+")
_NUMBER = re.compile(rb"[-+]?(?:\d+\.?\d*|\.\d+)(?:[ED][-+]?\d+)?")


class NotPlainError(Exception):
    """A file is compressed, damaged, or holds what this module does not read."""


class _Extension(NamedTuple):
    header: bytes
    shape: tuple[int, ...]
    bitpix: int
    offset: int  # of the data


class PlainFits:
    """The extensions of a file.

    Parameters
    ----------
    content : bytes
        The file, without compression.

    Attributes
    ----------
    names : tuple of str
        The name of each extension in upper case; empty for one without a name.

    Raises
    ------
    NotPlainError
        If it is not a complete file of images.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._extensions = []
        offset = 0
        while offset < len(content) or offset == 0:
            extension = _extension_at(content, offset)
            self._extensions.append(extension)
            n_values = math.prod(extension.shape) if extension.shape else 0
            offset = extension.offset + _padded(n_values * abs(extension.bitpix) // 8)
        if offset != len(content):
            raise NotPlainError
        named = (_value(extension.header, b"EXTNAME") for extension in self._extensions)
        self.names = tuple(str(name or "").upper() for name in named)

    def value(self, extension: int, keyword: str) -> object:
        """Return the value of a keyword in a header; None if there is none."""
        return _value(self._extensions[extension].header, keyword.encode())

    def pixels(self, extension: int) -> npt.NDArray[Any]:
        """Return the pixels of an image of one axis, big-endian as they are stored.

        Raises
        ------
        NotPlainError
            If it has more axes, or its values are integers or scaled.
        """
        image = self._extensions[extension]
        dtype = _DTYPES.get(image.bitpix)
        is_scaled = any(_card(image.header, word) is not None for word in (b"BSCALE", b"BZERO"))
        if dtype is None or len(image.shape) != 1 or is_scaled:
            raise NotPlainError
        return np.frombuffer(self._content, dtype, image.shape[0], image.offset)


def _extension_at(content: bytes, offset: int) -> _Extension:
    """Return the extension whose header begins at an offset."""
    end = content.find(_END, offset)
    while end >= 0 and (end - offset) % _CARD:
        end = content.find(_END, end + 1)
    header = content[offset : max(end, offset)]
    if not header.isascii():
        raise NotPlainError
    keyword, kind = _IMAGE if offset else _PRIMARY
    if not header.startswith(keyword) or _value(header, keyword) != kind:
        raise NotPlainError
    if header.find(b"XTENSION=", _CARD) >= 0:  # its END is damaged, and that of the next was found
        raise NotPlainError
    bitpix, axes = _value(header, b"BITPIX"), _count(header, b"NAXIS")
    if (
        type(bitpix) is not int
        or bitpix not in _BITPIX
        or axes > _MAX_AXES
        or not _is_absent_or(header, b"PCOUNT", 0)
        or not _is_absent_or(header, b"GCOUNT", 1)
    ):
        raise NotPlainError
    shape = tuple(_count(header, b"NAXIS%d" % axis) for axis in range(1, axes + 1))
    return _Extension(header, shape, bitpix, offset + _padded(end + _CARD - offset))


def _is_absent_or(header: bytes, keyword: bytes, expected: int) -> bool:
    return _card(header, keyword) is None or _value(header, keyword) == expected


def _count(header: bytes, keyword: bytes) -> int:
    value = _value(header, keyword)
    if type(value) is not int or value < 0:
        raise NotPlainError
    return value


def _value(header: bytes, keyword: bytes) -> str | bool | int | float | None:
    """Return the value of the first card of a keyword; None without card or value."""
    card = _card(header, keyword)
    match = _VALUE.fullmatch(card or b"")
    if match is None:
        raise NotPlainError
    string, word = match.groups()
    if string is not None:
        return str(string, "ascii").replace("''", "'").rstrip()
    if word in (b"T", b"F"):
        return bool(word == b"T")
    if _INTEGER.fullmatch(word):
        return int(word)
    if _NUMBER.fullmatch(word):
        return float(word.replace(b"D", b"E"))
    if word:
        raise NotPlainError
    return None


def _card(header: bytes, keyword: bytes) -> bytes | None:
    """Return what comes after the keyword in its first card; None without one."""
    start = keyword.ljust(8) + b"="
    # A search for the keyword without the blanks is several times faster if there is none.
    card = header.find(keyword)
    while card >= 0 and (card % _CARD or not header.startswith(start, card)):
        card = header.find(keyword, card + 1)
    return None if card < 0 else header[card + len(start) : card + _CARD]


def _padded(size: int) -> int:
    """Return a number of bytes rounded up to whole blocks."""
    return -(-size // _BLOCK) * _BLOCK
