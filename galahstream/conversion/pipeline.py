"""Flux on its way from a source into a store: checked, encoded, hashed and written at once.

One thread reads blocks of the source, several work on them. Numpy and the system
let go of the GIL for all of that but the digests, which take a twentieth.
"""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from galahstream.conversion.journal import Block, FluxSummary
from galahstream.errors import BadSpectraError, OptionError
from galahstream.sources.base import Source
from galahstream.store.layout import ArrayLocation, FluxWriter, map_array
from galahstream.store.manifest import PixelCounts
from galahstream.store.quantization import MAX_CLIPPED_FRACTION, Quantized16
from galahstream.system.digest import row_digests

_Flux = npt.NDArray[np.float32]
_Result = TypeVar("_Result")

_BLOCK_BYTES = 8 * 1024 * 1024
# What one thread works on at a time stays in its second-level cache.
_STEP_ROWS = 8


def flux_blocks(
    source: Source, doing: str, progress: bool, first_row: int = 0
) -> Iterator[tuple[int, _Flux]]:
    """Yield first source row and flux of each block, and move a progress bar on."""
    block_rows = max(_BLOCK_BYTES // (4 * source.n_pixels), 1)
    with tqdm(
        total=len(source),
        initial=first_row,
        desc=doing,
        unit=" stars",
        delay=1,
        disable=None if progress else True,
    ) as bar:
        for flux in source.iter_blocks(block_rows, first_row):
            yield first_row, flux
            first_row += len(flux)
            bar.update(len(flux))


def find_empty_spectra(source: Source, jobs: int | None, progress: bool) -> npt.NDArray[np.bool_]:
    """Return which rows of a source have no usable pixel, all being zero or not finite."""
    blocks = flux_blocks(source, "checking", progress)
    return np.concatenate(list(_in_threads(lambda _, flux: _without_flux(flux), blocks, jobs)))


def write_flux(
    source: Source,
    stored_row: npt.NDArray[np.int64],
    writer: FluxWriter,
    codec: Quantized16 | None,
    jobs: int | None,
    progress: bool,
    done: Sequence[Block] = (),
    note: Callable[[Block], None] | None = None,
) -> tuple[npt.NDArray[np.uint64], FluxSummary]:
    """Write the flux of a source to its rows of a store.

    Parameters
    ----------
    source : Source
        Where the flux comes from.
    stored_row : ndarray, shape (N,), int64
        The row of each source row in the store; -1 leaves it out.
    writer : FluxWriter
        Takes the rows, from several threads at a time where `jobs` is not 1.
    codec : Quantized16 or None
        The 16-bit code of the stored flux; None stores float32.
    jobs : int or None
        Threads; None for one a core.
    progress : bool
        Show a progress bar.
    done : sequence of Block
        What is in the store already, from the source's first row on.
    note : callable, optional
        Gets each block that was written, in the order of the source.

    Returns
    -------
    tuple
        The digest of each stored row, uint64, and what was found in the flux.

    Raises
    ------
    BadSpectraError
        For a spectrum without any usable pixel, and a source that ends early.
    OptionError
        If more pixels than `MAX_CLIPPED_FRACTION` lie outside the range of the code.
    """
    n_stored = int(np.count_nonzero(stored_row >= 0))
    digests = np.zeros(n_stored, dtype=np.uint64)
    written, n_read = FluxSummary(), 0
    for block in done:
        digests[_kept(stored_row, n_read, block.n_rows)] = block.digests
        written += block.written
        n_read += block.n_rows
    work = partial(_write_block, source, stored_row, writer, codec, digests)
    blocks = flux_blocks(source, "converting", progress, n_read)
    for n_rows, found in _in_threads(work, blocks, jobs):
        if note is not None:
            note(Block(n_rows, digests[_kept(stored_row, n_read, n_rows)], found))
        n_read += n_rows
        written += found
        if (
            codec is not None
            and written.clipped > MAX_CLIPPED_FRACTION * n_stored * source.n_pixels
        ):
            raise _too_narrow(source, codec, written, n_read)
    if n_read != len(source):
        msg = f"{source.name}: {n_read} of {len(source)} spectra could be read; check the source"
        raise BadSpectraError(msg)
    return digests, written


def count_intact_blocks(
    blocks: Sequence[Block], stored_row: npt.NDArray[np.int64], place: ArrayLocation
) -> int:
    """Return how many blocks, from the first on, are in a file as they were noted."""
    n_pixels, n_read = place.shape[1], 0
    for number, block in enumerate(blocks):
        rows = _kept(stored_row, n_read, block.n_rows)
        n_read += block.n_rows
        # A mapping for each block: its pages can go when the block is done.
        found = row_digests(map_array(place).reshape(-1), rows * n_pixels, n_pixels)
        if n_read > len(stored_row) or not np.array_equal(found, block.digests):
            return number
    return len(blocks)


def _kept(stored_row: npt.NDArray[np.int64], first_row: int, n_rows: int) -> npt.NDArray[np.int64]:
    """Return the stored rows of a block of the source, without those left out."""
    rows = stored_row[first_row : first_row + n_rows]
    return rows[rows >= 0]


def _in_threads(
    work: Callable[[int, _Flux], _Result], blocks: Iterator[tuple[int, _Flux]], jobs: int | None
) -> Iterator[_Result]:
    """Yield what `work` makes of each block, in their order; few are held at a time."""
    n_threads = jobs or os.cpu_count() or 1
    pending: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(n_threads, thread_name_prefix="galahstream-convert") as threads:
        try:
            for block in islice(blocks, n_threads + 1):
                pending.append(threads.submit(work, *block))
            while pending:
                yield pending.popleft().result()
                for block in islice(blocks, 1):
                    pending.append(threads.submit(work, *block))
        finally:
            for future in pending:
                future.cancel()


def _write_block(
    source: Source,
    stored_row: npt.NDArray[np.int64],
    writer: FluxWriter,
    codec: Quantized16 | None,
    digests: npt.NDArray[np.uint64],
    first_row: int,
    flux: _Flux,
) -> tuple[int, FluxSummary]:
    rows = stored_row[first_row : first_row + len(flux)]
    # Within a block the rows of one part of the split lie one after another.
    order = np.argsort(rows, kind="stable")[np.count_nonzero(rows < 0) :]
    written = FluxSummary()
    for run in np.split(order, np.flatnonzero(np.diff(rows[order]) != 1) + 1):
        for start in range(0, len(run), _STEP_ROWS):
            step = run[start : start + _STEP_ROWS]
            values = flux[step]
            found = _survey(values, codec)
            if found.pixel_counts != PixelCounts() and _without_flux(values).any():
                raise _bad_spectrum(source, first_row, rows, flux)
            stored: npt.NDArray[Any] = (
                np.ascontiguousarray(values, dtype="<f4") if codec is None else codec.encode(values)
            )
            writer.write(int(rows[step[0]]), stored)
            starts = np.arange(len(stored)) * source.n_pixels
            digests[rows[step]] = row_digests(stored.reshape(-1), starts, source.n_pixels)
            written += found
    return len(flux), written


def _survey(flux: _Flux, codec: Quantized16 | None) -> FluxSummary:
    lowest, highest = float(flux.min()), float(flux.max())
    odd = PixelCounts()
    if not (lowest > 0 and highest < np.inf):  # of NaN too; else no pixel can be odd
        finite = flux[np.isfinite(flux)]
        n_nan = int(np.count_nonzero(np.isnan(flux)))
        odd = PixelCounts(
            nan=n_nan,
            infinite=flux.size - finite.size - n_nan,
            negative=int(np.count_nonzero(flux < 0)),
            zero=flux.size - int(np.count_nonzero(flux)),
        )
        lowest = float(finite.min(initial=np.inf))
        highest = float(finite.max(initial=-np.inf))
    is_inside = codec is None or codec.holds(lowest, highest)
    clipped = 0 if is_inside or codec is None else codec.count_outside(flux)
    return FluxSummary(odd, clipped, lowest, highest)


def _without_flux(flux: _Flux) -> npt.NDArray[np.bool_]:
    usable: npt.NDArray[np.bool_] = (np.isfinite(flux) & (flux != 0)).any(axis=1)
    return ~usable


def _bad_spectrum(
    source: Source, first_row: int, rows: npt.NDArray[np.int64], flux: _Flux
) -> BadSpectraError:
    row = first_row + int(np.flatnonzero(_without_flux(flux) & (rows >= 0))[0])
    return BadSpectraError(
        f"{source.name}: the spectrum of row {row} (star {source.ids[row]}) has no usable "
        f"pixel, all are zero or not finite; leave such stars out with on_bad='skip' "
        f"(--on-bad skip)"
    )


def _too_narrow(
    source: Source, codec: Quantized16, written: FluxSummary, n_read: int
) -> OptionError:
    return OptionError(
        f"{source.name}: {written.clipped:,} pixels of the first {n_read:,} spectra lie outside "
        f"{codec.bzero:g} to {codec.high:g}, the flux that this 16-bit code holds; found "
        f"{written.lowest:g} to {written.highest:g}, and at most {MAX_CLIPPED_FRACTION:.1%} of all "
        f"pixels may be clipped: give a wider range (flux_range=, --flux-range) or store float32"
    )
