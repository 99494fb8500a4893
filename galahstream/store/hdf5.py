"""Stores as one HDF5 file, which h5py, h5dump and others read.

An uncompressed file is laid out by HDF5 and then filled by offset, so that its
flux can be memory-mapped. A compressed one is written and read through h5py.
"""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from galahstream.errors import OptionError, StoreFormatError
from galahstream.store.layout import FLUX_DTYPE, ArrayPlace, array_shapes

COMPRESSIONS = ("gzip", "lzf")
# Metadata of v110 carries checksums; the older default changed flux in silence when damaged.
_LIBVER = ("v110", "v110")
_PAGE = 4096


def lay_out(
    path: Path,
    n_stars: int,
    n_pixels: int,
    n_labels: int,
    *,
    chunk_rows: int,
    compression: str | None,
    manifest_bytes: int,
) -> dict[str, ArrayPlace]:
    """Create the file of a store with its datasets allocated and room for the manifest.

    Returns
    -------
    dict
        The place of each array by its name; without ``flux`` where it is compressed.
    """
    with h5py.File(
        path, "w", libver=_LIBVER, alignment_threshold=_PAGE, alignment_interval=_PAGE
    ) as file:
        room = h5py.string_dtype("utf-8", manifest_bytes)
        file.attrs.create("manifest", b" " * manifest_bytes, dtype=room)
        for name, (shape, dtype) in array_shapes(n_stars, n_pixels, n_labels).items():
            if name == "flux":
                chunk = (min(chunk_rows, n_stars), n_pixels)
                _create(file, name, shape, dtype, chunk, compression)
            else:
                _create(file, name, shape, dtype, None, None)
        return _places(file, path)


def write_manifest(path: Path, text: str) -> None:
    """Fill the room that was left for the manifest."""
    with h5py.File(path, "r+", libver=_LIBVER) as file:
        attribute = h5py.h5a.open(file.id, b"manifest")
        room = attribute.dtype.itemsize
        data = text.encode()
        if len(data) > room:
            msg = f"{path}: a manifest of {len(data)} bytes does not fit the {room} left for it"
            raise StoreFormatError(msg)
        attribute.write(np.array(data.ljust(room), dtype=attribute.dtype))


def read_manifest(path: Path, limit: int) -> str:
    """Return the manifest's text, refusing one larger than `limit` bytes."""
    try:
        with h5py.File(path, "r") as file:
            if "manifest" not in file.attrs:
                msg = f"{path}: an HDF5 file without a manifest is no store; convert it into one"
                raise StoreFormatError(msg)
            attribute = h5py.h5a.open(file.id, b"manifest")
            if attribute.dtype.kind != "S" or attribute.dtype.itemsize > limit:
                msg = f"{path}: attribute 'manifest' is no text of at most {limit} bytes"
                raise StoreFormatError(msg)
            return bytes(file.attrs["manifest"]).decode("utf-8", errors="replace")
    except OSError as error:
        if isinstance(error, StoreFormatError):
            raise
        msg = f"{path}: HDF5 cannot read this file ({error}); it is damaged or no HDF5 file"
        raise StoreFormatError(msg) from error


def find_arrays(path: Path, n_stars: int, n_pixels: int, n_labels: int) -> dict[str, ArrayPlace]:
    """Return the place of each array that can be mapped, after checking it.

    Raises
    ------
    StoreFormatError
        If a dataset is missing or is not what the manifest says.
    """
    shapes = array_shapes(n_stars, n_pixels, n_labels)
    try:
        with h5py.File(path, "r") as file:
            for name, (shape, dtype) in shapes.items():
                found = file[name]
                if (found.shape, found.dtype) != (shape, dtype):
                    msg = (
                        f"{path}: dataset {name!r} holds {found.dtype} of shape {found.shape}; "
                        f"the manifest says {dtype} of shape {shape}: convert again"
                    )
                    raise StoreFormatError(msg)
            places = _places(file, path)
    except (KeyError, RuntimeError, AttributeError) as error:
        msg = f"{path}: a dataset of the store is missing or damaged ({error}); convert again"
        raise StoreFormatError(msg) from error
    size = path.stat().st_size
    for name, place in places.items():
        if place.stop > size:
            msg = f"{path}: {size} bytes, and {name!r} needs {place.stop}: the file was truncated"
            raise StoreFormatError(msg + "; convert again")
    return places


class CompressedFluxWriter:
    """Writes rows through h5py, which compresses each chunk when it is full."""

    def __init__(self, path: Path, chunk_rows: int, n_pixels: int) -> None:
        # Each part of the split fills a chunk of its own in turn: three stay open at a time.
        cache = 8 * chunk_rows * n_pixels * FLUX_DTYPE.itemsize
        self._file = h5py.File(path, "r+", libver=_LIBVER, rdcc_nbytes=cache, rdcc_w0=1.0)

    def write(self, first_row: int, flux: npt.NDArray[np.float32]) -> None:
        """Write rows from `first_row` on."""
        self._file["flux"][first_row : first_row + len(flux)] = flux

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def check_compression(compression: str | None) -> None:
    """Raise `OptionError` for a compression that stores do not have."""
    if compression is not None and compression not in COMPRESSIONS:
        msg = f"compression {compression!r} is not known; expected one of {', '.join(COMPRESSIONS)}"
        raise OptionError(msg)


def _create(
    file: h5py.File,
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    chunk: tuple[int, ...] | None,
    compression: str | None,
) -> None:
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    plan.set_obj_track_times(False)  # two equal runs give equal bytes
    if chunk is not None:
        plan.set_chunk(chunk)
    if compression == "gzip":
        plan.set_shuffle()
        plan.set_deflate(4)
    elif compression == "lzf":
        plan.set_shuffle()
        plan.set_filter(h5py.h5z.FILTER_LZF, h5py.h5z.FLAG_OPTIONAL)
    if compression is None:
        plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    h5py.h5d.create(
        file.id, name.encode(), h5py.h5t.py_create(dtype), h5py.h5s.create_simple(shape), plan
    )


def _places(file: h5py.File, path: Path) -> dict[str, ArrayPlace]:
    places = {}
    for name, dataset in file.items():
        offset = _offset(dataset)
        if offset is not None:
            places[name] = ArrayPlace(path, offset, dataset.shape, dataset.dtype)
    return places


def _offset(dataset: h5py.Dataset) -> int | None:
    """Return where the rows of a dataset begin, or None where they do not lie one after another."""
    if dataset.size == 0:
        return 0
    if dataset.chunks is None:
        offset: int | None = dataset.id.get_offset()
        return offset
    if dataset.id.get_create_plist().get_nfilters() or dataset.chunks[1:] != dataset.shape[1:]:
        return None
    n_chunks = dataset.id.get_num_chunks()
    first, last = (dataset.id.get_chunk_info(number) for number in (0, n_chunks - 1))
    expected = -(-dataset.shape[0] // dataset.chunks[0])
    in_sequence = last.byte_offset - first.byte_offset == (n_chunks - 1) * first.size
    return first.byte_offset if n_chunks == expected and in_sequence else None
