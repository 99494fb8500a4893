"""Every format, encoding and way of reading passes the contract of stores."""

from typing import Any, ClassVar

import pytest

from tests.store.contract import CompressedContract, StoreContract, spawned

__all__ = ["spawned"]


class TestNpy(StoreContract):
    options: ClassVar[dict[str, Any]] = {"format": "npy"}


class TestHdf5(StoreContract):
    options: ClassVar[dict[str, Any]] = {"format": "hdf5"}


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
