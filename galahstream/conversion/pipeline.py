"""Spectra on their way from a source into a store: checked, encoded, hashed and written at once.

The calling thread reads blocks of the source; worker threads process them. NumPy and
the system calls release the GIL for everything but the digests, which take a twentieth
of the time.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from galahstream.conversion.executors import closing_iterator, ordered_thread_map
from galahstream.conversion.journal import BlockRecord, SpectraSummary
from galahstream.errors import BadSpectraError, OptionError, SourceFormatError, SourceShapeError
from galahstream.sources.base import Source, UnusableRow
from galahstream.store.layout import ArrayLocation, RowWriter, map_array
from galahstream.store.manifest import ErrorCounts, PixelCounts
from galahstream.store.quantization import MAX_CLIPPED_FRACTION, Encoding, Float16, Quantized16
from galahstream.system.digest import row_digests
from galahstream.system.progress import progress_bar

# The rows that a thread works on at a time stay in its second-level cache.
_STEP_ROWS = 8


class SpectraBlock(NamedTuple):
    """Consecutive rows of a source, from `first_row` on; float32 arrays of shape (n, L)."""

    first_row: int
    flux: npt.NDArray[np.float32]
    error: npt.NDArray[np.float32] | None
    unusable: tuple[UnusableRow, ...] = ()


@dataclass(frozen=True)
class BlockReader:
    """Reads a source block by block and shows the progress.

    Attributes
    ----------
    block_bytes : int
        Amount of float32 flux per block.
    progress : bool
        Show a progress bar.
    """

    source: Source
    block_bytes: int
    progress: bool

    def read(self, description: str, first_row: int = 0) -> Iterator[SpectraBlock]:
        """Yield the blocks from a row on, with errors if the source has them.

        Raises
        ------
        SourceShapeError
            If a source that has errors gives none, or not one per pixel.
        """
        block_rows = max(self.block_bytes // (4 * self.source.n_pixels), 1)
        n_rows = len(self.source)
        with (
            progress_bar(n_rows, description, initial=first_row, enabled=self.progress) as bar,
            closing_iterator(self.source.iter_spectra(block_rows, first_row)) as blocks,
        ):
            for spectra in blocks:
                block = SpectraBlock(first_row, *spectra)
                if self.source.has_errors:
                    _check_errors(block, self.source)
                yield block
                first_row += len(block.flux)
                bar.update(len(block.flux))


def find_unusable_rows(reader: BlockReader, jobs: int | None) -> dict[int, str]:
    """Return the rows of a source that cannot be used, and why."""
    found: dict[int, str] = {}
    with closing_iterator(reader.read("checking")) as blocks:
        for rows in ordered_thread_map(partial(_unusable_rows, reader.source), blocks, jobs):
            found.update(rows)
    return found


@dataclass
class SpectraPipeline:
    """Writes the spectra of a source to their rows of a store.

    Attributes
    ----------
    reader : BlockReader
        Reads the source.
    stored_row : ndarray, shape (N,), int64
        The row of each source row in the store; -1 skips it.
    writers : mapping of str to RowWriter
        Write stored rows of the flux, and of the errors if the source has them.
    encoding : Encoding
        How flux is stored.
    jobs : int or None
        Worker threads; None for one per core. A writer that is not parallel gets one.
    digests : mapping of str to ndarray, shape (n_stored,), uint64
        Digest of each stored row by the names of the writers, complete after :meth:`run`.
    """

    reader: BlockReader
    stored_row: npt.NDArray[np.int64]
    writers: Mapping[str, RowWriter]
    encoding: Encoding
    jobs: int | None = None
    digests: Mapping[str, npt.NDArray[np.uint64]] = field(init=False)

    def __post_init__(self) -> None:
        n_stored = int(np.count_nonzero(self.stored_row >= 0))
        self.digests = {name: np.zeros(n_stored, dtype=np.uint64) for name in self.writers}

    def run(
        self,
        written: Sequence[BlockRecord] = (),
        on_block: Callable[[BlockRecord], None] | None = None,
    ) -> SpectraSummary:
        """Write all blocks and return their summary.

        Parameters
        ----------
        written : sequence of BlockRecord
            Blocks that an interrupted run wrote, from the source's first row on.
        on_block : callable, optional
            Called with each block that was written, in the order of the source.

        Raises
        ------
        BadSpectraError
            If a spectrum has no usable pixel, or the source ends early.
        SourceShapeError
            If the errors do not fit the flux.
        OptionError
            If more than `MAX_CLIPPED_FRACTION` of all pixels are clipped.
        """
        summary, n_read = SpectraSummary(), 0
        for block in written:
            rows = _stored_rows(self.stored_row, n_read, block.n_rows)
            for name, digests in block.digests.items():
                self.digests[name][rows] = digests
            summary += block.summary
            n_read += block.n_rows
        is_parallel = all(writer.is_parallel for writer in self.writers.values())
        n_threads = self.jobs if is_parallel else 1
        with closing_iterator(self.reader.read("converting", n_read)) as blocks:
            for n_rows, block_summary in ordered_thread_map(self._write_block, blocks, n_threads):
                if on_block is not None:
                    rows = _stored_rows(self.stored_row, n_read, n_rows)
                    of_block = {name: values[rows] for name, values in self.digests.items()}
                    on_block(BlockRecord(n_rows, of_block, block_summary))
                n_read += n_rows
                summary += block_summary
                self._check_clipping(summary, n_read)
        if n_read != len(self.reader.source):
            msg = (
                f"{self.reader.source.name}: {n_read} of {len(self.reader.source)} spectra could "
                f"be read; check the source"
            )
            raise BadSpectraError(msg)
        return summary

    def _write_block(self, block: SpectraBlock) -> tuple[int, SpectraSummary]:
        rows = self.stored_row[block.first_row : block.first_row + len(block.flux)]
        # Within a block the rows of one split are consecutive in the store.
        order = np.argsort(rows, kind="stable")[np.count_nonzero(rows < 0) :]
        block_summary = SpectraSummary()
        for run in np.split(order, np.flatnonzero(np.diff(rows[order]) != 1) + 1):
            for start in range(0, len(run), _STEP_ROWS):
                step = run[start : start + _STEP_ROWS]
                flux = block.flux[step]
                summary = self._summarise(flux)
                if summary.pixel_counts != PixelCounts() and _is_empty(flux).any():
                    raise self._empty_spectrum(block, rows)
                block_summary += summary
                self._write_rows("flux", rows[step], self.encoding.encode(flux))
                if block.error is not None:
                    error = block.error[step]
                    block_summary += SpectraSummary(error_counts=_count_unknown(error))
                    self._write_rows("error", rows[step], Float16().encode(error))
        return len(block.flux), block_summary

    def _write_rows(
        self, name: str, rows: npt.NDArray[np.int64], stored: npt.NDArray[np.generic]
    ) -> None:
        """Write consecutive rows, and keep their digests."""
        self.writers[name].write(int(rows[0]), stored)
        n_pixels = stored.shape[1]
        starts = np.arange(len(stored)) * n_pixels
        self.digests[name][rows] = row_digests(stored.reshape(-1), starts, n_pixels)

    def _summarise(self, flux: npt.NDArray[np.float32]) -> SpectraSummary:
        lowest, highest = float(flux.min()), float(flux.max())
        counts = PixelCounts()
        # Also false if any value is NaN; otherwise every pixel is finite and positive.
        if not (lowest > 0 and highest < np.inf):
            finite = flux[np.isfinite(flux)]
            n_nan = int(np.count_nonzero(np.isnan(flux)))
            counts = PixelCounts(
                nan=n_nan,
                infinite=flux.size - finite.size - n_nan,
                negative=int(np.count_nonzero(flux < 0)),
                zero=flux.size - int(np.count_nonzero(flux)),
            )
            lowest = float(finite.min(initial=np.inf))
            highest = float(finite.max(initial=-np.inf))
        is_held = self.encoding.holds(lowest, highest)
        clipped = 0 if is_held else self.encoding.count_outside(flux)
        return SpectraSummary(counts, clipped, lowest, highest)

    def _check_clipping(self, summary: SpectraSummary, n_read: int) -> None:
        source, encoding = self.reader.source, self.encoding
        n_pixels = len(self.digests["flux"]) * source.n_pixels
        if not isinstance(encoding, Quantized16):
            return
        if summary.clipped > MAX_CLIPPED_FRACTION * n_pixels:
            msg = (
                f"{source.name}: {summary.clipped:,} pixels of the first {n_read:,} spectra are "
                f"outside {encoding.bzero:g} to {encoding.high:g}, the flux that 16 bits hold "
                f"here; found {summary.lowest:g} to {summary.highest:g}, and at most "
                f"{MAX_CLIPPED_FRACTION:.1%} of all pixels may be clipped: give a wider range "
                f"(flux_range=, --flux-range) or store float32"
            )
            raise OptionError(msg)

    def _empty_spectrum(
        self, block: SpectraBlock, rows: npt.NDArray[np.int64]
    ) -> BadSpectraError | SourceFormatError:
        source = self.reader.source
        row = int(np.flatnonzero(_is_empty(block.flux) & (rows >= 0))[0])
        reasons = {unusable.row: unusable.reason for unusable in block.unusable}
        star = source.ids[block.first_row + row]
        if row in reasons:
            return SourceFormatError(
                f"{source.name}: star {star} cannot be used now: {reasons[row]}; copy damaged "
                f"files again, or start over and skip such stars with resume=False and "
                f"on_bad='skip' (--no-resume --on-bad skip)"
            )
        return BadSpectraError(
            f"{source.name}: the spectrum of row {source.original_row(block.first_row + row)} "
            f"(star {star}) has no usable pixel, all are zero or not finite; skip such stars with "
            f"on_bad='skip' (--on-bad skip)"
        )


def count_intact_blocks(
    blocks: Sequence[BlockRecord],
    stored_row: npt.NDArray[np.int64],
    locations: Mapping[str, ArrayLocation],
) -> int:
    """Return the number of blocks, from the first on, whose rows in the files match their digests.

    Parameters
    ----------
    blocks : sequence of BlockRecord
    stored_row : ndarray, shape (N,), int64
        As for :class:`SpectraPipeline`.
    locations : mapping of str to ArrayLocation
        Where the flux, and the errors if there are any, are in files.
    """
    n_read = 0
    for index, block in enumerate(blocks):
        rows = _stored_rows(stored_row, n_read, block.n_rows)
        n_read += block.n_rows
        if n_read > len(stored_row) or block.digests.keys() != locations.keys():
            return index
        if not all(_are_intact(rows, block.digests[name], locations[name]) for name in locations):
            return index
    return len(blocks)


def _are_intact(
    rows: npt.NDArray[np.int64], digests: npt.NDArray[np.uint64], location: ArrayLocation
) -> bool:
    n_pixels = location.shape[1]
    # A mapping per block: its pages are released with it.
    flat = map_array(location).reshape(-1)
    return np.array_equal(row_digests(flat, rows * n_pixels, n_pixels), digests)


def _stored_rows(
    stored_row: npt.NDArray[np.int64], first_row: int, n_rows: int
) -> npt.NDArray[np.int64]:
    """Return the stored rows of consecutive source rows, without those that are skipped."""
    rows = stored_row[first_row : first_row + n_rows]
    return rows[rows >= 0]


def _unusable_rows(source: Source, block: SpectraBlock) -> dict[int, str]:
    reasons = {unusable.row: unusable.reason for unusable in block.unusable}
    empty = np.flatnonzero(_is_empty(block.flux)).tolist()
    return {
        block.first_row + row: reasons.get(
            row, f"row {source.original_row(block.first_row + row)}: no usable pixel"
        )
        for row in empty
    }


def _is_empty(flux: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Return which spectra have no usable pixel."""
    usable: npt.NDArray[np.bool_] = (np.isfinite(flux) & (flux != 0)).any(axis=1)
    return ~usable


def _count_unknown(error: npt.NDArray[np.float32]) -> ErrorCounts:
    """Count the errors that are stored as unknown."""
    encoding = Float16()
    if encoding.holds(float(error.min()), float(error.max())):
        return ErrorCounts()
    is_finite = np.isfinite(error)
    n_nan = int(np.count_nonzero(np.isnan(error)))
    zero_or_negative = int(np.count_nonzero(is_finite & (error <= 0)))
    return ErrorCounts(
        nan=n_nan,
        infinite=error.size - int(np.count_nonzero(is_finite)) - n_nan,
        zero_or_negative=zero_or_negative,
        outside=encoding.count_outside(error) - zero_or_negative,
    )


def _check_errors(block: SpectraBlock, source: Source) -> None:
    """Raise an error for a source that has errors, and does not give one for each pixel."""
    shape = None if block.error is None else block.error.shape
    if shape != block.flux.shape:
        found = "no errors" if shape is None else f"errors of shape {shape}"
        msg = (
            f"{source.name}: it says that it has errors, and gives {found} with flux of shape "
            f"{block.flux.shape} from row {block.first_row} on; expected one error per pixel "
            f"from iter_spectra"
        )
        raise SourceShapeError(msg)
