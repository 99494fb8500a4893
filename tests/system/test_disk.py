import errno
import os
from pathlib import Path

import numpy as np
import pytest

from galahstream.errors import StorageFullError
from galahstream.system.disk import explain_disk_full, preallocate, write_at


def test_an_array_is_written_at_its_offset_however_few_bytes_a_call_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, array = tmp_path / "a", np.arange(40, dtype=np.float32).reshape(5, 8)
    path.write_bytes(b"." * 200)
    pwrite = os.pwrite
    monkeypatch.setattr("os.pwrite", lambda fd, data, at: pwrite(fd, data[:7], at))
    descriptor = os.open(path, os.O_RDWR)
    try:
        write_at(descriptor, array, 20)
    finally:
        os.close(descriptor)
    assert path.read_bytes() == b"." * 20 + array.tobytes() + b"." * 20


def test_preallocating_sets_the_size_and_keeps_the_bytes(tmp_path: Path) -> None:
    preallocate(tmp_path / "new", 5000)
    assert (tmp_path / "new").read_bytes() == b"\0" * 5000
    (tmp_path / "old").write_bytes(b"kept")
    preallocate(tmp_path / "old", 10)
    assert (tmp_path / "old").read_bytes() == b"kept" + b"\0" * 6


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize(("size", "needed"), [(7936, "7,936 bytes are"), (None, "more bytes are")])
def test_a_full_disk_is_explained(tmp_path: Path, code: int, size: int | None, needed: str) -> None:
    with (
        pytest.raises(StorageFullError, match=rf"flux\.npy: {needed} needed .* free") as caught,
        explain_disk_full(tmp_path / "flux.npy", size),
    ):
        raise OSError(code, "full")
    assert "--dtype uint16" in str(caught.value)


def test_other_errors_of_a_disk_stay_as_they_are(tmp_path: Path) -> None:
    error = OSError(errno.EIO, "broken")
    with pytest.raises(OSError, match="broken") as caught, explain_disk_full(tmp_path / "a"):
        raise error
    assert caught.value is error
