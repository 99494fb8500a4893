"""Every format, encoding and way of reading passes the contract of stores."""

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from galahstream.conversion.collection import merge
from galahstream.conversion.convert import convert
from galahstream.sources.open import open_source
from galahstream.sources.wrappers import Selected
from galahstream.store.layout import FormatName
from galahstream.store.quantization import Float32
from tests.store.contract import CompressedContract, Example, StoreContract, spawned

__all__ = ["spawned"]


class TestNpy(StoreContract):
    options: ClassVar[dict[str, Any]] = {"format": "npy"}


class TestHdf5(StoreContract):
    options: ClassVar[dict[str, Any]] = {"format": "hdf5"}


class TestCollection(StoreContract):
    """Three members of 20 stars in different formats, one of which is a collection itself."""

    @classmethod
    def make(cls, example: Example, path: Path) -> None:
        dtype: Any = "float32" if isinstance(example.encoding, Float32) else "uint16"
        source = example.source
        if isinstance(source, Path):
            source = open_source(source)
        folder = path.with_name(f"members of {path.name}")
        folder.mkdir()
        # HDF5 puts rows this short between two values, if any are stored in odd places.
        is_odd = dtype == "uint16" and example.has_errors
        formats: tuple[FormatName, ...] = ("npy", "npy" if is_odd else "hdf5", "npy")
        for number, name in enumerate(formats):
            rows = np.arange(20 * number, 20 * number + 20)
            part = Selected(source, rows)
            convert(part, folder / str(number), format=name, dtype=dtype).close()
        merge(folder / "pair", [folder / "1", folder / "2"]).close()
        merge(path, [folder / "0", folder / "pair"]).close()


@pytest.mark.slow
class TestHdf5Chunks(StoreContract):
    options: ClassVar[dict[str, Any]] = {"format": "hdf5", "chunk_rows": 7}


@pytest.mark.slow
class TestHdf5Gzip(CompressedContract):
    options: ClassVar[dict[str, Any]] = {
        "format": "hdf5",
        "chunk_rows": 7,
        "compression": "gzip",
    }
