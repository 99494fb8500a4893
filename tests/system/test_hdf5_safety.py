"""HDF5 files that name other files, need plugins or claim too much are rejected unread."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from galahstream.conversion.convert import convert
from galahstream.errors import SourceFormatError, StoreFormatError
from galahstream.store import open_store
from galahstream.system.hdf5_safety import rejection_reason
from tests.conftest import Pair

FLUX = np.ones((60, 64), dtype=np.float32)


def external_link(file: h5py.File) -> None:
    with h5py.File(f"{file.filename}.other", "w") as other:
        other["flux"] = FLUX
    file["flux"] = h5py.ExternalLink(f"{file.filename}.other", "/flux")


def soft_link_to_an_external_one(file: h5py.File) -> None:
    file["out"] = h5py.ExternalLink("/dev/zero", "/")
    file["flux"] = h5py.SoftLink("/out")


def soft_link_through_an_external_one(file: h5py.File) -> None:
    file["out"] = h5py.ExternalLink("/dev/zero", "/")
    file["flux"] = h5py.SoftLink("/out/flux")


def soft_link_to_nothing(file: h5py.File) -> None:
    file["flux"] = h5py.SoftLink("/nowhere")


def soft_link_to_itself(file: h5py.File) -> None:
    file["flux"] = h5py.SoftLink("/flux")


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout(FLUX.shape, "f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "flux", FLUX.shape)
    file.create_virtual_dataset("flux", layout)


def external_storage(file: h5py.File) -> None:
    file.create_dataset("flux", FLUX.shape, "f4", external=[("/etc/passwd", 0, FLUX.nbytes)])


def unknown_filter(file: h5py.File) -> None:
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((1, 64))
    plan.set_filter(32001, h5py.h5z.FLAG_OPTIONAL)
    space = h5py.h5s.create_simple(FLUX.shape)
    h5py.h5d.create(file.id, b"flux", h5py.h5t.IEEE_F32LE, space, plan)


def claim(file: h5py.File) -> None:
    file.create_dataset("flux", (10**12, 64), "f4", chunks=(1, 64), compression="gzip")


def text(file: h5py.File) -> None:
    file.create_dataset("flux", FLUX.shape, h5py.string_dtype())


HOSTILE = [
    (external_link, "link to another file"),
    (soft_link_to_an_external_one, "soft link"),
    (soft_link_through_an_external_one, "soft link"),
    (soft_link_to_nothing, "soft link"),
    (soft_link_to_itself, "soft link|cannot read"),
    (virtual, "virtual"),
    (external_storage, "another file"),
    (unknown_filter, "filter 32001"),
    (claim, r"claims [\d,]+ bytes in a file of"),
    (text, "not numbers"),
]


@pytest.mark.parametrize(("make", "message"), HOSTILE, ids=[make.__name__ for make, _ in HOSTILE])
def test_a_hostile_object_has_a_reason_to_be_rejected(
    tmp_path: Path, make: Callable[[h5py.File], None], message: str
) -> None:
    path = tmp_path / "in.h5"
    with h5py.File(path, "w") as file:
        make(file)
    with h5py.File(path) as file:
        assert re.search(message, rejection_reason(file, "flux", path) or "")


@pytest.mark.parametrize(
    "options",
    [{}, {"compression": "gzip", "shuffle": True}, {"compression": "lzf"}, {"fletcher32": True}],
)
def test_a_plain_dataset_has_none(tmp_path: Path, options: dict[str, Any]) -> None:
    path = tmp_path / "in.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("flux", data=FLUX, **options)
    with h5py.File(path) as file:
        assert rejection_reason(file, "flux", path) is None


@pytest.mark.parametrize(("make", "message"), HOSTILE, ids=[make.__name__ for make, _ in HOSTILE])
def test_a_hostile_source_is_rejected_by_name(
    tmp_path: Path, make: Callable[[h5py.File], None], message: str
) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        make(file)
    with pytest.raises(SourceFormatError, match=message) as caught:
        convert(tmp_path / "in.h5", tmp_path / "store")
    assert "in.h5" in str(caught.value)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(("make", "message"), HOSTILE, ids=[make.__name__ for make, _ in HOSTILE])
@pytest.mark.parametrize("name", ["flux", "labels"])
def test_a_store_made_hostile_is_rejected_by_name(
    pair: Pair, tmp_path: Path, make: Callable[[h5py.File], None], message: str, name: str
) -> None:
    path = convert(pair.folder, tmp_path / "s.h5", format="hdf5").path
    with h5py.File(path, "r+") as file:
        if name == "flux":
            del file["flux"]
            make(file)
        else:
            file.move("flux", "aside")
            make(file)
            del file["labels"]
            file.move("flux", "labels")
            file.move("aside", "flux")
    with pytest.raises(StoreFormatError, match=r"s\.h5"):
        open_store(path)


def test_a_group_instead_of_a_dataset_is_rejected(pair: Pair, tmp_path: Path) -> None:
    path = convert(pair.folder, tmp_path / "s.h5", format="hdf5").path
    with h5py.File(path, "r+") as file:
        del file["flux"]
        file.create_group("flux")
    with pytest.raises(StoreFormatError, match="group"):
        open_store(path)


def test_a_soft_link_inside_the_file_is_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "in.h5", "w") as file:
        file["data"] = FLUX
        file["flux"] = h5py.SoftLink("/data")
    assert len(convert(tmp_path / "in.h5", tmp_path / "store", labels=[])) == 60
