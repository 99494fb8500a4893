"""Worker processes: shared memory that comes back, and a clear end when one is killed."""

import multiprocessing
import os
import signal
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from galahstream.errors import OptionError, StorageFullError, WorkerError
from galahstream.store import Store
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.loader import SpectraLoader
from galahstream.stream.workers.processes import SharedBufferArena, slot_bytes

pytestmark = pytest.mark.slow


def slowly(flux: np.ndarray) -> np.ndarray:
    time.sleep(0.2)
    return np.asarray(np.nan_to_num(flux))


def failing(flux: np.ndarray) -> np.ndarray:
    message = "of the user's own"
    raise ZeroDivisionError(message)


def loader_of(store: Store, size: int = 4, **options: Any) -> SpectraLoader:
    return SpectraLoader(SpectraDataset(store, **options), size, worker_type="process")


def worker_processes() -> set[int]:
    """Return the process ids of the workers: the children of the fork server."""
    return {
        worker.pid
        for child in psutil.Process().children()
        for worker in child.children()
        if worker.status() != psutil.STATUS_ZOMBIE
    }


def test_slots_come_back_and_a_user_who_keeps_all_gets_new_ones(
    npy_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("galahstream.stream.options.GROUP_BYTES", 1)
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
        kept = [slots.pool.acquire(2) for _ in range(500)]
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
    others = worker_processes()
    with loader_of(npy_store) as loader:
        list(loader)
        alive = worker_processes() - others
        assert alive
        list(loader)
        assert alive <= worker_processes()
    assert not any(psutil.pid_exists(pid) for pid in alive)


def test_a_killed_process_ends_the_epoch_with_an_error_that_names_the_batch(
    npy_store: Store,
) -> None:
    others = worker_processes()
    with loader_of(npy_store, transform=slowly) as loader:
        iterator = iter(loader)
        next(iterator)
        os.kill((worker_processes() - others).pop(), signal.SIGKILL)
        begun = time.monotonic()
        with pytest.raises(WorkerError, match=r"before batch \d+ of this iteration"):
            list(iterator)
        assert time.monotonic() - begun < 10
        assert len(list(loader)) == 11  # new workers


def test_a_pool_whose_process_died_between_epochs_is_replaced(npy_store: Store) -> None:
    others = worker_processes()
    with loader_of(npy_store) as loader:
        assert len(list(loader)) == 11
        os.kill((worker_processes() - others).pop(), signal.SIGKILL)
        time.sleep(0.5)
        assert len(list(loader)) == 11


def initialise(folder: Path, number: int) -> None:
    (folder / f"worker {number} {os.getpid()}").touch()


def test_worker_init_fn_runs_once_in_each_process_with_its_number(
    npy_store: Store, tmp_path: Path
) -> None:
    dataset = SpectraDataset(npy_store, transform=slowly)
    with SpectraLoader(dataset, 4, worker_type="process") as loader:
        loader.worker_init_fn = partial(initialise, tmp_path)  # as Lightning sets it
        list(loader)
        list(loader)
    names = sorted(path.name.split()[1] for path in tmp_path.glob("worker *"))
    assert names == ["0", "1"]
    assert len({path.name.split()[2] for path in tmp_path.glob("worker *")}) == 2


def test_a_batch_that_takes_longer_than_the_timeout_is_an_error(npy_store: Store) -> None:
    dataset = SpectraDataset(npy_store, transform=slowly)
    with (
        SpectraLoader(dataset, 4, worker_type="process", timeout=0.01) as loader,
        pytest.raises(WorkerError, match=r"batch 0 of this iteration did not arrive within 0.01 s"),
    ):
        list(loader)


def test_what_cannot_be_pickled_is_named(npy_store: Store) -> None:
    with (
        loader_of(npy_store, transform=lambda flux: flux) as loader,
        pytest.raises(OptionError, match=r"the transform .* top level of a module.*'thread'"),
    ):
        iter(loader)
    with SpectraLoader(
        SpectraDataset(npy_store), worker_type="process", worker_init_fn=lambda number: None
    ) as loader:
        with pytest.raises(OptionError, match="the worker_init_fn"):
            iter(loader)
        assert loader.epoch == 0


def _first_batch(store: Store) -> str:
    try:
        next(iter(loader_of(store)))
    except OptionError as error:
        return str(error)
    return "no error"


def test_a_daemonic_process_is_told_what_to_use_instead(npy_store: Store) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        message = pool.apply(_first_batch, (npy_store,))
    assert "daemonic process" in message
    assert "worker_type='thread'" in message


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
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=5000))
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
