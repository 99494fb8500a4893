"""The stores that benchmarks read, made once from one source."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from galahstream.conversion.convert import convert
from galahstream.sources.base import Source
from galahstream.sources.open import open_source

KINDS = {
    "npy float32": ("float32", {"format": "npy", "dtype": "float32"}),
    "npy uint16": ("uint16", {"format": "npy", "dtype": "uint16"}),
    "hdf5 float32": ("float32.h5", {"format": "hdf5", "dtype": "float32"}),
    "hdf5 uint16": ("uint16.h5", {"format": "hdf5", "dtype": "uint16"}),
}


def store_of(source: Path, work: Path, kind: str, times: int = 1) -> Path:
    """Return the store of one kind, made where it is not there yet, each star so many times."""
    name, options = KINDS[kind]
    path = work / (name if times == 1 else f"{times}-{name}")
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        opened = open_source(source)
        convert(opened if times == 1 else Repeated(opened, times), path, **options).close()  # type: ignore[arg-type]
    return path


class Repeated:
    """A source whose stars come several times over: a large survey without days of making it."""

    skipped = ()

    def __init__(self, source: Source, times: int) -> None:
        self._source, self._times = source, times
        self.name = f"{source.name}, {times} times"
        self.n_pixels = source.n_pixels
        self.wavelength = source.wavelength
        self.label_names, self.label_units = source.label_names, source.label_units
        self.ids: npt.NDArray[np.int64] = np.arange(len(source) * times)

    def __len__(self) -> int:
        return len(self.ids)

    def read_labels(self) -> npt.NDArray[np.float64]:
        """Return the labels, repeated."""
        return np.tile(self._source.read_labels(), (self._times, 1))

    def iter_blocks(self, block_rows: int) -> Iterator[npt.NDArray[np.float32]]:
        """Yield the flux, from the beginning each time."""
        for _ in range(self._times):
            yield from self._source.iter_blocks(block_rows)
