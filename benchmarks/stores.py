"""The stores that benchmarks read, converted once from one source."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from galahstream.conversion.convert import convert
from galahstream.sources.base import Source
from galahstream.sources.open import open_source


class Kind(NamedTuple):
    """A kind of store: the name of its file or folder, its format, and how flux is stored."""

    name: str
    format: Literal["npy", "hdf5"]
    dtype: Literal["float32", "uint16"]


KINDS = {
    "npy float32": Kind("float32", "npy", "float32"),
    "npy uint16": Kind("uint16", "npy", "uint16"),
    "hdf5 float32": Kind("float32.h5", "hdf5", "float32"),
    "hdf5 uint16": Kind("uint16.h5", "hdf5", "uint16"),
}


def store_of(source: Path, work: Path, kind: str, times: int = 1) -> Path:
    """Return a store of one kind with every star `times` times, and convert it if it is missing."""
    name, store_format, dtype = KINDS[kind]
    path = work / (name if times == 1 else f"{times}-{name}")
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        survey = open_source(source)
        if times > 1:
            survey = Repeated(survey, times)
        convert(survey, path, format=store_format, dtype=dtype).close()
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
