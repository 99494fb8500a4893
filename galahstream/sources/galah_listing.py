"""Find GALAH's star files in a folder and in all folders in it, and make their index.

Numbers of files are collected in arrays while the folders are listed: four million
files as Python objects would need gigabytes.
"""

import os
import stat
from array import array
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from galahstream.errors import SourceFormatError, SourceMissingError
from galahstream.sources.folder_tree import FolderTree, relative_name, status_of
from galahstream.sources.galah_folder import StarFiles, StarTexts, star_file_name
from galahstream.sources.galah_names import (
    FileNames,
    listed_names,
    looks_like_a_star,
    looks_like_fits,
    parse_star_name,
    printable,
    resembled_star,
)
from galahstream.sources.packed_text import PackedText, TextPacker
from galahstream.survey.wavelength import CAMERAS
from galahstream.system.progress import progress_bar


def is_fits_folder(path: Path) -> bool:
    """Return whether a path is a folder that holds files named like GALAH's stars, at any depth.

    Raises
    ------
    SourceAccessError
        If a folder that comes before the first such file cannot be read.
    """
    files = FolderTree(path, parse_star_name).files()
    return path.is_dir() and any(looks_like_a_star(entry.name) for _, entry in files)


def find_star_files(folder: Path, *, progress: bool = False) -> StarFiles:
    """List the star files of a folder and of all folders in it.

    Hidden folders are skipped. Links to folders are followed, and each folder is listed
    once, however many links lead to it.

    Parameters
    ----------
    folder : Path
    progress : bool
        Show a progress bar on a terminal when it takes longer than a second.

    Raises
    ------
    SourceMissingError
        If the folder does not exist.
    SourceAccessError
        If the folder, or one in it, cannot be read.
    SourceFormatError
        If no file looks like a star's.
    """
    if not folder.is_dir():
        msg = f"{folder} is not a folder; expected one with GALAH's FITS files"
        raise SourceMissingError(msg)
    # A folder with the name of a star's file is named, instead of a camera being missed.
    tree, listing = FolderTree(folder.resolve(), parse_star_name), _Listing()
    with progress_bar(None, "listing", unit=" files", enabled=progress) as bar:
        for relative, entry in tree.files():
            listing.add(relative, entry)
            bar.update()
    return listing.star_files(tree)


class _Found(NamedTuple):
    """The n star files, sorted by star and camera, then by folder and suffix.

    Attributes
    ----------
    key : ndarray, shape (n,), int64
        Star and camera, from 1 to 4, as in the names: 16 digits.
    folder_number, suffix, size, mtime_ns : ndarray, shape (n,)
        As in `StarFiles`.
    """

    key: npt.NDArray[np.int64]
    folder_number: npt.NDArray[np.int32]
    suffix: npt.NDArray[np.int16]
    size: npt.NDArray[np.int64]
    mtime_ns: npt.NDArray[np.int64]


class _Listing:
    """What was listed so far."""

    def __init__(self) -> None:
        self._folders, self._suffixes = TextPacker(), dict[str, int]()
        self._last_folder: str | None = None
        self._key, self._folder_number, self._suffix = array("q"), array("i"), array("h")
        self._size, self._mtime_ns = array("q"), array("q")
        self._unused, self._resembled = TextPacker(), array("q")
        self._others = TextPacker()

    def add(self, folder: str, entry: "os.DirEntry[str]") -> None:
        """Record a file of a folder."""
        star = parse_star_name(entry.name)
        if star is None and not looks_like_a_star(entry.name):
            if looks_like_fits(entry.name):
                self._others.append(relative_name(folder, entry.name))
            return
        status = status_of(entry)
        if status is None or not stat.S_ISREG(status.st_mode):
            self._add_unused(folder, entry.name, " (not a file)")
        elif star is None:
            self._add_unused(folder, entry.name)
        else:
            if folder != self._last_folder:
                self._folders.append(folder)
                self._last_folder = folder
            key, suffix = star
            self._key.append(key)
            self._folder_number.append(len(self._folders) - 1)
            self._suffix.append(self._suffixes.setdefault(suffix, len(self._suffixes)))
            self._size.append(status.st_size)
            self._mtime_ns.append(status.st_mtime_ns)

    def _add_unused(self, folder: str, name: str, note: str = "") -> None:
        self._unused.append(relative_name(folder, name) + note)
        self._resembled.append(resembled_star(name))

    def star_files(self, tree: FolderTree) -> StarFiles:
        """Return the index of what was listed.

        Raises
        ------
        SourceFormatError
            If no file looks like a star's.
        """
        if not self._key and not self._unused:
            msg = (
                f"{tree.top}: no file in it, or in a folder in it, is named "
                f"<sobject_id><camera>.fits; check the folder"
            )
            raise SourceFormatError(msg)
        found, suffixes = self._found(), tuple(sorted(self._suffixes))
        folders, unused = self._folders.packed(), self._unused.packed()
        is_first = _is_new(found.key)
        first = _Found._make(values[is_first] for values in found)
        star, camera = first.key // 10, first.key % 10 - 1
        is_star = _is_new(star)
        ids, row = star[is_star], np.cumsum(is_star) - 1

        def by_star(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
            """Return values of files by star and camera, shape (N, 4); -1 where there is none."""
            table = np.full((len(ids), len(CAMERAS)), -1, dtype=values.dtype)
            table[row, camera] = values
            return table

        resembled = np.asarray(self._resembled)
        is_missed = _is_missed(resembled, first.key)
        return StarFiles(
            folder=tree.top,
            ids=ids,
            folder_number=by_star(first.folder_number),
            suffix=by_star(first.suffix),
            size=by_star(first.size),
            mtime_ns=by_star(first.mtime_ns),
            folders=folders,
            suffixes=suffixes,
            links=PackedText.of(tree.links),
            doubles=_doubles(found, np.flatnonzero(~is_first), folders, suffixes),
            missed=_missed(resembled // 10, np.flatnonzero(is_missed), unused),
            unused=FileNames.of(unused),
            superfluous=FileNames.of(
                unused[index] for index in np.flatnonzero(~is_missed).tolist()
            ),
            others=FileNames.of(self._others.packed()),
        )

    def _found(self) -> _Found:
        rank = {suffix: number for number, suffix in enumerate(sorted(self._suffixes))}
        sorted_number = np.array([rank[suffix] for suffix in self._suffixes], dtype=np.int16)
        key, folder_number = np.asarray(self._key), np.asarray(self._folder_number)
        suffix = sorted_number[np.asarray(self._suffix)]
        order = np.lexsort((suffix, folder_number, key))
        return _Found(
            key[order],
            folder_number[order],
            suffix[order],
            np.asarray(self._size)[order],
            np.asarray(self._mtime_ns)[order],
        )


def _is_new(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return which of some sorted numbers differ from the one before."""
    is_new: npt.NDArray[np.bool_] = np.diff(numbers, prepend=-1) != 0
    return is_new


def _is_missed(
    resembled: npt.NDArray[np.int64], keys: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    """Return which unused files may be a camera that the star they resemble lacks.

    Parameters
    ----------
    resembled : ndarray, shape (m,), int64
        Star and camera that each unused file resembles, as `resembled_star` returns them.
    keys : ndarray, shape (n,), int64
        Star and camera of each file that is used, increasing.
    """
    may_be_any = resembled % 10 == 0
    last = resembled + np.where(may_be_any, len(CAMERAS), 0)
    n_there = np.searchsorted(keys, last, "right") - np.searchsorted(keys, resembled)
    is_lacking = n_there < np.where(may_be_any, len(CAMERAS), 1)
    return (resembled >= 0) & is_lacking


def _doubles(
    found: _Found, positions: npt.NDArray[np.intp], folders: PackedText, suffixes: tuple[str, ...]
) -> StarTexts:
    """Return the stars of files that follow one of the same star and camera."""

    def name(position: int) -> str:
        star, camera = divmod(int(found.key[position]), 10)
        file = star_file_name(star, camera - 1, suffixes[found.suffix[position]])
        return printable(relative_name(folders[int(found.folder_number[position])], file))

    ids, texts = array("q"), TextPacker()
    for star, group in groupby(positions.tolist(), key=lambda position: found.key[position] // 10):
        first, *more = group
        text = f"{name(first - 1)} and {name(first)}"
        ids.append(int(star))
        texts.append(text + (f" (and {len(more):,} more of this star)" if more else ""))
    return StarTexts(np.array(ids, dtype=np.int64), texts.packed())


def _missed(
    stars: npt.NDArray[np.int64], positions: npt.NDArray[np.intp], unused: PackedText
) -> StarTexts:
    """Return the stars that unused files, given by their positions, resemble."""
    ids, texts = array("q"), TextPacker()
    by_star = positions[np.argsort(stars[positions], kind="stable")]
    for star, group in groupby(by_star.tolist(), key=lambda position: stars[position]):
        ids.append(int(star))
        texts.append(listed_names(sorted(unused[position] for position in group)))
    return StarTexts(np.array(ids, dtype=np.int64), texts.packed())
