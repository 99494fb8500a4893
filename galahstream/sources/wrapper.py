"""The base of sources that are made of other sources."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from galahstream.sources.base import SkippedStar, Source
from galahstream.survey.provenance import Provenance
from galahstream.survey.selection import Cut


class Wrapper(Source):
    """A source that shows another one, or the first of several, unchanged.

    A subclass defines what it changes, among it `name`, ``__len__`` and `iter_blocks`.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    @property
    def n_pixels(self) -> int:
        """Number of pixels of each spectrum, L."""
        return self._source.n_pixels

    @property
    def wavelength(self) -> npt.NDArray[np.float64] | None:
        """Wavelengths of the source, Å, shape (L,)."""
        return self._source.wavelength

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the source's labels."""
        return self._source.label_names

    @property
    def label_units(self) -> tuple[str, ...]:
        """Units of the source's labels."""
        return self._source.label_units

    @property
    def skipped(self) -> tuple[SkippedStar, ...]:
        """Stars that the source skipped."""
        return self._source.skipped

    @property
    def provenance(self) -> Provenance:
        """Where the source's spectra come from."""
        return self._source.provenance

    @property
    def has_errors(self) -> bool:
        """Whether the source has errors."""
        return self._source.has_errors

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on all stars and files of the source."""
        return self._source.notes

    @property
    def files(self) -> tuple[Path, ...]:
        """Files of the source."""
        return self._source.files

    @property
    def folders(self) -> tuple[Path, ...]:
        """Folders of the source."""
        return self._source.folders

    @property
    def fingerprint(self) -> str:
        """What tells that the spectra of the source changed."""
        return self._source.fingerprint

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """Conditions that removed stars of the source."""
        return self._source.cuts

    @property
    def group_column(self) -> str | None:
        """The source's column that tells which rows are of one star."""
        return self._source.group_column
