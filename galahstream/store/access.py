"""Choosing how a store's flux is read, and saying why."""

from pathlib import Path

import psutil

from galahstream.errors import OptionError
from galahstream.store.layout import RowIndex
from galahstream.store.readers import FluxReader, Hdf5Flux, MappedFlux, PreadFlux

READINGS = ("auto", "mapped", "pread")
# Mappings over these were measured five to six times slower, and end the process
# when the server cuts a file (GenVarLoader issue 338, py-lmdb issue 281).
_NETWORK = ("nfs", "cifs", "smb", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "afs", "fuse")


def choose_reader(path: Path, places: RowIndex | None, reading: str) -> tuple[FluxReader, str]:
    """Return the reader of a store's flux and the reason for it.

    Parameters
    ----------
    path : Path
        The store.
    places : RowIndex or None
        Where its rows lie; None where HDF5 alone can tell.
    reading : {"auto", "mapped", "pread"}
        What the user asked for.
    """
    if reading not in READINGS:
        msg = f"reading {reading!r} is not known; expected one of {', '.join(READINGS)}"
        raise OptionError(msg)
    if places is None:
        if reading != "auto":
            msg = (
                f"{path}: reading {reading!r} needs flux in whole rows without compression; "
                f"this file's goes through h5py (reading='auto')"
            )
            raise OptionError(msg)
        return Hdf5Flux(path), "compressed, or in chunks that are no whole rows"
    if reading == "mapped":
        return MappedFlux(places), "asked for"
    if reading == "pread":
        return PreadFlux(places), "asked for"
    kind = _file_system(path)
    if kind.startswith(_NETWORK):
        return PreadFlux(places), f"on a network file system, {kind}"
    size, free = places.path.stat().st_size, psutil.virtual_memory().available
    if size > free / 2:
        return PreadFlux(places), f"{size / 1e9:.1f} GB, and {free / 1e9:.1f} GB of memory free"
    return MappedFlux(places), "fits in memory"


def _file_system(path: Path) -> str:
    """Return the kind of the file system that a path is on, "" where it cannot be told."""
    parents = {str(parent) for parent in (path.resolve(), *path.resolve().parents)}
    mounted = [part for part in psutil.disk_partitions(all=True) if part.mountpoint in parents]
    return max(mounted, key=lambda part: len(part.mountpoint)).fstype if mounted else ""
