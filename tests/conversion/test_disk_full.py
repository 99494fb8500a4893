"""A disk without room."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pytest

from galahstream.conversion.convert import convert
from galahstream.conversion.options import ConvertOptions
from galahstream.conversion.run import convert_with
from galahstream.errors import StorageFullError
from galahstream.store.layout import OffsetRowWriter
from tests.conftest import Pair


@pytest.mark.parametrize("format", ["npy", "hdf5"])
def test_a_full_disk_raises_before_anything_is_written(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: Any
) -> None:
    def full(descriptor: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(StorageFullError, match=r"[\d,]+ bytes are needed.*[\d,]+ free.*uint16"):
        convert(pair.folder, tmp_path / "store", format=format)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["raw"]


def test_a_conversion_that_filled_the_disk_can_be_resumed(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = OffsetRowWriter.write

    def full(self: OffsetRowWriter, first_row: int, stored: npt.NDArray[Any]) -> None:
        if first_row > 40:
            raise OSError(28, "No space left on device")
        write(self, first_row, stored)

    monkeypatch.setattr(OffsetRowWriter, "write", full)
    options = ConvertOptions(block_bytes=4 * 64 * 5)
    with pytest.raises(StorageFullError, match="bytes are needed and the file system has"):
        convert_with(pair.folder, tmp_path / "store", options)
    monkeypatch.undo()
    with convert_with(pair.folder, tmp_path / "store", options) as store:
        assert len(store.verify()) == 0
