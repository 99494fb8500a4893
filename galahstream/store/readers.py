"""Reading stored rows: mapped, with pread, or through h5py, behind one protocol."""

import mmap
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias

import h5py
import numpy as np
import numpy.typing as npt

from galahstream.errors import DamagedRowError, StoreFormatError
from galahstream.store.layout import RowIndex
from galahstream.store.opening import explain_open_errors
from galahstream.store.readahead import FileSignature, ReadAheadFile, Signature, advise
from galahstream.system.hdf5_safety import Locking
from galahstream.system.processes import PerProcess

Reading: TypeAlias = Literal["auto", "mapped", "pread"]
"""How a user asks for flux to be read."""

Access: TypeAlias = Literal["mapped", "pread", "h5py"]
"""How flux is read."""

STEP_ROWS = 4
"""Rows per pread step: they stay in the second-level cache until they are transformed."""


class RowSpan(NamedTuple):
    """Some of the rows that were requested, as stored, valid only during the call they are for.

    ``buffer[starts[i] : starts[i] + L]`` is row number ``positions.start + i`` of
    those requested.
    """

    positions: slice
    buffer: npt.NDArray[Any]
    starts: npt.NDArray[np.int64]


Consumer: TypeAlias = Callable[[RowSpan], None]


class RowReader(Protocol):
    """Reads rows of stored flux or errors from files that it opens on first use per process."""

    access: ClassVar[Access]

    @property
    def signature(self) -> Signature:
        """The identity of the file, or files, when the store was opened."""

    def read(self, rows: npt.NDArray[np.int64], consume: Consumer) -> None:
        """Call `consume` with spans that together hold the rows, in their order.

        Raises
        ------
        StoreChangedError
            If the file is not the one that was opened, before or after reading.
        DamagedRowError
            If a row cannot be decompressed.
        """

    def prefetch(self, rows: npt.NDArray[np.int64]) -> None:
        """Request rows from the disk that will be read soon."""

    def release_pages(self) -> None:
        """Return the memory of mapped rows to the system, if there is any."""

    def locate(self, row: int) -> str:
        """Return file and bytes of a row, for messages."""

    def close(self) -> None:
        """Close the file; the next read opens it again."""


class _OffsetReader(ABC):
    """The common part of readers that know the offset of each row."""

    def __init__(self, index: RowIndex) -> None:
        self._file = ReadAheadFile(index)
        self._index = index
        self.signature = self._file.signature

    def read(self, rows: npt.NDArray[np.int64], consume: Consumer) -> None:
        """Call `consume` with the rows, and check before and after that the file is the same."""
        self._file.raise_if_changed()
        self._read(rows, consume)
        self._file.raise_if_changed()

    def prefetch(self, rows: npt.NDArray[np.int64]) -> None:
        """Request rows from the disk."""
        self._file.prefetch(rows)

    def locate(self, row: int) -> str:
        """Return file and bytes of a row."""
        first = int(self._index.offsets(np.array([row]))[0])
        return f"{self._index.path}, bytes {first} to {first + self._index.row_bytes - 1}"

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @abstractmethod
    def _read(self, rows: npt.NDArray[np.int64], consume: Consumer) -> None:
        """Call `consume` with the rows."""


class MappedReader(_OffsetReader):
    """Hands out rows of a mapped file without a copy.

    Parameters
    ----------
    index : RowIndex
        Offsets of the rows.
    """

    access: ClassVar[Access] = "mapped"

    def __init__(self, index: RowIndex) -> None:
        super().__init__(index)
        self._mapping: PerProcess[tuple[mmap.mmap, npt.NDArray[Any]]] = PerProcess()
        # From this byte on, rows start at multiples of the item size.
        self._first_byte = int(index.chunk_offsets[0]) % index.dtype.itemsize
        self._item_index = index.in_items(self._first_byte)

    def release_pages(self) -> None:
        """Unmap the pages; the page cache keeps them while there is room."""
        mapping = self._mapping.peek()
        if mapping is not None:
            advise(mapping[0], "MADV_DONTNEED")

    def close(self) -> None:
        """Forget the mapping, which ends when the last read of it has ended."""
        self._mapping.pop()
        super().close()

    def _read(self, rows: npt.NDArray[np.int64], consume: Consumer) -> None:
        _, buffer = self._mapping.get(self._map)
        consume(RowSpan(slice(0, len(rows)), buffer, self._item_index.offsets(rows)))

    def _map(self) -> tuple[mmap.mmap, npt.NDArray[Any]]:
        path, dtype = self._index.path, self._index.dtype
        with explain_open_errors(path), path.open("rb") as file:
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if len(mapping) < self._index.stop:
            msg = f"{path}: {len(mapping)} bytes, expected {self._index.stop}: the file was "
            raise StoreFormatError(msg + "truncated, convert again")
        advise(mapping, "MADV_RANDOM")
        count = (len(mapping) - self._first_byte) // dtype.itemsize
        return mapping, np.frombuffer(mapping, dtype, count, self._first_byte)


class PreadReader(_OffsetReader):
    """Copies rows with ``pread``: no page is mapped, and resident memory stays flat.

    Parameters
    ----------
    index : RowIndex
        Offsets of the rows.
    """

    access: ClassVar[Access] = "pread"

    def __init__(self, index: RowIndex) -> None:
        super().__init__(index)
        self._thread = threading.local()

    def release_pages(self) -> None:
        """Do nothing: no page is mapped."""

    def _read(self, rows: npt.NDArray[np.int64], consume: Consumer) -> None:
        """Read four rows at a time into a buffer that belongs to the thread."""
        index = self._index
        if not hasattr(self._thread, "buffer"):
            self._thread.buffer = np.empty(STEP_ROWS * index.n_pixels, dtype=index.dtype)
        buffer = self._thread.buffer
        data = memoryview(buffer.view(np.uint8).data)
        offsets = index.offsets(rows).tolist()
        starts = np.arange(STEP_ROWS) * index.n_pixels
        for first in range(0, len(rows), STEP_ROWS):
            step = offsets[first : first + STEP_ROWS]
            for slot, offset in enumerate(step):
                begin = slot * index.row_bytes
                self._fill(data[begin : begin + index.row_bytes], offset)
            consume(RowSpan(slice(first, first + len(step)), buffer, starts[: len(step)]))

    def _fill(self, data: memoryview, offset: int) -> None:
        descriptor = self._file.descriptor()
        while data:
            count = os.preadv(descriptor, [data], offset)
            if count == 0:
                msg = f"{self._index.path}: ends at byte {offset}, where a row was expected: the "
                raise StoreFormatError(msg + "file was truncated, convert again")
            data, offset = data[count:], offset + count


class Hdf5Reader:
    """Reads rows through h5py, for datasets that are compressed or in odd chunks.

    Parameters
    ----------
    path : Path
        An HDF5 file.
    name : str
        The dataset.
    locking : bool, "best-effort" or None
        Whether HDF5 locks the file while it reads.
    """

    access: ClassVar[Access] = "h5py"

    def __init__(self, path: Path, name: str, locking: Locking = None) -> None:
        self._path = path
        self._name = name
        self._locking = locking
        self.signature = FileSignature(path)
        self._file: PerProcess[h5py.File] = PerProcess()

    def read(self, rows: npt.NDArray[np.int64], consume: Consumer) -> None:
        """Read all rows into a new buffer, then call `consume` once."""
        self.signature.raise_if_changed()
        dataset = self._dataset()
        n_pixels = dataset.shape[1]
        stored = np.empty((len(rows), n_pixels), dtype=dataset.dtype)
        # Neighbours in the file are read one after another: a chunk is then decompressed once.
        for position in np.argsort(rows, kind="stable"):
            try:
                dataset.read_direct(stored, np.s_[rows[position], :], np.s_[position, :])
            except OSError as error:
                self.signature.raise_if_changed()
                msg = (
                    f"{self.locate(rows[position])} cannot be read ({error}), it was damaged; "
                    f"find all such rows with 'galahstream verify {self._path}', and add "
                    f"--repair SOURCE to restore them"
                )
                raise DamagedRowError(msg) from error
        self.signature.raise_if_changed()
        starts = np.arange(len(rows)) * n_pixels
        consume(RowSpan(slice(0, len(rows)), stored.reshape(-1), starts))

    def prefetch(self, rows: npt.NDArray[np.int64]) -> None:
        """Do nothing: only HDF5 knows the offsets of the rows."""

    def release_pages(self) -> None:
        """Do nothing: no page is mapped."""

    def locate(self, row: int) -> str:
        """Return file, dataset and row."""
        return f"{self._path}, dataset {self._name!r}, row {row}"

    def close(self) -> None:
        """Close the file."""
        file = self._file.pop()
        if file is not None:
            file.close()

    def _dataset(self) -> h5py.Dataset:
        try:
            return self._file.get(self._open)[self._name]
        except (KeyError, RuntimeError) as error:
            msg = f"{self._path}: HDF5 cannot open {self._name!r} any more ({error}); convert again"
            raise StoreFormatError(msg) from error

    def _open(self) -> h5py.File:
        with explain_open_errors(self._path):
            return h5py.File(self._path, "r", locking=self._locking)
