"""Flux on its way from a source into a store: checked, encoded, hashed and written at once.

The calling thread reads blocks of the source; worker threads process them. NumPy and
the system calls release the GIL for everything but the digests, which take a twentieth
of the time.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from galahstream.conversion.executors import closing_iterator, ordered_thread_map
from galahstream.conversion.journal import BlockRecord, FluxSummary
from galahstream.errors import BadSpectraError, OptionError, SourceFormatError
from galahstream.sources.base import Source, UnusableRow
from galahstream.store.layout import ArrayLocation, FluxWriter, map_array
from galahstream.store.manifest import PixelCounts
from galahstream.store.quantization import MAX_CLIPPED_FRACTION, Encoding, Quantized16
from galahstream.system.digest import row_digests
from galahstream.system.progress import progress_bar

# The rows that a thread works on at a time stay in its second-level cache.
_STEP_ROWS = 8


class FluxBlock(NamedTuple):
    """Consecutive rows of a source, from `first_row` on; `flux` is float32 of shape (n, L)."""

    first_row: int
    flux: npt.NDArray[np.float32]
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

    def read(self, description: str, first_row: int = 0) -> Iterator[FluxBlock]:
        """Yield the blocks from a row on."""
        block_rows = max(self.block_bytes // (4 * self.source.n_pixels), 1)
        n_rows = len(self.source)
        with (
            progress_bar(n_rows, description, initial=first_row, enabled=self.progress) as bar,
            closing_iterator(self.source.iter_spectra(block_rows, first_row)) as blocks,
        ):
            for spectra in blocks:
                yield FluxBlock(first_row, spectra.flux, spectra.unusable)
                first_row += len(spectra.flux)
                bar.update(len(spectra.flux))


def find_unusable_rows(reader: BlockReader, jobs: int | None) -> dict[int, str]:
    """Return the rows of a source that cannot be used, and why."""
    found: dict[int, str] = {}
    with closing_iterator(reader.read("checking")) as blocks:
        for rows in ordered_thread_map(_unusable_rows, blocks, jobs):
            found.update(rows)
    return found


@dataclass
class FluxPipeline:
    """Writes the flux of a source to its rows of a store.

    Attributes
    ----------
    reader : BlockReader
        Reads the source.
    stored_row : ndarray, shape (N,), int64
        The row of each source row in the store; -1 skips it.
    writer : FluxWriter
        Writes stored rows.
    encoding : Encoding
        How flux is stored.
    jobs : int or None
        Worker threads; None for one per core. A writer that is not parallel gets one.
    digests : ndarray, shape (n_stored,), uint64
        Digest of each stored row, complete after :meth:`run`.
    """

    reader: BlockReader
    stored_row: npt.NDArray[np.int64]
    writer: FluxWriter
    encoding: Encoding
    jobs: int | None = None
    digests: npt.NDArray[np.uint64] = field(init=False)

    def __post_init__(self) -> None:
        n_stored = int(np.count_nonzero(self.stored_row >= 0))
        self.digests = np.zeros(n_stored, dtype=np.uint64)

    def run(
        self,
        written: Sequence[BlockRecord] = (),
        on_block: Callable[[BlockRecord], None] | None = None,
    ) -> FluxSummary:
        """Write all blocks and return the summary of their flux.

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
        OptionError
            If more than `MAX_CLIPPED_FRACTION` of all pixels are clipped.
        """
        summary, n_read = FluxSummary(), 0
        for block in written:
            self.digests[_stored_rows(self.stored_row, n_read, block.n_rows)] = block.digests
            summary += block.summary
            n_read += block.n_rows
        n_threads = self.jobs if self.writer.is_parallel else 1
        with closing_iterator(self.reader.read("converting", n_read)) as blocks:
            for n_rows, block_summary in ordered_thread_map(self._write_block, blocks, n_threads):
                if on_block is not None:
                    rows = _stored_rows(self.stored_row, n_read, n_rows)
                    on_block(BlockRecord(n_rows, self.digests[rows], block_summary))
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

    def _write_block(self, block: FluxBlock) -> tuple[int, FluxSummary]:
        rows = self.stored_row[block.first_row : block.first_row + len(block.flux)]
        n_pixels = block.flux.shape[1]
        # Within a block the rows of one split are consecutive in the store.
        order = np.argsort(rows, kind="stable")[np.count_nonzero(rows < 0) :]
        block_summary = FluxSummary()
        for run in np.split(order, np.flatnonzero(np.diff(rows[order]) != 1) + 1):
            for start in range(0, len(run), _STEP_ROWS):
                step = run[start : start + _STEP_ROWS]
                flux = block.flux[step]
                summary = self._summarise(flux)
                if summary.pixel_counts != PixelCounts() and _is_empty(flux).any():
                    raise self._empty_spectrum(block, rows)
                stored = self.encoding.encode(flux)
                self.writer.write(int(rows[step[0]]), stored)
                starts = np.arange(len(stored)) * n_pixels
                self.digests[rows[step]] = row_digests(stored.reshape(-1), starts, n_pixels)
                block_summary += summary
        return len(block.flux), block_summary

    def _summarise(self, flux: npt.NDArray[np.float32]) -> FluxSummary:
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
        return FluxSummary(counts, clipped, lowest, highest)

    def _check_clipping(self, summary: FluxSummary, n_read: int) -> None:
        source, encoding = self.reader.source, self.encoding
        n_pixels = len(self.digests) * source.n_pixels
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
        self, block: FluxBlock, rows: npt.NDArray[np.int64]
    ) -> BadSpectraError | SourceFormatError:
        source = self.reader.source
        row = int(np.flatnonzero(_is_empty(block.flux) & (rows >= 0))[0])
        reasons = {unusable.row: unusable.reason for unusable in block.unusable}
        star = source.ids[block.first_row + row]
        if row in reasons:
            return SourceFormatError(
                f"{source.name}: star {star} cannot be used now: {reasons[row]}; copy damaged "
                f"files again, or start over and skip such stars with resume=False and on_bad='skip' "
                f"(--no-resume --on-bad skip)"
            )
        return BadSpectraError(
            f"{source.name}: the spectrum of row {block.first_row + row} (star {star}) has no "
            f"usable pixel, all are zero or not finite; skip such stars with on_bad='skip' "
            f"(--on-bad skip)"
        )


def count_intact_blocks(
    blocks: Sequence[BlockRecord], stored_row: npt.NDArray[np.int64], location: ArrayLocation
) -> int:
    """Return the number of blocks, from the first on, whose rows in a file match their digests."""
    n_pixels, n_read = location.shape[1], 0
    for index, block in enumerate(blocks):
        rows = _stored_rows(stored_row, n_read, block.n_rows)
        n_read += block.n_rows
        # A mapping per block: its pages are released with it.
        flat = map_array(location).reshape(-1)
        digests = row_digests(flat, rows * n_pixels, n_pixels)
        if n_read > len(stored_row) or not np.array_equal(digests, block.digests):
            return index
    return len(blocks)


def _stored_rows(
    stored_row: npt.NDArray[np.int64], first_row: int, n_rows: int
) -> npt.NDArray[np.int64]:
    """Return the stored rows of consecutive source rows, without those that are skipped."""
    rows = stored_row[first_row : first_row + n_rows]
    return rows[rows >= 0]


def _unusable_rows(block: FluxBlock) -> dict[int, str]:
    reasons = {unusable.row: unusable.reason for unusable in block.unusable}
    return {
        block.first_row + row: reasons.get(row, f"row {block.first_row + row}: no usable pixel")
        for row in np.flatnonzero(_is_empty(block.flux)).tolist()
    }


def _is_empty(flux: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Return which spectra have no usable pixel."""
    usable: npt.NDArray[np.bool_] = (np.isfinite(flux) & (flux != 0)).any(axis=1)
    return ~usable
