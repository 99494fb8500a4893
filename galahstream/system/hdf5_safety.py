"""Which objects of an HDF5 file are read: those that lie in it, decoded by HDF5's own filters.

A link or a virtual dataset can name any file of the machine, and a filter that is
not HDF5's own runs code from wherever the system looks for it.
"""

from pathlib import Path

import h5py

_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 5: "nbit", 6: "scaleoffset", 32000: "lzf"}
# No filter packs bytes tighter than gzip does zeros, 1032 to 1.
_MAX_COMPRESSION_RATIO = 1100


def rejection_reason(file: h5py.File, name: str, path: Path) -> str | None:
    """Return why an object at the root of a file is not read; None where it is.

    Nothing but the file itself is opened for the answer.
    """
    link = file.get(name, getlink=True)
    if isinstance(link, h5py.SoftLink):
        target = link.path.removeprefix("/")
        inside = "/" not in target and target in file.keys()  # noqa: SIM118  follows no link
        if not inside or not isinstance(file.get(target, getlink=True), h5py.HardLink):
            return f"is a soft link to {link.path!r}, which does not lie at the root of this file"
    elif not isinstance(link, h5py.HardLink):
        return "is a link to another file"
    item = file[name]
    return _of_dataset(item, path) if isinstance(item, h5py.Dataset) else None


def _of_dataset(dataset: h5py.Dataset, path: Path) -> str | None:
    if dataset.is_virtual:
        return "is a virtual dataset, whose values lie elsewhere"
    if dataset.external:
        return "has its values in another file"
    plan = dataset.id.get_create_plist()
    for number in range(plan.get_nfilters()):
        code = plan.get_filter(number)[0]
        if code not in _FILTERS:
            known = ", ".join(_FILTERS.values())
            return f"was written with filter {code}, and only HDF5's own are read ({known})"
    if dataset.dtype.hasobject:
        return "holds text or objects of any length, not numbers"
    size = path.stat().st_size
    if dataset.nbytes > _MAX_COMPRESSION_RATIO * size:
        return f"claims {dataset.nbytes:,} bytes in a file of {size:,}"
    return None
