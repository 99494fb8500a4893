"""Contract of a store format: creating the files of a store, and opening them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt

from galahstream.store.layout import ArrayLocation, RowWriter, StoreSpec
from galahstream.store.members import RowPlaces

# Files that a file manager or a network file system puts into any folder.
IGNORED_NAMES = (".DS_Store",)
IGNORED_PREFIX = ".nfs"


def is_ignored_name(name: str) -> bool:
    """Return whether a file says nothing about what a folder is for."""
    return name in IGNORED_NAMES or name.startswith(IGNORED_PREFIX)


class NewFiles(Protocol):
    """The files of a store that is being written.

    Attributes
    ----------
    locations : mapping of str to ArrayLocation
        Every array but the spectra, by name.
    writers : mapping of str to RowWriter
        Write the flux, and the errors of a store that has them, by name.
    """

    locations: Mapping[str, ArrayLocation]
    writers: Mapping[str, RowWriter]

    def write_manifest(self, text: str) -> None:
        """Write the manifest, the last step: all other files are complete and closed."""


class StoreFormat(Protocol):
    """How the arrays and the manifest of a store are laid out in files."""

    name: str
    """The word that users give as ``format``."""

    def create(
        self, path: Path, spec: StoreSpec, manifest_bytes: int, linked_flux: Path | None = None
    ) -> NewFiles:
        """Create the files of a store at their final sizes.

        Arrays that an interrupted run wrote into files of the same layout are kept.

        Parameters
        ----------
        path : Path
            A folder or file; its parent exists.
        spec : StoreSpec
            Size, flux type and chunking.
        manifest_bytes : int
            Largest size of the manifest.
        linked_flux : Path, optional
            A file that becomes the flux of the store under a second name.

        Raises
        ------
        OptionError
            If the format or the file system cannot link a file.
        """

    def layout_of(self, path: Path, spec: StoreSpec) -> tuple[StoreSpec, int]:
        """Return the spec and manifest size with which :meth:`create` gives such files again."""

    def describe_manifest(self, path: Path) -> str:
        """Return the name of a store's manifest for messages."""

    def read_manifest(self, path: Path) -> str:
        """Return the text of a store's manifest.

        Raises
        ------
        StoreFormatError
            If there is none, it is larger than `MANIFEST_LIMIT`, or the file is damaged.
        """

    def open_arrays(self, path: Path, spec: StoreSpec) -> dict[str, npt.NDArray[Any]]:
        """Return every array but the spectra.

        Raises
        ------
        StoreFormatError
            If an array is missing or does not match `spec`.
        """

    def open_spectra(
        self, path: Path, spec: StoreSpec, arrays: Mapping[str, npt.NDArray[Any]]
    ) -> Mapping[str, RowPlaces]:
        """Return where the rows of the spectra are, by name.

        None if the rows of an array are compressed or scattered, and must be read through h5py.

        Raises
        ------
        StoreFormatError
            If an array is missing or does not match `spec`.
        """

    def foreign_content(self, path: Path) -> str | None:
        """Return what is at `path` besides a store of this format; None if it is only a store."""
