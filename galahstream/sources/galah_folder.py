"""An index of the star files in a folder of GALAH's: arrays, for up to millions of files."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from galahstream.errors import BadSpectraError, SourceFormatError
from galahstream.sources.base import OnBad
from galahstream.sources.galah_names import ID_DIGITS, FileNames
from galahstream.sources.packed_text import PackedText
from galahstream.system.digest import array_digest, text_digest

_SKIP = "skip such stars with on_bad='skip' (--on-bad skip)"


@dataclass(frozen=True, eq=False)
class StarTexts:
    """What is said of some stars.

    Attributes
    ----------
    ids : ndarray, shape (M,), int64
        Their sobject_ids, increasing.
    texts : PackedText
        One text per star.
    """

    ids: npt.NDArray[np.int64]
    texts: PackedText

    def __len__(self) -> int:
        return len(self.ids)

    def items(self) -> Iterator[tuple[int, str]]:
        """Yield the stars with their texts."""
        return zip(self.ids.tolist(), self.texts, strict=True)


@dataclass(frozen=True, eq=False)
class StarFiles:
    """What a folder holds: N stars with up to four files each, and files that are not used.

    Names of files are relative to the folder. A million stars take 100 MB.

    Attributes
    ----------
    folder : Path
        Absolute, without links.
    ids : ndarray, shape (N,), int64
        The sobject_id of each star, increasing.
    folder_number : ndarray, shape (N, 4), int32
        The folder of each camera's file, as an index into `folders`; -1 for a camera that
        the star lacks, here and in `suffix`.
    suffix : ndarray, shape (N, 4), int16
        What the name of each camera's file ends in, as an index into `suffixes`.
    size, mtime_ns : ndarray, shape (N, 4), int64
        Size and modification time of each file, in bytes and ns, when it was listed.
    folders : PackedText
        Paths of the folders.
    suffixes : tuple of str
        ``".fits"``, ``".fits.gz"`` and others, as they are written.
    links : PackedText
        Absolute paths of folders that links in the folder lead to.
    doubles : StarTexts
        Stars that have more than one file of a camera, and the names of two of them; the
        first is the one in the index.
    missed : StarTexts
        Stars that may lack a camera because a file of it is among the `unused`, and the
        names of such files. They need not have any other file.
    unused : FileNames
        Files that look like a star's and are not.
    superfluous : FileNames
        Those of them that are not in `missed`.
    others : FileNames
        FITS files that are not a star's.
    """

    folder: Path
    ids: npt.NDArray[np.int64]
    folder_number: npt.NDArray[np.int32]
    suffix: npt.NDArray[np.int16]
    size: npt.NDArray[np.int64]
    mtime_ns: npt.NDArray[np.int64]
    folders: PackedText
    suffixes: tuple[str, ...]
    links: PackedText
    doubles: StarTexts
    missed: StarTexts
    unused: FileNames
    superfluous: FileNames
    others: FileNames

    @property
    def has_camera(self) -> npt.NDArray[np.bool_]:
        """Which cameras each star has, shape (N, 4)."""
        return self.suffix >= 0

    @property
    def fingerprint(self) -> str:
        """Digest of the stars' ids, and of the names, sizes and modification times of their files.

        It does not depend on the other stars of the folder.
        """
        folders, folder_number = _used(self.folder_number)
        suffixes, suffix = _used(self.suffix)
        names = ([self.folders[i] for i in folders], [self.suffixes[i] for i in suffixes])
        arrays = (self.ids, folder_number, suffix, self.size, self.mtime_ns)
        return text_digest(" ".join([repr(names), *map(array_digest, arrays)]))

    def paths(self, row: int) -> list[tuple[int, Path]]:
        """Return camera, from 0 on, and file of each camera that a star has."""
        cameras = np.flatnonzero(self.suffix[row] >= 0).tolist()
        return [(camera, self._path(row, camera)) for camera in cameras]

    def selected(self, rows: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> "StarFiles":
        """Return the index of some of the stars.

        Parameters
        ----------
        rows : ndarray, shape (n,), int64; or shape (N,), bool
            Increasing row numbers, or whether to take each row.
        """
        return replace(
            self,
            ids=self.ids[rows],
            folder_number=self.folder_number[rows],
            suffix=self.suffix[rows],
            size=self.size[rows],
            mtime_ns=self.mtime_ns[rows],
        )

    def check_unchanged(self, row: int, camera: int, size: int, mtime_ns: int) -> None:
        """Raise `SourceFormatError` if a file is not the one that was listed.

        Parameters
        ----------
        row, camera : int
            From 0 on.
        size, mtime_ns : int
            Size and modification time of the file that is read.
        """
        listed_size = int(self.size[row, camera])
        if size != listed_size or mtime_ns != self.mtime_ns[row, camera]:
            change = (
                "it was written again"
                if size == listed_size
                else f"it had {listed_size:,} bytes and has {size:,}"
            )
            msg = (
                f"{self._path(row, camera)}: it changed since the folder was listed: {change}; put "
                f"it back as it was, or convert again from the start with resume=False "
                f"(--no-resume)"
            )
            raise SourceFormatError(msg)

    def check_names(self, on_bad: OnBad) -> None:
        """Raise an error if names of files are bad, and their stars may not be skipped.

        Raises
        ------
        BadSpectraError
            If a star has two files of one camera.
        SourceFormatError
            If a file looks like a star's and cannot be used.
        """
        if self.doubles and on_bad == "raise":
            names = FileNames.of(self.doubles.texts)
            msg = (
                f"{self.folder}: two files of one star and camera (stars: {names.count:,}): "
                f"{names}; remove one of each, or {_SKIP}"
            )
            raise BadSpectraError(msg)
        if self.unused and (on_bad == "raise" or len(self.ids) == 0):
            cure = "finish the download, rename or remove them"
            if len(self.ids):
                cure += f", or {_SKIP}"
            msg = (
                f"{self.folder}: files that look like a star's and cannot be used "
                f"({self.unused.count:,}): {self.unused}; expected <sobject_id><camera 1 to "
                f"4>.fits, or the same with .gz, .bz2, .xz or .fz: {cure}"
            )
            raise SourceFormatError(msg)

    def _path(self, row: int, camera: int) -> Path:
        suffix = self.suffixes[self.suffix[row, camera]]
        name = star_file_name(int(self.ids[row]), camera, suffix)
        return self.folder / self.folders[int(self.folder_number[row, camera])] / name


def star_file_name(star: int, camera: int, suffix: str) -> str:
    """Return the name of a star's file; the camera counts from 0 on."""
    return f"{star:0{ID_DIGITS}d}{camera + 1}{suffix}"


def _used(
    numbers: npt.NDArray[np.int32] | npt.NDArray[np.int16],
) -> tuple[list[int], npt.NDArray[np.int64]]:
    """Return which numbers from 0 on occur, and an array that refers to these; -1 stays."""
    used = np.unique(numbers[numbers >= 0])
    return used.tolist(), np.where(numbers >= 0, np.searchsorted(used, numbers), -1)
