"""A store as the source of a conversion or a repair, without the files that it was made of."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from galahstream.errors import LabelError
from galahstream.sources.arrays import ArraySource
from galahstream.sources.base import OnBad, SkippedStar, Source, Spectra, explain_access_errors
from galahstream.sources.hdf5 import is_hdf5_file
from galahstream.sources.huggingface import is_hub_address
from galahstream.sources.open import Arrays, PathLike, open_source
from galahstream.sources.parquet import ColumnNames
from galahstream.store import Store, open_store
from galahstream.store.formats import FORMATS
from galahstream.store.formats.npy import is_store_folder
from galahstream.survey.labels import LabelChoice, LabelColumnChoice, chosen_labels
from galahstream.survey.provenance import Provenance
from galahstream.survey.selection import Cut, FlagCount

AnySource: TypeAlias = PathLike | tuple[PathLike, PathLike] | Arrays | Source | Store


@dataclass(frozen=True)
class RecordedSplit:
    """The split of a store: of each star, uint8 (N,), and how it was drawn."""

    of_star: npt.NDArray[np.uint8]
    fractions: tuple[float, float, float]
    seed: int
    groups: str | None


class StoreSource(ArraySource):
    """The stars of a store, in the order of the source that it was converted from.

    In this order a seed draws the split that it draws from that source. Each spectrum is
    verified when it is read.

    Parameters
    ----------
    path : Path
        A store.
    choice : label choice
        The labels to take, None for all; their units stay unless others are given.

    Raises
    ------
    StoreFormatError, StoreVersionError, LabelError
    """

    def __init__(self, path: Path, choice: LabelChoice = None) -> None:
        self._store = open_store(path)
        self._order = np.argsort(self._store.source_row, kind="stable")
        super().__init__(
            str(self._store.path),
            self._store.flux.shape,
            _choose(self._store, choice),
            self._store.ids[self._order],
        )

    @property
    def wavelength(self) -> npt.NDArray[np.float64] | None:
        """Wavelengths in Å, shape (L,); None if they are nominal or unknown."""
        return self._store.wavelength if self._store.manifest.wavelength == "given" else None

    @property
    def skipped(self) -> tuple[SkippedStar, ...]:
        """Stars that were skipped when the store was made."""
        return tuple(SkippedStar(*star) for star in self._store.manifest.skipped)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the source of the store said of its stars and files."""
        return self._store.manifest.notes

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the spectra."""
        return self._store.spectra_files

    @property
    def fingerprint(self) -> str:
        """Digest of the manifest, which holds digests of everything else."""
        return self._store.fingerprint

    @property
    def recorded_split(self) -> RecordedSplit:
        """Which stars train, validate and test in the store."""
        manifest = self._store.manifest
        of_star = self._store.split[self._order]
        return RecordedSplit(of_star, manifest.split, manifest.split_seed, manifest.groups)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the labels in the store."""
        return tuple(self._store.labels)

    @property
    def provenance(self) -> Provenance:
        """What the store says of its spectra."""
        return self._store.manifest.provenance

    @property
    def has_errors(self) -> bool:
        """Whether the store has an error of each pixel."""
        return self._store.error is not None

    @property
    def cuts(self) -> tuple[Cut, ...]:
        """Conditions that removed stars when the store was made."""
        return self._store.manifest.cuts

    def count_flags(self, rows: npt.NDArray[np.int64]) -> tuple[FlagCount, ...]:
        """Return the counts of the store if they are of the same stars, else none."""
        return self._store.manifest.flags if len(rows) == len(self) else ()

    def read_raw_column(self, column: str) -> npt.NDArray[Any]:
        """Return a label, shape (N,), float64."""
        return self._store.labels[column][self._order]

    def iter_blocks(self, block_rows: int, first_row: int = 0) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the flux as decoded; a damaged row raises `DamagedRowError`."""
        for start in range(first_row, len(self), block_rows):
            yield self._store.flux[self._order[start : start + block_rows]]

    def iter_spectra(self, block_rows: int, first_row: int = 0) -> Iterator[Spectra]:
        """Yield flux and errors as decoded; a damaged row raises `DamagedRowError`."""
        error = self._store.error
        for start in range(first_row, len(self), block_rows):
            rows = self._order[start : start + block_rows]
            yield Spectra(self._store.flux[rows], None if error is None else error[rows])


def open_input(
    source: AnySource,
    labels: LabelChoice = None,
    on_bad: OnBad = "raise",
    *,
    index: Path | None = None,
    progress: bool = False,
    columns: ColumnNames | None = None,
) -> Source:
    """Open a store, or what :func:`~galahstream.sources.open.open_source` takes, as that does."""
    if isinstance(source, Store):
        source = StoreSource(source.path, labels)
    elif isinstance(source, str | os.PathLike) and _is_store(source):
        source = StoreSource(Path(source), labels)
    return open_source(source, labels, on_bad, index=index, progress=progress, columns=columns)


def _is_store(source: PathLike) -> bool:
    if is_hub_address(source):
        return False
    path = Path(source)
    with explain_access_errors(path):
        if path.is_dir():
            return is_store_folder(path)
        return (
            path.is_file() and is_hdf5_file(path) and FORMATS["hdf5"].foreign_content(path) is None
        )


def _choose(store: Store, choice: LabelChoice) -> tuple[LabelColumnChoice, ...]:
    choices = chosen_labels(choice, store.labels)
    entries = (
        [choice] if isinstance(choice, str) else list(store.labels if choice is None else choice)
    )
    chosen = []
    for entry, column in zip(entries, choices, strict=True):
        if column.column not in store.labels:
            msg = (
                f"{store.path}: no label {column.column!r}; the store has "
                f"{', '.join(store.labels) or 'none'}: choose among them (labels=, --labels)"
            )
            raise LabelError(msg)
        unit = column.unit if "[" in entry else store.label_units[column.column]
        name = column.column if choice is None else column.name
        chosen.append(LabelColumnChoice(name, unit, column.column))
    return tuple(chosen)
