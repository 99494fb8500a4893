"""Stores as one HDF5 file, which h5py, h5dump and others read.

An uncompressed file is laid out by HDF5 and then filled by byte offset, so that its
flux can be memory-mapped. A compressed one is written and read through h5py.
"""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import numpy.typing as npt

from galahstream.errors import CostlyChunksWarning, OptionError, StoreFormatError
from galahstream.store.layout import (
    MANIFEST_LIMIT,
    ArrayLocation,
    ArraySpec,
    OffsetRowWriter,
    RowIndex,
    RowWriter,
    StoreSpec,
    map_array,
)
from galahstream.store.members import RowPlaces
from galahstream.system.disk import preallocate, write_at
from galahstream.system.hdf5_safety import Locking, rejection_reason

# Metadata of v110 has checksums; damage to the older default changed flux silently.
_LIBVER = ("v110", "v110")
_PAGE = 4096
# Warn if reading one spectrum reads at least this many times its bytes.
_SLOW_READ_FACTOR = 8
# What h5py raises for damaged files.
_HDF5_ERRORS = (OSError, KeyError, RuntimeError, AttributeError, TypeError, ValueError)


class NewHdf5File:
    """An uncompressed file that is being written by byte offset.

    HDF5 creates a layout without array data beside it: a file that HDF5 itself has
    open is lost when its process is killed. The last step copies the layout's bytes
    around the arrays.
    """

    def __init__(
        self, path: Path, layout: Path, spec: StoreSpec, locations: dict[str, ArrayLocation]
    ) -> None:
        self._path, self._layout = path, layout
        self._filled = sorted(locations.values(), key=lambda location: location.offset)
        self.locations: Mapping[str, ArrayLocation] = {
            name: locations[name] for name in spec.arrays()
        }
        self.writers: Mapping[str, RowWriter] = {
            name: OffsetRowWriter(locations[name]) for name in spec.spectra()
        }

    def write_manifest(self, text: str) -> None:
        """Write the manifest and all HDF5 metadata around the arrays."""
        _fill_manifest(self._layout, text)
        with self._layout.open("rb") as source, self._path.open("r+b") as target:
            start = 0
            for location in self._filled:
                _copy(source, target, start, location.offset)
                start = location.stop
            _copy(source, target, start, self._layout.stat().st_size)
        self._layout.unlink()


class NewCompressedHdf5File:
    """A file with compressed spectra, which HDF5 writes itself."""

    def __init__(self, path: Path, spec: StoreSpec, locations: dict[str, ArrayLocation]) -> None:
        self._path = path
        self.locations: Mapping[str, ArrayLocation] = locations
        # Each split fills a chunk of its own in turn: three are open at a time.
        cache = 8 * spec.chunk_rows * spec.n_pixels * spec.flux.dtype.itemsize
        file = h5py.File(path, "r+", libver=_LIBVER, rdcc_nbytes=cache, rdcc_w0=1.0)
        self.writers: Mapping[str, RowWriter] = {
            name: CompressedRowWriter(file, name) for name in spec.spectra()
        }

    def write_manifest(self, text: str) -> None:
        """Write the manifest."""
        _fill_manifest(self._path, text)


class Hdf5Format:
    """One HDF5 file, with the manifest in the root attribute ``manifest``.

    Parameters
    ----------
    locking : bool, "best-effort" or None
        Whether HDF5 locks a file that it reads.
    """

    name = "hdf5"

    def __init__(self, locking: Locking = None) -> None:
        self._locking = locking

    def create(
        self, path: Path, spec: StoreSpec, manifest_bytes: int, linked_flux: Path | None = None
    ) -> NewHdf5File | NewCompressedHdf5File:
        """Create the file with its datasets allocated and room for the manifest."""
        if linked_flux is not None:
            msg = "an HDF5 store cannot be made in place; convert without in_place (--in-place)"
            raise OptionError(msg)
        layout = path if spec.compression is not None else path.with_name(f"{path.name}.layout")
        with h5py.File(
            layout, "w", libver=_LIBVER, alignment_threshold=_PAGE, alignment_interval=_PAGE
        ) as file:
            room = h5py.string_dtype("utf-8", manifest_bytes)
            file.attrs.create("manifest", b" " * manifest_bytes, dtype=room)
            for name, array in spec.arrays().items():
                _create(file, name, array)
            chunk = (min(spec.chunk_rows, spec.n_stars), spec.n_pixels)
            for name, array in spec.spectra().items():
                _create(file, name, array, chunk, spec.compression)
            is_compressed = spec.compression is not None
            locations = {
                name: _contiguous_location(dataset, path)
                for name, dataset in file.items()
                if not (is_compressed and name in spec.spectra())
            }
        preallocate(path, layout.stat().st_size)
        if is_compressed:
            return NewCompressedHdf5File(path, spec, locations)
        return NewHdf5File(path, layout, spec, locations)

    def layout_of(self, path: Path, spec: StoreSpec) -> tuple[StoreSpec, int]:
        """Return chunking and manifest size of a file, which may be older than its manifest says.

        The first stores do not say how they are chunked, and users may have
        rewritten a file with other chunks.
        """
        with self._open(path) as file:
            flux = file["flux"]
            chunk_rows = flux.chunks[0] if flux.chunks else 1
            manifest_bytes = h5py.h5a.open(file.id, b"manifest").dtype.itemsize
            return replace(spec, chunk_rows=chunk_rows, compression=flux.compression), int(
                manifest_bytes
            )

    def describe_manifest(self, path: Path) -> str:
        """Return the name of a store's manifest for messages."""
        return str(path)

    def read_manifest(self, path: Path) -> str:
        """Return the text of a store's manifest."""
        try:
            with self._open(path) as file:
                if "manifest" not in file.attrs:
                    msg = (
                        f"{path}: an HDF5 file without a manifest is not a store; expected a file "
                        f"made by 'galahstream convert'"
                    )
                    raise StoreFormatError(msg)
                attribute = h5py.h5a.open(file.id, b"manifest")
                if attribute.dtype.kind != "S" or attribute.dtype.itemsize > MANIFEST_LIMIT:
                    msg = (
                        f"{path}: the attribute 'manifest' is not text of at most "
                        f"{MANIFEST_LIMIT} bytes; convert the source again"
                    )
                    raise StoreFormatError(msg)
                return bytes(file.attrs["manifest"]).decode("utf-8", errors="replace")
        except StoreFormatError:
            raise
        except _HDF5_ERRORS as error:
            msg = f"{path}: HDF5 cannot read this file ({error}); it is damaged or not HDF5"
            raise StoreFormatError(msg) from error

    def open_arrays(self, path: Path, spec: StoreSpec) -> dict[str, npt.NDArray[Any]]:
        """Return every array but the spectra, mapped where possible."""
        arrays: dict[str, npt.NDArray[Any]] = {}
        with _explained(path), self._open(path) as file:
            for name, array in spec.arrays().items():
                dataset = _checked_dataset(file, name, array, path)
                location = _mappable_location(dataset, path)
                arrays[name] = dataset[()] if location is None else map_array(location)
        return arrays

    def open_spectra(
        self, path: Path, spec: StoreSpec, arrays: Mapping[str, npt.NDArray[Any]]
    ) -> Mapping[str, RowPlaces]:
        """Return the byte offsets of the rows of the spectra, None where HDF5 alone knows them."""
        spectra: dict[str, RowIndex | None] = {}
        with _explained(path), self._open(path) as file:
            for name, array in spec.spectra().items():
                dataset = _checked_dataset(file, name, array, path)
                spectra[name] = row_index(dataset, path)
                if spectra[name] is None:
                    _warn_of_costly_chunks(dataset, name, path)
        for name, rows in spectra.items():
            if rows is not None:
                _check_size(path, name, rows.stop)
        return spectra

    def foreign_content(self, path: Path) -> str | None:
        """Return why a file is not a store; None if it is one."""
        if not path.is_file():
            return "it is not a file"
        try:
            text = self.read_manifest(path)
        except StoreFormatError:
            return "it is not an HDF5 file with a manifest"
        return None if '"galahstream store"' in text else "its manifest is not that of a store"

    def _open(self, path: Path) -> h5py.File:
        return h5py.File(path, "r", locking=self._locking)


class CompressedRowWriter:
    """Writes rows of a dataset through h5py, which compresses each chunk when it is full."""

    location: ArrayLocation | None = None
    is_parallel = False  # HDF5 admits one thread at a time, and chunks are written in order

    def __init__(self, file: h5py.File, name: str) -> None:
        self._file = file
        self._name = name

    def write(self, first_row: int, stored: npt.NDArray[np.generic]) -> None:
        """Write rows from `first_row` on."""
        self._file[self._name][first_row : first_row + len(stored)] = stored

    def close(self) -> None:
        """Close the file, also for the other datasets, which are complete too."""
        self._file.close()


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Say that a store is damaged where HDF5 cannot read it."""
    try:
        yield
    except StoreFormatError:
        raise
    except _HDF5_ERRORS as error:
        msg = f"{path}: a dataset of the store is missing or damaged ({error}); convert again"
        raise StoreFormatError(msg) from error


def _copy(source: BinaryIO, target: BinaryIO, start: int, stop: int) -> None:
    source.seek(start)
    data = np.frombuffer(source.read(stop - start), dtype=np.uint8)
    write_at(target.fileno(), data, start)


def _fill_manifest(path: Path, text: str) -> None:
    with h5py.File(path, "r+", libver=_LIBVER) as file:
        attribute = h5py.h5a.open(file.id, b"manifest")
        room = attribute.dtype.itemsize
        data = text.encode()
        if len(data) > room:
            msg = f"{path}: a manifest of {len(data)} bytes does not fit the {room} reserved for it"
            raise AssertionError(msg)
        attribute.write(np.array(data.ljust(room), dtype=attribute.dtype))


def _create(
    file: h5py.File,
    name: str,
    array: ArraySpec,
    chunk: tuple[int, ...] | None = None,
    compression: str | None = None,
) -> None:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    properties.set_obj_track_times(False)  # two equal runs give equal bytes
    if chunk is not None:
        properties.set_chunk(chunk)
    if compression == "gzip":
        properties.set_shuffle()
        properties.set_deflate(4)
    elif compression == "lzf":
        properties.set_shuffle()
        properties.set_filter(h5py.h5z.FILTER_LZF, h5py.h5z.FLAG_OPTIONAL)
    else:
        properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    type_id = h5py.h5t.py_create(array.dtype)
    space = h5py.h5s.create_simple(array.shape)
    h5py.h5d.create(file.id, name.encode(), type_id, space, properties)


def _contiguous_location(dataset: h5py.Dataset, path: Path) -> ArrayLocation:
    """Return the location of an uncompressed array of a new file."""
    rows = row_index(dataset, path)
    if rows is None:
        msg = f"{path}: HDF5 allocated {dataset.name!r} without byte offsets"
        raise AssertionError(msg)
    # HDF5 allocates the chunks of a new file in their order: they are contiguous.
    return ArrayLocation(path, int(rows.chunk_offsets[0]), dataset.shape, dataset.dtype)


def _checked_dataset(file: h5py.File, name: str, array: ArraySpec, path: Path) -> h5py.Dataset:
    """Return a dataset of an open store, after checking that it is safe and as the manifest says.

    Raises
    ------
    StoreFormatError
        If it is not.
    """
    reason = rejection_reason(file, name, path) if name in file.keys() else "is missing"  # noqa: SIM118
    if reason is None and not isinstance(file[name], h5py.Dataset):
        reason = "is a group"
    if reason is not None:
        msg = f"{path}: dataset {name!r} {reason}; convert the source again"
        raise StoreFormatError(msg)
    dataset = file[name]
    if (dataset.shape, dataset.dtype) != array:
        msg = (
            f"{path}: dataset {name!r} holds {dataset.dtype} of shape {dataset.shape}; the "
            f"manifest says {array.dtype} of shape {array.shape}: convert again"
        )
        raise StoreFormatError(msg)
    return dataset


def _mappable_location(dataset: h5py.Dataset, path: Path) -> ArrayLocation | None:
    """Return the location of a small array, or None if its bytes are not contiguous."""
    rows = row_index(dataset, path)
    if rows is None or len(rows.chunk_offsets) != 1:
        return None
    location = ArrayLocation(path, int(rows.chunk_offsets[0]), dataset.shape, dataset.dtype)
    _check_size(path, dataset.name, location.stop)
    return location


def _check_size(path: Path, name: str, stop: int) -> None:
    size = path.stat().st_size
    if stop > size:
        msg = f"{path}: {size} bytes, and {name!r} needs {stop}: the file was truncated"
        raise StoreFormatError(msg + "; convert again")


def row_index(dataset: h5py.Dataset, path: Path) -> RowIndex | None:
    """Return the byte offsets of a dataset's rows, or None if they are not plain bytes.

    A contiguous dataset has one offset. One without filters in chunks of complete
    rows has an offset per chunk; the last chunk is stored at full size.
    """
    n_rows, *rest = dataset.shape
    n_pixels = int(np.prod(rest, dtype=np.int64))
    if dataset.is_virtual or dataset.external:
        return None
    if dataset.size == 0:
        return RowIndex(path, dataset.dtype, n_pixels, max(n_rows, 1), np.zeros(1, dtype=np.int64))
    if dataset.chunks is None:
        offset = dataset.id.get_offset()  # None for a compact dataset
        if offset is None:
            return None
        return RowIndex(path, dataset.dtype, n_pixels, n_rows, np.array([offset]))
    properties = dataset.id.get_create_plist()
    if properties.get_nfilters() or dataset.chunks[1:] != dataset.shape[1:]:
        return None
    offsets = _chunk_offsets(dataset, properties)
    if offsets is None:
        return None
    return RowIndex(path, dataset.dtype, n_pixels, dataset.chunks[0], offsets)


def _chunk_offsets(dataset: h5py.Dataset, properties: Any) -> npt.NDArray[np.int64] | None:
    """Return the first byte of each chunk in row order; None if one is not allocated."""
    n_chunks = -(-dataset.shape[0] // dataset.chunks[0])
    if dataset.id.get_num_chunks() != n_chunks:
        return None
    if properties.get_alloc_time() == h5py.h5d.ALLOC_TIME_EARLY:
        first, last = (dataset.id.get_chunk_info(index) for index in (0, n_chunks - 1))
        if last.byte_offset - first.byte_offset == (n_chunks - 1) * first.size:
            # Allocated together and in order: no need to look up a million of them.
            return np.array(first.byte_offset + np.arange(n_chunks) * first.size, dtype=np.int64)
    offsets = np.full(n_chunks, -1, dtype=np.int64)

    def add(chunk: Any) -> None:
        offsets[chunk.chunk_offset[0] // dataset.chunks[0]] = chunk.byte_offset

    dataset.id.chunk_iter(add)
    return offsets if (offsets >= 0).all() else None


def _warn_of_costly_chunks(dataset: h5py.Dataset, name: str, path: Path) -> None:
    chunks = dataset.chunks
    if chunks is None:
        return
    chunks_per_row = -(-dataset.shape[1] // chunks[1])
    bytes_read = chunks_per_row * chunks[1] * min(chunks[0], dataset.shape[0])
    factor = bytes_read / dataset.shape[1]
    if factor >= _SLOW_READ_FACTOR:
        warnings.warn(
            f"{path}: {name} is stored in chunks of {chunks[0]} x {chunks[1]}, so that one "
            f"spectrum reads {chunks_per_row} chunks and {factor:.0f} times its bytes; rewrite it "
            f"with 'h5repack -f {name}:NONE -l {name}:CHUNK=1x{dataset.shape[1]} {path} NEW'",
            CostlyChunksWarning,
            stacklevel=2,
        )
