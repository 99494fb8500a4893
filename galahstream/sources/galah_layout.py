"""What the file of one star and camera holds in GALAH's releases.

===============  ============================================  =================================
what             DR3, five extensions                          DR4, named extensions
===============  ============================================  =================================
normalised flux  the last, float64                             ``normalized``
wavelengths      as observed in the header of extension 0,     as observed in the header of
                 at rest in that of the last                   extension 0
relative error   extension 1                                   ``relative_error``
velocity         applied to the wavelengths of the last        RVCOM of extension 0, if RVCOM_OK
===============  ============================================  =================================

Names of DR3's extensions are empty in some files. The wavelength of pixel i, counted from
0, is CRVAL1 + CDELT1 (i + 1 - CRPIX1), where CRPIX1 = 0 means 1.
"""

from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from galahstream.errors import BadSpectraError, SourceFormatError
from galahstream.sources.fits_file import COPY_AGAIN, FitsFile
from galahstream.survey.wavelength import CAMERAS

Release: TypeAlias = Literal["DR3", "DR4"]
"""A release of GALAH whose files can be read."""

Frame: TypeAlias = Literal["observed", "rest"]
"""Whether wavelengths are as observed, or without the star's velocity."""

FRAME_OF_FILES: dict[Release, Frame] = {"DR3": "rest", "DR4": "observed"}
"""The frame of the normalised spectra of each release."""

_DR4_SPECTRUM, _DR4_ERROR = "NORMALIZED", "RELATIVE_ERROR"
_DR3_EXTENSIONS, _DR3_SPECTRUM, _DR3_ERROR = 5, 4, 1
# CRVAL1 and CDELT1 of each camera in Å; what lies outside is a failed calibration. Most steps of
# the red camera are below 0.06322, but lines of star 140310002101365, of 0.06325, are at rest.
_STARTS = ((4711.5, 4715.5), (5646.7, 5650.7), (6475.8, 6480.5), (7583.5, 7587.5))
_STEPS = ((0.04591, 0.04605), (0.0545, 0.0548), (0.06303, 0.0633), (0.07342, 0.07367))
_MAX_REST_SHIFT = 0.005  # of wavelengths at rest to those observed: 1,500 km/s
# DR3 has huge errors, and negative ones, where nothing is known.
_LARGEST_RELATIVE_ERROR = 10.0


class CameraSpectrum(NamedTuple):
    """The normalised spectrum of one star in one camera.

    Attributes
    ----------
    release : {"DR3", "DR4"}
    flux : ndarray, shape (m,)
        In the dtype of the file.
    error : ndarray, shape (m,), float64, or None
        One standard deviation of each pixel, NaN where it is not known; None if not asked for.
    wavelength : ndarray, shape (m,), float64
        Å; empty if no frame was asked for.
    velocity : float
        km/s, by which the file says that the star moves away; NaN if it does not say.
    """

    release: Release
    flux: npt.NDArray[Any]
    error: npt.NDArray[np.float64] | None
    wavelength: npt.NDArray[np.float64]
    velocity: float


class _Calibration(NamedTuple):
    start: float  # Å, of the first pixel
    step: float


def release_of(file: FitsFile, path: Path) -> Release:
    """Return the release that a file is of.

    Raises
    ------
    SourceFormatError
        If it has the layout of none.
    """
    names = file.names
    if _DR4_SPECTRUM in names:
        return "DR4"
    if len(names) == _DR3_EXTENSIONS:
        return "DR3"
    msg = (
        f"{path}: extensions {', '.join(name or '(no name)' for name in names)}; expected one "
        f"called 'normalized' (DR4), or five of which the last is the normalised spectrum "
        f"(DR3){COPY_AGAIN}"
    )
    raise SourceFormatError(msg)


def camera_spectrum(
    file: FitsFile, path: Path, camera: int, frame: Frame | None = None, with_errors: bool = False
) -> CameraSpectrum:
    """Return the spectrum in a file.

    Parameters
    ----------
    file : FitsFile
    path : Path
        Its name in messages.
    camera : int
        From 0 on.
    frame : {"observed", "rest"}, optional
        Of the wavelengths to return. Those of DR4 are observed ones, whatever it says.
    with_errors : bool
        Read the errors too.

    Raises
    ------
    SourceFormatError
        If the file is not of the layout of a release, or does not say its wavelengths.
    BadSpectraError
        If it is of the high-resolution mode, or its calibration failed.
    """
    release = release_of(file, path)
    spectrum = list(file.names).index(_DR4_SPECTRUM) if release == "DR4" else _DR3_SPECTRUM
    if str(file.value(0, "SLITMASK") or "").strip().upper() == "IN":
        msg = (
            f"{path}: SLITMASK is 'IN', the high-resolution mode (R about 45,000), which other "
            f"spectra must not be mixed with"
        )
        raise BadSpectraError(msg)
    flux = file.pixels(spectrum)
    error = _error(file, path, release, flux) if with_errors else None
    calibration = _checked_calibration(file, path, camera)
    if frame == "rest" and release == "DR3":
        calibration = _rest_calibration(file, path, calibration)
    wavelength: npt.NDArray[Any] = np.empty(0)
    if frame is not None:
        if calibration is None:
            msg = f"{path}: no CRVAL1 and CDELT1, which say its wavelengths{COPY_AGAIN}"
            raise SourceFormatError(msg)
        wavelength = calibration.start + calibration.step * np.arange(len(flux))
    return CameraSpectrum(release, flux, error, wavelength, _velocity(file, release))


def _checked_calibration(file: FitsFile, path: Path, camera: int) -> _Calibration | None:
    """Return the observed wavelengths, which even spectra that do not need them must have right."""
    found = _calibration(file, path, 0)
    if found is None:
        return None
    for name, value, (low, high) in (
        ("CRVAL1", found.start, _STARTS[camera]),
        ("CDELT1", found.step, _STEPS[camera]),
    ):
        if not low <= value <= high:
            msg = (
                f"{path}: {name} is {value:.6g} Å, and {low:g} to {high:g} in the "
                f"{CAMERAS[camera].name} camera of others: its wavelength calibration failed"
            )
            raise BadSpectraError(msg)
    return found


def _rest_calibration(
    file: FitsFile, path: Path, observed: _Calibration | None
) -> _Calibration | None:
    """Return the wavelengths at rest of a DR3 file."""
    rest = _calibration(file, path, _DR3_SPECTRUM)
    if rest is None or observed is None:
        return None
    ratios = (rest.start / observed.start, rest.step / observed.step)
    if not all(abs(ratio - 1) < _MAX_REST_SHIFT for ratio in ratios):
        msg = (
            f"{path}: its wavelengths begin at {observed.start:.6g} Å in steps of "
            f"{observed.step:.6g} as observed, and at {rest.start:.6g} in steps of {rest.step:.6g} "
            f"at rest: its wavelength calibration failed"
        )
        raise BadSpectraError(msg)
    return rest


def _calibration(file: FitsFile, path: Path, extension: int) -> _Calibration | None:
    """Return what a header says; None if it says nothing."""
    start, step = file.value(extension, "CRVAL1"), file.value(extension, "CDELT1")
    reference = file.value(extension, "CRPIX1")
    if start is None and step is None:
        return None
    given = (start, step, 1 if reference is None else reference)
    numbers = [value for value in given if isinstance(value, int | float)]
    if len(numbers) < len(given):
        msg = (
            f"{path}: CRVAL1 = {start!r}, CDELT1 = {step!r}, CRPIX1 = {reference!r} in extension "
            f"{extension}; expected numbers{COPY_AGAIN}"
        )
        raise SourceFormatError(msg)
    first, delta, pixel = numbers
    return _Calibration(first + delta * (1 - (pixel or 1)), delta)


def _error(
    file: FitsFile, path: Path, release: Release, flux: npt.NDArray[Any]
) -> npt.NDArray[np.float64]:
    """Return one standard deviation of each pixel, NaN where it is not known."""
    names = list(file.names)
    if release == "DR4" and _DR4_ERROR not in names:
        msg = f"{path}: no extension called 'relative_error'{COPY_AGAIN}"
        raise SourceFormatError(msg)
    extension = names.index(_DR4_ERROR) if release == "DR4" else _DR3_ERROR
    relative = file.pixels(extension).astype(np.float64)
    if len(relative) != len(flux):
        msg = (
            f"{path}: extension {extension} has {len(relative)} errors for {len(flux)} pixels"
            f"{COPY_AGAIN}"
        )
        raise SourceFormatError(msg)
    with np.errstate(invalid="ignore", over="ignore"):
        error = relative * np.abs(flux)
        is_known = (relative > 0) & (relative <= _LARGEST_RELATIVE_ERROR) & (error > 0)
    return np.where(is_known, error, np.nan)


def _velocity(file: FitsFile, release: Release) -> float:
    velocity = file.value(0, "RVCOM")
    is_known = release == "DR4" and file.value(0, "RVCOM_OK") == 1
    return float(velocity) if is_known and isinstance(velocity, int | float) else np.nan
