"""What every kind of input offers to the converter."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from galahstream.errors import SourceShapeError


@dataclass(frozen=True)
class SkippedStar:
    """A star that a source or a conversion leaves out, and why."""

    star_id: int
    reason: str


class Source(Protocol):
    """A reader of spectra: N stars of L pixels, in one fixed order.

    A source reads in the process that made it and is used by one thread. Its
    flux is read block by block, in order, and never held as a whole.
    """

    @property
    def name(self) -> str:
        """What the source is called in messages: its path, or what it makes."""

    @property
    def n_pixels(self) -> int:
        """Pixels of each spectrum, L."""

    @property
    def wavelength(self) -> npt.NDArray[np.float64] | None:
        """Wavelengths in Å, shape (L,), or None where the source has none of its own."""

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the K label columns; empty for a source without labels."""

    @property
    def label_units(self) -> tuple[str, ...]:
        """Units of the K label columns, empty strings for none."""

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """Star ids, shape (N,); row numbers where the source has none."""

    @property
    def skipped(self) -> tuple[SkippedStar, ...]:
        """Stars that the source was told to leave out; they are no part of the N."""

    def __len__(self) -> int:
        """Return the number of stars, N."""

    def read_labels(self) -> npt.NDArray[np.float64]:
        """Return the labels, shape (N, K); NaN where a value is missing."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the flux comes from, to tell whether they changed; none if made."""

    def iter_blocks(self, block_rows: int, first_row: int = 0) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the flux of the stars in order, as blocks of shape (n <= block_rows, L)."""


def as_float32(
    block: npt.NDArray[np.generic], name: str, first_row: int, first_pixel: int = 0
) -> npt.NDArray[np.float32]:
    """Return a block of flux as C-ordered float32 of this machine's byte order.

    Raises
    ------
    SourceShapeError
        If a finite value is too large for float32, which would become infinite.
    """
    with np.errstate(over="ignore"):
        flux = np.ascontiguousarray(block, dtype=np.float32)
    if block.dtype.kind == "f" and block.dtype.itemsize > 4:
        overflowed = np.isinf(flux) & np.isfinite(block)
        if overflowed.any():
            row, pixel = (int(index[0]) for index in np.nonzero(overflowed))
            msg = (
                f"{name}: flux {block[row, pixel]} at row {first_row + row}, pixel "
                f"{first_pixel + pixel} is too large for float32; expected flux relative to a "
                f"continuum of 1"
            )
            raise SourceShapeError(msg)
    return flux
