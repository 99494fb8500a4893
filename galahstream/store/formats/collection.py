"""Collections: a folder with the arrays of a store, whose spectra are in other stores in it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from galahstream.errors import StoreFormatError
from galahstream.store.formats.base import StoreFormat, is_ignored_name
from galahstream.store.formats.hdf5 import Hdf5Format
from galahstream.store.formats.npy import MANIFEST_NAME, NewNpyFiles, NpyFormat
from galahstream.store.layout import MEMBER_NAMES, NullRowWriter, RowIndex, RowWriter, StoreSpec
from galahstream.store.manifest import Manifest
from galahstream.store.members import MemberRows, RowPlaces
from galahstream.system.digest import text_digest
from galahstream.system.hdf5_safety import Locking

MEMBERS = "members"
"""The folder of the members in that of their collection."""


class CollectionFormat(NpyFormat):
    """The arrays of a store as ``.npy`` files, and its spectra in the stores in ``members``.

    ``member.npy`` says which member has the spectrum of a row, and ``member_row.npy`` which row
    of it. Members are complete stores of any format.

    Parameters
    ----------
    locking : bool, "best-effort" or None
        Whether HDF5 locks the members that it reads.
    """

    name = "collection"
    _folders = (MEMBERS,)

    def __init__(self, locking: Locking = None) -> None:
        self._locking = locking

    def create(
        self, path: Path, spec: StoreSpec, manifest_bytes: int, linked_flux: Path | None = None
    ) -> NewNpyFiles:
        """Create the folder, with its arrays at their final sizes, around the members."""
        path.mkdir(exist_ok=True)
        locations = self.create_arrays(path, spec)
        writers: Mapping[str, RowWriter] = {name: NullRowWriter() for name in spec.spectra()}
        return NewNpyFiles(path, locations, writers)

    def open_spectra(
        self, path: Path, spec: StoreSpec, arrays: Mapping[str, npt.NDArray[Any]]
    ) -> Mapping[str, RowPlaces]:
        """Return where the rows of the spectra are in the files of the members."""
        found = [self._open_member(path, number, spec) for number in range(len(spec.members))]
        member, member_row = (arrays[name] for name in MEMBER_NAMES)
        sizes = np.array([n_stars for n_stars, _ in found])
        if (
            int(member.max()) >= len(found)
            or not ((member_row >= 0) & (member_row < sizes[member])).all()
        ):
            msg = f"{path}: a row is in no member; make the collection again"
            raise StoreFormatError(msg)
        return {
            name: MemberRows.of([indices[name] for _, indices in found], member, member_row)
            for name in spec.spectra()
        }

    def _open_member(
        self, path: Path, number: int, spec: StoreSpec
    ) -> tuple[int, dict[str, RowIndex]]:
        """Return the number of stars of a member, and the offsets of its spectra."""
        member = spec.members[number]
        place = path / MEMBERS / member.name
        if not place.exists():
            msg = (
                f"{path}: its member {place.name!r} (number {number} of {len(spec.members)}) is "
                f"missing in {place.parent}; put it back, or make the collection again"
            )
            raise StoreFormatError(msg)
        own_format = member_format(place, self._locking)
        text = own_format.read_manifest(place).strip()
        if text_digest(text) != member.fingerprint:
            msg = (
                f"{path}: its member {place.name!r} is not the store that was put there; put that "
                f"one back, or make the collection again"
            )
            raise StoreFormatError(msg)
        manifest = Manifest.from_json(text, own_format.describe_manifest(place))
        own = manifest.spec
        if (own.n_pixels, own.dtype, own.has_errors) != (
            spec.n_pixels, spec.dtype, spec.has_errors,
        ):  # fmt: skip
            msg = f"{path}: the spectra of its member {place.name!r} are not of the same kind"
            raise StoreFormatError(msg)
        indices: dict[str, RowIndex] = {}
        for name, index in own_format.open_spectra(place, own, {}).items():
            if not isinstance(index, RowIndex):
                msg = f"{place}: compressed spectra cannot be in a collection; convert it again"
                raise StoreFormatError(msg)
            indices[name] = index
        return own.n_stars, indices

    def foreign_content(self, path: Path) -> str | None:
        """Return the first file of a folder that does not belong to a collection."""
        found = super().foreign_content(path)
        if found is not None:
            return found
        for member in sorted((path / MEMBERS).iterdir()):
            if is_ignored_name(member.name):
                continue
            reason = member_format(member).foreign_content(member)
            if reason is not None:
                return f"its member {member.name!r} is not a store ({reason})"
        return None


def member_format(path: Path, locking: Locking = None) -> StoreFormat:
    """Return the format of a member: npy for a folder, hdf5 for a file."""
    return NpyFormat() if path.is_dir() else Hdf5Format(locking)


def is_collection(path: Path) -> bool:
    """Return whether a folder is a collection."""
    return (path / MANIFEST_NAME).is_file() and (path / MEMBERS).is_dir()
