"""Worker processes: shared memory that comes back, and a clear end when one is killed."""

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch

from galahstream.errors import StorageFullError, WorkerError
from galahstream.store import Store
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.loader import SpectraLoader
from galahstream.stream.workers import processes as worker_processes
from galahstream.stream.workers.processes import ProcessWorkerPool, SharedBufferArena, slot_bytes


def slowly(flux: np.ndarray) -> np.ndarray:
    time.sleep(0.2)
    return np.nan_to_num(flux)


def failing(flux: np.ndarray) -> np.ndarray:
    message = "of the user's own"
    raise ZeroDivisionError(message)


def loader_of(store: Store, size: int = 4, **options: object) -> SpectraLoader:
    dataset = SpectraDataset(store, **options)  # type: ignore[arg-type]
    return SpectraLoader(dataset, size, worker_type="process")


def test_slots_come_back_and_a_user_who_keeps_all_gets_new_ones(
    npy_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("galahstream.stream.loader._GROUP_BYTES", 1)
    wanted = torch.stack([x for x, _ in SpectraDataset(npy_store)])
    with loader_of(npy_store) as loader:
        seen = {flux.data_ptr() for _ in range(4) for flux, _ in loader}
        assert len(seen) < 4 * 11
        for _ in range(2):
            kept = [flux for _ in range(30) for flux, _ in loader]
            assert len({flux.data_ptr() for flux in kept}) == 330
            for epoch in range(30):
                assert torch.equal(torch.cat(kept[11 * epoch : 11 * epoch + 11]), wanted)


def test_many_kept_batches_need_few_descriptors_and_their_memory_goes_back() -> None:
    shape = (2, 1024)
    slots, count = SharedBufferArena(shape), psutil.Process().num_fds()
    for _ in range(2):
        kept = [slots.pool.take(2) for _ in range(500)]
        for number, array in enumerate(kept):
            array[:] = number
        assert all((array == number).all() for number, array in enumerate(kept))
        assert len({slots.offset(array) for array in kept}) == 500
        assert psutil.Process().num_fds() - count < 10
        del array
        kept.clear()
        used = Path(slots.path).stat().st_blocks * 512
        assert used <= 8 * slot_bytes(shape)
    slots.close()


def test_closing_in_the_middle_of_a_loop_is_an_error_not_a_hang(npy_store: Store) -> None:
    loader = loader_of(npy_store, transform=np.nan_to_num)
    with pytest.raises(WorkerError, match="closed"):
        for _batch in loader:
            loader.close()


def test_kept_batches_outlive_the_loader(npy_store: Store) -> None:
    with loader_of(npy_store) as loader:
        kept = [flux for flux, _ in loader]
    del loader
    wanted = torch.stack([x for x, _ in SpectraDataset(npy_store)])
    assert torch.equal(torch.cat(kept), wanted)


def test_processes_live_on_from_epoch_to_epoch_and_end_with_close(npy_store: Store) -> None:
    with loader_of(npy_store) as loader:
        list(loader)
        crew = loader._workers
        assert isinstance(crew, ProcessWorkerPool)
        alive = set(crew._executor._processes)
        list(loader)
        assert set(crew._executor._processes) == alive
    assert not any(psutil.pid_exists(pid) for pid in alive)


def test_a_killed_process_ends_the_epoch_with_an_error_that_names_the_batch(
    npy_store: Store,
) -> None:
    with loader_of(npy_store, transform=slowly) as loader:
        iterator = iter(loader)
        next(iterator)
        crew = loader._workers
        assert isinstance(crew, ProcessWorkerPool)
        os.kill(next(iter(crew._executor._processes)), signal.SIGKILL)
        begun = time.monotonic()
        with pytest.raises(WorkerError, match=r"before batch \d+ of this iteration"):
            list(iterator)
        assert time.monotonic() - begun < 10
        assert len(list(loader)) == 11  # a new crew


def test_an_error_of_a_transform_names_its_batch(npy_store: Store) -> None:
    with (
        loader_of(npy_store, transform=failing) as loader,
        pytest.raises(ZeroDivisionError) as caught,
    ):
        list(loader)
    assert "a worker process made batch 0 of this iteration" in caught.value.__notes__[-1]


def test_too_little_memory_is_said_before_the_start(
    npy_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        worker_processes.psutil, "virtual_memory", lambda: SimpleNamespace(available=5000)
    )
    with (
        loader_of(npy_store) as loader,
        pytest.raises(StorageFullError, match=r"2 worker processes share [\d,]+ bytes.*5,000"),
    ):
        next(iter(loader))


def test_leaving_early_and_closing_leaves_no_process_or_file(npy_store: Store) -> None:
    descriptors = Path("/proc/self/fd")
    with loader_of(npy_store) as loader:
        list(loader)
    before = len(list(descriptors.iterdir())) if descriptors.is_dir() else 0
    for _ in range(3):
        loader = loader_of(npy_store)
        next(iter(loader))
        loader.close()
    del loader
    children = [child.name() for child in psutil.Process().children() if child.status() != "zombie"]
    assert len(children) <= 2  # the fork server and its resource tracker
    if before:
        assert len(list(descriptors.iterdir())) <= before
