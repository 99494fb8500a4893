"""The names of GALAH's star files, names that look like them, and how names are listed.

A star's file is called ``<sobject_id><camera>.fits``: date, run, repeat and fibre in 15
digits, then the camera from 1 to 4. It may be compressed. Files that look like a star's
but have another name, such as unfinished downloads and copies, are told apart, so that
no star and no camera is lost silently.
"""

import heapq
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

ID_DIGITS = 15
_FITS = r"\.(?:fits|fit|fts)"
_FLAGS = re.ASCII | re.IGNORECASE
_STAR_FILE = re.compile(rf"(\d{{{ID_DIGITS}}}[1-4])({_FITS}(?:\.(?:gz|bz2|xz|fz))?)", _FLAGS)
# An id anywhere in the name, or a FITS file that is named by a number alone.
_LIKE_A_STAR = re.compile(rf"\d{{{ID_DIGITS}}}|^\d+{_FITS}", _FLAGS)
_LIKE_FITS = re.compile(rf"{_FITS}(?![a-z])", _FLAGS)
_DIGITS = re.compile(rf"\d{{{ID_DIGITS},}}", re.ASCII)
_APPLE_DOUBLE = "._"  # macOS keeps attributes of a file in a second one on foreign disks
_MAX_LISTED = 10
_MAX_NAME_LENGTH = 300  # a name has 255 bytes, and more characters once it is printable


@dataclass(frozen=True)
class FileNames:
    """How many files there are of a kind, and the first ten of their names.

    ``str`` lists these names on one line, with the number of the others.
    """

    count: int
    first: tuple[str, ...]

    @classmethod
    def of(cls, names: Iterable[str]) -> "FileNames":
        """Count the names and keep the first in alphabetical order."""
        count = 0

        def counted() -> Iterable[str]:
            nonlocal count
            for name in names:
                count += 1
                yield name

        first = heapq.nsmallest(_MAX_LISTED, counted())
        return cls(count, tuple(first))

    def __bool__(self) -> bool:
        return self.count > 0

    def __str__(self) -> str:
        return _listed([_short(name) for name in self.first], self.count, ", ")


def parse_star_name(name: str) -> tuple[int, str] | None:
    """Return the 16 digits of star and camera, and the suffix; None for any other name."""
    match = _STAR_FILE.fullmatch(name)
    return None if match is None else (int(match[1]), match[2])


def looks_like_a_star(name: str) -> bool:
    """Return whether a name is that of a star's file, or resembles it."""
    return not name.startswith(_APPLE_DOUBLE) and _LIKE_A_STAR.search(name) is not None


def looks_like_fits(name: str) -> bool:
    """Return whether a name is that of a FITS file, or of an unfinished one."""
    return not name.startswith(_APPLE_DOUBLE) and _LIKE_FITS.search(name) is not None


def resembled_star(name: str) -> int:
    """Return the star that a name resembles in 15 digits, and the camera in one more.

    The camera is 0 if it may be any; -1 stands for a name that does not tell the star.
    """
    digits = _DIGITS.search(name)
    if digits is None or len(digits[0]) > ID_DIGITS + 1:
        return -1
    camera = digits[0][ID_DIGITS:]
    return int(digits[0][:ID_DIGITS]) * 10 + (int(camera) if camera in {"1", "2", "3", "4"} else 0)


def printable(text: str) -> str:
    """Return a text of foreign origin, such as a file's name, on one line that can be printed."""
    return text if text.isprintable() else ascii(text)


def listed(items: Sequence[str], separator: str = ", ") -> str:
    """Return the first items as a text, and the number of the others."""
    return _listed(items[:_MAX_LISTED], len(items), separator)


def listed_names(names: Sequence[str]) -> str:
    """Return the first names of files as a text, and the number of the others."""
    return listed([_short(name) for name in names])


def _short(name: str) -> str:
    return printable(name)[:_MAX_NAME_LENGTH]


def _listed(first: Sequence[str], count: int, separator: str) -> str:
    shown = separator.join(first)
    return shown if count <= len(first) else f"{shown} and {count - len(first):,} more"
