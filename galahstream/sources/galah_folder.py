"""The files of a folder of GALAH's stars, told apart by their names alone.

A star's file is called ``<sobject_id><camera>.fits``: date, run, repeat and fibre in 15
digits, then the camera from 1 to 4. It may be compressed. Files that look like a star's
but have another name, such as unfinished downloads and copies, are kept apart, so that
no star and no camera is lost silently.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from galahstream.errors import BadSpectraError, SourceFormatError, SourceMissingError
from galahstream.sources.base import explain_access_errors
from galahstream.survey.wavelength import CAMERAS

_ID_DIGITS = 15
_FITS = r"\.(?:fits|fit|fts)"
_FLAGS = re.ASCII | re.IGNORECASE
_STAR_FILE = re.compile(rf"\d{{{_ID_DIGITS}}}[1-4]{_FITS}(?:\.(?:gz|bz2|xz|fz))?", _FLAGS)
# An id anywhere in the name, or a FITS file that is named by a number alone.
_LIKE_A_STAR = re.compile(rf"\d{{{_ID_DIGITS}}}|^\d+{_FITS}", _FLAGS)
_LIKE_FITS = re.compile(rf"{_FITS}(?![a-z])", _FLAGS)
_DIGITS = re.compile(rf"\d{{{_ID_DIGITS},}}", re.ASCII)
_APPLE_DOUBLE = "._"  # macOS keeps attributes of a file in a second one on foreign disks
_MAX_LISTED = 10
_MAX_NAME_LENGTH = 300  # a name has 255 bytes, and more characters once it is printable


@dataclass(frozen=True)
class StarFiles:
    """What a folder holds: N stars with up to four files each, and files that are not used.

    Attributes
    ----------
    folder : Path
    ids : ndarray, shape (N,), int64
        The sobject_id of each star, increasing.
    suffix : ndarray, shape (N, 4), int16
        What the name of each camera's file ends in, as an index into `suffixes`; -1 for
        a camera that the star lacks.
    suffixes : tuple of str
        ``".fits"``, ``".fits.gz"`` and others, as they are written.
    unused : tuple of str
        Names that look like those of a star's file and are not.
    others : tuple of str
        Names of FITS files that are not a star's.
    """

    folder: Path
    ids: npt.NDArray[np.int64]
    suffix: npt.NDArray[np.int16]
    suffixes: tuple[str, ...]
    unused: tuple[str, ...]
    others: tuple[str, ...]

    @property
    def has_camera(self) -> npt.NDArray[np.bool_]:
        """Which cameras each star has, shape (N, 4)."""
        return self.suffix >= 0

    def paths(self, row: int) -> list[tuple[int, Path]]:
        """Return camera, from 0 on, and file of each camera that a star has."""
        star = f"{self.ids[row]:0{_ID_DIGITS}d}"
        return [
            (camera, self.folder / f"{star}{camera + 1}{self.suffixes[suffix]}")
            for camera, suffix in enumerate(self.suffix[row].tolist())
            if suffix >= 0
        ]

    def selected(self, rows: npt.NDArray[np.bool_]) -> "StarFiles":
        """Return the same with some of the stars."""
        return replace(self, ids=self.ids[rows], suffix=self.suffix[rows])

    def unused_of_stars(self) -> dict[int, list[str]]:
        """Return the unused files that may hold a camera that their star lacks, by star."""
        has_camera = self.has_camera
        found: dict[int, list[str]] = {}
        for name in self.unused:
            digits = _DIGITS.search(name)
            if digits is None or len(digits[0]) > _ID_DIGITS + 1:
                continue
            star, camera = int(digits[0][:_ID_DIGITS]), digits[0][_ID_DIGITS:]
            cameras = [int(camera) - 1] if camera in {"1", "2", "3", "4"} else [0, 1, 2, 3]
            row = int(np.searchsorted(self.ids, star))
            is_known = row < len(self.ids) and self.ids[row] == star
            if not (is_known and has_camera[row, cameras].all()):
                found.setdefault(star, []).append(name)
        return found

    def unused_error(self) -> SourceFormatError:
        """Return the error that names the unused files."""
        cure = "finish the download, rename or remove them"
        if len(self.ids):
            cure += ", or skip such stars with on_bad='skip' (--on-bad skip)"
        return SourceFormatError(
            f"{self.folder}: files that look like a star's and cannot be used "
            f"({len(self.unused):,}): {listed_names(self.unused)}; expected "
            f"<sobject_id><camera 1 to 4>.fits, or the same with .gz, .bz2, .xz or .fz: {cure}"
        )


def is_fits_folder(path: Path) -> bool:
    """Return whether a path is a folder with files that are named like GALAH's stars."""
    return path.is_dir() and any(_looks_like_a_star(file.name) for file in path.iterdir())


def find_star_files(folder: Path) -> StarFiles:
    """List the files of a folder.

    Raises
    ------
    SourceMissingError, SourceAccessError
        If the folder does not exist or cannot be read.
    SourceFormatError
        If no file looks like a star's.
    BadSpectraError
        If a star has two files of one camera.
    """
    if not folder.is_dir():
        msg = f"{folder} is not a folder; expected one with GALAH's FITS files"
        raise SourceMissingError(msg)
    names: list[str] = []
    unused: list[str] = []
    others: list[str] = []
    with explain_access_errors(folder), os.scandir(folder) as entries:
        for entry in entries:
            if _STAR_FILE.fullmatch(entry.name) and entry.is_file():
                names.append(entry.name)
            elif _looks_like_a_star(entry.name):
                unused.append(entry.name + ("" if entry.is_file() else " (not a file)"))
            elif _LIKE_FITS.search(entry.name) and not entry.name.startswith(_APPLE_DOUBLE):
                others.append(entry.name)
    if not names and not unused:
        msg = f"{folder}: no file is named <sobject_id><camera>.fits; check the folder"
        raise SourceFormatError(msg)
    return _star_files(folder, sorted(names), tuple(sorted(unused)), tuple(sorted(others)))


def _star_files(
    folder: Path, names: list[str], unused: tuple[str, ...], others: tuple[str, ...]
) -> StarFiles:
    """Return the files of stars by their sorted names."""
    n_named = _ID_DIGITS + 1  # the digits of star and camera
    doubles = [
        f"{one} and {other}" for one, other in pairwise(names) if one[:n_named] == other[:n_named]
    ]
    if doubles:
        msg = (
            f"{folder}: two files of one star and camera ({len(doubles):,}): {listed(doubles)}; "
            f"remove one of each"
        )
        raise BadSpectraError(msg)
    ids, row = np.unique(
        np.array([int(name[:_ID_DIGITS]) for name in names], dtype=np.int64), return_inverse=True
    )
    suffixes = sorted({name[n_named:] for name in names})
    index = {suffix: number for number, suffix in enumerate(suffixes)}
    suffix = np.full((len(ids), len(CAMERAS)), -1, dtype=np.int16)
    cameras = np.array([int(name[_ID_DIGITS]) - 1 for name in names], dtype=np.intp)
    suffix[row, cameras] = [index[name[n_named:]] for name in names]
    return StarFiles(folder, ids, suffix, tuple(suffixes), unused, others)


def _looks_like_a_star(name: str) -> bool:
    return not name.startswith(_APPLE_DOUBLE) and _LIKE_A_STAR.search(name) is not None


def printable(text: str) -> str:
    """Return a text of foreign origin, such as a file's name, on one line that can be printed."""
    return text if text.isprintable() else ascii(text)


def listed(items: Sequence[str], separator: str = ", ") -> str:
    """Return the first items as a text, and the number of the others."""
    shown = separator.join(items[:_MAX_LISTED])
    return shown if len(items) <= _MAX_LISTED else f"{shown} and {len(items) - _MAX_LISTED:,} more"


def listed_names(names: Sequence[str]) -> str:
    """Return the first names of files as a text, and the number of the others."""
    return listed([printable(name)[:_MAX_NAME_LENGTH] for name in names])
