"""Requests, and the stream of batches that answers them, without a DataLoader."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from galahstream.store import Store
from galahstream.stream.batches import (
    PREFETCH_ROWS,
    BatchStream,
    shard_requests,
    sorted_in_spans,
    split_into_batches,
)
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.options import StreamOptions, WorkerType
from galahstream.stream.sharding import shard_epoch
from galahstream.stream.workers.base import BatchRequest, BatchTensors, wait_in_steps


@given(
    n_rows=st.integers(1, 600),
    batch_size=st.integers(1, 40),
    together=st.integers(1, 9),
    block=st.one_of(st.none(), st.integers(1, 5)),
)
def test_requests_read_and_prefetch_each_row_once_and_in_time(
    n_rows: int, batch_size: int, together: int, block: int | None
) -> None:
    order = np.random.default_rng(n_rows).permutation(n_rows)
    shard = shard_epoch(order, 0, batch_size)
    prefetched: set[int] = set()
    read: list[int] = []
    n_requests = 0
    for request in shard_requests(shard, together, block):
        rows = request.prefetch.tolist()
        assert not prefetched.intersection(rows)
        prefetched.update(rows)
        read += request.indices.tolist()
        assert prefetched.issuperset(read)
        if block is None:
            assert len(prefetched) == min(len(read) + PREFETCH_ROWS, n_rows)
        n_requests += 1
    assert read == order.tolist()
    assert len(prefetched) == n_rows
    assert n_requests == -(-len(shard.sizes) // together)


def test_spans_are_sorted_each_for_itself() -> None:
    order = np.array([5, 1, 3, 0, 4, 2, 7, 6])
    assert sorted_in_spans(order, 3).tolist() == [1, 3, 5, 0, 2, 4, 6, 7]


def test_batches_are_views_of_the_tensors_of_their_request() -> None:
    groups = [(torch.arange(n), torch.arange(n) + 10) for n in (7, 2)]
    batches = list(split_into_batches(iter(groups), [3, 4, 2], 2))
    assert [len(flux) for flux, _ in batches] == [3, 4, 2]
    assert batches[1][0].tolist() == [3, 4, 5, 6]
    assert batches[1][0].untyped_storage().data_ptr() == groups[0][0].untyped_storage().data_ptr()


def as_batch(tensors: BatchTensors) -> BatchTensors:
    return tensors


@pytest.mark.slow
@pytest.mark.parametrize(
    ("num_workers", "worker_type"), [(0, "thread"), (2, "thread"), (2, "process")]
)
@pytest.mark.parametrize("memory_budget", [None, 1])
def test_every_kind_of_worker_answers_the_same_requests(
    npy_store: Store, num_workers: int, worker_type: WorkerType, memory_budget: int | None
) -> None:
    dataset = SpectraDataset(npy_store)
    options = StreamOptions(num_workers, worker_type, memory_budget=memory_budget)
    stream = BatchStream(dataset, dataset.read_batch, 10, options)
    asked = [np.arange(start, start + 10) for start in (0, 20, 10)]
    for _ in range(2):
        batches = list(stream.batches(map(BatchRequest, asked), as_batch))
        for (flux, labels), indices in zip(batches, asked, strict=True):
            assert torch.equal(flux, dataset.read_batch(indices)[0])
            assert torch.equal(labels, dataset.read_batch(indices)[1])
    assert stream.is_alive
    stream.close()
    assert stream.is_alive == (num_workers == 0)


@pytest.mark.parametrize(
    ("timeout", "steps"), [(0.0, [0.5] * 5), (1.2, [0.5, 0.5, 0.2]), (0.3, [0.3])]
)
def test_a_wait_is_cut_into_steps_that_notice_an_interrupt(
    timeout: float, steps: list[float]
) -> None:
    asked: list[float] = []

    def wait(seconds: float) -> bool:
        asked.append(seconds)
        return len(asked) == 5

    assert wait_in_steps(wait, timeout) is (timeout == 0)
    assert asked == pytest.approx(steps)
