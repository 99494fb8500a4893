"""Rows are verified once, when they are first read, in all threads and processes together."""

import multiprocessing
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import galahstream as gs
from galahstream.errors import DamagedRowError, OptionError
from galahstream.store import Store, open_store
from galahstream.store.readers import Reading
from galahstream.store.verified_rows import VerifiedRows
from galahstream.stream.options import WorkerType
from galahstream.system.digest import row_digests
from tests.conftest import Pair

DAMAGED = 17


def damage(store: Store, row: int) -> Path:
    """Flip one bit at the beginning of a row of an uncompressed store."""
    file, _, span = store.locate(row).rpartition(", bytes ")
    with Path(file).open("r+b") as handle:
        handle.seek(int(span.split()[0]) + 5)
        byte = handle.read(1)[0]
        handle.seek(-1, 1)
        handle.write(bytes([byte ^ 4]))
    return store.path


@pytest.fixture(params=[{}, {"format": "hdf5"}, {"format": "hdf5", "chunk_rows": 7}])
def damaged(request: pytest.FixtureRequest, pair: Pair, tmp_path: Path) -> Path:
    """A store of which one bit of one row was flipped."""
    with gs.convert(pair.folder, tmp_path / "store", **request.param) as store:
        return damage(store, DAMAGED)


@pytest.mark.parametrize("reading", ["mapped", "pread"])
def test_a_damaged_row_is_an_error_that_names_row_star_file_and_bytes(
    damaged: Path, reading: Reading
) -> None:
    with open_store(damaged, reading=reading) as store:
        assert np.isfinite(store.flux[0]).all()
        with pytest.raises(DamagedRowError) as caught:
            _ = store.flux[:]
        message = str(caught.value)
        assert f"row {DAMAGED} (star {store.ids[DAMAGED]})" in message
        assert store.locate(DAMAGED) in message


def test_opened_with_verify_open_no_row_is_verified(damaged: Path) -> None:
    with open_store(damaged, verify="open") as store:
        assert store.flux[DAMAGED].shape == (store.n_pixels,)
        assert store.flux.verified is None
        assert store.verify().tolist() == [DAMAGED]


@pytest.mark.slow
@pytest.mark.parametrize("worker_type", ["thread", "process"])
def test_a_damaged_row_never_reaches_a_batch(damaged: Path, worker_type: WorkerType) -> None:
    # With a transform of one's own, each batch is read by itself.
    dataset = gs.SpectraDataset(damaged, transform=np.nan_to_num, return_ids=True)
    seen: list[int] = []
    with gs.SpectraLoader(dataset, 2, worker_type=worker_type) as loader:
        with pytest.raises(DamagedRowError, match="while a worker") as caught:
            for _, _, ids in loader:
                seen += ids.tolist()
        assert seen
        assert dataset.store.ids[DAMAGED] not in seen
        assert any("batch" in note for note in caught.value.__notes__)


@pytest.mark.slow
def test_a_window_verifies_entire_rows(pair: Pair, tmp_path: Path) -> None:
    grid = np.linspace(4700, 4800, pair.spectra.shape[1])
    with gs.convert(pair.folder, tmp_path / "store", wavelength=grid) as store:
        damage(store, DAMAGED)
    dataset = gs.SpectraDataset(store.path, split="all", window=(4790.0, 4800.0))
    assert dataset.n_pixels < 10
    with pytest.raises(DamagedRowError):
        _ = dataset[DAMAGED]


def test_a_row_is_verified_once(npy_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[int] = []

    def counting(
        buffer: npt.NDArray[Any], starts: npt.NDArray[np.int64], n_pixels: int
    ) -> npt.NDArray[np.uint64]:
        hashed.append(len(starts))
        return row_digests(buffer, starts, n_pixels)

    monkeypatch.setattr("galahstream.store.row_array.row_digests", counting)
    dataset = gs.SpectraDataset(npy_store, split="all")
    loader = gs.SpectraLoader(dataset, 8, shuffle=True)
    for _ in range(3):
        for _ in loader:
            pass
    loader.close()
    assert sum(hashed) == len(npy_store)


@pytest.mark.slow
def test_worker_processes_share_the_verified_rows(npy_store: Store) -> None:
    dataset = gs.SpectraDataset(npy_store, split="train")
    with gs.SpectraLoader(dataset, 4, worker_type="process") as loader:
        for _ in loader:
            pass
    assert npy_store.flux.verified is not None
    assert npy_store.flux.verified.all_verified(dataset.rows)
    assert not npy_store.flux.verified.all_verified(np.arange(len(npy_store)))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_flags_set_in_a_child_are_seen_by_its_parent(method: str) -> None:
    verified = VerifiedRows(5)
    context: Any = multiprocessing.get_context(method)
    share = None if method == "fork" else verified.export()
    child = context.Process(target=add_three, args=(verified if share is None else None, share))
    child.start()
    child.join()
    assert [row for row in range(5) if verified.all_verified(np.array([row]))] == [3]


def add_three(verified: VerifiedRows | None, share: tuple[str, int] | None) -> None:
    if verified is None:
        assert share is not None
        verified = VerifiedRows(5)
        verified.attach(*share)
    verified.add(np.array([3]))


def test_flags_of_a_process_that_is_gone_or_of_another_file_are_ignored(tmp_path: Path) -> None:
    verified = VerifiedRows(5)
    verified.add(np.arange(5))
    verified.attach(str(tmp_path / "gone"), 1)
    (tmp_path / "other").write_bytes(b"\x01" * 5)
    fresh = VerifiedRows(5)
    fresh.attach(str(tmp_path / "other"), -1)
    assert verified.all_verified(np.arange(5))
    assert not any(fresh.all_verified(np.array([row])) for row in range(5))


def test_flags_are_not_shared_for_a_file_that_was_written_to(npy_store: Store) -> None:
    _ = npy_store.flux[:]
    packed = pickle.dumps(npy_store)
    assert pickle.loads(packed).flux.verified.all_verified(np.arange(len(npy_store)))
    path = npy_store.path / "flux.npy"
    path.write_bytes(path.read_bytes())
    again = pickle.loads(packed)
    assert not again.flux.verified.all_verified(np.arange(1))


def test_an_unknown_way_of_verifying_is_an_error(npy_store: Store) -> None:
    with pytest.raises(OptionError, match="expected read or open"):
        open_store(npy_store.path, verify="never")  # type: ignore[arg-type]
