"""Choosing the reader of a source by what lies there, not by its name alone."""

import os
from pathlib import Path
from typing import TypeAlias

from galahstream.errors import LabelError, OptionError, SourceFormatError, SourceMissingError
from galahstream.sources.arrays import Hdf5Source, NpyPairSource
from galahstream.sources.base import Source
from galahstream.sources.galah_fits import FitsSource, is_fits_folder
from galahstream.survey.labels import LabelChoice

PathLike: TypeAlias = str | os.PathLike[str]

_NPY_MAGIC = b"\x93NUMPY"
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


def open_source(
    source: PathLike | tuple[PathLike, PathLike] | Source,
    labels: LabelChoice = None,
    on_bad: str = "raise",
) -> Source:
    """Open a source.

    Parameters
    ----------
    source : path-like, pair of path-like, or Source
        A folder with `spectra.npy` (and `labels.npy`), the two files, an HDF5
        file, a folder of GALAH's FITS files, or a source that is open already.
    labels : label choice
        See :mod:`galahstream.survey.labels`.
    on_bad : {"raise", "skip"}
        What to do with stars whose files do not fit.

    Raises
    ------
    SourceMissingError, SourceFormatError, SourceShapeError, LabelError
    """
    if isinstance(source, tuple | list):
        if len(source) != 2:
            msg = f"{len(source)} source paths; expected one, or two: spectra.npy and labels.npy"
            raise OptionError(msg)
        return NpyPairSource(Path(source[0]), Path(source[1]), labels)
    if not isinstance(source, str | os.PathLike):
        return source
    path = Path(source)
    if not path.exists():
        msg = (
            f"{path} does not exist; expected a folder with spectra.npy, an HDF5 file or FITS files"
        )
        raise SourceMissingError(msg)
    return _open_folder(path, labels, on_bad) if path.is_dir() else _open_file(path, labels)


def _open_folder(folder: Path, labels: LabelChoice, on_bad: str) -> Source:
    if (folder / "spectra.npy").exists():
        beside = folder / "labels.npy"
        return NpyPairSource(folder / "spectra.npy", beside if beside.exists() else None, labels)
    if is_fits_folder(folder):
        if labels is not None:
            msg = f"{folder}: GALAH's star files carry no labels; leave out --labels"
            raise LabelError(msg)
        return FitsSource(folder, on_bad)
    found = "is a store already" if (folder / "manifest.json").exists() else "holds neither"
    msg = f"{folder} {found}; expected a folder with spectra.npy, or with GALAH's FITS files"
    raise SourceFormatError(msg)


def _open_file(path: Path, labels: LabelChoice) -> Source:
    with path.open("rb") as file:
        first_bytes = file.read(8)
    if first_bytes.startswith(_NPY_MAGIC):
        beside = path.parent / "labels.npy"
        return NpyPairSource(path, beside if beside.exists() else None, labels)
    if first_bytes == _HDF5_MAGIC:
        return Hdf5Source(path, labels)
    found = "is empty" if not first_bytes else f"begins with {first_bytes!r}"
    msg = f"{path} {found}: neither a .npy nor an HDF5 file, whatever its name says; check the file"
    raise SourceFormatError(msg)
