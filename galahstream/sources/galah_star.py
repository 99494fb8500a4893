"""The spectrum of one star: its cameras laid end to end, or resampled onto a common grid."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from galahstream.errors import BadSpectraError, SourceFormatError, SourceShapeError
from galahstream.sources.base import Spectra, UnusableRow, as_float32
from galahstream.sources.fits_file import COPY_AGAIN, read_fits
from galahstream.sources.galah_layout import (
    CameraSpectrum,
    Frame,
    Release,
    camera_spectrum,
)
from galahstream.sources.galah_names import printable
from galahstream.survey.resampling import Resampler, Segment
from galahstream.survey.wavelength import CAMERA_PIXELS, CAMERAS, NOMINAL_PIXELS

_MAX_REASON_LENGTH = 500  # per file, of four; a manifest takes 4096 characters
_MAX_VELOCITY = 1500.0  # km/s; no star of the Galaxy is as fast


class Star(NamedTuple):
    """A star to read.

    Attributes
    ----------
    star_id : int
    files : sequence of (int, Path)
        Camera, from 0 on, and file of each camera that it has.
    velocity : float
        km/s, by which it moves away; NaN for what its files say.
    """

    star_id: int
    files: Sequence[tuple[int, Path]]
    velocity: float


@dataclass(frozen=True)
class StarReader:
    """Reads stars of one release, all in the same way; it can be sent to other processes.

    Attributes
    ----------
    folder : Path
        Reasons name files relative to it.
    release : {"DR3", "DR4"}
    frame : {"observed", "rest"}
        Of the wavelengths that are resampled.
    resampler : Resampler or None
        None for the pixels of the files, 4,096 per camera.
    with_errors : bool
        Read the error of each pixel too.
    """

    folder: Path
    release: Release
    frame: Frame
    resampler: Resampler | None = None
    with_errors: bool = False

    @property
    def n_pixels(self) -> int:
        """Number of pixels of each spectrum."""
        return NOMINAL_PIXELS if self.resampler is None else len(self.resampler.wavelength)

    @property
    def needs_velocities(self) -> bool:
        """Whether the velocity of a star decides where its lines are."""
        return self.resampler is not None and self.release == "DR4" and self.frame == "rest"

    def read(self, stars: Sequence[Star]) -> Spectra:
        """Return the spectra of some stars; those that cannot be used are NaN, and named.

        Raises
        ------
        SourceAccessError, ExtraMissingError, SourceShapeError
            If a file cannot be read now, or has flux that does not fit into float32.
        """
        flux = np.full((len(stars), self.n_pixels), np.nan, dtype=np.float32)
        error = flux.copy() if self.with_errors else None
        unusable = []
        for row, star in enumerate(stars):
            try:
                self._read_star(star, flux[row], None if error is None else error[row])
            except (SourceFormatError, BadSpectraError) as problem:
                is_damaged = isinstance(problem, SourceFormatError)
                unusable.append(UnusableRow(row, str(problem), is_damaged))
        return Spectra(flux, error, tuple(unusable))

    def _read_star(
        self, star: Star, flux: npt.NDArray[np.float32], error: npt.NDArray[np.float32] | None
    ) -> None:
        """Write the spectrum of a star into its rows."""
        cameras = self._read_cameras(star)
        if self.resampler is None:
            for camera, spectrum in cameras.items():
                pixels = slice(camera * CAMERA_PIXELS, (camera + 1) * CAMERA_PIXELS)
                flux[pixels] = spectrum.flux
                if error is not None:
                    error[pixels] = spectrum.error
            return
        segments = [
            Segment(camera.wavelength, camera.flux.astype(np.float64), camera.error)
            for camera in cameras.values()
        ]
        resampled = self.resampler.resample(segments, self._velocity(star, cameras))
        flux[:] = resampled.flux
        if error is not None:
            error[:] = resampled.error

    def _read_cameras(self, star: Star) -> dict[int, CameraSpectrum]:
        """Read the files of a star; an error names all that cannot be used."""
        cameras: dict[int, CameraSpectrum] = {}
        problems: list[SourceFormatError | BadSpectraError] = []
        for camera, path in star.files:
            try:
                cameras[camera] = self._read_camera(path, camera)
            except (SourceFormatError, BadSpectraError) as problem:
                problems.append(problem)
        if problems:
            reasons = ", ".join(reason_of(problem, self.folder) for problem in problems)
            is_damaged = any(isinstance(problem, SourceFormatError) for problem in problems)
            raise SourceFormatError(reasons) if is_damaged else BadSpectraError(reasons)
        return cameras

    def _read_camera(self, path: Path, camera: int) -> CameraSpectrum:
        frame = None if self.resampler is None else self.frame
        take = partial(
            camera_spectrum, path=path, camera=camera, frame=frame, with_errors=self.with_errors
        )
        spectrum = read_fits(path, take)
        if spectrum.release != self.release:
            msg = (
                f"{path} is of {spectrum.release}, and other files are of {self.release}; convert "
                f"each release from a folder of its own"
            )
            raise BadSpectraError(msg)
        n_pixels = len(spectrum.flux)
        if self.resampler is None and n_pixels != CAMERA_PIXELS:
            msg = (
                f"{path} ({CAMERAS[camera].name} camera) has {n_pixels} pixels instead of 4096; "
                f"a common grid takes any number (grid=, --grid)"
            )
            raise BadSpectraError(msg)
        if n_pixels < 2:
            msg = f"{path} has {n_pixels} pixels; expected 4096 or a few more{COPY_AGAIN}"
            raise SourceFormatError(msg)
        _check_overflow(spectrum.flux, path)
        return spectrum

    def _velocity(self, star: Star, cameras: dict[int, CameraSpectrum]) -> float:
        """Return the velocity to shift a star by, km/s."""
        if not self.needs_velocities:
            return 0.0
        given = (star.velocity, *(spectrum.velocity for spectrum in cameras.values()))
        velocity = next((each for each in given if np.isfinite(each)), None)
        if velocity is None:
            msg = (
                "no radial velocity, neither of a catalogue (catalogue=, --catalogue) nor in its "
                "files (RVCOM where RVCOM_OK is 1), and without it no rest frame (frame='observed',"
                " --frame observed)"
            )
            raise BadSpectraError(msg)
        if not abs(velocity) < _MAX_VELOCITY:
            msg = (
                f"its radial velocity is {velocity:g} km/s; expected less than {_MAX_VELOCITY:g}: "
                f"check the column of the catalogue"
            )
            raise BadSpectraError(msg)
        return velocity


def reason_of(problem: Exception, folder: Path) -> str:
    """Return what is wrong with a file of a folder, without the folder and the cure."""
    text = str(problem).removeprefix(f"{folder}{os.sep}").removesuffix(COPY_AGAIN)
    return printable(text)[:_MAX_REASON_LENGTH]


def _check_overflow(flux: npt.NDArray[Any], path: Path) -> None:
    """Raise an error for flux that would become infinite."""
    try:
        as_float32(flux[np.newaxis], str(path), 0)
    except SourceShapeError as error:
        msg = f"{error}; copy the file again, or move it out of the folder to convert without it"
        raise SourceShapeError(msg) from None
