"""Choose how the rows of a store are read: mapped, with pread, or through h5py."""

import errno
from pathlib import Path
from typing import NamedTuple

import psutil

from galahstream.errors import OptionError
from galahstream.store.layout import RowIndex
from galahstream.store.members import MappedMembers, MemberRows, PreadMembers, RowPlaces
from galahstream.store.opening import explain_open_errors
from galahstream.store.readers import Hdf5Reader, MappedReader, PreadReader, Reading, RowReader
from galahstream.system.address_range import AddressRange
from galahstream.system.hdf5_safety import Locking

# Mappings over these were measured five to six times slower, and end the process
# when the server truncates a file (GenVarLoader issue 338, py-lmdb issue 281).
_NETWORK_FILE_SYSTEMS = (
    "nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "afs", "fuse",
)  # fmt: skip


class ReaderChoice(NamedTuple):
    """A reader, and why it was chosen."""

    reader: RowReader
    reason: str


def choose_reader(
    path: Path, name: str, places: RowPlaces, reading: Reading, locking: Locking = None
) -> ReaderChoice:
    """Choose how the flux of a store, or its errors, are read.

    Parameters
    ----------
    path : Path
        The store.
    name : {"flux", "error"}
        Which of its arrays.
    places : RowIndex, MemberRows or None
        Offsets of the array's rows; None if only HDF5 can read them.
    reading : {"auto", "mapped", "pread"}
        The user's choice.
    locking : bool, "best-effort" or None
        Whether HDF5 locks the file while it reads.

    Raises
    ------
    OptionError
        If the user chose a way in which this file cannot be read.
    """
    if places is None:
        if reading != "auto":
            msg = (
                f"{path}: reading {reading!r} needs uncompressed {name} in contiguous rows; this "
                f"file is read through h5py (reading='auto')"
            )
            raise OptionError(msg)
        reader = Hdf5Reader(path, name, locking)
        return ReaderChoice(reader, "compressed, or in chunks that split rows")
    if reading == "mapped":
        return ReaderChoice(_mapped(path, places), "asked for")
    if reading == "pread":
        return ReaderChoice(_pread(places), "asked for")
    kind = _file_system(path)
    if kind.startswith(_NETWORK_FILE_SYSTEMS):
        return ReaderChoice(_pread(places), f"on a network file system, {kind}")
    size, free = places.file_bytes, psutil.virtual_memory().available
    if size > free / 2:
        reason = f"{size / 1e9:.1f} GB, and {free / 1e9:.1f} GB of memory free"
        return ReaderChoice(_pread(places), reason)
    if not _can_be_mapped(path, size):
        return ReaderChoice(_pread(places), "larger than the address space left (ulimit -v)")
    if isinstance(places, MemberRows) and not places.is_aligned:
        return ReaderChoice(_pread(places), "rows begin between two values of its files")
    return ReaderChoice(_mapped(path, places), "fits in memory")


def _mapped(path: Path, places: RowIndex | MemberRows) -> RowReader:
    if isinstance(places, RowIndex):
        return MappedReader(places)
    if not places.is_aligned:
        msg = (
            f"{path}: rows of a member begin between two values of its file; they are read with "
            f"pread (reading='auto')"
        )
        raise OptionError(msg)
    return MappedMembers(places)


def _pread(places: RowIndex | MemberRows) -> RowReader:
    return PreadReader(places) if isinstance(places, RowIndex) else PreadMembers(places)


def _can_be_mapped(path: Path, size: int) -> bool:
    with explain_open_errors(path):
        try:
            AddressRange(size)
        except OSError as error:
            if error.errno == errno.ENOMEM:
                return False
            raise
    return True


def _file_system(path: Path) -> str:
    """Return the kind of the file system that a path is on, "" if unknown."""
    parents = {str(parent) for parent in (path.resolve(), *path.resolve().parents)}
    mounts = [mount for mount in psutil.disk_partitions(all=True) if mount.mountpoint in parents]
    return max(mounts, key=lambda mount: len(mount.mountpoint)).fstype if mounts else ""
