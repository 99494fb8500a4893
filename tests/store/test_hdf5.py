"""Flux datasets of all HDF5 layouts: mapped if the rows are plain bytes, else read by h5py."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from galahstream.conversion.convert import convert
from galahstream.errors import CostlyChunksWarning, OptionError
from galahstream.sources.base import OnBad
from galahstream.store import open_store
from galahstream.store.formats.hdf5 import row_index
from galahstream.store.readers import Hdf5Reader, MappedReader, PreadReader, RowSpan
from tests.conftest import Pair

SHAPE = (37, 50)
FLUX = np.random.default_rng(5).normal(1, 0.1, SHAPE).astype(np.float32)
FLUX[3, 4] = np.nan
ROWS = np.array([36, 0, 5, 5, 17, 1])


def contiguous(file: h5py.File) -> None:
    file.create_dataset("flux", data=FLUX)


def chunked(file: h5py.File) -> None:
    file.create_dataset("flux", data=FLUX, chunks=(1, 50))


def edge_chunks(file: h5py.File) -> None:
    file.create_dataset("flux", data=FLUX, chunks=(8, 50))


def chunks_written_backwards(file: h5py.File) -> None:
    flux = file.create_dataset("flux", SHAPE, "f4", chunks=(4, 50))
    for row in range(36, -1, -1):
        flux[row] = FLUX[row]


def early_chunks(file: h5py.File) -> None:
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((5, 50))
    plan.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    space = h5py.h5s.create_simple(SHAPE)
    h5py.h5d.create(file.id, b"flux", h5py.h5t.IEEE_F32LE, space, plan)
    file["flux"][:] = FLUX


def growing(file: h5py.File) -> None:
    flux = file.create_dataset("flux", (10, 50), "f4", chunks=(4, 50), maxshape=(None, 50))
    flux[:] = FLUX[:10]
    flux.resize(SHAPE)
    flux[10:] = FLUX[10:]


def compact(file: h5py.File) -> None:
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_layout(h5py.h5d.COMPACT)
    space = h5py.h5s.create_simple(SHAPE)
    h5py.h5d.create(file.id, b"flux", h5py.h5t.IEEE_F32LE, space, plan)
    file["flux"][:] = FLUX


def checksummed(file: h5py.File) -> None:
    file.create_dataset("flux", data=FLUX, chunks=(1, 50), fletcher32=True)


def compressed(file: h5py.File) -> None:
    file.create_dataset("flux", data=FLUX, chunks=(8, 50), compression="gzip", shuffle=True)


def lzf(file: h5py.File) -> None:
    file.create_dataset("flux", data=FLUX, chunks=(8, 50), compression="lzf")


def narrow_chunks(file: h5py.File) -> None:
    file.create_dataset("flux", data=FLUX, chunks=(10, 20))


def chunks_missing(file: h5py.File) -> None:
    flux = file.create_dataset("flux", SHAPE, "f4", chunks=(4, 50), fillvalue=0)
    flux[:20] = FLUX[:20]


def virtual(file: h5py.File) -> None:
    file.create_dataset("elsewhere", data=FLUX)
    layout = h5py.VirtualLayout(SHAPE, "f4")
    layout[:] = h5py.VirtualSource(".", "elsewhere", SHAPE)
    file.create_virtual_dataset("flux", layout)


PLAIN = [contiguous, chunked, edge_chunks, chunks_written_backwards, early_chunks, growing]
OTHERS = [compact, checksummed, compressed, lzf, narrow_chunks, chunks_missing, virtual]


def gathered(reader: Any, rows: np.ndarray) -> np.ndarray:
    flux = np.empty((len(rows), SHAPE[1]), dtype=np.float32)

    def copy(span: RowSpan) -> None:
        for row, start in zip(flux[span.positions], span.starts, strict=True):
            row[:] = span.buffer[start : start + SHAPE[1]]

    reader.read(rows, copy)
    return flux


@pytest.mark.parametrize("userblock", [0, 512])
@pytest.mark.parametrize("write", PLAIN, ids=lambda write: str(write.__name__))
def test_plain_rows_are_read_by_offset(
    tmp_path: Path, write: Callable[[h5py.File], None], userblock: int
) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", userblock_size=userblock) as file:
        write(file)
    with h5py.File(path) as file:
        index = row_index(file["flux"], path)
    assert index is not None
    for reader in (MappedReader(index), PreadReader(index), Hdf5Reader(path, "flux")):
        assert np.array_equal(gathered(reader, ROWS), FLUX[ROWS], equal_nan=True), reader.access
        reader.prefetch(ROWS)
        reader.close()
        assert np.array_equal(gathered(reader, ROWS), FLUX[ROWS], equal_nan=True), reader.access


@pytest.mark.parametrize("write", OTHERS, ids=lambda write: str(write.__name__))
def test_all_other_rows_go_through_h5py(tmp_path: Path, write: Callable[[h5py.File], None]) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        write(file)
    with h5py.File(path) as file:
        assert row_index(file["flux"], path) is None
        wanted = file["flux"][:]
    assert np.array_equal(gathered(Hdf5Reader(path, "flux"), ROWS), wanted[ROWS], equal_nan=True)


@pytest.mark.parametrize("write", [*PLAIN, *OTHERS[:-1]], ids=lambda write: str(write.__name__))
def test_every_layout_but_a_virtual_one_is_a_source(
    tmp_path: Path, write: Callable[[h5py.File], None]
) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        write(file)
    with h5py.File(path) as file:
        wanted = file["flux"][:]
    bad: OnBad = "skip" if write is chunks_missing else "raise"
    store = convert(path, tmp_path / "store", labels=[], on_bad=bad)
    assert np.array_equal(store.flux[:], wanted[store.source_row], equal_nan=True)


def test_a_big_endian_source_becomes_the_same_store(tmp_path: Path) -> None:
    for name, dtype in (("big.h5", ">f4"), ("little.h5", "<f4")):
        with h5py.File(tmp_path / name, "w") as file:
            file["flux"] = FLUX.astype(dtype)
    big, little = (convert(tmp_path / f"{name}.h5", tmp_path / name) for name in ("big", "little"))
    assert big.fingerprint == little.fingerprint


def rewritten(store: Path, pair: Pair, chunks: tuple[int, int], **options: Any) -> None:
    """Write the flux of a store again through h5py, as a user may."""
    with h5py.File(store, "r+") as file:
        flux = file["flux"][:]
        del file["flux"]
        file.create_dataset("flux", data=flux, chunks=chunks, **options)


def test_a_store_rewritten_by_h5py_reads_the_same(pair: Pair, tmp_path: Path) -> None:
    store = convert(pair.folder, tmp_path / "s.h5", format="hdf5")
    wanted = store.flux[:]
    store.close()
    rewritten(store.path, pair, (5, 64))
    with open_store(store.path) as again:
        assert again.flux.access == "mapped"
        assert np.array_equal(again.flux[:], wanted, equal_nan=True)
        assert again.verify().tolist() == []
    rewritten(store.path, pair, (5, 64), fletcher32=True)
    with open_store(store.path) as again:
        assert again.flux.access == "h5py"
        assert np.array_equal(again.flux[:], wanted, equal_nan=True)


def test_costly_chunks_are_named_with_the_command_that_rewrites_them(
    pair: Pair, tmp_path: Path
) -> None:
    store = convert(pair.folder, tmp_path / "s.h5", format="hdf5")
    store.close()
    rewritten(store.path, pair, (32, 16))
    with pytest.warns(CostlyChunksWarning, match=r"32 x 16.* 4 chunks.*h5repack.*CHUNK=1x64"):
        open_store(store.path).close()


def test_a_compressed_store_cannot_be_mapped(pair: Pair, tmp_path: Path) -> None:
    path = convert(pair.folder, tmp_path / "s.h5", format="hdf5", compression="lzf").path
    with pytest.raises(OptionError, match="h5py"):
        open_store(path, reading="mapped")
