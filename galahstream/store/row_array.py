"""The flux of an open store, or its errors, read by row and verified when a row is first read."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from galahstream.errors import DamagedRowError
from galahstream.store.quantization import Encoding
from galahstream.store.reader_choice import ReaderChoice
from galahstream.store.readers import Access, Consumer, RowSpan
from galahstream.store.verified_rows import VerifiedRows
from galahstream.system.digest import row_digests

__all__ = ["RowArray", "RowRecords", "RowSpan", "Rows", "SharedVerification"]

# Rows verified at a time: they are still in the cache after they were consumed.
_VERIFIED_ROWS = 32

Rows: TypeAlias = int | slice | npt.NDArray[Any] | list[int]


@dataclass(frozen=True)
class RowRecords:
    """Star id and digest of each row of the store `name`; arrays of shape (N,)."""

    name: str
    ids: npt.NDArray[np.int64]
    digests: npt.NDArray[np.uint64]


class SharedVerification(NamedTuple):
    """Verified rows of a file, for other processes that read the same file."""

    files: object
    path: str
    inode: int


class RowArray:
    """The flux of a store of N stars with L pixels, or its errors; nothing is kept in memory.

    Parameters
    ----------
    choice : ReaderChoice
        Reader of the stored rows, and why it was chosen.
    encoding : Encoding
        Conversion between float32 and the stored values.
    n_pixels : int
        Pixels per row, L.
    records : RowRecords
        Ids and digests of the rows.
    verified : VerifiedRows or None
        Flags of the rows that matched their digests; None to verify nothing.

    Attributes
    ----------
    shape : (int, int)
        (N, L).
    dtype : dtype
        Of the stored values.
    access : {"mapped", "pread", "h5py"}
        How rows are read.
    access_reason : str
        Why they are read in this way.
    """

    def __init__(
        self,
        choice: ReaderChoice,
        encoding: Encoding,
        n_pixels: int,
        records: RowRecords,
        verified: VerifiedRows | None,
    ) -> None:
        self.shape = (len(records.digests), n_pixels)
        self.encoding = encoding
        self.access_reason = choice.reason
        self.verified = verified
        self._reader = choice.reader
        self._records = records

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored values."""
        return self.encoding.dtype

    @property
    def access(self) -> Access:
        """How rows are read: ``"mapped"``, ``"pread"`` or ``"h5py"``."""
        return self._reader.access

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[npt.NDArray[np.float32]]:
        return (self[row] for row in range(len(self)))

    def __getitem__(self, rows: Rows) -> npt.NDArray[np.float32]:
        """Return rows as they were in the source, as exactly as they are stored, NaN included.

        Parameters
        ----------
        rows : int, slice, sequence of int, or mask of shape (N,)
            Rows; negative ones count from the end.

        Returns
        -------
        ndarray, float32
            Shape (L,) for an int, else (n, L).

        Raises
        ------
        IndexError
            If a row is outside the store, or `rows` are not integers.
        DamagedRowError
            If a row does not match its digest.
        """
        if isinstance(rows, slice):
            return self._decoded(np.arange(*rows.indices(len(self))))
        indices = np.asarray(rows)
        if indices.dtype == bool and indices.shape == (len(self),):
            indices = np.flatnonzero(indices)
        if indices.ndim > 1 or (indices.size and indices.dtype.kind not in "iu"):
            msg = (
                f"{self._records.name}: rows must be integers, a slice, or a mask of "
                f"{len(self)} rows"
            )
            raise IndexError(msg)
        decoded = self._decoded(np.atleast_1d(indices).astype(np.int64))
        return decoded[0] if indices.ndim == 0 else decoded

    def read(self, rows: npt.NDArray[np.int64], consume: Consumer) -> None:
        """Call `consume` with spans of the rows, as stored, and verify what was not verified yet.

        A row is verified directly after `consume` returned, while it is still in
        the CPU cache. Use the results only when `read` has returned: it raises if
        one of the rows is damaged.

        Parameters
        ----------
        rows : ndarray of int64
            Rows from 0 to N - 1, in any order.
        consume : callable
            Takes a `RowSpan`, whose buffer is valid only during the call.

        Raises
        ------
        DamagedRowError
            If a row does not match its digest.
        StoreChangedError
            If the file was replaced, truncated or rewritten.
        """
        if self.verified is not None and not self.verified.all_verified(rows):
            consume = partial(self._consume_and_verify, self.verified, rows, consume)
        self._reader.read(rows, consume)

    def read_stored(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Return rows as they are stored, shape (n, L), as a new array.

        Raises
        ------
        IndexError
            If a row is outside the store.
        DamagedRowError
            If a row does not match its digest.
        """
        outside = (rows < -len(self)) | (rows >= len(self))
        if outside.any():
            msg = f"{self._records.name}: row {rows[outside][0]} of a store of {len(self)} rows"
            raise IndexError(msg)
        rows = rows % len(self)
        stored = np.empty((len(rows), self.shape[1]), dtype=self.dtype)
        self.prefetch(rows)
        self.read(rows, partial(_copy_rows, stored))
        return stored

    def find_damaged(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return those of the rows that cannot be read or do not match their digests."""
        digests: npt.NDArray[np.uint64] = np.empty(len(rows), dtype=np.uint64)
        try:
            self._reader.read(rows, partial(self._digest_rows, digests))
        except DamagedRowError:  # a chunk that cannot be decompressed
            if len(rows) == 1:
                return rows
            return np.concatenate([self.find_damaged(row) for row in np.split(rows, len(rows))])
        intact: npt.NDArray[np.bool_] = digests == self._records.digests[rows]
        if self.verified is not None:
            self.verified.add(rows[intact])
        return rows[~intact]

    def prefetch(self, rows: npt.NDArray[np.int64]) -> None:
        """Request rows, from 0 to N - 1, from the disk that will be read soon."""
        self._reader.prefetch(rows)

    def release_pages(self) -> None:
        """Return the memory of mapped rows to the system, if there is any."""
        self._reader.release_pages()

    def locate(self, row: int) -> str:
        """Return file and bytes of a row, for messages."""
        return self._reader.locate(row)

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        self._reader.close()

    def share_verification(self) -> SharedVerification | None:
        """Return what another process needs to share the verified rows; None if none are kept."""
        if self.verified is None:
            return None
        return SharedVerification(self._reader.signature.identity, *self.verified.export())

    def join_verification(self, shared: SharedVerification) -> None:
        """Share the verified rows of another process, if it read the very same file."""
        if self.verified is not None and self._reader.signature.identity == shared.files:
            self.verified.attach(shared.path, shared.inode)

    def _consume_and_verify(
        self,
        verified: VerifiedRows,
        rows: npt.NDArray[np.int64],
        consume: Consumer,
        span: RowSpan,
    ) -> None:
        for first in range(0, len(span.starts), _VERIFIED_ROWS):
            starts = span.starts[first : first + _VERIFIED_ROWS]
            begin = span.positions.start + first
            positions = slice(begin, begin + len(starts))
            consume(RowSpan(positions, span.buffer, starts))
            self._verify(rows[positions], span.buffer, starts)
            verified.add(rows[positions])

    def _verify(
        self,
        rows: npt.NDArray[np.int64],
        buffer: npt.NDArray[Any],
        starts: npt.NDArray[np.int64],
    ) -> None:
        intact = row_digests(buffer, starts, self.shape[1]) == self._records.digests[rows]
        if not intact.all():
            # If the file was written to since, say so instead.
            self._reader.signature.raise_if_changed()
            row, name = int(rows[~intact][0]), self._records.name
            msg = (
                f"{name}: row {row} (star {self._records.ids[row]}) does not match its digest, it "
                f"was damaged: {self.locate(row)}; find all such rows with 'galahstream verify "
                f"{name}', and add --repair SOURCE to restore them"
            )
            raise DamagedRowError(msg)

    def _digest_rows(self, digests: npt.NDArray[np.uint64], span: RowSpan) -> None:
        digests[span.positions] = row_digests(span.buffer, span.starts, self.shape[1])

    def _decoded(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        return self.encoding.decode(self.read_stored(rows))


def _copy_rows(out: npt.NDArray[Any], span: RowSpan) -> None:
    n_pixels = out.shape[1]
    for row, start in zip(out[span.positions], span.starts.tolist(), strict=True):
        row[:] = span.buffer[start : start + n_pixels]
