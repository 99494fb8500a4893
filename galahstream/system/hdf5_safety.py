"""Decide which objects of an HDF5 file are safe to read.

Only datasets whose values are in the file itself, compressed with HDF5's own
filters, are read. A link or a virtual dataset can name any file on the machine,
and a third-party filter runs code from a plugin folder.
"""

from pathlib import Path
from typing import Literal, TypeAlias

import h5py

from galahstream.errors import OptionError

Locking: TypeAlias = Literal["best-effort"] | bool | None
"""Whether HDF5 locks a file that it reads; None leaves it to HDF5_USE_FILE_LOCKING."""

_ALLOWED_FILTERS = {
    1: "gzip",
    2: "shuffle",
    3: "fletcher32",
    5: "nbit",
    6: "scaleoffset",
    32000: "lzf",
}
# The best that any filter can do: gzip packs zeros 1032 to 1.
_MAX_COMPRESSION_RATIO = 1100


def check_locking(locking: Locking) -> None:
    """Raise `OptionError` if an option is not one that HDF5 knows."""
    if not (locking is None or isinstance(locking, bool) or locking == "best-effort"):
        msg = f"locking {locking!r} is not known; expected True, False, 'best-effort' or None"
        raise OptionError(msg)


def rejection_reason(file: h5py.File, name: str, path: Path) -> str | None:
    """Return the reason to reject an object at the root of a file, or None if it is safe to read.

    No other file is opened to find out.

    Parameters
    ----------
    file : h5py.File
        The open file.
    name : str
        Name of the object, which must exist.
    path : Path
        Path of the file, whose size bounds what its datasets can hold.

    Returns
    -------
    str or None
        The end of a sentence that begins with the name of the object.
    """
    link = file.get(name, getlink=True)
    if isinstance(link, h5py.SoftLink):
        target = link.path.removeprefix("/")
        is_local = "/" not in target and target in file.keys()  # noqa: SIM118  follows no link
        if not is_local or not isinstance(file.get(target, getlink=True), h5py.HardLink):
            return f"is a soft link to {link.path!r}, which is not at the root of this file"
    elif not isinstance(link, h5py.HardLink):
        return "is a link to another file"
    item = file[name]
    return _dataset_rejection_reason(item, path) if isinstance(item, h5py.Dataset) else None


def _dataset_rejection_reason(dataset: h5py.Dataset, path: Path) -> str | None:
    if dataset.is_virtual:
        return "is a virtual dataset, whose values are stored elsewhere"
    if dataset.external:
        return "stores its values in another file"
    creation = dataset.id.get_create_plist()
    for index in range(creation.get_nfilters()):
        code = creation.get_filter(index)[0]
        if code not in _ALLOWED_FILTERS:
            allowed = ", ".join(_ALLOWED_FILTERS.values())
            return f"was written with filter {code}; the filters that are read are {allowed}"
    if dataset.dtype.hasobject:
        return "holds variable-length text or objects, not numbers"
    file_bytes = path.stat().st_size
    if dataset.nbytes > _MAX_COMPRESSION_RATIO * file_bytes:
        return f"claims {dataset.nbytes:,} bytes in a file of {file_bytes:,}"
    return None
