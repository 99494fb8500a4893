"""The only way to make a store: create its files, fill them, and write the manifest last."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from galahstream.errors import LabelError, OptionError
from galahstream.store.formats.base import StoreFormat
from galahstream.store.layout import ArrayLocation, RowWriter, StoreSpec, write_array
from galahstream.store.manifest import Manifest
from galahstream.system.digest import array_digest
from galahstream.validation import FieldError


class StoreWriter:
    """Writes a store: first its spectra, by any row, then its other arrays and the manifest.

    Use it as a context manager, which closes the files of the spectra.

    Parameters
    ----------
    path : Path
        The folder or file to create; files of the same layout that an interrupted
        run left there keep their bytes.
    store_format : StoreFormat
        How arrays are laid out in files.
    spec : StoreSpec
        Size, flux type and chunking.
    manifest_bytes : int
        Largest size of the manifest, from :func:`checked_manifest_size`.
    linked_flux : Path, optional
        A .npy file that becomes the flux of the store without a copy.

    Attributes
    ----------
    writers : mapping of str to RowWriter
        Write encoded rows of the flux, and of the errors if there are any, by name.
    """

    def __init__(
        self,
        path: Path,
        store_format: StoreFormat,
        spec: StoreSpec,
        manifest_bytes: int,
        linked_flux: Path | None = None,
    ) -> None:
        self._files = store_format.create(path, spec, manifest_bytes, linked_flux)
        self._is_open = True

    @property
    def writers(self) -> Mapping[str, RowWriter]:
        """Write encoded rows of the flux, and of the errors if there are any, by name."""
        return self._files.writers

    @property
    def locations(self) -> dict[str, ArrayLocation] | None:
        """Where the writers write, by their names, to verify and resume an interrupted run.

        None if one of them writes at no fixed byte offset, or nothing.
        """
        locations = {
            name: writer.location
            for name, writer in self.writers.items()
            if writer.location is not None
        }
        return locations if locations.keys() == self.writers.keys() else None

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(self, *exc: object) -> None:
        self._close_writers()

    def finish(self, arrays: Mapping[str, npt.NDArray[np.generic]], manifest: str) -> None:
        """Write every array but the spectra, and the text of the manifest.

        Parameters
        ----------
        arrays : mapping of str to ndarray
            The arrays named by :meth:`StoreSpec.arrays
            <galahstream.store.layout.StoreSpec.arrays>`.
        manifest : str
            A manifest with their digests, as :func:`array_digests` returns them.
        """
        self._close_writers()
        for name, location in self._files.locations.items():
            write_array(location, arrays[name])
        self._files.write_manifest(manifest)

    def _close_writers(self) -> None:
        if self._is_open:
            self._is_open = False
            for writer in self.writers.values():
                writer.close()


def array_digests(arrays: Mapping[str, npt.NDArray[np.generic]], spec: StoreSpec) -> dict[str, str]:
    """Return the digests of a store's arrays as they are stored, by name."""
    return {
        name: array_digest(arrays[name].astype(array.dtype, copy=False))
        for name, array in spec.arrays().items()
    }


def checked_manifest_size(manifest: Manifest, name: str) -> int:
    """Return the largest size that a manifest can have once its counts and digests are known.

    Parameters
    ----------
    manifest : Manifest
        Complete but for counts and digests.
    name : str
        Name of the source, for messages.

    Raises
    ------
    OptionError, LabelError
        If a reader would reject the manifest: a store that cannot be opened must
        not be written.
    """
    largest = manifest.largest
    try:
        largest.check_readable()
    except FieldError as error:
        raise _unreadable(manifest, name, error) from error
    return len(largest.to_json().encode())


def _unreadable(manifest: Manifest, name: str, error: FieldError) -> OptionError | LabelError:
    field, _, rest = error.field.partition(".")
    index, _, attribute = rest.partition(".")
    if field == "labels" and index.isdigit():
        column = manifest.labels[int(index)]
        cure = "correct it"
        if attribute not in ("name", "unit"):  # a statistic that overflows
            cure = "name values that stand for a missing one (missing_values=, --missing-values)"
        return LabelError(
            f"{name}: label {column.name!r} cannot be stored: {attribute}: {error.reason}; {cure}, "
            f"or choose other labels (labels=, --labels)"
        )
    return OptionError(
        f"{name}: its store could not be opened again: {error.field}: {error.reason}; change it "
        f"in the source or in the options"
    )
