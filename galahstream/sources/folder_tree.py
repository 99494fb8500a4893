"""All files of a folder and of the folders in it, each folder listed once."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from galahstream.sources.base import explain_access_errors

# What the system says of a link to nothing, to itself, or through a file.
_LEADS_NOWHERE = (errno.ENOENT, errno.ELOOP, errno.ENOTDIR)


class _Folder(NamedTuple):
    """A folder to list: its path from the top, and without links."""

    relative: str
    real: str


class FolderTree:
    """A folder with all folders in it, except hidden ones.

    Links to folders are followed, and a folder is listed once, however many links lead to
    it: under its own name if it is in the tree.

    Parameters
    ----------
    top : Path
    counts_as_file : callable
        Says of a folder's name whether it is to be yielded, not listed.

    Attributes
    ----------
    links : list of str
        Real paths of the folders that links led to, as far as they are listed.
    """

    def __init__(self, top: Path, counts_as_file: Callable[[str], object]) -> None:
        self.top = top
        self.links: list[str] = []
        self._counts_as_file = counts_as_file

    def files(self) -> Iterator[tuple[str, "os.DirEntry[str]"]]:
        """Yield everything but folders, each with the path of its folder from the top.

        The order of the folders depends on their names alone, that of the files in a
        folder on the file system.

        Raises
        ------
        SourceAccessError
            If a folder cannot be read; it is named.
        """
        folders, links = [_Folder("", os.path.realpath(self.top))], list[_Folder]()
        seen: set[str] = set()
        while folders or links:
            is_link = not folders
            folder = (folders or links).pop()
            if folder.real in seen:
                continue
            seen.add(folder.real)
            if is_link:
                self.links.append(folder.real)
            inner: list[str] = []
            linked: list[str] = []
            path = self.top / folder.relative
            with explain_access_errors(path), os.scandir(path) as entries:
                for entry in entries:
                    if not _is_folder(entry) or self._counts_as_file(entry.name):
                        yield folder.relative, entry
                    elif not entry.name.startswith("."):
                        (linked if entry.is_symlink() else inner).append(entry.name)
            # The last is taken first.
            for name in sorted(inner, reverse=True):
                real = f"{folder.real.rstrip(os.sep)}{os.sep}{name}"
                folders.append(_Folder(relative_name(folder.relative, name), real))
            for name in sorted(linked, reverse=True):
                relative = relative_name(folder.relative, name)
                links.append(_Folder(relative, os.path.realpath(path / name)))


def relative_name(folder: str, name: str) -> str:
    """Return the path of a file from the top, given that of its folder; the top is empty."""
    return f"{folder}{os.sep}{name}" if folder else name


def status_of(entry: "os.DirEntry[str]") -> os.stat_result | None:
    """Return size, time and kind of a file, or None for a link that leads nowhere.

    Raises
    ------
    SourceAccessError
        If the system does not tell.
    """
    try:
        return entry.stat()
    except OSError as error:
        if error.errno in _LEADS_NOWHERE:
            return None
        with explain_access_errors(Path(entry.path)):
            raise


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    if not entry.is_symlink():
        return entry.is_dir()
    status = status_of(entry)
    return status is not None and stat.S_ISDIR(status.st_mode)
