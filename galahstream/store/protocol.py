"""The part of a store that datasets and loaders use, which collections of stores share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from galahstream.store.info import StoreInfo
from galahstream.store.quantization import Encoding
from galahstream.store.readers import Consumer
from galahstream.store.row_array import Rows
from galahstream.survey.provenance import Provenance


class SpectraArray(Protocol):
    """Flux or errors of shape (N, L), read by row."""

    @property
    def shape(self) -> tuple[int, int]:
        """(N, L)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the stored values."""

    @property
    def encoding(self) -> Encoding:
        """Conversion between float32 and the stored values."""

    def __getitem__(self, rows: Rows) -> npt.NDArray[np.float32]:
        """Return rows as they were in the source."""

    def read(self, rows: npt.NDArray[np.int64], consume: Consumer) -> None:
        """Call `consume` with spans of the rows as stored."""

    def prefetch(self, rows: npt.NDArray[np.int64]) -> None:
        """Request rows from the disk that will be read soon."""


class SpectraStore(Protocol):
    """N stars with L pixels each, their labels, and which of them train, validate and test."""

    @property
    def path(self) -> Path:
        """Where the store is; its name in messages."""

    @property
    def n_pixels(self) -> int:
        """Pixels per spectrum, L."""

    @property
    def wavelength(self) -> npt.NDArray[np.float64]:
        """Wavelengths in Å, shape (L,); NaN if unknown."""

    @property
    def wavelength_is_nominal(self) -> bool:
        """Whether the wavelengths are the nominal ones of the spectrograph."""

    @property
    def provenance(self) -> Provenance:
        """Where the spectra come from, their frame and their grid."""

    @property
    def labels(self) -> Mapping[str, npt.NDArray[np.float64]]:
        """Label columns of shape (N,) by name; NaN where missing."""

    @property
    def label_units(self) -> Mapping[str, str]:
        """Unit of each label column, an empty string for none."""

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """Star ids, shape (N,)."""

    @property
    def flux(self) -> SpectraArray:
        """The flux, read by row."""

    @property
    def error(self) -> SpectraArray | None:
        """The errors of the flux, read by row; None if there are none."""

    @property
    def fingerprint(self) -> str:
        """Digest of all that the store holds."""

    @property
    def split_fingerprint(self) -> str:
        """Digest of which stars train, validate and test."""

    def __len__(self) -> int:
        """Return the number of stars, N."""

    def rows_of(self, split: str) -> slice | npt.NDArray[np.int64]:
        """Return the rows of ``"train"``, ``"val"``, ``"test"`` or ``"all"``."""

    def prefetch(self, rows: npt.NDArray[np.int64]) -> None:
        """Request rows from the disk that will be read soon."""

    def release_pages(self) -> None:
        """Return the memory of mapped rows to the system, if there is any."""

    def describe(self) -> StoreInfo:
        """Return the contents of the store in numbers: shape, labels, split, sizes."""

    def locate(self, row: int) -> str:
        """Return file and bytes of a row, for messages."""

    def close(self) -> None:
        """Close the files; the next read opens them again."""
