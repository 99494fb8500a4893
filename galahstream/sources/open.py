"""The choice of a reader by what a path holds, not by its name."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy.typing as npt

from galahstream.errors import LabelError, OptionError, SourceFormatError, SourceMissingError
from galahstream.sources.base import (
    OnBad,
    Source,
    explain_access_errors,
    pointer_reason,
)
from galahstream.sources.galah_fits import FitsSource
from galahstream.sources.galah_index import load_index, save_index
from galahstream.sources.galah_listing import find_star_files, is_fits_folder
from galahstream.sources.hdf5 import Hdf5Source, is_hdf5_file
from galahstream.sources.huggingface import (
    HubAddress,
    HubSource,
    download,
    hub_source,
    is_hub_address,
)
from galahstream.sources.memory import MemorySource
from galahstream.sources.npy import NPY_MAGIC, NpyPairSource
from galahstream.sources.parquet import ColumnNames, ParquetSource
from galahstream.sources.parquet_folder import is_parquet_folder
from galahstream.sources.parquet_table import PARQUET_MAGIC
from galahstream.survey.labels import LabelChoice


@runtime_checkable
class SupportsArray(Protocol):
    """What NumPy makes an array of: arrays, tensors, data frames."""

    def __array__(self) -> npt.NDArray[Any]:
        """Return the values as an array."""


PathLike: TypeAlias = str | os.PathLike[str]
LabelArrays: TypeAlias = npt.ArrayLike | Mapping[str, npt.ArrayLike] | None
Arrays: TypeAlias = npt.NDArray[Any] | SupportsArray | tuple[npt.ArrayLike, LabelArrays]
"""Spectra (N, L) in memory, alone or with labels: (N, K), or a mapping of columns (N,)."""


def open_source(
    source: PathLike | tuple[PathLike, PathLike] | Arrays | Source,
    labels: LabelChoice = None,
    on_bad: OnBad = "raise",
    *,
    index: Path | None = None,
    progress: bool = False,
    columns: ColumnNames | None = None,
) -> Source:
    """Open a source.

    Parameters
    ----------
    source : path-like, pair of path-like, array, (flux, labels), or Source
        A folder with `spectra.npy` (and `labels.npy`), the two files, an HDF5 or Parquet
        file, a folder of GALAH's FITS files, also in folders in it, or of Parquet files
        (HATS), a data set of the Hugging Face hub as ``"hf://owner/name"``, arrays in memory as
        :class:`~galahstream.sources.memory.MemorySource` takes them, or a source
        that is already open.
    labels : label choice
        See :mod:`galahstream.survey.labels`. A source that is already open keeps its own.
    on_bad : {"raise", "skip"}
        What to do with stars whose files cannot be used.
    index : Path, optional
        File that keeps the index of a folder of FITS files. It is written when the folder
        is listed; the same folder is not listed again while the file exists.
    progress : bool
        Show progress bars on a terminal when something is downloaded, or takes longer than a
        second to list.
    columns : ColumnNames, optional
        Names of the columns of spectra in Parquet files.

    Returns
    -------
    Source

    Raises
    ------
    OptionError
        If `source` is none of these.
    SourceMissingError, SourceAccessError, SourceFormatError, SourceShapeError, LabelError
        If there is nothing to read, or it cannot be read.
    """
    columns = columns or ColumnNames()
    opened = _open(source, _Options(labels, on_bad, index, progress, columns))
    _check_columns(opened, columns)
    return opened


def _open(source: Any, options: "_Options") -> Source:
    labels = options.labels
    if isinstance(source, Source):
        return source
    if isinstance(source, tuple | list):
        return _open_pair(source, labels)
    if isinstance(source, SupportsArray) and not isinstance(source, os.PathLike):
        return MemorySource(source, None, labels)
    if not isinstance(source, str | os.PathLike):
        msg = (
            f"source of type {type(source).__name__}; expected a path, two paths, arrays (flux, "
            f"labels) or a Source"
        )
        raise OptionError(msg)
    if is_hub_address(source):
        snapshot = download(HubAddress.parse(os.fspath(source)), progress=options.progress)
        return hub_source(_open_path(snapshot.path, replace(options, index=None)), snapshot.address)
    return _open_path(Path(source), options)


def _open_path(path: Path, options: "_Options") -> Source:
    with explain_access_errors(path):
        if not path.exists():
            msg = (
                f"{path} does not exist; expected a folder with spectra.npy, an HDF5 file or FITS "
                f"files"
            )
            raise SourceMissingError(msg)
        kept = None if options.index is None else load_index(options.index, path)
        if kept is not None:
            _reject_labels(path, options)
            return FitsSource(kept, options.on_bad)
        for reader in _READERS:
            if reader.recognises(path):
                return reader.open(path, options)
        raise _unknown_format(path)


def _open_pair(pair: Sequence[Any], labels: LabelChoice) -> Source:
    are_paths = [isinstance(item, str | os.PathLike) for item in pair]
    if len(pair) != 2 or are_paths[0] != are_paths[1]:
        msg = (
            f"a source of {len(pair)} items; expected a path, two paths (spectra.npy and "
            f"labels.npy), or two arrays (flux, labels)"
        )
        raise OptionError(msg)
    if any(map(is_hub_address, pair)):
        msg = f"{pair[0]} and {pair[1]}: an address hf:// is a complete source; give it alone"
        raise OptionError(msg)
    if are_paths[0]:
        return NpyPairSource(Path(pair[0]), Path(pair[1]), labels)
    return MemorySource(pair[0], pair[1], labels)


@dataclass(frozen=True)
class _Options:
    """How a path is opened, as `open_source` takes it."""

    labels: LabelChoice
    on_bad: OnBad
    index: Path | None
    progress: bool
    columns: ColumnNames


class _Reader(NamedTuple):
    recognises: Callable[[Path], bool]
    open: Callable[[Path, _Options], Source]


def _is_pair_folder(path: Path) -> bool:
    return (path / "spectra.npy").exists()


def _open_pair_folder(folder: Path, options: _Options) -> Source:
    return _open_npy(folder / "spectra.npy", options)


def _open_fits_folder(folder: Path, options: _Options) -> Source:
    _reject_labels(folder, options)
    files = find_star_files(folder, progress=options.progress)
    if options.index is not None:
        save_index(files, options.index)
    return FitsSource(files, options.on_bad)


def _reject_labels(folder: Path, options: _Options) -> None:
    if options.labels is not None:
        msg = f"{folder}: GALAH's star files hold no labels; remove labels= (--labels)"
        raise LabelError(msg)


def _is_parquet(path: Path) -> bool:
    is_file = path.is_file() and _first_bytes(path).startswith(PARQUET_MAGIC)
    return is_file or is_parquet_folder(path)


def _open_parquet(path: Path, options: _Options) -> Source:
    return ParquetSource(
        path,
        options.labels,
        flux=options.columns.flux,
        wavelength=options.columns.wavelength,
        ivar=options.columns.ivar,
    )


def _check_columns(source: Source, columns: ColumnNames) -> None:
    """Raise `OptionError` if columns are named of a source that is not in Parquet files."""
    files = source.original if isinstance(source, HubSource) else source
    given = [name for name, value in columns._asdict().items() if value is not None]
    if given and not isinstance(files, ParquetSource):
        msg = (
            f"{source.name}: {given[0]}_column is for Parquet files; open it without "
            f"(--{given[0]}-column)"
        )
        raise OptionError(msg)


def _is_npy(path: Path) -> bool:
    return path.is_file() and _first_bytes(path).startswith(NPY_MAGIC)


def _open_npy(path: Path, options: _Options) -> Source:
    beside = path.parent / "labels.npy"
    return NpyPairSource(path, beside if beside.exists() else None, options.labels)


def _is_hdf5(path: Path) -> bool:
    return path.is_file() and is_hdf5_file(path)


def _open_hdf5(path: Path, options: _Options) -> Source:
    return Hdf5Source(path, options.labels)


# The first that recognises a path reads it.
_READERS = (
    _Reader(_is_pair_folder, _open_pair_folder),
    _Reader(is_fits_folder, _open_fits_folder),
    _Reader(_is_parquet, _open_parquet),
    _Reader(_is_npy, _open_npy),
    _Reader(_is_hdf5, _open_hdf5),
)


def _unknown_format(path: Path) -> SourceFormatError:
    if path.is_dir():
        content = "is already a store" if (path / "manifest.json").exists() else "holds no spectra"
        return SourceFormatError(
            f"{path} {content}; expected a folder with spectra.npy, GALAH's FITS files or "
            f"Parquet files"
        )
    if not path.is_file():
        return SourceFormatError(f"{path} is neither a file nor a folder; expected one of them")
    first_bytes = _first_bytes(path)
    pointer = pointer_reason(first_bytes)
    if pointer is not None:
        return SourceFormatError(f"{path} is {pointer}")
    content = f"begins with {first_bytes[:8]!r}" if first_bytes else "is empty"
    return SourceFormatError(
        f"{path} {content}: neither a .npy, an HDF5 nor a Parquet file, whatever its name says; "
        f"check the file"
    )


def _first_bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)
