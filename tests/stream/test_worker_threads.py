"""Worker threads: in order, with errors that name their batch, and gone when they should be."""

import gc
import multiprocessing
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator

import numpy as np
import psutil
import pytest
import torch

from galahstream.errors import WorkerError
from galahstream.store import Store
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.loader import SpectraLoader
from galahstream.stream.workers.base import BatchRequest, BatchTensors
from galahstream.stream.workers.threads import ThreadWorkerPool


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("galahstream-")]


def wait_for_no_workers() -> None:
    deadline = time.monotonic() + 5
    while workers() and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.01)
    assert workers() == []


@pytest.fixture(autouse=True)
def _no_workers_left() -> None:
    wait_for_no_workers()


def requests(count: int, asked: list[int] | None = None) -> Iterator[BatchRequest]:
    for number in range(count):
        if asked is not None:
            asked.append(number)
        yield BatchRequest(np.array([number]))


def echo(request: BatchRequest) -> BatchTensors:
    """Return the indices after a while that depends on them."""
    time.sleep(0.01 * (int(request.indices[0]) % 3))
    return (torch.from_numpy(request.indices),)


def test_results_come_in_order_however_long_each_takes() -> None:
    pool = ThreadWorkerPool(echo, 3, 4)
    assert [int(index) for (index,) in pool.run(requests(20))] == list(range(20))
    assert len(workers()) == 3
    assert list(pool.run(iter([]))) == []
    pool.close()


def test_no_more_is_read_ahead_than_the_depth() -> None:
    asked: list[int] = []
    pool = ThreadWorkerPool(echo, 2, 3)
    for number, _ in enumerate(pool.run(requests(20, asked))):
        assert len(asked) <= number + 1 + 3
    pool.close()


def test_workers_begin_when_a_run_is_asked_for() -> None:
    begun = threading.Event()

    def read(request: BatchRequest) -> BatchTensors:
        begun.set()
        return echo(request)

    asked: list[int] = []
    pool = ThreadWorkerPool(read, 2, 3)
    results = pool.run(requests(20, asked))
    assert begun.wait(timeout=5)
    assert len(asked) == 3
    assert [int(index) for (index,) in results] == list(range(20))
    pool.close()


def test_a_run_that_is_dropped_before_its_first_result_is_cancelled() -> None:
    may_read, read = threading.Event(), list[int]()

    def wait_and_read(request: BatchRequest) -> BatchTensors:
        may_read.wait(timeout=5)
        read.append(int(request.indices[0]))
        return echo(request)

    pool = ThreadWorkerPool(wait_and_read, 1, 10)
    results = pool.run(requests(20))
    del results
    may_read.set()
    assert len(list(pool.run(requests(3)))) == 3
    assert read in ([0, 0, 1, 2], [0, 1, 2])
    pool.close()


def test_two_runs_of_a_pool_at_a_time_do_not_mix() -> None:
    pool = ThreadWorkerPool(echo, 2, 3)
    pairs = list(zip(pool.run(requests(20)), pool.run(requests(20)), strict=True))
    assert all(int(first) == int(second) for (first,), (second,) in pairs)
    pool.close()


@pytest.mark.slow
def test_a_batch_that_takes_longer_than_the_timeout_is_an_error_that_names_it(
    npy_store: Store,
) -> None:
    def slow(flux: np.ndarray) -> np.ndarray:
        time.sleep(0.3)
        return np.asarray(np.nan_to_num(flux))

    dataset = SpectraDataset(npy_store, transform=slow)
    with (
        SpectraLoader(dataset, 4, num_workers=1, timeout=0.05) as loader,
        pytest.raises(WorkerError, match=r"batch 0 of this iteration did not arrive within 0.05 s"),
    ):
        list(loader)
    with SpectraLoader(dataset, 21, num_workers=1, timeout=20) as loader:
        assert len(list(loader)) == 2


class Failing:
    """A transform that fails at its n-th batch."""

    def __init__(self, at: int) -> None:
        self.at, self.count = at, 0

    def __call__(self, flux: np.ndarray) -> np.ndarray:
        self.count += 1
        if self.count == self.at:
            raise ZeroDivisionError("of the user's own")
        return np.asarray(np.nan_to_num(flux))


@pytest.mark.parametrize("n_workers", [1, 2])
def test_an_error_comes_with_its_traceback_and_batch_and_workers_live_on(
    npy_store: Store, n_workers: int
) -> None:
    dataset = SpectraDataset(npy_store, transform=Failing(3))
    with SpectraLoader(dataset, 4, num_workers=n_workers) as loader:
        with pytest.raises(ZeroDivisionError) as caught:
            list(loader)
        assert any("batch " in note for note in caught.value.__notes__)
        if n_workers == 1:
            assert "batch 2 of this iteration" in caught.value.__notes__[0]
        assert "__call__" in [frame.name for frame in traceback.extract_tb(caught.tb)]
        assert len(list(loader)) == 11


def test_leaving_a_loop_early_keeps_the_threads_for_the_next(npy_store: Store) -> None:
    with SpectraLoader(SpectraDataset(npy_store), 4, shuffle=True) as loader:
        for _ in range(30):
            for _batch in loader:
                break
        assert len(workers()) == 2
        assert len(list(loader)) == 11
    assert workers() == []


def test_a_loader_that_is_gone_leaves_no_thread(npy_store: Store) -> None:
    loader = SpectraLoader(SpectraDataset(npy_store), 4)
    iterator = iter(loader)
    next(iterator)
    del loader, iterator
    wait_for_no_workers()


def test_closing_in_the_middle_of_a_loop_is_an_error_not_a_hang(npy_store: Store) -> None:
    loader = SpectraLoader(SpectraDataset(npy_store, transform=Failing(-1)), 1)
    with pytest.raises(WorkerError, match="closed"):
        for _batch in loader:
            loader.close()
    assert len(list(loader)) == 42
    loader.close()


def _count(loader: SpectraLoader) -> int:
    return sum(len(flux) for flux, _ in loader)


@pytest.mark.slow
def test_a_forked_child_starts_threads_of_its_own(npy_store: Store) -> None:
    with SpectraLoader(SpectraDataset(npy_store), 4) as loader:
        assert _count(loader) == 42
        with multiprocessing.get_context("fork").Pool(1) as pool:
            assert pool.apply_async(_in_child, (npy_store, loader.seed)).get(20) == 42
        assert _count(loader) == 42


def _in_child(store: Store, seed: int) -> int:
    with SpectraLoader(SpectraDataset(store), 4, seed=seed) as loader:
        return _count(loader)


@pytest.mark.slow
def test_a_fork_in_the_middle_of_an_epoch_harms_neither(npy_store: Store) -> None:
    code = (
        "import os, sys, warnings, galahstream as gs\n"
        "warnings.simplefilter('ignore')\n"
        "loader = gs.SpectraLoader(gs.SpectraDataset(sys.argv[1]), 4)\n"
        "iterator = iter(loader); next(iterator)\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    os._exit(0 if sum(len(flux) for flux, _ in loader) == 42 else 1)\n"
        "rest = sum(len(flux) for flux, _ in iterator)\n"
        "print(rest, os.waitpid(child, 0)[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(npy_store.path)],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "38 0\n"


def started(code: str, store: Store) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, str(store.path)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["break", "raise KeyboardInterrupt", "sys.exit(0)"])
def test_a_script_that_leaves_a_loop_ends_at_once(npy_store: Store, ending: str) -> None:
    script = started(
        "import sys, galahstream as gs\n"
        "for batch in gs.SpectraLoader(gs.SpectraDataset(sys.argv[1]), 4):\n"
        f"    print('batch', flush=True)\n    {ending}\n",
        npy_store,
    )
    assert script.stdout is not None
    assert script.stdout.readline() == "batch\n"
    left = time.monotonic()
    script.communicate(timeout=60)
    assert time.monotonic() - left < 3


@pytest.mark.slow
def test_an_interrupt_while_a_transform_takes_long_ends_the_script(npy_store: Store) -> None:
    script = started(
        "import signal, sys, time, galahstream as gs\n"
        # A process that was started in the background ignores interrupts.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def slow(flux):\n"
        "    print('slow', flush=True); time.sleep(30); return abs(flux)\n"
        "dataset = gs.SpectraDataset(sys.argv[1], transform=slow)\n"
        "for batch in gs.SpectraLoader(dataset, 4, num_workers=1): pass\n",
        npy_store,
    )
    assert script.stdout is not None
    assert script.stdout.readline() == "slow\n"
    script.send_signal(signal.SIGINT)
    left = time.monotonic()
    assert "KeyboardInterrupt" in script.communicate(timeout=60)[1]
    assert time.monotonic() - left < 3


def test_the_threads_of_torch_are_left_alone(npy_store: Store) -> None:
    before = torch.get_num_threads()
    with SpectraLoader(SpectraDataset(npy_store), 4) as loader:
        list(loader)
        assert torch.get_num_threads() == before


@pytest.mark.slow
def test_20_000_batches_with_early_exits_and_errors_leave_nothing_behind(
    npy_store: Store,
) -> None:
    process, failing = psutil.Process(), Failing(2)
    datasets = (SpectraDataset(npy_store), SpectraDataset(npy_store, transform=failing))
    generator = np.random.default_rng(3)
    count, before = 0, None
    while count < 20_000:
        failing.count = 0
        fails = generator.random() < 0.3
        loader = SpectraLoader(datasets[int(fails)], 4, shuffle=True)
        try:
            for _epoch in range(10):
                for number, _batch in enumerate(loader):
                    count += 1
                    if number == generator.integers(30):
                        break
        except ZeroDivisionError:
            assert fails
        if generator.random() < 0.5:
            loader.close()
        if count > 5_000 and before is None:
            before = process.memory_info().rss, process.num_fds()
    del loader
    wait_for_no_workers()
    assert before is not None
    assert process.memory_info().rss - before[0] < 10_000_000
    assert process.num_fds() <= before[1] + 1
