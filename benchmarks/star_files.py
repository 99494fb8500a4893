"""Files of synthetic stars in the layout of GALAH DR3: five extensions, a folder per night."""

import shutil
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from galahstream.sources.open import open_source
from galahstream.survey.wavelength import CAMERA_PIXELS, CAMERAS, NOMINAL_PIXELS, Camera

N_NIGHTS = 20
# Headers of the real files have 214 cards in all extensions but the last.
_N_CARDS = 214
_NAMES = ("", "input_sigma", "no_sky_subspectrum", "no_sky_sigma", "normalised spectra")
_OBSERVED, _AT_REST = 0, 4
_FIBRES = 392


class _Template(NamedTuple):
    """A file whose flux is to be filled in at two places."""

    content: bytes
    observed: int
    at_rest: int


def star_files(source: Path, work: Path, n_stars: int) -> Path:
    """Return a folder of star files, which are written first if they are not there.

    Parameters
    ----------
    source : Path
        A survey whose spectra the stars have, again and again.
    work : Path
        Holds the folder.
    n_stars : int
        Number of stars with four files each: 0.7 MB per star.
    """
    folder = work / f"{n_stars}-star-files"
    if not folder.exists():
        unfinished = work / f"{folder.name}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        _write(source, unfinished, n_stars)
        unfinished.rename(folder)
    return folder


def _write(source: Path, folder: Path, n_stars: int) -> None:
    for night in range(1, N_NIGHTS + 1):
        (folder / f"1401{night:02d}").mkdir(parents=True)
    templates = [_template(camera) for camera in CAMERAS]
    flux: npt.NDArray[np.float32] = next(iter(open_source(source).iter_blocks(min(n_stars, 500))))
    for star in range(n_stars):
        cameras = np.resize(flux[star % len(flux)], NOMINAL_PIXELS).reshape(len(CAMERAS), -1)
        night, number = star % N_NIGHTS + 1, star // N_NIGHTS
        name = f"1401{night:02d}{number // _FIBRES + 1:04d}01{number % _FIBRES + 1:03d}"
        for camera, (template, pixels) in enumerate(zip(templates, cameras, strict=True), 1):
            (folder / name[:6] / f"{name}{camera}.fits").write_bytes(_filled(template, pixels))


def _template(camera: Camera) -> _Template:
    from astropy.io import fits

    images = [fits.PrimaryHDU(np.ones(CAMERA_PIXELS, ">f4"))]
    for name in _NAMES[1:]:
        dtype = ">f8" if name == _NAMES[_AT_REST] else ">f4"
        images.append(fits.ImageHDU(np.full(CAMERA_PIXELS, 0.01, dtype), name=name))
    for image in images[:_AT_REST]:
        image.header["SLITMASK"] = "OUT"
        while len(image.header) < _N_CARDS:
            image.header[f"CARD{len(image.header)}"] = (0.5, "as many as in real files")
    for image in (images[_OBSERVED], images[_AT_REST]):
        image.header["CRVAL1"], image.header["CDELT1"] = camera.start + 0.5, camera.step
        image.header["CRPIX1"] = 1.0
    file = BytesIO()
    fits.HDUList(images).writeto(file)
    with fits.open(BytesIO(file.getvalue())) as written:
        observed, at_rest = (written[index].fileinfo()["datLoc"] for index in (_OBSERVED, _AT_REST))
    return _Template(file.getvalue(), observed, at_rest)


def _filled(template: _Template, flux: npt.NDArray[np.float32]) -> bytearray:
    content = bytearray(template.content)
    for offset, dtype in ((template.observed, ">f4"), (template.at_rest, ">f8")):
        pixels = flux.astype(dtype).tobytes()
        content[offset : offset + len(pixels)] = pixels
    return content
