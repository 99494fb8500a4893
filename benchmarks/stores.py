"""Stores that benchmarks read, made once from one source."""

from pathlib import Path
from typing import Literal, NamedTuple

from galahstream.conversion.convert import convert
from galahstream.sources.open import open_source
from galahstream.sources.wrappers import Repeated


class StoreKind(NamedTuple):
    """Name of a store in the work folder, and how it is converted."""

    path: str
    format: Literal["npy", "hdf5"]
    dtype: Literal["float32", "uint16"]


KINDS = {
    "npy float32": StoreKind("float32", "npy", "float32"),
    "npy uint16": StoreKind("uint16", "npy", "uint16"),
    "hdf5 float32": StoreKind("float32.h5", "hdf5", "float32"),
    "hdf5 uint16": StoreKind("uint16.h5", "hdf5", "uint16"),
}


def store_of(source: Path, work: Path, kind: str, times: int = 1) -> Path:
    """Return the path of a store, converting it first if it is not there.

    Parameters
    ----------
    source : Path
        What the store is converted from.
    work : Path
        Folder of the stores.
    kind : str
        One of `KINDS`.
    times : int
        How often the store holds each star of the source.
    """
    name, format, dtype = KINDS[kind]
    path = work / (name if times == 1 else f"{times}-{name}")
    if not path.exists():
        work.mkdir(parents=True, exist_ok=True)
        opened = open_source(source)
        if times != 1:
            opened = Repeated(opened, times)
        convert(opened, path, format=format, dtype=dtype).close()
    return path
