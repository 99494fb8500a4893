"""Store formats: a folder of .npy files, one HDF5 file, or a collection of such stores."""

import os
from pathlib import Path

from galahstream.store.formats.base import StoreFormat
from galahstream.store.formats.collection import CollectionFormat, is_collection
from galahstream.store.formats.hdf5 import Hdf5Format
from galahstream.store.formats.npy import NpyFormat
from galahstream.store.layout import FormatName
from galahstream.system.hdf5_safety import Locking

FORMATS: dict[str, StoreFormat] = {"npy": NpyFormat(), "hdf5": Hdf5Format()}
"""The formats by the name that users give."""

_HDF5_SUFFIXES = (".h5", ".hdf5")


def format_named(path: str | os.PathLike[str]) -> FormatName:
    """Return the format that the name of a new store suggests: hdf5 for .h5 and .hdf5, else npy."""
    return "hdf5" if Path(path).suffix.lower() in _HDF5_SUFFIXES else "npy"


def format_of(path: Path, locking: Locking = None) -> StoreFormat:
    """Return the format of a store: npy or a collection for a folder, hdf5 for a file."""
    if is_collection(path):
        return CollectionFormat(locking)
    return NpyFormat() if path.is_dir() else Hdf5Format(locking)
