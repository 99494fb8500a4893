"""The contract of a source of spectra, and the errors of input that cannot be read."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from galahstream.errors import LabelError, SourceAccessError, SourceShapeError
from galahstream.survey.provenance import Provenance
from galahstream.survey.selection import Cut, FlagCount
from galahstream.system.access import access_reason

OnBad: TypeAlias = Literal["raise", "skip"]
"""What to do with stars whose spectra cannot be used."""

_POINTERS = {
    b"version https://git-lfs": "a git-lfs pointer to the data, not the data: run `git lfs pull`",
    b"/annex/objects/": "a git-annex pointer to the data, not the data: run `git annex get`",
}


@dataclass(frozen=True)
class SkippedStar:
    """A star that a source or a conversion skipped, and why.

    Attributes
    ----------
    star_id : int
        The star's id.
    reason : str
        Why it was skipped, as text for people.
    """

    star_id: int
    reason: str


class UnusableRow(NamedTuple):
    """A star whose spectrum cannot be used, of a source that was opened to skip such stars.

    Attributes
    ----------
    row : int
        Its row in the block.
    reason : str
        Why, as text for people.
    is_damaged : bool
        Whether a file of it is damaged, so that another copy may help.
    """

    row: int
    reason: str
    is_damaged: bool = False


class Spectra(NamedTuple):
    """Consecutive stars of a source.

    Attributes
    ----------
    flux : ndarray, shape (n, L), float32
    error : ndarray, shape (n, L), float32, or None
        One standard deviation of each pixel in the unit of the flux; NaN where it is not
        known. None from a source without errors.
    unusable : tuple of UnusableRow
        Stars that cannot be used, whose pixels are all NaN.
    """

    flux: npt.NDArray[np.float32]
    error: npt.NDArray[np.float32] | None
    unusable: tuple[UnusableRow, ...] = ()


class Source(ABC):
    """A reader of spectra: N stars of L pixels each, in a fixed order.

    A subclass defines :attr:`name`, :attr:`n_pixels`, ``__len__`` and
    :meth:`iter_blocks`; everything else has a default that fits a source without
    labels, ids and a wavelength grid. Flux is read block by block and never held
    completely. A source is used by one thread of the process that opened it.

    Examples
    --------
    >>> import numpy as np
    >>> from galahstream.sources.base import Source
    >>> class Flat(Source):
    ...     name, n_pixels = "three flat spectra", 4
    ...
    ...     def __len__(self):
    ...         return 3
    ...
    ...     def iter_blocks(self, block_rows, first_row=0):
    ...         for row in range(first_row, 3, block_rows):
    ...             yield np.ones((min(block_rows, 3 - row), 4), dtype=np.float32)
    >>> Flat().ids.tolist(), Flat().read_labels().shape
    ([0, 1, 2], (3, 0))
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What messages call the source: its path, or a description."""

    @property
    @abstractmethod
    def n_pixels(self) -> int:
        """Number of pixels of each spectrum, L."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of stars, N."""

    @abstractmethod
    def iter_blocks(self, block_rows: int, first_row: int = 0) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the flux of the stars in order.

        Parameters
        ----------
        block_rows : int
            Largest number of rows of a block, at least 1.
        first_row : int
            The row to begin with, 0 to N.

        Yields
        ------
        ndarray, shape (n, L), float32
            C-ordered, with 1 <= n <= `block_rows`.

        Raises
        ------
        GalahStreamError
            If the flux cannot be read, or does not fit into float32.
        """

    def iter_spectra(self, block_rows: int, first_row: int = 0) -> Iterator[Spectra]:
        """Yield the flux of the stars in order, with their errors if the source has them.

        A source with errors overrides it; parameters and exceptions are those of
        :meth:`iter_blocks`.
        """
        for flux in self.iter_blocks(block_rows, first_row):
            yield Spectra(flux, None)

    @property
    def wavelength(self) -> npt.NDArray[np.float64] | None:
        """Wavelengths in Å, shape (L,), or None if the source has no grid of its own."""
        return None

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the K label columns; empty for a source without labels."""
        return ()

    @property
    def label_units(self) -> tuple[str, ...]:
        """Units of the K label columns; an empty string for a label without a unit."""
        return ("",) * len(self.label_names)

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """Star ids, shape (N,), int64; row numbers if the source has no ids."""
        return np.arange(len(self), dtype=np.int64)

    @property
    def skipped(self) -> tuple[SkippedStar, ...]:
        """Stars that the source skipped; they are not among the N."""
        return ()

    @property
    def provenance(self) -> Provenance:
        """Where the spectra come from and what was done to them, as far as the source knows."""
        return Provenance()

    @property
    def has_errors(self) -> bool:
        """Whether :meth:`iter_spectra` gives an error for each pixel."""
        return False

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know of the stars and files, in plain sentences; kept by a store."""
        return ()

    def original_row(self, row: int) -> int:
        """Return the number of a row in what the user gave, for messages."""
        return row

    @property
    def files(self) -> tuple[Path, ...]:
        """Files that the flux is read from, to tell whether they changed; empty if none."""
        return ()

    @property
    def folders(self) -> tuple[Path, ...]:
        """Folders whose files are read, in which no store may be written; empty if none."""
        return ()

    @property
    def fingerprint(self) -> str:
        """What tells that the spectra changed where `files` do not; empty if nothing does."""
        return ""

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """Conditions that removed stars, in the order in which they were applied."""
        return ()

    @property
    def group_column(self) -> str | None:
        """Column that tells which rows are of one star and stay in one split, if not all differ."""
        return None

    def count_flags(self, rows: npt.NDArray[np.int64]) -> tuple[FlagCount, ...]:
        """Return how many of some stars have each bit of a catalogue's flag set."""
        return ()

    def read_labels(self) -> npt.NDArray[np.float64]:
        """Return the labels, shape (N, K), float64; NaN where a value is missing."""
        return np.empty((len(self), 0))

    def read_column(self, name: str) -> npt.NDArray[Any]:
        """Return one column of the source in its own dtype, to group rows by.

        Integers stay integers: float64 holds them exactly to 2**53 only, and ids of
        stars and visits are larger.

        Parameters
        ----------
        name : str
            A label, or ``"ids"``.

        Returns
        -------
        ndarray, shape (N,)

        Raises
        ------
        LabelError
            If the source has no such column.
        """
        if name == "ids":
            return self.ids
        if name not in self.label_names:
            raise unknown_column(self.name, name, self.label_names)
        return self.read_labels()[:, self.label_names.index(name)]


def unknown_column(source: str, name: str, columns: Iterable[str]) -> LabelError:
    """Return the error for a column that a source does not have."""
    return LabelError(
        f"{source}: no column {name!r} to group by; expected 'ids' or one of "
        f"{', '.join(columns) or 'no labels'}"
    )


@contextmanager
def explain_access_errors(path: Path) -> Iterator[None]:
    """Explain why the system does not let a file be opened or read, and name the cure.

    Such a file is locked or forbidden, for example, and not damaged.

    Raises
    ------
    SourceAccessError
        For an ``OSError`` whose number says so; all others are raised as they are.
    """
    try:
        yield
    except OSError as error:
        reason = access_reason(error)
        if reason is None:
            raise
        msg = f"{path} cannot be read: {reason}"
        raise SourceAccessError(msg) from error


def pointer_reason(first_bytes: bytes) -> str | None:
    """Return what a file is that stands in place of data kept elsewhere, or None if it is not.

    Parameters
    ----------
    first_bytes : bytes
        The beginning of the file, at least 32 bytes if it has as many.
    """
    for beginning, reason in _POINTERS.items():
        if first_bytes.startswith(beginning):
            return reason
    return None


def as_float32(
    block: npt.NDArray[np.generic], name: str, first_row: int, first_pixel: int = 0
) -> npt.NDArray[np.float32]:
    """Return a block of flux as C-ordered float32 in this machine's byte order.

    Parameters
    ----------
    block : ndarray, shape (n, m)
        Flux as the source holds it.
    name : str
        What messages call the source.
    first_row, first_pixel : int
        Position of the block in the source, for messages.

    Raises
    ------
    SourceShapeError
        If a finite value is too large for float32 and would become infinite.
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
