"""The .npy files of a store: what NumPy reads, and damaged headers."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from galahstream.errors import StoreFormatError
from galahstream.store import Store, open_store
from galahstream.store.formats.npy import create_array
from galahstream.store.layout import ArraySpec


@pytest.mark.parametrize("dtype", ["<f4", "<u2", "<f8", "<i8", "u1"])
@pytest.mark.parametrize("shape", [(3, 4), (3, 0), (5,), (0,)])
def test_numpy_reads_what_is_created(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    location = create_array(tmp_path / "a.npy", ArraySpec(shape, np.dtype(dtype)))
    array = np.load(tmp_path / "a.npy")
    assert (array.shape, array.dtype) == (shape, np.dtype(dtype))
    assert location.stop == (tmp_path / "a.npy").stat().st_size
    assert location.offset == 4096 or len(shape) == 1


def other_descr(header: bytes) -> bytes:
    return header.replace(b"<f4", b";hf")


def other_type(header: bytes) -> bytes:
    return header.replace(b"<f4", b"<f2")


def objects(header: bytes) -> bytes:
    return header.replace(b"'<f4'", b" '|O'")


def open_string(header: bytes) -> bytes:
    return header.replace(b"True", b"Tru'").replace(b"False", b"Fals'")


def nested(header: bytes) -> bytes:
    return header[:10] + b"(" * (len(header) - 10)


def missing_field(header: bytes) -> bytes:
    return header.replace(b"'shape'", b"'shade'")


def other_version(header: bytes) -> bytes:
    return header[:6] + b"\x02" + header[7:]


def other_magic(header: bytes) -> bytes:
    return b"PK" + header[2:]


def long_header(header: bytes) -> bytes:
    return header[:8] + b"\xff\xff" + header[10:]


DAMAGES = [other_descr, other_type, objects, open_string, nested, missing_field, other_version,
           other_magic, long_header]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: str(damage.__name__))
def test_a_damaged_header_raises_by_name_and_quickly(
    npy_store: Store, damage: Callable[[bytes], bytes]
) -> None:
    flux = npy_store.path / "flux.npy"
    data = flux.read_bytes()
    flux.write_bytes(damage(data[:4096]) + data[4096:])
    before = time.process_time()
    with pytest.raises(StoreFormatError, match=r"flux\.npy: .*(damaged|replaced)"):
        open_store(npy_store.path)
    assert time.process_time() - before < 1


@pytest.mark.slow
def test_a_flipped_bit_anywhere_in_a_header_raises(npy_store: Store) -> None:
    flux = npy_store.path / "flux.npy"
    data = bytearray(flux.read_bytes())
    for bit in [*range(8 * 130), *range(8 * 3000, 8 * 3001), *range(8 * 4090, 8 * 4096)]:
        data[bit // 8] ^= 1 << bit % 8
        flux.write_bytes(data)
        with pytest.raises(StoreFormatError):
            open_store(npy_store.path)
        data[bit // 8] ^= 1 << bit % 8
