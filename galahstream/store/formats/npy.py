"""Stores as a folder of .npy files that plain ``np.load`` opens."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from galahstream.errors import OptionError, StoreFormatError
from galahstream.store.layout import (
    ArrayLocation,
    RowIndex,
    array_specs,
    map_array,
)
from galahstream.system.disk import preallocate, write_at

FLUX_HEADER_BYTES = 4096  # rows of 16,384 float32 then start on 4 KiB pages
MANIFEST_NAME = "manifest.json"


def create_files(
    folder: Path,
    n_stars: int,
    n_pixels: int,
    n_labels: int,
    flux_dtype: str,
    *,
    linked_flux: Path | None = None,
) -> dict[str, ArrayLocation]:
    """Create the folder of a store with all its arrays in their final size.

    Of a folder that an earlier run laid out alike, the arrays stay as they are.

    Parameters
    ----------
    linked_flux : Path, optional
        A file that becomes the store's flux under a second name.

    Returns
    -------
    dict
        The place of each array by its name; without ``flux`` where it was linked.

    Raises
    ------
    OptionError
        If the file cannot have a second name there.
    """
    folder.mkdir(exist_ok=True)
    shapes = array_specs(n_stars, n_pixels, n_labels, flux_dtype)
    if linked_flux is not None:
        del shapes["flux"]
        try:
            (folder / "flux.npy").hardlink_to(linked_flux.resolve())
        except OSError as error:
            msg = (
                f"{linked_flux} cannot be linked into {folder.parent.parent} ({error.strerror}); "
                f"both must be on one file system that has links: convert without in_place "
                f"(--in-place)"
            )
            raise OptionError(msg) from error
    return {name: create(folder / f"{name}.npy", *shapes[name]) for name in shapes}


def write_manifest(folder: Path, text: str) -> None:
    """Write the manifest of a laid-out store."""
    (folder / MANIFEST_NAME).write_text(text, encoding="utf-8")


def read_manifest(folder: Path, limit: int) -> str:
    """Return the manifest's text, refusing one larger than `limit` bytes."""
    path = folder / MANIFEST_NAME
    if not path.is_file():
        msg = f"{folder}: no {MANIFEST_NAME} in this folder, so it is no store; convert into one"
        raise StoreFormatError(msg)
    if path.stat().st_size > limit:
        msg = f"{path}: {path.stat().st_size} bytes; a manifest has at most {limit}"
        raise StoreFormatError(msg)
    return path.read_text(encoding="utf-8", errors="replace")


def open_arrays(
    folder: Path, n_stars: int, n_pixels: int, n_labels: int, flux_dtype: str
) -> tuple[dict[str, npt.NDArray[Any]], RowIndex]:
    """Return each array but the flux, mapped, and where the rows of flux lie, after checking.

    Raises
    ------
    StoreFormatError
        If a file is missing, or its header or size is not what the manifest says.
    """
    shapes = array_specs(n_stars, n_pixels, n_labels, flux_dtype)
    places = {name: _find(folder / f"{name}.npy", *shapes[name]) for name in shapes}
    flux = RowIndex.of(places.pop("flux"))
    return {name: map_array(place) for name, place in places.items()}, flux


def create(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> ArrayLocation:
    """Create a .npy file of its final size, with a header of one page where it is a table."""
    place_bytes = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    header = _header(shape, dtype, FLUX_HEADER_BYTES if len(shape) == 2 else 0)
    preallocate(path, len(header) + place_bytes)
    with path.open("r+b") as file:
        write_at(file.fileno(), np.frombuffer(header, dtype=np.uint8), 0)
    return ArrayLocation(path, len(header), shape, dtype)


def _header(shape: tuple[int, ...], dtype: np.dtype[Any], padded_to: int) -> bytes:
    fields = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": shape,
    }
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, fields)
    header = buffer.getvalue()
    if len(header) < padded_to:
        # Format 1.0: magic and version (8 bytes), length (2), then text that ends in a newline.
        text = header[10:-1].ljust(padded_to - 11) + b"\n"
        header = header[:8] + len(text).to_bytes(2, "little") + text
    return header


def _find(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> ArrayLocation:
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            reader = np.lib.format.read_array_header_1_0
            found_shape, fortran, found_dtype = reader(file) if version == (1, 0) else ((), 0, None)
            offset = file.tell()
            size = file.seek(0, 2)
    except Exception as error:  # numpy's reader of headers lets errors of its parser through
        msg = f"{path}: {error}; this file of the store is missing or damaged, convert again"
        raise StoreFormatError(msg) from error
    if (found_shape, found_dtype, bool(fortran)) != (shape, dtype, False):
        msg = (
            f"{path}: the file holds {found_dtype} of shape {found_shape}; the manifest says "
            f"{dtype} of shape {shape}: it was replaced or damaged, convert again"
        )
        raise StoreFormatError(msg)
    place = ArrayLocation(path, offset, shape, dtype)
    if size != place.stop:
        msg = (
            f"{path}: {size} bytes, and {place.stop} are needed for shape {shape}: the file was "
            f"truncated or added to, convert again"
        )
        raise StoreFormatError(msg)
    return place
