import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from galahstream.errors import CheckpointError
from galahstream.learn.saved_file import (
    FileKind,
    check_tensor_like,
    find_corruption,
    read_saved,
    write_saved,
)
from galahstream.validation import FieldError

KIND = FileKind("galahstream example", 2, "save it again")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    write_saved(tmp_path / "a.pt", KIND, {"value": 3, "tensor": torch.ones(2)})
    return tmp_path / "a.pt"


def test_content_comes_back_with_its_kind_and_version(saved: Path) -> None:
    content = read_saved(saved, KIND)
    assert content["value"] == 3
    assert torch.equal(content["tensor"], torch.ones(2))
    assert (content["kind"], content["version"]) == ("galahstream example", 2)


@pytest.mark.parametrize("version", [0, 3, "2", None, 10**100])
def test_other_versions_are_refused_naming_those_that_are_read(saved: Path, version: Any) -> None:
    torch.save({"kind": KIND.name, "version": version}, saved)
    with pytest.raises(CheckpointError, match=r"a\.pt has version .* reads versions up to 2"):
        read_saved(saved, KIND)


@pytest.mark.parametrize("content", [{"kind": "another"}, {}, [1], 3], ids=str)
def test_other_kinds_are_refused_with_the_advice(saved: Path, content: Any) -> None:
    torch.save(content, saved)
    with pytest.raises(CheckpointError, match=r"a\.pt is not a galahstream example.*save it again"):
        read_saved(saved, KIND)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not a file"):
        read_saved(tmp_path, KIND)


def test_a_changed_byte_is_a_checksum_mismatch(saved: Path) -> None:
    assert find_corruption(saved) is None
    with zipfile.ZipFile(saved) as archive:
        name = next(name for name in archive.namelist() if name.endswith("data/0"))
        offset = archive.getinfo(name).header_offset
    data = bytearray(saved.read_bytes())
    start = data.index(torch.ones(2).numpy().tobytes(), offset)
    data[start] ^= 1
    saved.write_bytes(data)
    assert find_corruption(saved) == f"checksum mismatch in {name}"


@pytest.mark.parametrize(
    "stored",
    [
        None,
        [1.0, 1.0],
        torch.ones(3),
        torch.ones(2, dtype=torch.float64),
        torch.ones(1).expand(2),
        torch.ones(2, device="meta"),
        torch.ones(2).to_sparse(),
    ],
    ids=str,
)
def test_a_tensor_that_is_not_a_plain_array_is_refused_by_name(stored: object) -> None:
    with pytest.raises(FieldError, match=r"'weights.a': expected a plain array of torch.float32"):
        check_tensor_like(torch.zeros(2), stored, "weights.a")


def test_a_tensor_like_another_is_returned() -> None:
    stored = torch.ones(2)
    assert check_tensor_like(torch.zeros(2), stored, "a") is stored
