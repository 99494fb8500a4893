"""An open store: its labels, ids and split as arrays, its flux read when asked for."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from galahstream.errors import (
    DamagedRowError,
    OptionError,
    SourceMissingError,
    StoreFormatError,
)
from galahstream.store.access import choose_reader
from galahstream.store.formats import format_of
from galahstream.store.manifest import Manifest, encoding_of
from galahstream.store.readers import FluxReader
from galahstream.store.verified_rows import VerifiedRows
from galahstream.survey.splits import SPLIT_NAMES
from galahstream.system.digest import array_digest, row_digests, text_digest

# Rows that are read ahead while as many are hashed.
_VERIFIED_ROWS = 256
# Rows that are checked at a time: what was read of them is still in the cache.
_CHECKED_ROWS = 32
VERIFICATIONS = ("read", "open")
Rows: TypeAlias = int | slice | npt.NDArray[Any] | list[int]


def open_store(
    path: str | os.PathLike[str], verify: str = "read", reading: str = "auto"
) -> "Store":
    """Open a store for reading.

    Headers, sizes and digests of all arrays but the flux are checked; no flux
    is read before it is asked for.

    Parameters
    ----------
    path : path-like
        A folder (npy) or an HDF5 file made by :func:`galahstream.convert`.
    verify : {"read", "open"}
        ``"read"`` checks each spectrum against its digest when it is first read;
        ``"open"`` checks nothing more than what is checked here.
    reading : {"auto", "mapped", "pread"}
        How flux is read. ``"auto"`` maps the file, and takes ``pread`` for a file
        of more than half of the free memory or on a network file system;
        ``store.info()`` says what it took and why.

    Raises
    ------
    OptionError
        For another way of verifying or reading.
    SourceMissingError
        If nothing lies at the path.
    StoreFormatError, StoreVersionError
        If it is no store, damaged, or of a newer version.
    """
    return Store(Path(path), verify, reading)


class Store:
    """A store of N stars with L pixels, ordered by split; made by :func:`open_store`.

    Attributes
    ----------
    path : Path
        Folder or file.
    format : str
        ``"npy"`` or ``"hdf5"``.
    manifest : Manifest
        What the store says of itself.
    wavelength : ndarray, shape (L,), float64
        Å; NaN where the source had none.
    labels : mapping of str to ndarray, shape (N,), float64
        By column name, in the units of `label_units`; NaN where missing.
    ids, source_row : ndarray, shape (N,), int64
        The source's star ids, and the row of the source each row came from.
    split : ndarray, shape (N,), uint8
        0 train, 1 val, 2 test.
    arrays : mapping of str to ndarray
        Everything but the flux as it is stored, by the format's own names.
    flux : Flux
        ``store.flux[rows]`` gives float32 (n, L) as it was in the source.
    fingerprint : str
        Digest of the manifest, and so of all that the store holds.
    """

    def __init__(self, path: Path, verify: str = "read", reading: str = "auto") -> None:
        self.path = path
        self.verification = verify
        self.reading = reading
        if verify not in VERIFICATIONS:
            msg = f"verify {verify!r} is not known; expected one of {', '.join(VERIFICATIONS)}"
            raise OptionError(msg)
        if not path.exists():
            msg = f"{path} does not exist; expected a store made by 'galahstream convert'"
            raise SourceMissingError(msg)
        store_format = format_of(path)
        self.format = store_format.name
        text = store_format.read_manifest(path).strip()
        self.manifest = Manifest.from_json(text, store_format.describe_manifest(path))
        self.fingerprint = text_digest(text)
        arrays, places = store_format.open_arrays(path, self.manifest.spec)
        self._check_digests(arrays)
        self.arrays: Mapping[str, npt.NDArray[Any]] = arrays
        self.wavelength = arrays["wavelength"]
        self.ids, self.source_row, self.split = (
            arrays[name] for name in ("ids", "source_row", "split")
        )
        self.digests = arrays["digests"]
        self.labels: Mapping[str, npt.NDArray[np.float64]] = {
            column.name: arrays["labels"][:, number]
            for number, column in enumerate(self.manifest.labels)
        }
        self.flux = Flux(self, *choose_reader(path, places, reading))

    def __len__(self) -> int:
        return self.manifest.n_stars

    def __repr__(self) -> str:
        return f"<Store {self.path}: {len(self)} stars, {self.n_pixels} pixels, {self.format}>"

    def __enter__(self) -> "Store":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        checked = self.flux.checked
        shared = None if checked is None else (self.flux.reader.watched.known, *checked.share())
        options = (self.verification, self.reading)
        return _open_again, (str(self.path.absolute()), self.fingerprint, options, shared)

    @property
    def n_pixels(self) -> int:
        """Pixels of each spectrum, L."""
        return self.manifest.n_pixels

    @property
    def wavelength_is_nominal(self) -> bool:
        """Whether the wavelengths are the spectrograph's nominal ones, not each star's own."""
        return self.manifest.wavelength == "nominal"

    @property
    def label_units(self) -> dict[str, str]:
        """Unit of each label column, an empty string for none."""
        return {column.name: column.unit for column in self.manifest.labels}

    @property
    def split_fingerprint(self) -> str:
        """Digest over the ids and the split: equal where the same stars train, validate, test."""
        return text_digest(self.manifest.digests["ids"] + self.manifest.digests["split"])

    def rows_of(self, split: str) -> slice | npt.NDArray[np.int64]:
        """Return the rows of ``"train"``, ``"val"``, ``"test"`` or ``"all"``.

        They are a slice, except for a part of a store that was made in place.
        """
        if split == "all":
            return slice(0, len(self))
        number = SPLIT_NAMES.index(split)
        if self.manifest.row_order == "source":
            return np.flatnonzero(self.split == number)
        start = sum(self.manifest.split_sizes[:number])
        return slice(start, start + self.manifest.split_sizes[number])

    def info(self) -> dict[str, Any]:
        """Return what the store holds, for people and programs: counts, labels, sizes."""
        manifest = self.manifest
        files = sorted(self.path.iterdir()) if self.path.is_dir() else [self.path]
        return {
            "path": str(self.path),
            "format": self.format,
            "version": manifest.version,
            "stars": manifest.n_stars,
            "pixels": manifest.n_pixels,
            "dtype": manifest.dtype,
            "quantization": None if manifest.quantization is None else vars(manifest.quantization),
            "row_order": manifest.row_order,
            "reading": self.flux.way,
            "reading_because": self.flux.because,
            "wavelength": manifest.wavelength,
            "wavelength_range": [float(self.wavelength[0]), float(self.wavelength[-1])]
            if manifest.wavelength != "unknown"
            else None,
            "split": dict(zip(SPLIT_NAMES, manifest.split_sizes, strict=True)),
            "split_seed": manifest.split_seed,
            "groups": manifest.groups,
            "labels": {
                column.name: {
                    "unit": column.unit,
                    "minimum": column.minimum,
                    "maximum": column.maximum,
                    "mean": column.mean,
                    "std": column.std,
                    "missing": column.missing,
                }
                for column in manifest.labels
            },
            "pixel_counts": vars(manifest.pixel_counts),
            "skipped": [list(star) for star in manifest.skipped],
            "bytes": sum(file.stat().st_size for file in files),
        }

    def verify(self, *, progress: bool = False) -> npt.NDArray[np.int64]:
        """Read all flux and return the rows whose bytes differ from their digests.

        Parameters
        ----------
        progress : bool
            Show a progress bar on a terminal when it takes longer than a second.

        Returns
        -------
        ndarray of int64
            Numbers of damaged rows; empty for a sound store. Everything else in
            the store was checked when it was opened.
        """
        damaged: list[npt.NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]
        with tqdm(
            total=len(self),
            desc="verifying",
            unit=" stars",
            delay=1,
            disable=None if progress else True,
        ) as bar:
            for start in range(0, len(self), _VERIFIED_ROWS):
                rows = np.arange(start, min(start + _VERIFIED_ROWS, len(self)))
                ahead = np.arange(rows[-1] + 1, min(rows[-1] + 1 + _VERIFIED_ROWS, len(self)))
                self.flux.reader.prefetch(ahead)
                damaged.append(self.flux.damaged(rows))
                bar.update(len(rows))
        return np.concatenate(damaged)

    def close(self) -> None:
        """Let go of the flux file; reading again opens it again."""
        self.flux.close()

    def _check_digests(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        for name, array in arrays.items():
            if array_digest(array) != self.manifest.digests.get(name):
                msg = (
                    f"{self.path}: the array {name!r} does not match its digest in the manifest: "
                    f"it was damaged or edited, convert the source again"
                )
                raise StoreFormatError(msg)
        parts = np.bincount(arrays["split"], minlength=3)
        ordered = bool((np.diff(arrays["split"].astype(np.int8)) >= 0).all())
        ordered = ordered or self.manifest.row_order == "source"
        if tuple(parts) != self.manifest.split_sizes or not ordered:
            msg = f"{self.path}: the split does not fit the manifest; convert the source again"
            raise StoreFormatError(msg)


class Flux:
    """The flux of a store, read by row; nothing is kept.

    Attributes
    ----------
    shape : (int, int)
        Stars and pixels.
    encoding : Encoding
        Conversion between float32 flux and the stored values.
    reader : FluxReader
        What brings stored rows into memory.
    checked : VerifiedRows or None
        The rows that matched their digests; None where they are not checked.
    because : str
        Why it reads in the way it does.
    """

    def __init__(self, store: Store, reader: FluxReader, because: str) -> None:
        self.shape = (store.manifest.n_stars, store.manifest.n_pixels)
        self.encoding = encoding_of(store.manifest)
        self.dtype = self.encoding.dtype
        self.reader = reader
        self.checked = VerifiedRows(len(store)) if store.verification == "read" else None
        self.because = because
        self._name = str(store.path)
        self._ids, self._digests = store.ids, store.digests

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[npt.NDArray[np.float32]]:
        return (self[row] for row in range(len(self)))

    @property
    def way(self) -> str:
        """How flux is read: ``"mapped"``, ``"pread"`` or ``"h5py"``."""
        return self.reader.way

    def __getitem__(self, rows: Rows) -> npt.NDArray[np.float32]:
        """Return flux as it was in the source, NaN included: (L,) for a number, else (n, L)."""
        if isinstance(rows, slice):
            return self._decoded(np.arange(*rows.indices(len(self))))
        numbers = np.asarray(rows)
        if numbers.dtype == bool and numbers.shape == (len(self),):
            numbers = np.flatnonzero(numbers)
        if numbers.ndim > 1 or (numbers.size and numbers.dtype.kind not in "iu"):
            msg = f"{self._name}: rows must be whole numbers, a slice or a mask of {len(self)} rows"
            raise IndexError(msg)
        flux = self._decoded(np.atleast_1d(numbers).astype(np.int64))
        return flux[0] if numbers.ndim == 0 else flux

    def stored(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        """Return rows as they are stored, shape (n, L), as an owned array."""
        outside = (rows < -len(self)) | (rows >= len(self))
        if outside.any():
            msg = f"{self._name}: row {rows[outside][0]} of a store of {len(self)} rows"
            raise IndexError(msg)
        n_pixels = self.shape[1]
        values = np.empty((len(rows), n_pixels), dtype=self.dtype)
        for numbers, flat, starts in self.pieces(rows % len(self)):
            for row, start in zip(values[numbers], starts.tolist(), strict=True):
                row[:] = flat[start : start + n_pixels]
        return values

    def pieces(
        self, rows: npt.NDArray[np.int64]
    ) -> Iterator[tuple[slice, npt.NDArray[Any], npt.NDArray[np.int64]]]:
        """Yield what :meth:`FluxReader.pieces` does, and check rows that were not checked yet.

        A row is checked when the caller asks for the next ones: what was made of
        it is still in the cache, page faults were taken without the GIL, and
        nothing of it has left the caller, who must go on to the end.

        Raises
        ------
        DamagedRowError
            If a row does not match its digest.
        """
        checked = self.checked
        if checked is None or checked.holds(rows):
            yield from self.reader.pieces(rows)
            return
        for numbers, flat, starts in self.reader.pieces(rows):
            for first in range(0, len(starts), _CHECKED_ROWS):
                step = starts[first : first + _CHECKED_ROWS]
                begin = numbers.start + first
                yield slice(begin, begin + len(step)), flat, step
                self._check(rows[begin : begin + len(step)], flat, step, checked)

    def damaged(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return those of the rows that cannot be read, or do not match their digests now."""
        found: npt.NDArray[np.uint64] = np.empty(len(rows), dtype=np.uint64)
        try:
            for numbers, flat, starts in self.reader.pieces(rows):
                found[numbers] = row_digests(flat, starts, self.shape[1])
        except DamagedRowError:  # a chunk that cannot be decompressed
            if len(rows) == 1:
                return rows
            return np.concatenate([self.damaged(row) for row in np.split(rows, len(rows))])
        is_sound: npt.NDArray[np.bool_] = found == self._digests[rows]
        if self.checked is not None:
            self.checked.mark(rows[is_sound])
        return rows[~is_sound]

    def _check(
        self,
        rows: npt.NDArray[np.int64],
        flat: npt.NDArray[Any],
        starts: npt.NDArray[np.int64],
        checked: VerifiedRows,
    ) -> None:
        is_sound = row_digests(flat, starts, self.shape[1]) == self._digests[rows]
        if not is_sound.all():
            self.reader.watched.check()  # a file that was written to has a clearer error
            row = int(rows[~is_sound][0])
            msg = (
                f"{self._name}: row {row} (star {self._ids[row]}) does not match its digest, it "
                f"was damaged: {self.reader.where(row)}; find all such rows with 'galahstream "
                f"verify {self._name}', and add --repair SOURCE to restore them"
            )
            raise DamagedRowError(msg)
        checked.mark(rows)

    def _decoded(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        return self.encoding.decode(self.stored(rows))

    def close(self) -> None:
        """Let go of the file."""
        self.reader.close()


def _open_again(
    path: str,
    fingerprint: str,
    options: tuple[str, str],
    shared: tuple[Any, str, int] | None,
) -> Store:
    store = open_store(path, *options)
    if store.fingerprint != fingerprint:
        msg = f"{path}: the store was replaced since it was opened; open it again"
        raise StoreFormatError(msg)
    if shared is not None and store.flux.checked is not None:
        known, marks_path, inode = shared
        if store.flux.reader.watched.known == known:  # what was checked is what is read
            store.flux.checked.join(marks_path, inode)
    return store
