"""Stores as one HDF5 file, which h5py, h5dump and others read.

An uncompressed file is laid out by HDF5 and then filled by offset, so that its
flux can be memory-mapped. A compressed one is written and read through h5py.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import numpy.typing as npt

from galahstream.errors import CostlyChunksWarning, OptionError, StoreFormatError
from galahstream.store.layout import (
    FLUX_DTYPES,
    ArrayLocation,
    RowIndex,
    array_specs,
    map_array,
)
from galahstream.system.disk import preallocate, write_at
from galahstream.system.hdf5_safety import rejection_reason

COMPRESSIONS = ("gzip", "lzf")
# Metadata of v110 carries checksums; the older default changed flux in silence when damaged.
_LIBVER = ("v110", "v110")
_PAGE = 4096
# Reading a spectrum then costs this many times its bytes.
_SLOW_READ_FACTOR = 8


def create_files(
    path: Path,
    n_stars: int,
    n_pixels: int,
    n_labels: int,
    flux_dtype: str,
    *,
    chunk_rows: int,
    compression: str | None,
    manifest_bytes: int,
) -> dict[str, ArrayLocation]:
    """Create the file of a store with its datasets allocated and room for the manifest.

    HDF5 makes a layout of no bytes beside it, which :func:`write_manifest` takes
    over: a file that HDF5 itself has open is lost when its process is killed. An
    array that an earlier run wrote, laid out alike, stays as it is.

    Returns
    -------
    dict
        The place of each array by its name; without ``flux`` where it is
        compressed, and HDF5 writes the file itself.
    """
    layout = path if compression is not None else _layout_of(path)
    with h5py.File(
        layout, "w", libver=_LIBVER, alignment_threshold=_PAGE, alignment_interval=_PAGE
    ) as file:
        room = h5py.string_dtype("utf-8", manifest_bytes)
        file.attrs.create("manifest", b" " * manifest_bytes, dtype=room)
        for name, (shape, dtype) in array_specs(n_stars, n_pixels, n_labels, flux_dtype).items():
            if name == "flux":
                chunk = (min(chunk_rows, n_stars), n_pixels)
                _create(file, name, shape, dtype, chunk, compression)
            else:
                _create(file, name, shape, dtype, None, None)
        places = {name: _first_run(dataset, path) for name, dataset in file.items()}
    preallocate(path, layout.stat().st_size)
    return {name: place for name, place in places.items() if place is not None}


def write_manifest(path: Path, text: str, places: Mapping[str, ArrayLocation]) -> None:
    """Fill the room that was left for the manifest, and all that lies around the arrays."""
    if "flux" not in places:
        _fill_room(path, text)
        return
    layout = _layout_of(path)
    _fill_room(layout, text)
    with layout.open("rb") as source, path.open("r+b") as target:
        start = 0
        for place in sorted(places.values(), key=lambda place: place.offset):
            _copy(source, target, start, place.offset)
            start = place.stop
        _copy(source, target, start, layout.stat().st_size)
    layout.unlink()


def layout_of_store(path: Path) -> dict[str, Any]:
    """Return the options of :func:`create_files` that give a file like this store's."""
    with h5py.File(path, "r") as file:
        flux = file["flux"]
        return {
            "chunk_rows": flux.chunks[0] if flux.chunks else 1,
            "compression": flux.compression,
            "manifest_bytes": h5py.h5a.open(file.id, b"manifest").dtype.itemsize,
        }


def _layout_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.layout")


def _copy(source: BinaryIO, target: BinaryIO, start: int, stop: int) -> None:
    source.seek(start)
    data = np.frombuffer(source.read(stop - start), dtype=np.uint8)
    write_at(target.fileno(), data, start)


def _fill_room(path: Path, text: str) -> None:
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
    except StoreFormatError:
        raise
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        msg = f"{path}: HDF5 cannot read this file ({error}); it is damaged or no HDF5 file"
        raise StoreFormatError(msg) from error


def open_arrays(
    path: Path, n_stars: int, n_pixels: int, n_labels: int, flux_dtype: str
) -> tuple[dict[str, npt.NDArray[Any]], RowIndex | None]:
    """Return each array but the flux, and where the rows of flux lie, after checking.

    Arrays are mapped where they lie plainly in the file; the second result is
    None where the rows of flux do not.

    Raises
    ------
    StoreFormatError
        If a dataset is missing or is not what the manifest says.
    """
    shapes = array_specs(n_stars, n_pixels, n_labels, flux_dtype)
    arrays = {}
    try:
        with h5py.File(path, "r") as file:
            for name, (shape, dtype) in shapes.items():
                why = rejection_reason(file, name, path) if name in file.keys() else "is missing"  # noqa: SIM118
                if why is not None:
                    msg = f"{path}: dataset {name!r} {why}; convert the source again"
                    raise StoreFormatError(msg)
                found = file[name]
                if not isinstance(found, h5py.Dataset):
                    msg = f"{path}: {name!r} is a group, not a dataset; convert the source again"
                    raise StoreFormatError(msg)
                if (found.shape, found.dtype) != (shape, dtype):
                    msg = (
                        f"{path}: dataset {name!r} holds {found.dtype} of shape {found.shape}; "
                        f"the manifest says {dtype} of shape {shape}: convert again"
                    )
                    raise StoreFormatError(msg)
                if name != "flux":
                    place = _one_run(found, path)
                    arrays[name] = found[()] if place is None else map_array(place)
            rows = row_index(file["flux"], path)
            if rows is None:
                _warn_of_costly_chunks(file["flux"], path)
    except StoreFormatError:
        raise
    except (OSError, KeyError, RuntimeError, AttributeError, TypeError, ValueError) as error:
        msg = f"{path}: a dataset of the store is missing or damaged ({error}); convert again"
        raise StoreFormatError(msg) from error
    if rows is not None:
        _check_size(path, "flux", rows.stop)
    return arrays, rows


class CompressedFluxWriter:
    """Writes rows through h5py, which compresses each chunk when it is full."""

    def __init__(self, path: Path, chunk_rows: int, n_pixels: int, flux_dtype: str) -> None:
        # Each part of the split fills a chunk of its own in turn: three stay open at a time.
        cache = 8 * chunk_rows * n_pixels * FLUX_DTYPES[flux_dtype].itemsize
        self._file = h5py.File(path, "r+", libver=_LIBVER, rdcc_nbytes=cache, rdcc_w0=1.0)

    def write(self, first_row: int, flux: npt.NDArray[np.generic]) -> None:
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


def _first_run(dataset: h5py.Dataset, path: Path) -> ArrayLocation | None:
    """Return where an array of a new file lies, None where it is compressed."""
    rows = row_index(dataset, path)
    if rows is None:
        return None
    # HDF5 allocates the chunks of a new file in their order: they are one run.
    return ArrayLocation(path, int(rows.chunk_offsets[0]), dataset.shape, dataset.dtype)


def _one_run(dataset: h5py.Dataset, path: Path) -> ArrayLocation | None:
    """Return where an array lies, or None where its bytes are not in one plain run."""
    rows = row_index(dataset, path)
    if rows is None or len(rows.chunk_offsets) != 1:
        return None
    place = ArrayLocation(path, int(rows.chunk_offsets[0]), dataset.shape, dataset.dtype)
    _check_size(path, dataset.name, place.stop)
    return place


def _check_size(path: Path, name: str, stop: int) -> None:
    size = path.stat().st_size
    if stop > size:
        msg = f"{path}: {size} bytes, and {name!r} needs {stop}: the file was truncated"
        raise StoreFormatError(msg + "; convert again")


def row_index(dataset: h5py.Dataset, path: Path) -> RowIndex | None:
    """Return where the rows of a dataset lie, or None where they are not plain bytes.

    A contiguous dataset has an offset; one without filters in chunks of whole
    rows has an offset for each chunk, the last one stored whole.
    """
    n_rows, *rest = dataset.shape
    n_pixels = int(np.prod(rest, dtype=np.int64))
    if dataset.is_virtual or dataset.external:
        return None
    if dataset.size == 0:
        return RowIndex(path, dataset.dtype, n_pixels, max(n_rows, 1), np.zeros(1, dtype=np.int64))
    if dataset.chunks is None:
        offset = dataset.id.get_offset()  # None for a compact dataset
        return (
            None
            if offset is None
            else RowIndex(path, dataset.dtype, n_pixels, n_rows, np.array([offset]))
        )
    plan = dataset.id.get_create_plist()
    if plan.get_nfilters() or dataset.chunks[1:] != dataset.shape[1:]:
        return None
    offsets = _chunk_offsets(dataset, plan)
    return (
        None
        if offsets is None
        else RowIndex(path, dataset.dtype, n_pixels, dataset.chunks[0], offsets)
    )


def _chunk_offsets(dataset: h5py.Dataset, plan: Any) -> npt.NDArray[np.int64] | None:
    """Return the first byte of each chunk in the order of rows; None where one has no bytes."""
    n_chunks = -(-dataset.shape[0] // dataset.chunks[0])
    if dataset.id.get_num_chunks() != n_chunks:
        return None
    if plan.get_alloc_time() == h5py.h5d.ALLOC_TIME_EARLY:
        first, last = (dataset.id.get_chunk_info(number) for number in (0, n_chunks - 1))
        if last.byte_offset - first.byte_offset == (n_chunks - 1) * first.size:
            # Allocated together and in order: no need to ask for a million of them.
            return np.array(first.byte_offset + np.arange(n_chunks) * first.size, dtype=np.int64)
    offsets = np.full(n_chunks, -1, dtype=np.int64)

    def note(chunk: Any) -> None:
        offsets[chunk.chunk_offset[0] // dataset.chunks[0]] = chunk.byte_offset

    dataset.id.chunk_iter(note)
    return offsets if (offsets >= 0).all() else None


def _warn_of_costly_chunks(dataset: h5py.Dataset, path: Path) -> None:
    chunks = dataset.chunks
    if chunks is None:
        return
    across = -(-dataset.shape[1] // chunks[1])
    times = across * chunks[1] * min(chunks[0], dataset.shape[0]) / dataset.shape[1]
    if times >= _SLOW_READ_FACTOR:
        warnings.warn(
            f"{path}: flux lies in chunks of {chunks[0]} x {chunks[1]}, so that one spectrum "
            f"reads {across} chunks and {times:.0f} times its bytes; rewrite it with 'h5repack "
            f"-f flux:NONE -l flux:CHUNK=1x{dataset.shape[1]} {path} NEW'",
            CostlyChunksWarning,
            stacklevel=2,
        )
