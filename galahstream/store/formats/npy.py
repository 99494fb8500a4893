"""Stores as a folder of .npy files that plain ``np.load`` opens."""

import ast
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from galahstream.errors import OptionError, StoreFormatError
from galahstream.store.formats.base import is_ignored_name
from galahstream.store.layout import (
    MANIFEST_LIMIT,
    ArrayLocation,
    ArraySpec,
    Member,
    NullRowWriter,
    OffsetRowWriter,
    RowIndex,
    RowWriter,
    StoreSpec,
    map_array,
)
from galahstream.store.members import RowPlaces
from galahstream.system.disk import preallocate, write_at

FLUX_HEADER_BYTES = 4096  # rows of 16,384 float32 then start on 4 KiB pages
MANIFEST_NAME = "manifest.json"
_MAX_HEADER_LENGTH = 10_000
_LARGEST_SPEC = StoreSpec(0, 0, 0, "float32", has_errors=True, members=(Member("", ""),))
_ARRAY_NAMES = (*_LARGEST_SPEC.spectra(), *_LARGEST_SPEC.arrays())


class NewNpyFiles:
    """The folder of a store that is being written."""

    def __init__(
        self, folder: Path, locations: Mapping[str, ArrayLocation], writers: Mapping[str, RowWriter]
    ) -> None:
        self.locations = locations
        self.writers = writers
        self._manifest = folder / MANIFEST_NAME

    def write_manifest(self, text: str) -> None:
        """Write the manifest."""
        self._manifest.write_text(text, encoding="utf-8")


class NpyFormat:
    """One ``.npy`` file per array, and the manifest in ``manifest.json``."""

    name = "npy"
    _folders: tuple[str, ...] = ()

    def create(
        self, path: Path, spec: StoreSpec, manifest_bytes: int, linked_flux: Path | None = None
    ) -> NewNpyFiles:
        """Create the folder with its arrays at their final sizes."""
        path.mkdir(exist_ok=True)
        locations = self.create_arrays(path, spec)
        writers: dict[str, RowWriter] = {}
        for name, array in spec.spectra().items():
            if name == "flux" and linked_flux is not None:
                _link(linked_flux, _file(path, name))
                writers[name] = NullRowWriter()
            else:
                writers[name] = OffsetRowWriter(create_array(_file(path, name), array))
        return NewNpyFiles(path, locations, writers)

    def create_arrays(self, path: Path, spec: StoreSpec) -> dict[str, ArrayLocation]:
        """Create every array but the spectra, and remove those of other stores."""
        for name in set(_ARRAY_NAMES) - {*spec.spectra(), *spec.arrays()}:
            _file(path, name).unlink(missing_ok=True)  # of a run whose journal was lost
        return {
            name: create_array(_file(path, name), array) for name, array in spec.arrays().items()
        }

    def layout_of(self, path: Path, spec: StoreSpec) -> tuple[StoreSpec, int]:
        """Return `spec`: the files need no room for the manifest."""
        return spec, 0

    def describe_manifest(self, path: Path) -> str:
        """Return the name of a store's manifest for messages."""
        return f"{path}, {MANIFEST_NAME}"

    def read_manifest(self, path: Path) -> str:
        """Return the text of a store's manifest."""
        file = path / MANIFEST_NAME
        if not file.is_file():
            msg = (
                f"{path}: no {MANIFEST_NAME} in this folder, so it is not a store; expected a "
                f"folder made by 'galahstream convert'"
            )
            raise StoreFormatError(msg)
        size = file.stat().st_size
        if size > MANIFEST_LIMIT:
            msg = f"{file}: {size} bytes; a manifest has at most {MANIFEST_LIMIT}"
            raise StoreFormatError(msg)
        return file.read_text(encoding="utf-8", errors="replace")

    def open_arrays(self, path: Path, spec: StoreSpec) -> dict[str, npt.NDArray[Any]]:
        """Return every array but the spectra, mapped."""
        return {
            name: map_array(_locate(_file(path, name), array))
            for name, array in spec.arrays().items()
        }

    def open_spectra(
        self, path: Path, spec: StoreSpec, arrays: Mapping[str, npt.NDArray[Any]]
    ) -> Mapping[str, RowPlaces]:
        """Return the byte offsets of the rows of the spectra."""
        return {
            name: RowIndex.of(_locate(_file(path, name), array))
            for name, array in spec.spectra().items()
        }

    def foreign_content(self, path: Path) -> str | None:
        """Return the first file of a folder that does not belong to a store; None if all do."""
        if not path.is_dir():
            return "it is not a folder"
        if not (path / MANIFEST_NAME).is_file():
            return f"it has no {MANIFEST_NAME}"
        if not is_store_folder(path):
            return f"its {MANIFEST_NAME} is not that of a store"
        files = {MANIFEST_NAME, *(f"{name}.npy" for name in _ARRAY_NAMES)}
        for file_path in sorted(path.iterdir()):
            name = file_path.name
            is_known = name in self._folders if file_path.is_dir() else name in files
            if not is_known and not is_ignored_name(name):
                return f"it holds {file_path.name!r}, which does not belong to a store"
        return None


def is_store_folder(path: Path) -> bool:
    """Return whether a folder has the manifest of a store, even a damaged one."""
    manifest = path / MANIFEST_NAME
    if not manifest.is_file():
        return False
    with manifest.open("rb") as file:  # not parsed, since it may be damaged
        return b'"galahstream store"' in file.read(MANIFEST_LIMIT)


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.npy"


def create_array(path: Path, array: ArraySpec) -> ArrayLocation:
    """Create a .npy file at its final size; a table gets a header of 4,096 bytes."""
    header = _header(array, FLUX_HEADER_BYTES if len(array.shape) == 2 else 0)
    preallocate(path, len(header) + array.nbytes)
    with path.open("r+b") as file:
        write_at(file.fileno(), np.frombuffer(header, dtype=np.uint8), 0)
    return ArrayLocation(path, len(header), *array)


def _link(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source.resolve())
    except OSError as error:
        msg = (
            f"{source} cannot be linked into the store ({error.strerror}); both must be on one "
            f"file system that has links: convert without in_place (--in-place)"
        )
        raise OptionError(msg) from error


def _header(array: ArraySpec, padded_to: int) -> bytes:
    fields = {
        "descr": np.lib.format.dtype_to_descr(array.dtype),
        "fortran_order": False,
        "shape": array.shape,
    }
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, fields)
    header = buffer.getvalue()
    if len(header) < padded_to:
        # Format 1.0: magic and version (8 bytes), length (2), then text that ends in a newline.
        text = header[10:-1].ljust(padded_to - 11) + b"\n"
        header = header[:8] + len(text).to_bytes(2, "little") + text
    return header


def _read_header(file: BinaryIO) -> tuple[object, object, object]:
    """Return shape, Fortran order and dtype string of a .npy file of format 1.0.

    NumPy's own reader gives damaged text to a second parser, which takes seconds for
    the padding of a page.
    """
    if np.lib.format.read_magic(file) != (1, 0):
        msg = "not a .npy file of format 1.0"
        raise ValueError(msg)
    length = int.from_bytes(file.read(2), "little")
    text = file.read(length)
    if len(text) < length or length > _MAX_HEADER_LENGTH:
        msg = f"the header of {length} bytes is truncated or too long"
        raise ValueError(msg)
    # Printable ASCII, as every header of numbers is: other bytes are damage.
    literal = text.decode("ascii").strip(" \n")
    if not literal.isprintable():
        msg = "the header has control characters"
        raise ValueError(msg)
    fields = ast.literal_eval(literal)
    return fields["shape"], fields["fortran_order"], fields["descr"]


def _locate(path: Path, expected: ArraySpec) -> ArrayLocation:
    """Return the location of a file's array, after comparing header and size with the manifest."""
    try:
        with path.open("rb") as file:
            shape, is_fortran, dtype = _read_header(file)
            offset = file.tell()
            size = file.seek(0, 2)
    except Exception as error:  # the parsers of Python and NumPy raise all kinds of errors
        msg = f"{path}: {error}; this file of the store is missing or damaged, convert again"
        raise StoreFormatError(msg) from error
    descr = np.lib.format.dtype_to_descr(expected.dtype)
    if (shape, dtype, is_fortran) != (expected.shape, descr, False):
        msg = (
            f"{path}: the file holds {dtype} of shape {shape}; the manifest says {descr} "
            f"of shape {expected.shape}: it was replaced or damaged, convert again"
        )
        raise StoreFormatError(msg)
    location = ArrayLocation(path, offset, *expected)
    if size != location.stop:
        msg = (
            f"{path}: {size} bytes, and {location.stop} are needed for shape {shape}: the file was "
            f"truncated or added to, convert again"
        )
        raise StoreFormatError(msg)
    return location
