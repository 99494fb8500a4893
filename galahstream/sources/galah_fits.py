"""Real stars: GALAH's FITS files, one for each star and camera, read with astropy.

Both published layouts are told apart by what the files hold. The normalised
flux of the four cameras is laid end to end as it is: neither trimmed, nor
resampled, nor shifted.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from galahstream.errors import (
    BadSpectraError,
    ExtraMissingError,
    GalahStreamError,
    OptionError,
    SourceFormatError,
    SourceMissingError,
)
from galahstream.sources.base import SkippedStar, Source, as_float32
from galahstream.survey.wavelength import CAMERA_PIXELS, CAMERAS, NOMINAL_PIXELS

# sobject_id (date, run, repeat, fibre), then the camera from 1 to 4.
_STAR_FILE = re.compile(r"^(\d{15})([1-4])\.fits$")
_DR4_EXTENSION = "NORMALIZED"
_DR3_EXTENSION = 4  # of five; their names are empty in some files


def is_fits_folder(path: Path) -> bool:
    """Return whether a folder holds files that are named like GALAH's stars."""
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
        Without astropy.
    SourceMissingError, SourceFormatError
        If the folder has no star files, or one of them is not such a file.
    BadSpectraError
        If stars do not fit and are not to be skipped.
    """

    def __init__(self, folder: Path, on_bad: str = "raise") -> None:
        if on_bad not in ("raise", "skip"):
            msg = f"on_bad {on_bad!r} is not known; expected 'raise' or 'skip'"
            raise OptionError(msg)
        self._name = str(folder)
        if not folder.is_dir():
            msg = f"{folder} is no folder; expected one with GALAH's FITS files"
            raise SourceMissingError(msg)
        stars = _star_files(folder)
        if not stars:
            msg = f"{folder}: no file is named <sobject_id><camera>.fits; check the folder"
            raise SourceFormatError(msg)
        reasons = {star: _misfit(files) for star, files in stars.items()}
        self._skipped = tuple(SkippedStar(star, why) for star, why in reasons.items() if why)
        if self._skipped and on_bad == "raise":
            named = "; ".join(f"{star.star_id}: {star.reason}" for star in self._skipped)
            msg = f"{folder}: {named}; leave such stars out with on_bad='skip' (--on-bad skip)"
            raise BadSpectraError(msg)
        self._files = {star: files for star, files in stars.items() if not reasons[star]}
        self._ids = np.array(list(self._files), dtype=np.int64)
        if not self._files:
            msg = f"{folder}: none of its {len(stars)} stars has four cameras of 4,096 pixels"
            raise BadSpectraError(msg)

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def name(self) -> str:
        """The path of the folder."""
        return self._name

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
        """The files of all stars."""
        return tuple(path for files in self._files.values() for path in files.values())

    def iter_blocks(self, block_rows: int, first_row: int = 0) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the flux of the stars in order; the pixels of a missing camera are NaN."""
        for start in range(first_row, len(self), block_rows):
            stars = self.ids[start : start + block_rows]
            flux = np.full((len(stars), NOMINAL_PIXELS), np.nan, dtype=np.float32)
            for row, star in enumerate(stars):
                for camera, path in self._files[int(star)].items():
                    pixels = slice(camera * CAMERA_PIXELS, (camera + 1) * CAMERA_PIXELS)
                    flux[row, pixels] = _read_flux(path)
            yield flux


def _star_files(folder: Path) -> dict[int, dict[int, Path]]:
    """Return the files of each star by camera from 0, both in order."""
    stars: dict[int, dict[int, Path]] = {}
    for path in sorted(folder.iterdir()):
        match = _STAR_FILE.match(path.name)
        if match:
            stars.setdefault(int(match[1]), {})[int(match[2]) - 1] = path
    return stars


def _misfit(files: dict[int, Path]) -> str:
    """Return why a star cannot be laid on 4 x 4,096 pixels, or an empty string."""
    found = [(camera, path, _n_pixels(path)) for camera, path in files.items()]
    return ", ".join(
        f"{path.name} ({CAMERAS[camera].name} camera) has {n_pixels} pixels instead of 4096"
        for camera, path, n_pixels in found
        if n_pixels != CAMERA_PIXELS
    )


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
    """Give the extensions of a file; whatever astropy meets in it is an error that names it."""
    try:
        fits = import_module("astropy.io.fits")
    except ImportError as error:
        msg = "reading FITS files needs astropy: pip install 'galahstream[fits]'"
        raise ExtraMissingError(msg) from error
    try:
        with fits.open(path, memmap=False, lazy_load_hdus=False) as extensions:
            yield extensions
    except GalahStreamError:
        raise
    except Exception as error:  # astropy lets errors of all kinds through
        msg = f"{path}: no FITS file, or a damaged one ({error}); copy the file again"
        raise SourceFormatError(msg) from error


def _normalised(extensions: Any, path: Path) -> Any:
    names = [extension.name.upper() for extension in extensions]
    if _DR4_EXTENSION in names:
        found = extensions[names.index(_DR4_EXTENSION)]
    elif len(names) == _DR3_EXTENSION + 1:
        found = extensions[_DR3_EXTENSION]
    else:
        msg = (
            f"{path}: extensions {', '.join(names)}; expected one called 'normalized' (DR4), or "
            f"five of which the last is the normalised spectrum (DR3)"
        )
        raise SourceFormatError(msg)
    header = found.header
    size = path.stat().st_size
    flux_bytes = abs(header.get("BITPIX", 0)) // 8 * header.get("NAXIS1", 0)
    end = found.fileinfo()["datLoc"] + flux_bytes
    if header.get("NAXIS") != 1 or size < end:
        msg = (
            f"{path}: its normalised spectrum should be one row of pixels that ends at byte {end}, "
            f"and the file has {size} bytes; copy the file again"
        )
        raise SourceFormatError(msg)
    return found
