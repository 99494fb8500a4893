"""Source files that the tests read."""

import bz2
import gzip
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import pytest

from galahstream.sources.base import Spectra
from galahstream.sources.hdf5 import Hdf5Source

N_STARS, N_PIXELS = 23, 40
FLUX = np.random.default_rng(5).uniform(0.5, 1.5, (N_STARS, N_PIXELS)).astype(np.float32)
FLUX[2, 3], FLUX[4, 5] = np.nan, np.inf
ERRORS = np.random.default_rng(7).uniform(0.01, 0.1, FLUX.shape).astype(np.float32)
ERRORS[3, 4] = np.nan
LABELS = np.random.default_rng(6).normal(size=(N_STARS, 8))
LABELS[7, 2] = np.nan
IDS = 131123003001000 + np.arange(N_STARS, dtype=np.int64)
LARGE = 2**60 + np.arange(N_STARS, dtype=np.int64) // 3
WAVELENGTH = np.linspace(5000, 5100, N_PIXELS)
STAR = 131123003001096


class WithErrors(Hdf5Source):
    """An HDF5 source with errors that are in no file."""

    has_errors = True

    def iter_spectra(self, block_rows: int, first_row: int = 0) -> Iterator[Spectra]:
        for flux in self.iter_blocks(block_rows, first_row):
            yield Spectra(flux, ERRORS[first_row : first_row + len(flux)])
            first_row += len(flux)


def write_pair(folder: Path, flux: npt.NDArray[np.generic] = FLUX) -> Path:
    """Write a complete pair, with ids and wavelengths."""
    folder.mkdir()
    np.save(folder / "spectra.npy", flux)
    np.save(folder / "labels.npy", LABELS)
    np.save(folder / "ids.npy", IDS)
    np.save(folder / "wavelength.npy", WAVELENGTH)
    return folder


def write_hdf5(path: Path, **items: object) -> Path:
    """Write objects to the root of an HDF5 file: arrays, or links."""
    with h5py.File(path, "w") as file:
        for name, item in items.items():
            file[name] = item
    return path


def chunked_hdf5(path: Path, **options: object) -> Path:
    """Write spectra in chunks, and two labels."""
    with h5py.File(path, "w") as file:
        file.create_dataset("spectra", data=FLUX, **options)
        file["teff"], file["logg"] = LABELS[:, 0], np.arange(N_STARS, dtype=np.int32)
    return path


def table_hdf5(path: Path) -> Path:
    """Write spectra, one table of named labels, ids and wavelengths."""
    write_hdf5(path, flux=FLUX.astype(">f8"), labels=LABELS, sobject_id=IDS, wavelength=WAVELENGTH)
    with h5py.File(path, "r+") as file:
        file["labels"].attrs["columns"] = [f"label_{number}" for number in range(8)]
    return path


def write_star(
    folder: Path, star: int, layout: str, pixels: int = 4096, cameras: str = "1234"
) -> npt.NDArray[np.float64]:
    """Write GALAH files of a star and return its normalised flux, NaN if a camera is missing."""
    fits = pytest.importorskip("astropy.io.fits")
    folder.mkdir(exist_ok=True)
    generator = np.random.default_rng(star % 1000)
    flux = np.full((4, pixels), np.nan)
    for camera in cameras:
        values = generator.normal(1, 0.1, pixels)
        flux[int(camera) - 1] = values
        counts = fits.PrimaryHDU(values.astype(">f4"))
        if layout == "dr3":
            others = [fits.ImageHDU(np.zeros(pixels, dtype=">f4")) for _ in range(3)]
            extensions = [counts, *others, fits.ImageHDU(values)]
        else:
            dtype = layout.removeprefix("dr4-")
            named = [fits.ImageHDU(values.astype(dtype), name="normalized")]
            named += [fits.ImageHDU(name=n) for n in ("relative_error", "sky", "teluric")]
            extensions = [counts, *named]
        fits.HDUList(extensions).writeto(folder / f"{star}{camera}.fits")
    return flux.reshape(-1)


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


def write_star_as(folder: Path, star: int, layout: str, suffix: str) -> npt.NDArray[np.float64]:
    """Write a star whose files end in a suffix, and are compressed if it says so."""
    flux = write_star(folder, star, layout)
    compress = COMPRESS.get(Path(suffix).suffix.lower(), bytes)
    for camera in "1234":
        path = folder / f"{star}{camera}.fits"
        content = path.read_bytes()
        path.unlink()
        (folder / f"{star}{camera}{suffix}").write_bytes(compress(content))
    return flux


Writer = Callable[[Path], Path]
