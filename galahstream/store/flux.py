"""Reading flux: rows by number, mapped where the file allows it and through h5py elsewhere."""

import os
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import numpy.typing as npt

from galahstream.store.layout import ArrayPlace


class FluxReader(Protocol):
    """Reads rows of flux from a file that it opens on first use, in each process anew."""

    way: str

    def read(self, rows: npt.NDArray[np.int64], pixels: slice) -> npt.NDArray[np.float32]:
        """Return rows as an owned float32 array, shape (n, width of the pixels)."""

    def close(self) -> None:
        """Let go of the file; the next read opens it again."""


class MappedFlux:
    """Rows of a file whose flux lies uncompressed, one row after another."""

    way = "mapped"

    def __init__(self, place: ArrayPlace) -> None:
        self._place = place
        self._mapping: npt.NDArray[np.float32] | None = None
        self._process = -1

    def read(self, rows: npt.NDArray[np.int64], pixels: slice) -> npt.NDArray[np.float32]:
        """Return rows as an owned float32 array of this machine's byte order."""
        mapping = self._opened()
        flux = np.empty((len(rows), pixels.stop - pixels.start), dtype=np.float32)
        if mapping.dtype.isnative and flux.shape[1] == mapping.shape[1]:
            # mode="clip" spares np.take a second copy of the output; the store checked the rows.
            np.take(mapping, rows, axis=0, out=flux, mode="clip")
        else:
            for number, row in enumerate(rows):
                flux[number] = mapping[row, pixels]
        return flux

    def close(self) -> None:
        """Let go of the mapping."""
        self._mapping = None

    def _opened(self) -> npt.NDArray[np.float32]:
        if self._mapping is None or self._process != os.getpid():
            self._mapping = map_array(self._place)
            self._process = os.getpid()
        return self._mapping


class Hdf5Flux:
    """Rows of a compressed dataset, through h5py."""

    way = "h5py"

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: h5py.File | None = None
        self._process = -1

    def read(self, rows: npt.NDArray[np.int64], pixels: slice) -> npt.NDArray[np.float32]:
        """Return rows as an owned float32 array."""
        dataset = self._opened()["flux"]
        flux = np.empty((len(rows), pixels.stop - pixels.start), dtype=np.float32)
        # Neighbours in the file are read one after another: a chunk is then decompressed once.
        for number in np.argsort(rows, kind="stable"):
            dataset.read_direct(flux, np.s_[rows[number], pixels], np.s_[number, :])
        return flux

    def close(self) -> None:
        """Close the file."""
        if self._file is not None and self._process == os.getpid():
            self._file.close()
        self._file = None

    def _opened(self) -> h5py.File:
        # A handle that crossed a fork shares its file position and cache with the parent.
        if self._file is None or self._process != os.getpid():
            self._file = h5py.File(self._path, "r")
            self._process = os.getpid()
        return self._file


def map_array(place: ArrayPlace) -> npt.NDArray[Any]:
    """Return an array of a store as a read-only mapping."""
    if 0 in place.shape:
        return np.empty(place.shape, dtype=place.dtype)
    return np.memmap(place.path, place.dtype, "r", place.offset, place.shape)


def flux_reader(path: Path, place: ArrayPlace | None) -> FluxReader:
    """Return the fastest reader that a store's flux allows."""
    return Hdf5Flux(path) if place is None else MappedFlux(place)
