"""The stores that benchmarks read, made once from one source."""

from pathlib import Path
from typing import NamedTuple

from galahstream.conversion.convert import convert
from galahstream.sources.open import open_source
from galahstream.sources.wrappers import Repeated

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
