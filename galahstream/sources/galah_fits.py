"""A folder of GALAH's FITS files, one for each star and camera, as a source of spectra.

Opening it lists the files and reads one; all others are opened when their stars are
read, once, and what is wrong with them is found then.
"""

import copy
import multiprocessing
import os
from collections.abc import Iterator
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
import numpy.typing as npt

from galahstream.errors import BadSpectraError, OptionError, SourceFormatError
from galahstream.sources.base import OnBad, SkippedStar, Source, Spectra, explain_access_errors
from galahstream.sources.fits_file import read_fits
from galahstream.sources.fits_ids import HEADER_IDS, read_header_ids
from galahstream.sources.galah_folder import StarFiles
from galahstream.sources.galah_layout import FRAME_OF_FILES, Release, release_of
from galahstream.sources.galah_listing import find_star_files
from galahstream.sources.galah_names import listed
from galahstream.sources.galah_star import Star, StarReader, reason_of
from galahstream.sources.spectrum_options import MissingCamera, SpectrumOptions
from galahstream.survey.provenance import Provenance, VelocityOrigin
from galahstream.survey.resampling import Resampler
from galahstream.survey.wavelength import CAMERAS
from galahstream.system.digest import array_digest, text_digest
from galahstream.system.process_map import ordered_process_map
from galahstream.validation import check_choice, check_count

# Starting processes takes as long as reading this many stars.
_STARS_BEFORE_PROCESSES = 512
_MAX_LISTED = 10


class FitsSource(Source):
    """Stars of a folder of GALAH DR3 or DR4 files, in the order of their ids.

    Parameters
    ----------
    folder : Path or StarFiles
        Holds `<sobject_id><camera>.fits`, also in folders in it, such as one per night. The
        files may be compressed with gzip, bzip2 or xz (`.fits.gz`), or in tiles (`.fits.fz`).
        An index of the folder that was made before saves listing it again.
    on_bad : {"raise", "skip"}
        What to do with stars that cannot be used: a file is damaged, of another release, of
        the high-resolution mode, without a wavelength calibration that succeeded, is there
        twice, or has a name that is not quite a star's, such as that of an unfinished
        download. Without a grid, also stars of other than 4,096 pixels per camera.
    options : SpectrumOptions, optional
        What the spectra are to be like.
    jobs : int, optional
        Number of processes that read many stars; one per core by default.

    Raises
    ------
    ExtraMissingError
        If astropy is needed, and not installed.
    SourceMissingError, SourceAccessError
        If the folder is missing, or the system does not let a file be read.
    SourceFormatError
        If the folder has no star files, or none that can be read; or, if `on_bad` is
        ``"raise"``, a file looks like a star's and cannot be used.
    BadSpectraError
        If a star has two files of one camera, or lacks one and must not, and `on_bad` is
        ``"raise"``, or if no star can be used.
    OptionError
        If a frame is asked for that the files do not have, without a grid.
    """

    def __init__(
        self,
        folder: Path | StarFiles,
        on_bad: OnBad = "raise",
        options: SpectrumOptions | None = None,
        jobs: int | None = None,
    ) -> None:
        check_choice("on_bad", on_bad, get_args(OnBad))
        files = folder if isinstance(folder, StarFiles) else find_star_files(folder)
        files.check_names(on_bad)
        self._skipped = _problems_of_names(files)
        is_skipped = np.isin(files.ids, np.array([*self._skipped], dtype=np.int64))
        if is_skipped.all():
            reasons = [f"{star}: {reason}" for star, reason in sorted(self._skipped.items())]
            msg = (
                f"{files.folder}: none of its {len(self._skipped):,} stars can be used: "
                f"{listed(reasons, '; ')}; check the folder"
            )
            raise SourceFormatError(msg) if files.missed else BadSpectraError(msg)
        self._files = files.selected(~is_skipped)
        self._velocities: npt.NDArray[np.float64] | None = None
        self._on_bad: OnBad = on_bad
        self._release = _first_release(self._files, on_bad)
        self._configure(options or SpectrumOptions(), jobs)

    def __len__(self) -> int:
        return len(self._files.ids)

    @property
    def name(self) -> str:
        """The path of the folder."""
        return str(self._files.folder)

    @property
    def n_pixels(self) -> int:
        """Number of pixels of the grid, or of the four cameras together."""
        return self._reader.n_pixels

    @property
    def wavelength(self) -> npt.NDArray[np.float64] | None:
        """Wavelengths of the grid in Å, shape (L,); None without one: each star has its own."""
        target = self._options.target
        return None if target is None else target.wavelength

    @property
    def ids(self) -> npt.NDArray[np.int64]:
        """The sobject_id of each star, shape (N,), int64."""
        return self._files.ids

    @property
    def skipped(self) -> tuple[SkippedStar, ...]:
        """Stars that cannot be used for the files that they have or lack, by their names."""
        return tuple(SkippedStar(star, reason) for star, reason in sorted(self._skipped.items()))

    @property
    def provenance(self) -> Provenance:
        """The release, and what was done to its spectra."""
        name = self._options.grid_name
        return Provenance(
            survey="GALAH",
            release=self._release,
            frame=self._reader.frame,
            grid=name,
            resampling=None if name is None else self._options.resampling,
            velocities=self._origin_of_velocities,
        )

    @property
    def has_errors(self) -> bool:
        """Whether the error of each pixel is read too."""
        return self._options.errors

    @property
    def notes(self) -> tuple[str, ...]:
        """How many stars lack a camera, and files that were not used."""
        return _notes(self._files)

    @property
    def fingerprint(self) -> str:
        """Digest of the names, sizes and modification times of all files, and of velocities."""
        if self._velocities is None:
            return self._files.fingerprint
        return text_digest(f"{self._files.fingerprint} {array_digest(self._velocities)}")

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folder, and those that links in it lead to."""
        return (self._files.folder, *map(Path, self._files.links))

    @property
    def velocities(self) -> npt.NDArray[np.float64] | None:
        """Velocities that go before those of the files, shape (N,), km/s; None without them."""
        return self._velocities

    @property
    def needs_velocities(self) -> bool:
        """Whether the velocities of the stars decide about their spectra."""
        return self._reader.needs_velocities

    @property
    def options(self) -> SpectrumOptions:
        """What the spectra are like."""
        return self._options

    def with_options(self, options: SpectrumOptions, jobs: int | None = None) -> Self:
        """Return the same stars with spectra of another kind, and other `jobs` if given."""
        source = copy.copy(self)
        source._configure(options, self._jobs if jobs is None else jobs)
        return source

    def with_velocities(self, velocities: npt.ArrayLike) -> Self:
        """Return the same stars with velocities that go before those of their files.

        Parameters
        ----------
        velocities : array_like, shape (N,)
            km/s, positive if a star moves away; NaN where it is not known.
        """
        source = copy.copy(self)
        source._velocities = np.asarray(velocities, dtype=np.float64)
        if source._velocities.shape != (len(self),):
            msg = (
                f"{self.name}: velocities of shape {source._velocities.shape} for {len(self):,} "
                f"stars; expected one per star"
            )
            raise OptionError(msg)
        return source

    def selected(self, rows: npt.NDArray[np.int64]) -> Self:
        """Return some of the stars; the files of others are not opened.

        Parameters
        ----------
        rows : ndarray, shape (n,), int64
            Increasing row numbers.
        """
        source = copy.copy(self)
        source._files = self._files.selected(rows)
        if self._velocities is not None:
            source._velocities = self._velocities[rows]
        return source

    def read_column(self, name: str) -> npt.NDArray[Any]:
        """Return the ids of the stars, or their ids in 2MASS or Gaia from the files of DR4."""
        if name not in HEADER_IDS:
            return super().read_column(name)
        paths = (self._files.paths(row)[0][1] for row in range(len(self)))
        return read_header_ids(paths, name, self._on_bad)

    def iter_blocks(self, block_rows: int, first_row: int = 0) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the flux of the stars in order, as :meth:`iter_spectra` does."""
        for spectra in self.iter_spectra(block_rows, first_row):
            yield spectra.flux

    def iter_spectra(self, block_rows: int, first_row: int = 0) -> Iterator[Spectra]:
        """Yield the spectra of the stars in order; the pixels of a missing camera are NaN.

        The first stars are read by this process, more of them by several.

        Raises
        ------
        SourceFormatError, BadSpectraError
            If a star cannot be used, and `on_bad` is ``"raise"``.
        SourceShapeError, SourceAccessError
            If a file has flux that does not fit into float32, or cannot be read.
        WorkerError
            If a process ended before it was done.
        """
        blocks = (
            range(start, min(start + block_rows, len(self)))
            for start in range(first_row, len(self), block_rows)
        )
        stars = ([self._star(row) for row in block] for block in blocks)
        n_first = -(-_STARS_BEFORE_PROCESSES // block_rows)
        if self._jobs == 1 or multiprocessing.current_process().daemon:  # may not start others
            n_first = len(self)
        for spectra in chain(
            map(self._reader.read, islice(stars, n_first)),
            ordered_process_map(self._reader.read, stars, self._jobs),
        ):
            self._check_unchanged(range(first_row, first_row + len(spectra.flux)))
            if spectra.unusable and self._on_bad == "raise":
                unusable = spectra.unusable[0]
                star = int(self.ids[first_row + unusable.row])
                raise _unusable_error(
                    self._files.folder, star, unusable.reason, unusable.is_damaged
                )
            first_row += len(spectra.flux)
            yield spectra

    def _configure(self, options: SpectrumOptions, jobs: int | None) -> None:
        """Check and set what the spectra are to be like."""
        self._jobs = check_count(
            "jobs", os.cpu_count() if jobs is None else jobs, flag="--jobs", minimum=1
        )
        own_frame = FRAME_OF_FILES[self._release]
        frame = options.frame or own_frame
        if options.target is None and frame != own_frame:
            msg = (
                f"{self.name}: the pixels of {self._release} are in the {own_frame} frame; give a "
                f"grid to resample them in the {frame} frame (grid='hermes', --grid hermes)"
            )
            raise OptionError(msg)
        resampler = None
        if options.target is not None:
            resampler = Resampler(options.target.wavelength, options.resampling)
        self._options = options
        self._reader = StarReader(
            self._files.folder, self._release, frame, resampler, options.errors
        )
        self._apply_missing_camera(options.missing_camera)

    def _apply_missing_camera(self, missing_camera: MissingCamera) -> None:
        lacks = ~self._files.has_camera
        is_incomplete = lacks.any(axis=1)
        if missing_camera == "nan" or not is_incomplete.any():
            return
        reasons = {
            int(self.ids[row]): "no file of the "
            + ", ".join(CAMERAS[camera].name for camera in np.flatnonzero(lacks[row]))
            + " camera"
            for row in np.flatnonzero(is_incomplete)
        }
        if missing_camera == "raise" or is_incomplete.all():
            shown = listed([f"{star}: {reason}" for star, reason in reasons.items()], "; ")
            msg = (
                f"{self.name}: {len(reasons):,} of {len(self):,} stars lack a camera: {shown}; "
                f"complete the download, or give missing_camera='nan' or 'skip' "
                f"(--missing-camera nan or skip)"
            )
            raise BadSpectraError(msg)
        self._skipped = {**self._skipped, **reasons}
        complete = np.flatnonzero(~is_incomplete)
        self._files = self._files.selected(complete)
        if self._velocities is not None:
            self._velocities = self._velocities[complete]

    def _check_unchanged(self, rows: range) -> None:
        """Raise `SourceFormatError` if a file of some stars is not the one that was listed."""
        for row in rows:
            for camera, path in self._files.paths(row):
                with explain_access_errors(path):
                    status = path.stat()
                self._files.check_unchanged(row, camera, status.st_size, status.st_mtime_ns)

    @property
    def _origin_of_velocities(self) -> VelocityOrigin | None:
        if not self.needs_velocities:
            return None
        return "files" if self._velocities is None else "catalogue"

    def _star(self, row: int) -> Star:
        velocity = np.nan if self._velocities is None else float(self._velocities[row])
        return Star(int(self.ids[row]), self._files.paths(row), velocity)


def _first_release(files: StarFiles, on_bad: OnBad) -> Release:
    """Return the release of the first file that can be read."""
    reasons: list[str] = []
    for row, star in enumerate(files.ids.tolist()):
        for _, path in files.paths(row):
            try:
                return read_fits(path, partial(release_of, path=path))
            except SourceFormatError as error:
                reason = reason_of(error, files.folder)
                if on_bad == "raise":
                    raise _unusable_error(files.folder, star, reason, True) from error
                if len(reasons) < _MAX_LISTED:
                    reasons.append(reason)
    msg = (
        f"{files.folder}: none of its {len(files.ids):,} stars can be used: {'; '.join(reasons)}; "
        f"copy damaged files again"
    )
    raise SourceFormatError(msg)


def _unusable_error(
    folder: Path, star: int, reason: str, is_damaged: bool
) -> SourceFormatError | BadSpectraError:
    """Return the error for a star that may not be skipped."""
    cure = "copy damaged files again, or " if is_damaged else ""
    msg = (
        f"{folder}: star {star} cannot be used: {reason}; {cure}skip such stars with "
        f"on_bad='skip' (--on-bad skip)"
    )
    return SourceFormatError(msg) if is_damaged else BadSpectraError(msg)


def _problems_of_names(files: StarFiles) -> dict[int, str]:
    """Return the stars that cannot be used because of the names of their files, and why."""
    problems = {star: f"{names}: two files of one camera" for star, names in files.doubles.items()}
    for star, names in files.missed.items():
        earlier = f"{problems[star]}, " if star in problems else ""
        problems[star] = f"{earlier}{names}: not the name of a star's file"
    return problems


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
