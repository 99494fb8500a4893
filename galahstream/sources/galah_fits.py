"""GALAH's FITS files, one for each star and camera, read with astropy.

The published layouts (DR3, DR4) are told apart by what the files hold. The normalised
flux of the four cameras is concatenated as it is: not trimmed, resampled or shifted.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt

from galahstream.errors import (
    BadSpectraError,
    ExtraMissingError,
    GalahStreamError,
    SourceFormatError,
    SourceMissingError,
)
from galahstream.sources.base import (
    OnBad,
    SkippedStar,
    Source,
    as_float32,
    explain_access_errors,
    pointer_reason,
)
from galahstream.survey.wavelength import CAMERA_PIXELS, CAMERAS, NOMINAL_PIXELS
from galahstream.validation import check_choice

# sobject_id (date, run, repeat, fibre), then the camera from 1 to 4.
_STAR_FILE = re.compile(r"^(\d{15})([1-4])\.fits$")
_DR4_EXTENSION = "NORMALIZED"
_DR3_EXTENSION = 4  # of five; their names are empty in some files


def is_fits_folder(path: Path) -> bool:
    """Return whether a path is a folder with files that are named like GALAH's stars."""
    return path.is_dir() and any(_STAR_FILE.match(file.name) for file in path.iterdir())


class FitsSource(Source):
    """Stars of a folder of GALAH DR3 or DR4 files, in the order of their ids.

    Parameters
    ----------
    folder : Path
        Holds `<sobject_id><camera>.fits`.
    on_bad : {"raise", "skip"}
        What to do with stars of which a camera has other than 4,096 pixels.

    Raises
    ------
    ExtraMissingError
        If astropy is not installed.
    SourceMissingError, SourceFormatError, SourceAccessError
        If the folder has no star files, or one of them cannot be read.
    BadSpectraError
        If stars cannot be used and `on_bad` is ``"raise"``, or none can.
    """

    def __init__(self, folder: Path, on_bad: OnBad = "raise") -> None:
        check_choice("on_bad", on_bad, get_args(OnBad))
        self._folder = folder
        if not folder.is_dir():
            msg = f"{folder} is not a folder; expected one with GALAH's FITS files"
            raise SourceMissingError(msg)
        ids, has_camera = _find_stars(folder)
        reasons = [
            _misfit_reason(folder, int(star), np.flatnonzero(cameras))
            for star, cameras in zip(ids, has_camera, strict=True)
        ]
        self._skipped = tuple(
            SkippedStar(int(star), reason)
            for star, reason in zip(ids, reasons, strict=True)
            if reason
        )
        if self._skipped and on_bad == "raise":
            stars = "; ".join(f"{star.star_id}: {star.reason}" for star in self._skipped)
            msg = f"{folder}: {stars}; skip such stars with on_bad='skip' (--on-bad skip)"
            raise BadSpectraError(msg)
        is_usable = np.array([not reason for reason in reasons])
        self._ids: npt.NDArray[np.int64] = ids[is_usable]
        self._has_camera: npt.NDArray[np.bool_] = has_camera[is_usable]
        if not is_usable.any():
            msg = f"{folder}: none of its {len(ids)} stars has cameras of 4,096 pixels"
            raise BadSpectraError(msg)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def name(self) -> str:
        """The path of the folder."""
        return str(self._folder)

    @property
    def n_pixels(self) -> int:
        """Number of pixels of the four cameras together."""
        return NOMINAL_PIXELS

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """The sobject_id of each star, shape (N,), int64."""
        return self._ids

    @property
    def skipped(self) -> tuple[SkippedStar, ...]:
        """Stars with a camera of another number of pixels."""
        return self._skipped

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of all stars, in order."""
        return tuple(
            _star_file(self._folder, star, camera)
            for star, cameras in zip(self._ids.tolist(), self._has_camera, strict=True)
            for camera in np.flatnonzero(cameras).tolist()
        )

    def iter_blocks(self, block_rows: int, first_row: int = 0) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the flux of the stars in order; the pixels of a missing camera are NaN."""
        for start in range(first_row, len(self), block_rows):
            stars = self._ids[start : start + block_rows].tolist()
            flux = np.full((len(stars), NOMINAL_PIXELS), np.nan, dtype=np.float32)
            for row, star in enumerate(stars):
                for camera in np.flatnonzero(self._has_camera[start + row]).tolist():
                    pixels = slice(camera * CAMERA_PIXELS, (camera + 1) * CAMERA_PIXELS)
                    flux[row, pixels] = _read_flux(_star_file(self._folder, star, camera))
            yield flux


def _star_file(folder: Path, star: int, camera: int) -> Path:
    """Return the file of a star and a camera, numbered from 0."""
    return folder / f"{star:015d}{camera + 1}.fits"


def _find_stars(folder: Path) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Return the ids of the stars of a folder, and which of the four cameras each has."""
    matches = [match for path in folder.iterdir() if (match := _STAR_FILE.match(path.name))]
    if not matches:
        msg = f"{folder}: no file is named <sobject_id><camera>.fits; check the folder"
        raise SourceFormatError(msg)
    ids, row = np.unique(
        np.array([int(match[1]) for match in matches], dtype=np.int64), return_inverse=True
    )
    has_camera = np.zeros((len(ids), len(CAMERAS)), dtype=bool)
    has_camera[row, [int(match[2]) - 1 for match in matches]] = True
    return ids, has_camera


def _misfit_reason(folder: Path, star: int, cameras: npt.NDArray[np.intp]) -> str:
    """Return why a star does not fit 4 x 4,096 pixels, or an empty string if it does."""
    reasons = []
    for camera in cameras:
        path = _star_file(folder, star, camera)
        n_pixels = _n_pixels(path)
        if n_pixels != CAMERA_PIXELS:
            name = f"{path.name} ({CAMERAS[camera].name} camera)"
            reasons.append(f"{name} has {n_pixels} pixels instead of 4096")
    return ", ".join(reasons)


def _n_pixels(path: Path) -> int:
    with _opened(path) as extensions:
        return int(_normalised(extensions, path).header.get("NAXIS1", 0))


def _read_flux(path: Path) -> npt.NDArray[np.float32]:
    with _opened(path) as extensions:
        flux: npt.NDArray[Any] = np.asarray(_normalised(extensions, path).data)
        row: npt.NDArray[np.float32] = as_float32(flux[np.newaxis], str(path), 0)[0]
        return row


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file and yield its extensions; every error of astropy is raised as one of ours."""
    try:
        fits = import_module("astropy.io.fits")
    except ImportError as error:
        msg = "reading FITS files needs astropy: pip install 'galahstream[fits]'"
        raise ExtraMissingError(msg) from error
    try:
        with (
            explain_access_errors(path),
            fits.open(path, memmap=False, lazy_load_hdus=False) as extensions,
        ):
            yield extensions
    except GalahStreamError:
        raise
    except Exception as error:  # astropy raises errors of many kinds
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> SourceFormatError:
    if path.is_file():
        with path.open("rb") as file:
            pointer = pointer_reason(file.read(64))
        if pointer is not None:
            return SourceFormatError(f"{path} is {pointer}")
    return SourceFormatError(
        f"{path}: not a FITS file, or a damaged one ({error}); copy the file again"
    )


def _normalised(extensions: Any, path: Path) -> Any:
    """Return the extension with the normalised spectrum, after checking its size."""
    names = [extension.name.upper() for extension in extensions]
    if _DR4_EXTENSION in names:
        extension = extensions[names.index(_DR4_EXTENSION)]
    elif len(names) == _DR3_EXTENSION + 1:
        extension = extensions[_DR3_EXTENSION]
    else:
        msg = (
            f"{path}: extensions {', '.join(names)}; expected one called 'normalized' (DR4), or "
            f"five of which the last is the normalised spectrum (DR3)"
        )
        raise SourceFormatError(msg)
    header = extension.header
    if not extension.is_image:  # its data would be bytes, not pixels
        msg = f"{path}: its normalised spectrum is not in an image extension; copy the file again"
        raise SourceFormatError(msg)
    size = path.stat().st_size
    flux_bytes = abs(header.get("BITPIX", 0)) // 8 * header.get("NAXIS1", 0)
    end = extension.fileinfo()["datLoc"] + flux_bytes
    if header.get("NAXIS") != 1 or size < end:
        msg = (
            f"{path}: its normalised spectrum should be one row of pixels that ends at byte {end}, "
            f"and the file has {size} bytes; copy the file again"
        )
        raise SourceFormatError(msg)
    return extension
