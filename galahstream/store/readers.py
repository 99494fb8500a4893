"""Reading stored flux: three ways of bringing rows into memory behind one name."""

import mmap
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np
import numpy.typing as npt

from galahstream.errors import DamagedRowError, StoreFormatError
from galahstream.store.layout import RowIndex
from galahstream.store.readahead import FileSignature, ReadAheadFile, advise

# Rows brought in by one step: they stay in the second-level cache until they are transformed.
_STEP_ROWS = 4


class FluxReader(Protocol):
    """Brings rows of stored flux into memory from a file that it opens on first use."""

    way: str

    def pieces(
        self, rows: npt.NDArray[np.int64]
    ) -> Iterator[tuple[slice, npt.NDArray[Any], npt.NDArray[np.int64]]]:
        """Yield (numbers, flat, starts) for some rows after others, in their order.

        ``flat[starts[i] : starts[i] + L]`` is the row number ``numbers.start + i``
        of those asked for, as it is stored; it may change at the next step.
        """

    def prefetch(self, rows: npt.NDArray[np.int64]) -> None:
        """Have rows brought closer that will be asked for soon."""

    def where(self, row: int) -> str:
        """Return the place of a row in words, for messages."""

    @property
    def watched(self) -> FileSignature:
        """The file, and what it was when its store was opened."""

    def close(self) -> None:
        """Let go of the file; the next read opens it again."""


class MappedFlux:
    """Rows of a mapped file, where they are.

    Parameters
    ----------
    places : RowIndex
        Where the rows lie.
    """

    way = "mapped"

    def __init__(self, places: RowIndex) -> None:
        self._file = ReadAheadFile(places)
        self._places = places
        self._mapping: mmap.mmap | None = None
        self._flat: npt.NDArray[Any] = np.empty(0, dtype=places.dtype)
        self._process = -1
        # From this byte on, rows start at multiples of the item size.
        self._first = int(places.chunk_offsets[0]) % places.dtype.itemsize
        self._items = places.in_items(self._first)

    def pieces(
        self, rows: npt.NDArray[np.int64]
    ) -> Iterator[tuple[slice, npt.NDArray[Any], npt.NDArray[np.int64]]]:
        """Yield all rows at once, in the mapping itself."""
        self._file.prefetch(rows)
        self._file.check()
        flat = self._opened()
        yield slice(0, len(rows)), flat, self._items.offsets(rows)
        self._file.check()

    @property
    def watched(self) -> FileSignature:
        """The file, and what it was when its store was opened."""
        return self._file.watched

    def where(self, row: int) -> str:
        """Return the place of a row in words."""
        return _place(self._places, row)

    def prefetch(self, rows: npt.NDArray[np.int64]) -> None:
        """Have the system read rows ahead."""
        self._file.prefetch(rows)

    def release_pages(self) -> None:
        """Give the pages of the mapping back; the file's cache keeps them while there is room."""
        mapping = self._mapping
        if mapping is not None:
            advise(mapping, "MADV_DONTNEED")

    def close(self) -> None:
        """Let go of the mapping; it ends when the last read of it has ended."""
        self._mapping, self._process = None, -1
        self._flat = np.empty(0, dtype=self._places.dtype)
        self._file.close()

    def _opened(self) -> npt.NDArray[Any]:
        if self._process != os.getpid():
            with self._places.path.open("rb") as file:
                mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            if len(mapping) < self._places.stop:
                msg = f"{self._places.path}: {len(mapping)} bytes, and {self._places.stop} needed: "
                raise StoreFormatError(msg + "the file was truncated; convert again")
            advise(mapping, "MADV_RANDOM")
            count = (len(mapping) - self._first) // self._places.dtype.itemsize
            self._mapping = mapping
            self._flat = np.frombuffer(mapping, self._places.dtype, count, self._first)
            self._process = os.getpid()
        return self._flat


class PreadFlux:
    """Rows read with ``pread``: no page is mapped, and resident memory stays flat."""

    way = "pread"

    def __init__(self, places: RowIndex) -> None:
        self._file = ReadAheadFile(places)
        self._places = places
        self._thread = threading.local()

    def pieces(
        self, rows: npt.NDArray[np.int64]
    ) -> Iterator[tuple[slice, npt.NDArray[Any], npt.NDArray[np.int64]]]:
        """Yield four rows after four, in memory that the thread uses again."""
        self._file.prefetch(rows)
        places = self._places
        if not hasattr(self._thread, "flat"):
            self._thread.flat = np.empty(_STEP_ROWS * places.n_pixels, dtype=places.dtype)
        flat = self._thread.flat
        data = memoryview(flat.view(np.uint8).data)
        offsets = places.offsets(rows).tolist()
        starts = np.arange(_STEP_ROWS) * places.n_pixels
        self._file.check()
        for first in range(0, len(rows), _STEP_ROWS):
            step = offsets[first : first + _STEP_ROWS]
            for number, offset in enumerate(step):
                place = number * places.row_bytes
                self._fill(data[place : place + places.row_bytes], offset)
            yield slice(first, first + len(step)), flat, starts[: len(step)]
        self._file.check()

    @property
    def watched(self) -> FileSignature:
        """The file, and what it was when its store was opened."""
        return self._file.watched

    def where(self, row: int) -> str:
        """Return the place of a row in words."""
        return _place(self._places, row)

    def prefetch(self, rows: npt.NDArray[np.int64]) -> None:
        """Have the system read rows ahead."""
        self._file.prefetch(rows)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _fill(self, data: memoryview, offset: int) -> None:
        descriptor = self._file.descriptor()
        while data:
            count = os.preadv(descriptor, [data], offset)
            if count == 0:
                msg = f"{self._places.path}: ends at byte {offset}, where flux was expected: the "
                raise StoreFormatError(msg + "file was truncated; convert again")
            data, offset = data[count:], offset + count


class Hdf5Flux:
    """Rows of a dataset that does not lie plainly in its file, through h5py."""

    way = "h5py"

    def __init__(self, path: Path) -> None:
        self._path = path
        self.watched = FileSignature(path)
        self._file: h5py.File | None = None
        self._process = -1

    def pieces(
        self, rows: npt.NDArray[np.int64]
    ) -> Iterator[tuple[slice, npt.NDArray[Any], npt.NDArray[np.int64]]]:
        """Yield all rows at once, in memory of their own."""
        self.watched.check()
        dataset = self._opened()
        n_pixels = dataset.shape[1]
        stored = np.empty((len(rows), n_pixels), dtype=dataset.dtype)
        # Neighbours in the file are read one after another: a chunk is then decompressed once.
        for number in np.argsort(rows, kind="stable"):
            try:
                dataset.read_direct(stored, np.s_[rows[number], :], np.s_[number, :])
            except OSError as error:
                self.watched.check()
                msg = (
                    f"{self.where(rows[number])} cannot be read ({error}), it was damaged; find "
                    f"all such rows with 'galahstream verify {self._path}', and add --repair "
                    f"SOURCE to restore them"
                )
                raise DamagedRowError(msg) from error
        self.watched.check()
        yield slice(0, len(rows)), stored.reshape(-1), np.arange(len(rows)) * n_pixels

    def where(self, row: int) -> str:
        """Return the place of a row in words."""
        return f"{self._path}, dataset 'flux', row {row}"

    def prefetch(self, rows: npt.NDArray[np.int64]) -> None:
        """Do nothing: where the rows lie, HDF5 alone knows."""

    def close(self) -> None:
        """Close the file."""
        if self._file is not None and self._process == os.getpid():
            self._file.close()
        self._file = None

    def _opened(self) -> h5py.Dataset:
        # A handle that crossed a fork shares its file position and cache with the parent.
        if self._file is None or self._process != os.getpid():
            self._file = h5py.File(self._path, "r")
            self._process = os.getpid()
        try:
            return self._file["flux"]
        except (KeyError, RuntimeError) as error:
            msg = f"{self._path}: HDF5 cannot open 'flux' any more ({error}); convert again"
            raise StoreFormatError(msg) from error


def _place(places: RowIndex, row: int) -> str:
    first = int(places.offsets(np.array([row]))[0])
    return f"{places.path}, bytes {first} to {first + places.row_bytes - 1}"
