"""An open store: its labels, ids and split as arrays, its spectra read on demand."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from galahstream.errors import SourceMissingError, StoreFormatError
from galahstream.store.astropy import spectrum_of, table_of
from galahstream.store.formats import format_of
from galahstream.store.info import StoreInfo, store_facts
from galahstream.store.layout import DIGEST_NAMES
from galahstream.store.manifest import Manifest, encoding_of
from galahstream.store.members import MemberRows, RowPlaces
from galahstream.store.opening import explain_open_errors
from galahstream.store.quantization import Encoding, Float16
from galahstream.store.reader_choice import choose_reader
from galahstream.store.readers import Reading
from galahstream.store.row_array import RowArray, RowRecords, SharedVerification
from galahstream.store.verified_rows import VerifiedRows
from galahstream.survey.fill_values import likely_fill_values
from galahstream.survey.provenance import Provenance
from galahstream.survey.splits import SPLIT_NAMES
from galahstream.system.digest import array_digest, text_digest
from galahstream.system.hdf5_safety import Locking, check_locking
from galahstream.system.progress import progress_bar
from galahstream.validation import check_choice

Verification: TypeAlias = Literal["read", "open"]
"""When flux is verified: when a row is first read, or not beyond the checks on opening."""

# Rows that are read ahead while as many are hashed.
_BLOCK_ROWS = 256


def open_store(
    path: str | os.PathLike[str],
    verify: Verification = "read",
    reading: Reading = "auto",
    locking: Locking = None,
) -> "Store":
    """Open a store for reading.

    Headers, sizes and digests of all arrays except flux and errors are checked; those
    are read only on demand.

    Parameters
    ----------
    path : path-like
        A folder (npy) or an HDF5 file made by :func:`galahstream.convert`. It is made
        absolute with links resolved.
    verify : {"read", "open"}
        ``"read"`` verifies each spectrum against its digest when it is first read;
        ``"open"`` verifies nothing beyond the checks on opening.
    reading : {"auto", "mapped", "pread"}
        How flux is read. ``"auto"`` maps the file, and chooses ``pread`` if the file is
        larger than half of the free memory or on a network file system;
        ``store.info()`` says what was chosen and why.
    locking : bool, "best-effort" or None
        Whether HDF5 locks a file while it reads; None leaves it to the environment
        variable ``HDF5_USE_FILE_LOCKING``. A folder is never locked.

    Raises
    ------
    OptionError
        If `verify`, `reading` or `locking` is not one of these.
    SourceMissingError
        If the path does not exist.
    StoreFormatError, StoreVersionError
        If it is not a store, damaged, of a newer version, locked by another program, or
        may not be read.
    """
    check_choice("verify", verify, get_args(Verification))
    check_choice("reading", reading, get_args(Reading))
    check_locking(locking)
    with explain_open_errors(Path(path)):
        if not Path(path).exists():
            msg = f"{path} does not exist; expected a store made by 'galahstream convert'"
            raise SourceMissingError(msg)
        return Store(Path(path).resolve(), verify, reading, locking)


class Store:
    """A store of N stars with L pixels; made by :func:`open_store`.

    Attributes
    ----------
    path : Path
        Folder or file, absolute.
    format : str
        ``"npy"``, ``"hdf5"`` or ``"collection"``.
    manifest : Manifest
        The store's description of itself.
    fingerprint : str
        Digest of the manifest, which holds digests of everything else.
    wavelength : ndarray, shape (L,), float64
        Å; NaN if the source had none.
    labels : mapping of str to ndarray, shape (N,), float64
        By column name, in the units of `label_units`; NaN where missing.
    ids, source_row : ndarray, shape (N,), int64
        The source's star ids, and the row of the source that each row came from.
    split : ndarray, shape (N,), uint8
        0 train, 1 val, 2 test.
    digests : ndarray, shape (N,), uint64
        XXH3-64 of the stored bytes of each row of flux.
    arrays : mapping of str to ndarray
        All arrays except flux and errors as stored, by the names of the format.
    flux : RowArray
        ``store.flux[rows]`` gives float32 (n, L) as it was in the source.
    error : RowArray or None
        ``store.error[rows]`` gives one standard deviation of each pixel, float32 (n, L)
        in the unit of the flux, NaN where it is unknown. None for a store without errors.
    """

    def __init__(
        self, path: Path, verify: Verification, reading: Reading, locking: Locking = None
    ) -> None:
        self.path = path
        self.verification = verify
        self.reading = reading
        self.locking = locking
        store_format = format_of(path, locking)
        self.format = store_format.name
        text = store_format.read_manifest(path).strip()
        self.fingerprint = text_digest(text)
        self.manifest = Manifest.from_json(text, store_format.describe_manifest(path))
        arrays = store_format.open_arrays(path, self.manifest.spec)
        _check_arrays(path, self.manifest, arrays)
        places = store_format.open_spectra(path, self.manifest.spec, arrays)
        self._files = {name: _paths_of(path, place) for name, place in places.items()}
        self.arrays: Mapping[str, npt.NDArray[Any]] = arrays
        self.wavelength: npt.NDArray[np.float64] = arrays["wavelength"]
        self.ids: npt.NDArray[np.int64] = arrays["ids"]
        self.source_row: npt.NDArray[np.int64] = arrays["source_row"]
        self.split: npt.NDArray[np.uint8] = arrays["split"]
        self.digests: npt.NDArray[np.uint64] = arrays["digests"]
        self.labels: Mapping[str, npt.NDArray[np.float64]] = {
            column.name: arrays["labels"][:, k] for k, column in enumerate(self.manifest.labels)
        }
        self.flux = self._row_array("flux", places["flux"], encoding_of(self.manifest))
        self.error: RowArray | None = None
        if "error" in places:
            self.error = self._row_array("error", places["error"], Float16())

    def __len__(self) -> int:
        return self.manifest.n_stars

    def __repr__(self) -> str:
        return f"<Store {self.path}: {len(self)} stars, {self.n_pixels} pixels, {self.format}>"

    def _repr_html_(self) -> str:
        return store_facts(self.describe())

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        shared = [rows.share_verification() for rows in self.spectra.values()]
        opened = (self.path, self.verification, self.reading, self.locking)
        return _open_again, (opened, self.fingerprint, shared)

    @property
    def spectra(self) -> dict[str, RowArray]:
        """The flux, and the errors of a store that has them, by name."""
        if self.error is None:
            return {"flux": self.flux}
        return {"flux": self.flux, "error": self.error}

    @property
    def spectra_files(self) -> tuple[Path, ...]:
        """The files that have the spectra."""
        return tuple(dict.fromkeys(path for name in self.spectra for path in self._files[name]))

    @property
    def n_pixels(self) -> int:
        """Pixels of each spectrum, L."""
        return self.manifest.n_pixels

    @property
    def wavelength_is_nominal(self) -> bool:
        """Whether the wavelengths are the nominal ones of the spectrograph."""
        return self.manifest.wavelength == "nominal"

    @property
    def provenance(self) -> Provenance:
        """Where the spectra come from, their frame and their grid."""
        return self.manifest.provenance

    @property
    def label_units(self) -> dict[str, str]:
        """Unit of each label column, an empty string for none."""
        return {column.name: column.unit for column in self.manifest.labels}

    @property
    def split_fingerprint(self) -> str:
        """Digest of ids and split: equal if the same stars train, validate and test."""
        return text_digest(self.manifest.digests["ids"] + self.manifest.digests["split"])

    def rows_of(self, split: str) -> slice | npt.NDArray[np.int64]:
        """Return the rows of ``"train"``, ``"val"``, ``"test"`` or ``"all"``.

        They are a slice, except for one split of a store that was made in place.
        """
        if split == "all":
            return slice(0, len(self))
        code = SPLIT_NAMES.index(split)
        if self.manifest.row_order == "source":
            return np.flatnonzero(self.split == code)
        start = sum(self.manifest.split_sizes[:code])
        return slice(start, start + self.manifest.split_sizes[code])

    def spectrum(self, row: int) -> Any:
        """Return the spectrum of a row as a ``specutils.Spectrum`` (extra ``spectrum``).

        Flux is dimensionless, as a fraction of the continuum, and wavelengths are in Å in air;
        pixels without a value are masked. The uncertainty is 1 σ of each pixel, of a store that
        has it. ``meta`` has id, labels and their units, and where the spectrum comes from;
        ``meta["wavelength_is_nominal"]`` says whether the wavelengths are only those of the
        spectrograph, from which each star is off by up to 2.7 Å and by its velocity.

        Raises
        ------
        ExtraMissingError
            If specutils is not installed.
        WavelengthError
            If the wavelengths are not known.
        IndexError, DamagedRowError
            If there is no such row, or it is damaged.
        """
        return spectrum_of(self, row)

    def to_table(self) -> Any:
        """Return all stars as an ``astropy.table.QTable`` (extra ``fits``).

        The columns are ``id``, ``split`` (train, val or test) and the labels with their units; one
        that astropy does not know is in the description of its column.

        Raises
        ------
        ExtraMissingError
            If astropy is not installed.
        """
        return table_of(self, self.split)

    def prefetch(self, rows: npt.NDArray[np.int64]) -> None:
        """Request the flux of rows, from 0 to N - 1, from the disk that will be read soon."""
        self.flux.prefetch(rows)

    def release_pages(self) -> None:
        """Return the memory of mapped spectra to the system; does nothing if none is mapped."""
        for rows in self.spectra.values():
            rows.release_pages()

    def locate(self, row: int) -> str:
        """Return file and bytes of the flux of a row, for messages."""
        return self.flux.locate(row)

    def info(self) -> dict[str, Any]:
        """Return what :meth:`describe` does as a dictionary of plain values."""
        return self.describe().as_dict()

    def describe(self) -> StoreInfo:
        """Return the contents of the store in numbers: shape, labels, split, sizes."""
        manifest = self.manifest
        files = self.path.rglob("*") if self.path.is_dir() else [self.path]
        covered = (float(self.wavelength[0]), float(self.wavelength[-1]))
        return StoreInfo(
            path=self.path,
            format=self.format,
            version=manifest.version,
            stars=manifest.n_stars,
            pixels=manifest.n_pixels,
            dtype=manifest.dtype,
            quantization=manifest.quantization,
            row_order=manifest.row_order,
            chunk_rows=manifest.chunk_rows if self.format == "hdf5" else None,
            compression=manifest.compression,
            provenance=manifest.provenance,
            access=self.flux.access,
            access_reason=self.flux.access_reason,
            wavelength=manifest.wavelength,
            wavelength_range=None if manifest.wavelength == "unknown" else covered,
            split=tuple(zip(SPLIT_NAMES, manifest.split_sizes, strict=True)),
            split_seed=manifest.split_seed,
            groups=manifest.groups,
            labels=manifest.labels,
            missing_values=manifest.missing_values,
            likely_fill_values=likely_fill_values(self.labels),
            pixel_counts=manifest.pixel_counts,
            error_counts=manifest.error_counts,
            skipped=manifest.skipped,
            notes=manifest.notes,
            cuts=manifest.cuts,
            flags=manifest.flags,
            bytes=sum(file.stat().st_size for file in files if file.is_file()),
            members=len(manifest.members),
        )

    def verify(self, *, progress: bool = False) -> npt.NDArray[np.int64]:
        """Read all spectra and return the rows whose bytes differ from their digests.

        Parameters
        ----------
        progress : bool
            Show a progress bar on a terminal if it takes longer than a second.

        Returns
        -------
        ndarray of int64
            Rows of which the flux or the errors are damaged, increasing; empty for an
            intact store. Everything else in the store was checked when it was opened.
        """
        damaged: list[npt.NDArray[np.int64]] = []
        rows = np.arange(min(_BLOCK_ROWS, len(self)))
        self._prefetch_all(rows)
        with progress_bar(len(self), "verifying", enabled=progress) as bar:
            while len(rows):
                following = np.arange(rows[-1] + 1, min(rows[-1] + 1 + _BLOCK_ROWS, len(self)))
                self._prefetch_all(following)
                found = [array.find_damaged(rows) for array in self.spectra.values()]
                damaged.append(np.unique(np.concatenate(found)))
                bar.update(len(rows))
                rows = following
        return np.concatenate(damaged)

    def close(self) -> None:
        """Close the files of the spectra; the next read opens them again."""
        for rows in self.spectra.values():
            rows.close()

    def _row_array(self, name: str, places: RowPlaces, encoding: Encoding) -> RowArray:
        return RowArray(
            choose_reader(self.path, name, places, self.reading, self.locking),
            encoding,
            self.manifest.n_pixels,
            RowRecords(str(self.path), self.ids, self.arrays[DIGEST_NAMES[name]]),
            VerifiedRows(len(self)) if self.verification == "read" else None,
        )

    def _prefetch_all(self, rows: npt.NDArray[np.int64]) -> None:
        for array in self.spectra.values():
            array.prefetch(rows)


def _paths_of(path: Path, places: RowPlaces) -> Sequence[Path]:
    if places is None:
        return [path]
    return places.paths if isinstance(places, MemberRows) else [places.path]


def _open_again(
    opened: tuple[Path, Verification, Reading, Locking],
    fingerprint: str,
    shared: Sequence[SharedVerification | None],
) -> Store:
    """Open the same store in another process."""
    store = open_store(*opened)
    if store.fingerprint != fingerprint:
        msg = f"{store.path}: the store was replaced since it was opened; open it again"
        raise StoreFormatError(msg)
    for rows, flags in zip(store.spectra.values(), shared, strict=True):
        if flags is not None:
            rows.join_verification(flags)
    return store


def _check_arrays(path: Path, manifest: Manifest, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    for name, array in arrays.items():
        if array_digest(array) != manifest.digests.get(name):
            msg = (
                f"{path}: the array {name!r} does not match its digest in the manifest: it was "
                f"damaged or edited, convert the source again"
            )
            raise StoreFormatError(msg)
    sizes = np.bincount(arrays["split"], minlength=3)
    in_order = bool((np.diff(arrays["split"].astype(np.int8)) >= 0).all())
    in_order = in_order or manifest.row_order == "source"
    if tuple(sizes) != manifest.split_sizes or not in_order:
        msg = f"{path}: the split does not fit the manifest; convert the source again"
        raise StoreFormatError(msg)
