"""Rows of flux or errors that are in the files of many stores, and their readers."""

import os
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from galahstream.errors import StoreFormatError
from galahstream.store.layout import RowIndex
from galahstream.store.opening import explain_open_errors
from galahstream.store.readahead import (
    FileSignature,
    ReadAheadPolicy,
    is_in_memory,
    request,
    runs,
)
from galahstream.store.readers import STEP_ROWS, Access, Consumer, RowSpan
from galahstream.system.address_range import AddressRange, page_ceil
from galahstream.system.digest import text_digest
from galahstream.system.open_files import OpenFiles
from galahstream.system.processes import PerProcess

RowPlaces: TypeAlias = "RowIndex | MemberRows | None"
"""The byte offsets of rows in a file, or in those of several stores; None if HDF5 alone knows."""

OPEN_FILES = 32
"""Files of members that are open at a time."""

CHECK_SECONDS = 0.02
"""How long a file counts as unchanged after it was looked at."""


@dataclass(frozen=True, eq=False)
class MemberRows:
    """Where N rows are in the files of M stores.

    Attributes
    ----------
    indices : sequence of RowIndex
        Byte offsets of the rows of each store.
    member : ndarray, shape (N,), uint32
        The number of the store of each row.
    offsets : ndarray, shape (N,), int64
        The first byte of each row in its file.
    """

    indices: Sequence[RowIndex]
    member: npt.NDArray[np.uint32]
    offsets: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls,
        indices: Sequence[RowIndex],
        member: npt.NDArray[np.uint32],
        member_row: npt.NDArray[np.int64],
    ) -> "MemberRows":
        """Return where rows are, given their numbers in their stores."""
        offsets: npt.NDArray[np.int64] = np.empty(len(member), np.int64)
        for number, rows in rows_by_member(member, len(indices)):
            offsets[rows] = indices[number].offsets(member_row[rows])
        return cls(indices, member, offsets)

    @property
    def paths(self) -> list[Path]:
        """The file of each store."""
        return [index.path for index in self.indices]

    @property
    def row_bytes(self) -> int:
        """Bytes per row."""
        return self.indices[0].row_bytes

    @property
    def file_bytes(self) -> int:
        """Size of the files."""
        return sum(index.file_bytes for index in self.indices)

    @property
    def is_aligned(self) -> bool:
        """Whether rows begin at multiples of the size of a value, from the start of their file."""
        return not bool((self.offsets % self.indices[0].dtype.itemsize).any())

    def locate(self, row: int) -> str:
        """Return file and bytes of a row, for messages."""
        first = int(self.offsets[row])
        path = self.indices[int(self.member[row])].path
        return f"{path}, bytes {first} to {first + self.row_bytes - 1}"


def rows_by_member(
    member: npt.NDArray[np.uint32], n_members: int
) -> Iterator[tuple[int, npt.NDArray[np.int64]]]:
    """Yield the number of each member, and the rows that it has."""
    order = np.argsort(member, kind="stable")
    ends = np.searchsorted(member[order], np.arange(n_members), side="right").tolist()
    for number, (start, end) in enumerate(zip([0, *ends[:-1]], ends, strict=True)):
        yield number, order[start:end]


class MemberSignatures:
    """The identities of all files when their collection was opened.

    A file is looked at again `CHECK_SECONDS` after the last time: a batch of 32 rows is in nearly
    as many files, and to look at each of them twice takes half as long as to read the rows.
    """

    def __init__(self, rows: MemberRows) -> None:
        self._member = rows.member
        self._signatures = [FileSignature(path) for path in rows.paths]
        self._checked_at = np.full(len(self._signatures), -np.inf)

    @property
    def sizes(self) -> list[int]:
        """The size of each file in bytes."""
        return [signature.identity.size for signature in self._signatures]

    @property
    def identity(self) -> str:
        """Digest of the identities, which tells whether another process reads the same files."""
        return text_digest(repr([tuple(signature.identity) for signature in self._signatures]))

    def raise_if_changed(self) -> None:
        """Compare all files with those that were opened.

        Raises
        ------
        StoreChangedError
            If a file was replaced, truncated or rewritten.
        """
        for signature in self._signatures:
            signature.raise_if_changed()

    def check(self, rows: npt.NDArray[np.int64]) -> None:
        """Compare the files of some rows if they were not looked at just before.

        Raises
        ------
        StoreChangedError
            If a file was replaced, truncated or rewritten.
        """
        members, now = self._member[rows], time.monotonic()
        due = members[now - self._checked_at[members] > CHECK_SECONDS]
        if due.size == 0:
            return
        for number in set(due.tolist()):
            self._signatures[number].raise_if_changed()
        self._checked_at[due] = now


class _Mapping(NamedTuple):
    """All files of a collection in one range, and the items in it."""

    range: AddressRange
    items: npt.NDArray[Any]


class MappedMembers:
    """Hands out rows of many mapped files without a copy, as those of one buffer.

    No file stays open: each is closed when it is mapped.

    Parameters
    ----------
    rows : MemberRows
        Aligned ones.
    """

    access: ClassVar[Access] = "mapped"

    def __init__(self, rows: MemberRows) -> None:
        self._rows = rows
        self.signature = MemberSignatures(rows)
        self._begins = np.cumsum([0, *map(page_ceil, self.signature.sizes)])
        self._starts = rows.offsets + self._begins[rows.member]  # in bytes of the range
        self._mapping: PerProcess[_Mapping] = PerProcess()
        self._files = OpenFiles(rows.paths, OPEN_FILES)
        self._policy = ReadAheadPolicy()

    def read(self, rows: npt.NDArray[np.int64], consume: Consumer) -> None:
        """Call `consume` once, and check before and after that the files are the same."""
        self.signature.check(rows)
        items = self._mapping.get(self._map).items
        starts = self._starts[rows] // items.itemsize
        consume(RowSpan(slice(0, len(rows)), items, starts))
        self.signature.check(rows)

    def prefetch(self, rows: npt.NDArray[np.int64]) -> None:
        """Request rows from the disk if they are not in memory already."""
        if not self._policy.is_due(rows, self._is_in_memory):
            return
        mapped = self._mapping.get(self._map).range
        for first, size in runs(self._starts[rows], self._rows.row_bytes):
            mapped.advise("MADV_WILLNEED", first, size)

    def release_pages(self) -> None:
        """Unmap the pages; the page cache keeps them while there is room."""
        mapping = self._mapping.peek()
        if mapping is not None:
            mapping.range.advise("MADV_DONTNEED")

    def locate(self, row: int) -> str:
        """Return file and bytes of a row."""
        return self._rows.locate(row)

    def close(self) -> None:
        """Forget the mapping, which ends when the last read of it has ended."""
        self._mapping.pop()
        self._files.close()

    def _is_in_memory(self, row: int) -> bool:
        return _is_in_memory(self._rows, self._files, row)

    def _map(self) -> _Mapping:
        mapped = AddressRange(int(self._begins[-1]))
        for index, begin in zip(self._rows.indices, self._begins.tolist(), strict=False):
            with explain_open_errors(index.path):
                size = mapped.map_file(index.path, begin)
            if size < index.stop:
                msg = f"{index.path}: {size} bytes, expected {index.stop}: the file was truncated, "
                raise StoreFormatError(msg + "convert again")
        mapped.advise("MADV_RANDOM")
        dtype = self._rows.indices[0].dtype
        return _Mapping(mapped, mapped.buffer.view(dtype))


class PreadMembers:
    """Copies rows of many files with ``pread``, few of which are open at a time.

    Parameters
    ----------
    rows : MemberRows
    """

    access: ClassVar[Access] = "pread"

    def __init__(self, rows: MemberRows) -> None:
        self._rows = rows
        self.signature = MemberSignatures(rows)
        self._files = OpenFiles(rows.paths, OPEN_FILES)
        self._policy = ReadAheadPolicy()
        self._thread = threading.local()

    def read(self, rows: npt.NDArray[np.int64], consume: Consumer) -> None:
        """Read four rows at a time into a buffer that belongs to the thread."""
        self.signature.check(rows)
        index = self._rows.indices[0]
        if not hasattr(self._thread, "buffer"):
            self._thread.buffer = np.empty(STEP_ROWS * index.n_pixels, dtype=index.dtype)
        buffer = self._thread.buffer
        data = memoryview(buffer.view(np.uint8).data)
        starts = np.arange(STEP_ROWS) * index.n_pixels
        for first in range(0, len(rows), STEP_ROWS):
            step = rows[first : first + STEP_ROWS].tolist()
            for slot, row in enumerate(step):
                self._fill(data[slot * index.row_bytes : (slot + 1) * index.row_bytes], row)
            consume(RowSpan(slice(first, first + len(step)), buffer, starts[: len(step)]))
        self.signature.check(rows)

    def prefetch(self, rows: npt.NDArray[np.int64]) -> None:
        """Request rows from the disk if they are not in memory already."""
        if not self._policy.is_due(rows, self._is_in_memory):
            return
        for row in rows.tolist():
            with self._files.opened(int(self._rows.member[row])) as descriptor:
                request(descriptor, int(self._rows.offsets[row]), self._rows.row_bytes)

    def release_pages(self) -> None:
        """Do nothing: no page is mapped."""

    def locate(self, row: int) -> str:
        """Return file and bytes of a row."""
        return self._rows.locate(row)

    def close(self) -> None:
        """Close the files."""
        self._files.close()

    def _is_in_memory(self, row: int) -> bool:
        return _is_in_memory(self._rows, self._files, row)

    def _fill(self, data: memoryview, row: int) -> None:
        number, offset = int(self._rows.member[row]), int(self._rows.offsets[row])
        path = self._rows.indices[number].path
        with explain_open_errors(path), self._files.opened(number) as descriptor:
            while data:
                count = os.preadv(descriptor, [data], offset)
                if count == 0:
                    msg = f"{path}: ends at byte {offset}, where a row was expected: the file was "
                    raise StoreFormatError(msg + "truncated, convert again")
                data, offset = data[count:], offset + count


def _is_in_memory(rows: MemberRows, files: OpenFiles, row: int) -> bool:
    """Return whether the middle of a row is in the page cache."""
    with files.opened(int(rows.member[row])) as descriptor:
        return is_in_memory(descriptor, int(rows.offsets[row]) + rows.row_bytes // 2)
