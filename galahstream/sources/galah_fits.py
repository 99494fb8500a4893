"""GALAH's FITS files, one for each star and camera, read with astropy.

The published layouts (DR3, DR4) are told apart by what the files hold. The normalised
flux of the four cameras is concatenated as it is: not trimmed, resampled or shifted.
"""

import bz2
import errno
import gzip
import lzma
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from galahstream.errors import (
    BadSpectraError,
    ExtraMissingError,
    GalahStreamError,
    SourceAccessError,
    SourceFormatError,
    SourceShapeError,
)
from galahstream.sources.base import (
    OnBad,
    SkippedStar,
    Source,
    as_float32,
    explain_access_errors,
    pointer_reason,
)
from galahstream.sources.fits_ids import HEADER_IDS, read_header_ids
from galahstream.sources.galah_folder import StarFiles
from galahstream.sources.galah_listing import find_star_files
from galahstream.sources.galah_names import listed, printable
from galahstream.survey.wavelength import CAMERA_PIXELS, CAMERAS, NOMINAL_PIXELS
from galahstream.validation import check_choice

_DR4_EXTENSION = "NORMALIZED"
_DR3_EXTENSION = 4  # of five; their names are empty in some files
_DECOMPRESS: dict[bytes, Callable[[bytes], bytes]] = {
    b"\x1f\x8b": gzip.decompress,
    b"BZh": bz2.decompress,
    b"\xfd7zXZ\x00": lzma.decompress,
}
# An OSError of astropy has no number; a header that claims too much leads to an impossible offset.
_DAMAGE_ERRNOS = (None, errno.EINVAL)
_COPY_AGAIN = "; copy the file again"
_MAX_REASON_LENGTH = 500  # per file, of four; a manifest takes 4096 characters


class FitsSource(Source):
    """Stars of a folder of GALAH DR3 or DR4 files, in the order of their ids.

    Parameters
    ----------
    folder : Path or StarFiles
        Holds `<sobject_id><camera>.fits`, also in folders in it, such as one per night. The
        files may be compressed with gzip, bzip2 or xz (`.fits.gz`), or in tiles (`.fits.fz`).
        An index of the folder that was made before saves listing it again.
    on_bad : {"raise", "skip"}
        What to do with stars that cannot be used: a file is damaged, has other than
        4,096 pixels, is there twice, or has a name that is not quite a star's, such as that
        of an unfinished download.

    Raises
    ------
    ExtraMissingError
        If astropy is not installed.
    SourceMissingError, SourceAccessError
        If the folder is missing, or the system does not let a file be read.
    SourceFormatError
        If the folder has no star files; or, if `on_bad` is ``"raise"``, a file is damaged,
        or looks like a star's and cannot be used.
    BadSpectraError
        If a camera has other than 4,096 pixels, or two files, and `on_bad` is ``"raise"``, or
        if no star can be used.
    """

    def __init__(self, folder: Path | StarFiles, on_bad: OnBad = "raise") -> None:
        check_choice("on_bad", on_bad, get_args(OnBad))
        files = folder if isinstance(folder, StarFiles) else find_star_files(folder)
        files.check_names(on_bad)
        problems = _problems_of_names(files)
        n_stars = len(np.union1d(files.ids, np.array([*problems], dtype=np.int64)))
        for row, star in enumerate(files.ids.tolist()):
            if star not in problems and (problem := _problem_of_star(files, row)):
                problems[star] = problem
        self._skipped = tuple(
            SkippedStar(star, problem.reason) for star, problem in sorted(problems.items())
        )
        if problems and (on_bad == "raise" or len(problems) == n_stars):
            raise _unusable_error(files.folder, problems, n_stars)
        self._files = files.selected(~np.isin(files.ids, np.array([*problems], dtype=np.int64)))
        self._notes = _notes(self._files)

    def __len__(self) -> int:
        return len(self._files.ids)

    @property
    def name(self) -> str:
        """The path of the folder."""
        return str(self._files.folder)

    @property
    def n_pixels(self) -> int:
        """Number of pixels of the four cameras together."""
        return NOMINAL_PIXELS

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """The sobject_id of each star, shape (N,), int64."""
        return self._files.ids

    @property
    def skipped(self) -> tuple[SkippedStar, ...]:
        """Stars with a file that cannot be used."""
        return self._skipped

    @property
    def notes(self) -> tuple[str, ...]:
        """How many stars lack a camera, and files that were not used."""
        return self._notes

    @property
    def fingerprint(self) -> str:
        """Digest of the names, sizes and modification times of all files."""
        return self._files.fingerprint

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folder, and those that links in it lead to."""
        return (self._files.folder, *map(Path, self._files.links))

    def read_column(self, name: str) -> npt.NDArray[Any]:
        """Return the ids of the stars, or their ids in 2MASS or Gaia from the files of DR4."""
        if name not in HEADER_IDS:
            return super().read_column(name)
        return read_header_ids((self._files.paths(row)[0][1] for row in range(len(self))), name)

    def iter_blocks(self, block_rows: int, first_row: int = 0) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the flux of the stars in order; the pixels of a missing camera are NaN.

        Raises
        ------
        SourceFormatError, SourceShapeError, SourceAccessError
            If a file changed since the folder was opened, has flux that does not fit into
            float32, or cannot be read.
        """
        for start in range(first_row, len(self), block_rows):
            rows = range(start, min(start + block_rows, len(self)))
            flux = np.full((len(rows), NOMINAL_PIXELS), np.nan, dtype=np.float32)
            for row in rows:
                for camera, path in self._files.paths(row):
                    pixels = slice(camera * CAMERA_PIXELS, (camera + 1) * CAMERA_PIXELS)
                    flux[row - start, pixels] = _read_flux(path)
                    with explain_access_errors(path):
                        status = path.stat()
                    self._files.check_unchanged(row, camera, status.st_size, status.st_mtime_ns)
            yield flux


class _Problem(NamedTuple):
    """Why a star cannot be used, and the error that it raises."""

    reason: str
    error: type[GalahStreamError]


def _problems_of_names(files: StarFiles) -> dict[int, _Problem]:
    """Return the stars that cannot be used because of the names of their files."""
    problems = {
        star: _Problem(f"{names}: two files of one camera", BadSpectraError)
        for star, names in files.doubles.items()
    }
    for star, names in files.missed.items():
        reason = f"{names}: not the name of a star's file"
        if star in problems:
            reason = f"{problems[star].reason}, {reason}"
        problems[star] = _Problem(reason, SourceFormatError)
    return problems


def _problem_of_star(files: StarFiles, row: int) -> _Problem | None:
    """Open the files of a star and return what is wrong with them, if anything is."""
    reasons: list[str] = []
    is_damaged = False
    for camera, path in files.paths(row):
        try:
            # What astropy warns of is in the error, which names the file.
            with warnings.catch_warnings(action="ignore"), _normalised(path) as spectrum:
                n_pixels = int(spectrum.header.get("NAXIS1", 0))
        except SourceFormatError as error:
            is_damaged = True
            reason = str(error).removeprefix(f"{files.folder}{os.sep}").removesuffix(_COPY_AGAIN)
            reasons.append(printable(reason)[:_MAX_REASON_LENGTH])
        else:
            if n_pixels != CAMERA_PIXELS:
                name = f"{path.relative_to(files.folder)} ({CAMERAS[camera].name} camera)"
                reasons.append(f"{printable(name)} has {n_pixels} pixels instead of 4096")
    if not reasons:
        return None
    return _Problem(", ".join(reasons), SourceFormatError if is_damaged else BadSpectraError)


def _unusable_error(folder: Path, problems: dict[int, _Problem], n_stars: int) -> GalahStreamError:
    """Return the error for stars that may not be skipped, or for a folder of no others."""
    reasons = [f"{star}: {problem.reason}" for star, problem in sorted(problems.items())]
    is_damaged = any(problem.error is SourceFormatError for problem in problems.values())
    cures = ["copy damaged files again"] if is_damaged else []
    if len(problems) == n_stars:
        count = f"none of its {n_stars:,} stars can be used"
    else:
        count = f"{len(problems):,} of {n_stars:,} stars cannot be used"
        cures.append("skip such stars with on_bad='skip' (--on-bad skip)")
    cure = ", or ".join(cures) or "check the folder"
    msg = f"{folder}: {count}: {listed(reasons, '; ')}; {cure}"
    return SourceFormatError(msg) if is_damaged else BadSpectraError(msg)


def _notes(files: StarFiles) -> tuple[str, ...]:
    """Return what a reader of a conversion should know of its stars and of other files."""
    notes = []
    lacks = ~files.has_camera
    if lacks.any():
        cameras = ", ".join(
            f"{camera.name} {count:,}"
            for camera, count in zip(CAMERAS, lacks.sum(axis=0).tolist(), strict=True)
            if count
        )
        n_lacking = int(lacks.any(axis=1).sum())
        notes.append(
            f"stars that lack a camera, whose pixels are NaN: {n_lacking:,} of {len(files.ids):,} "
            f"({cameras})"
        )
    unused, others = files.superfluous, files.others
    if unused:
        notes.append(f"files not used that look like a star's ({unused.count:,}): {unused}")
    if others:
        notes.append(f"FITS files not used that are not a star's ({others.count:,}): {others}")
    return tuple(notes)


def _read_flux(path: Path) -> npt.NDArray[np.float32]:
    with _normalised(path) as spectrum:
        flux: npt.NDArray[Any] = np.asarray(spectrum.data)
        if flux.shape != (CAMERA_PIXELS,):
            msg = f"{path}: it changed since the folder was opened; convert again"
            raise SourceFormatError(msg)
        try:
            row: npt.NDArray[np.float32] = as_float32(flux[np.newaxis], str(path), 0)[0]
        except SourceShapeError as error:
            msg = (
                f"{error}; copy the file again, or move it out of the folder to convert without it"
            )
            raise SourceShapeError(msg) from None
        return row


@contextmanager
def _normalised(path: Path) -> Iterator[Any]:
    """Open a file and yield the extension with the normalised spectrum, which is all there.

    Every error of astropy is raised as one of ours: `SourceFormatError` for a file that is
    damaged, `SourceAccessError` for one that the system does not let be read.
    """
    try:
        fits = import_module("astropy.io.fits")
    except ImportError as error:
        msg = "reading FITS files needs astropy: pip install 'galahstream[fits]'"
        raise ExtraMissingError(msg) from error
    try:
        with (
            explain_access_errors(path),
            path.open("rb") as file,
            _decompressed(file, path) as content,
            fits.open(content, memmap=False, lazy_load_hdus=False) as extensions,
        ):
            spectrum = _spectrum_of(_unpacked(extensions, fits.CompImageHDU), path)
            if isinstance(spectrum, fits.CompImageHDU):
                _ = spectrum.data  # which raises if tiles are missing
            else:
                _check_size(spectrum, content.seek(0, os.SEEK_END), path)
            yield spectrum
    except GalahStreamError:
        raise
    except Exception as error:  # astropy raises errors of many kinds
        raise _explained(error, path) from error


def _decompressed(file: BinaryIO, path: Path) -> BinaryIO:
    """Return a file, or what it holds if it is compressed, whatever its name says.

    The checksum of compressed files covers all bytes, so that a truncated or damaged
    one is found when it is opened.
    """
    first_bytes = file.read(64)
    file.seek(0)
    for magic, decompress in _DECOMPRESS.items():
        if first_bytes.startswith(magic):
            return BytesIO(decompress(file.read()))
    if not first_bytes.startswith(b"SIMPLE"):
        pointer = pointer_reason(first_bytes)
        if pointer is not None:
            msg = f"{path} is {pointer}"
            raise SourceFormatError(msg)
        content = f"begins with {first_bytes[:8]!r}" if first_bytes else "is empty"
        msg = f"{path} {content}: not a FITS file, or a damaged one{_COPY_AGAIN}"
        raise SourceFormatError(msg)
    return file


def _explained(error: Exception, path: Path) -> GalahStreamError:
    """Return our error for one of astropy or of the system."""
    text = getattr(error, "strerror", None) or str(error)  # strerror is without the path
    reason = printable(" ".join(text.split()))[:300]
    is_of_the_system = isinstance(error, OSError) and error.errno not in _DAMAGE_ERRNOS
    if is_of_the_system or isinstance(error, MemoryError):
        return SourceAccessError(
            f"{path} cannot be read: {reason or 'out of memory'}; check whether it is still there, "
            f"its disk or network and the free memory, and try again"
        )
    return SourceFormatError(f"{path}: not a FITS file, or a damaged one ({reason}){_COPY_AGAIN}")


def _unpacked(extensions: Any, compressed_image: type) -> list[Any]:
    """Return the extensions without the empty one that fpack puts before the primary image."""
    is_packed = (
        len(extensions) > 1
        and isinstance(extensions[1], compressed_image)
        and extensions[0].header.get("NAXIS") == 0
    )
    return list(extensions)[1:] if is_packed else list(extensions)


def _spectrum_of(extensions: list[Any], path: Path) -> Any:
    """Return the extension with the normalised spectrum."""
    names = [extension.name.upper() for extension in extensions]
    if _DR4_EXTENSION in names:
        extension = extensions[names.index(_DR4_EXTENSION)]
    elif len(names) == _DR3_EXTENSION + 1:
        extension = extensions[_DR3_EXTENSION]
    else:
        msg = (
            f"{path}: extensions {', '.join(names)}; expected one called 'normalized' (DR4), or "
            f"five of which the last is the normalised spectrum (DR3){_COPY_AGAIN}"
        )
        raise SourceFormatError(msg)
    if not extension.is_image:  # its data would be bytes, not pixels
        msg = f"{path}: its normalised spectrum is not in an image extension{_COPY_AGAIN}"
        raise SourceFormatError(msg)
    if extension.header.get("NAXIS") != 1:
        msg = f"{path}: its normalised spectrum should be one row of pixels{_COPY_AGAIN}"
        raise SourceFormatError(msg)
    scale = (extension.header.get("BSCALE", 1), extension.header.get("BZERO", 0))
    if not all(type(number) in (int, float) for number in scale):
        msg = f"{path}: BSCALE and BZERO should be numbers, found {scale}{_COPY_AGAIN}"
        raise SourceFormatError(msg)
    return extension


def _check_size(spectrum: Any, size: int, path: Path) -> None:
    """Raise an error if a file of `size` bytes ends before its spectrum does."""
    header = spectrum.header
    flux_bytes = abs(header.get("BITPIX", 0)) // 8 * header.get("NAXIS1", 0)
    end = spectrum.fileinfo()["datLoc"] + flux_bytes
    if size < end:
        msg = (
            f"{path}: truncated: its normalised spectrum ends at byte {end:,}, and the file has "
            f"{size:,} bytes{_COPY_AGAIN}"
        )
        raise SourceFormatError(msg)
