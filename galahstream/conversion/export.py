"""Write a source as the .npy pair of the published set: spectra.npy and labels.npy."""

import os
from pathlib import Path

import numpy as np

from galahstream.conversion.options import BLOCK_BYTES
from galahstream.conversion.pipeline import BlockReader
from galahstream.conversion.staging import check_apart, resolved, staging
from galahstream.sources.base import Source
from galahstream.store.formats.base import is_ignored_name
from galahstream.store.formats.npy import create_array
from galahstream.store.layout import ArraySpec, OffsetRowWriter
from galahstream.store.quantization import Float32
from galahstream.system.disk import explain_disk_full

_SPECTRA, _LABELS = "spectra.npy", "labels.npy"


def write_npy_pair(
    source: Source,
    dest: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    progress: bool = True,
) -> None:
    """Write `spectra.npy` (N, L) float32 and `labels.npy` (N, K) float64 into a new folder.

    Memory does not grow with N; the folder appears when it is complete.

    Parameters
    ----------
    source : Source
    dest : path-like
        The folder to create.
    overwrite : bool
        Replace a folder that holds nothing but such a pair.
    progress : bool
        Show a progress bar on a terminal when it takes longer than a second.

    Raises
    ------
    DestinationExistsError
        If the folder exists and `overwrite` is False, or it holds other files.
    OptionError
        If the folder is, contains or is inside the source.
    """
    destination = resolved(dest)
    check_apart(destination, map(resolved, (*source.files, *source.folders)))
    with (
        staging(destination, overwrite=overwrite, foreign_content=_foreign_to_pair) as area,
        explain_disk_full(area.store),
    ):
        area.clear()
        area.store.mkdir()
        labels = source.read_labels()
        if labels.shape[1]:
            np.save(area.store / _LABELS, labels)
        _write_spectra(source, area.store / _SPECTRA, progress)


def _write_spectra(source: Source, path: Path, progress: bool) -> None:
    encoding = Float32()
    spec = ArraySpec((len(source), source.n_pixels), encoding.dtype)
    writer = OffsetRowWriter(create_array(path, spec))
    try:
        for block in BlockReader(source, BLOCK_BYTES, progress).read("writing spectra"):
            writer.write(block.first_row, encoding.encode(block.flux))
    finally:
        writer.close()


def _foreign_to_pair(path: Path) -> str | None:
    if not path.is_dir():
        return "it is not a folder"
    for file in sorted(path.iterdir()):
        if file.name not in (_SPECTRA, _LABELS) and not is_ignored_name(file.name):
            return f"it holds {file.name!r}, and only {_SPECTRA} and {_LABELS} may be replaced"
    return None
