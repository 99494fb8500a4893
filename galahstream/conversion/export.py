"""Writing a source as the .npy pair of the published set: spectra.npy and labels.npy."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from galahstream.conversion.pipeline import flux_blocks
from galahstream.sources.base import Source
from galahstream.store.formats.npy import create
from galahstream.store.layout import ArrayLocation, OffsetFluxWriter
from galahstream.system.atomic import publish_on_success


def write_npy_pair(
    source: Source, dest: Path, *, overwrite: bool = False, progress: bool = True
) -> None:
    """Write `spectra.npy` (N, L) float32 and `labels.npy` (N, K) float64 into a new folder.

    Memory does not grow with N; the folder appears when it is complete.

    Raises
    ------
    DestinationExistsError
        If the folder exists and `overwrite` is False.
    """
    with publish_on_success(dest, overwrite=overwrite) as folder:
        folder.mkdir()
        labels = source.read_labels()
        if labels.shape[1]:
            np.save(folder / "labels.npy", labels)
        place = create(folder / "spectra.npy", (len(source), source.n_pixels), np.dtype("<f4"))
        _write_flux(source, place, progress)


def _write_flux(source: Source, place: ArrayLocation, progress: bool) -> None:
    writer = OffsetFluxWriter(place)
    try:
        for row, flux in flux_blocks(source, "making spectra", progress):
            stored: npt.NDArray[np.float32] = np.ascontiguousarray(flux, dtype="<f4")
            writer.write(row, stored)
    finally:
        writer.close()
