"""Keep the index of star files in a file, so that a folder is listed once.

The file holds its own digest, then a head in JSON, then arrays in NumPy's format. An
index is kept beside the journal of a conversion, and one that is damaged or of another
folder is not used.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from galahstream.sources.galah_folder import StarFiles, StarTexts
from galahstream.sources.galah_names import FileNames
from galahstream.sources.packed_text import PackedText
from galahstream.system.digest import file_digest
from galahstream.system.disk import explain_disk_full

_FORMAT = 1
_DIGEST_BYTES = 16
_FILE_NAMES = ("unused", "superfluous", "others")


def save_index(files: StarFiles, path: Path) -> None:
    """Write the index of a folder into a file, atomically.

    Raises
    ------
    StorageFullError
        If the disk is full.
    """
    head = {
        "format": _FORMAT,
        "folder": str(files.folder),
        "suffixes": files.suffixes,
        **{name: asdict(getattr(files, name)) for name in _FILE_NAMES},
    }
    temporary = path.with_name(f"{path.name}.new")
    with explain_disk_full(temporary):
        with temporary.open("wb+") as file:
            file.write(bytes(_DIGEST_BYTES))
            file.write(json.dumps(head).encode() + b"\n")
            for array in _arrays(files):
                np.save(file, array, allow_pickle=False)
            digest = file_digest(file, _DIGEST_BYTES)
            file.seek(0)
            file.write(digest.encode())
        temporary.replace(path)


def load_index(path: Path, folder: Path) -> StarFiles | None:
    """Return the index of a folder from a file.

    None if the file does not exist, is damaged, or holds the index of another folder. The
    folder is not listed, and its files may have changed since: see
    :meth:`~galahstream.sources.galah_folder.StarFiles.check_unchanged`.
    """
    if not path.exists():
        return None
    with path.open("rb") as file:
        digest = file.read(_DIGEST_BYTES).decode(errors="replace")
        if file_digest(file, _DIGEST_BYTES) != digest:
            return None
        file.seek(_DIGEST_BYTES)
        head = json.loads(file.readline())
        if head["format"] != _FORMAT or head["folder"] != str(folder.resolve()):
            return None
        return _star_files(folder.resolve(), head, file)


def _arrays(files: StarFiles) -> Iterator[npt.NDArray[Any]]:
    """Yield all arrays of an index, in the order of the file."""
    yield from (files.ids, files.folder_number, files.suffix, files.size, files.mtime_ns)
    for texts in (files.folders, files.links):
        yield from (texts.data, texts.ends)
    for of_stars in (files.doubles, files.missed):
        yield from (of_stars.ids, of_stars.texts.data, of_stars.texts.ends)


def _star_files(folder: Path, head: dict[str, Any], file: BinaryIO) -> StarFiles:
    def array() -> npt.NDArray[Any]:
        loaded: npt.NDArray[Any] = np.load(file, allow_pickle=False)
        return loaded

    def texts() -> PackedText:
        return PackedText(array(), array())

    def of_stars() -> StarTexts:
        return StarTexts(array(), texts())

    def names(name: str) -> FileNames:
        return FileNames(head[name]["count"], tuple(head[name]["first"]))

    # Arguments are evaluated in this order, which is that of `_arrays`.
    return StarFiles(
        folder=folder,
        ids=array(),
        folder_number=array(),
        suffix=array(),
        size=array(),
        mtime_ns=array(),
        folders=texts(),
        suffixes=tuple(head["suffixes"]),
        links=texts(),
        doubles=of_stars(),
        missed=of_stars(),
        unused=names("unused"),
        superfluous=names("superfluous"),
        others=names("others"),
    )
