"""Store formats: a folder of .npy files, or one HDF5 file."""

from pathlib import Path

from galahstream.store.formats.base import StoreFormat
from galahstream.store.formats.hdf5 import Hdf5Format
from galahstream.store.formats.npy import NpyFormat

NPY = NpyFormat()
HDF5 = Hdf5Format()
FORMATS: dict[str, StoreFormat] = {"npy": NPY, "hdf5": HDF5}
"""The formats by the name that users give."""


def format_of(path: Path) -> StoreFormat:
    """Return the format of a store: npy for a folder, hdf5 for a file."""
    return NPY if path.is_dir() else HDF5
