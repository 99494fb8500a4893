"""A stream of batches: requests in, tensors on a device out, with workers and buffers between."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TypeAlias, TypeVar

import numpy as np
import torch

from galahstream.stream.device import batch_memory, pin_batch, to_device
from galahstream.stream.draws import EpochDraws
from galahstream.stream.items import SpectraItems
from galahstream.stream.kernels import is_fused
from galahstream.stream.options import StreamOptions
from galahstream.stream.sampling import WINDOW_BLOCKS
from galahstream.stream.sharding import RankShard
from galahstream.stream.workers.base import (
    BatchReader,
    BatchRequest,
    BatchTensors,
    Indices,
    InlinePool,
    ReadItems,
    WorkerPool,
)
from galahstream.stream.workers.buffers import BufferPool
from galahstream.stream.workers.processes import ProcessWorkerPool
from galahstream.stream.workers.threads import ThreadWorkerPool

_Batch = TypeVar("_Batch")
Collate: TypeAlias = Callable[[BatchTensors], _Batch]

PREFETCH_ROWS = 128
"""Rows that the disk is asked for ahead of the batch that needs them, without a block shuffle."""


class BatchStream:
    """Reads batches of a dataset with workers and hands them over on a device.

    Parameters
    ----------
    dataset : SpectraItems
    read_items : callable
        The method of the dataset that reads, as for :class:`BatchReader`.
    request_rows : int
        Rows of the largest request.
    options : StreamOptions
    batches_per_request : int
        Consecutive batches that each request is for.

    Raises
    ------
    OptionError, StorageFullError
        If worker processes cannot be started.
    """

    def __init__(
        self,
        dataset: SpectraItems,
        read_items: ReadItems,
        request_rows: int,
        options: StreamOptions,
        batches_per_request: int = 1,
    ) -> None:
        self._options = options
        self._batches_per_request = batches_per_request
        reader = BatchReader(dataset, read_items, options.reader_budget)
        shape = (request_rows, dataset.n_pixels)
        self._pool = _new_pool(reader, shape, options, options.depth(batches_per_request))

    @property
    def is_alive(self) -> bool:
        """Whether the workers can take requests in this process."""
        return self._pool.is_alive

    def batches(
        self,
        requests: Iterable[BatchRequest],
        collate: Collate[_Batch],
        sizes: Sequence[int] | None = None,
    ) -> Iterator[_Batch]:
        """Yield batches in order.

        Parameters
        ----------
        requests : iterable of BatchRequest
            Each for `batches_per_request` batches, or fewer at the end.
        collate : callable
            Turns the tensors of a batch into the batch.
        sizes : sequence of int, optional
            Rows of each batch; without it, each request is one batch.
        """
        tensors = self._pool.run(requests, self._batches_per_request)
        if sizes is not None:
            tensors = split_into_batches(tensors, sizes, self._batches_per_request)
        batches = map(collate, tensors)
        if self._options.pin_memory:
            batches = map(pin_batch, batches)
        return to_device(batches, self._options.device)

    def shard_batches(
        self,
        shard: RankShard,
        collate: Collate[_Batch],
        block: int | None = None,
        draws: EpochDraws | None = None,
    ) -> Iterator[_Batch]:
        """Yield the batches of a rank's shard of an epoch; see :func:`shard_requests`."""
        requests = shard_requests(shard, self._batches_per_request, block, draws)
        return self.batches(requests, collate, shard.sizes)

    def close(self) -> None:
        """End the workers."""
        self._pool.close()


def batches_per_request(dataset: SpectraItems, batch_rows: int, options: StreamOptions) -> int:
    """Return the number of consecutive batches that a worker best reads at once.

    Batches of a user's transform are read one by one: the transform takes longer than
    handing over a batch, and the first batch is not to wait for others.
    """
    if not is_fused(dataset.transform):
        return 1
    n_arrays = 1 + dataset.return_error
    return options.batches_per_request(4 * batch_rows * dataset.n_pixels * n_arrays)


def shard_requests(
    shard: RankShard,
    batches_per_request: int,
    block: int | None = None,
    draws: EpochDraws | None = None,
) -> Iterator[BatchRequest]:
    """Yield the requests of a shard; together they prefetch each of its rows once.

    Parameters
    ----------
    shard : RankShard
    batches_per_request : int
    block : int, optional
        Block of a block shuffle: each window of mixed blocks is prefetched in the order in
        which it is stored.
    draws : EpochDraws, optional
        How the spectra are augmented.
    """
    # Slices of an array: lists of row numbers cost as much as the rest of the loop.
    rows, distance = shard.rows, PREFETCH_ROWS
    ahead = rows
    if block is not None:
        distance = WINDOW_BLOCKS * block
        ahead = sorted_in_spans(rows, distance)
    start = 0
    for first in range(0, len(shard.sizes), batches_per_request):
        stop = start + sum(shard.sizes[first : first + batches_per_request])
        # The first request prefetches from the first row to where the second one continues.
        begin = start + distance if start else 0
        yield BatchRequest(rows[start:stop], ahead[begin : stop + distance], draws)
        start = stop


def split_into_batches(
    groups: Iterable[BatchTensors], sizes: Sequence[int], batches_per_request: int
) -> Iterator[BatchTensors]:
    """Yield views of the tensors of each group of batches, one batch after the other."""
    remaining = iter(sizes)
    for group in groups:
        group_sizes = list(islice(remaining, batches_per_request))
        columns = [torch.split(tensor, group_sizes) for tensor in group]
        del group
        yield from zip(*columns, strict=True)


def sorted_in_spans(order: Indices, span: int) -> Indices:
    """Return an order with each `span` of it sorted, which puts mixed blocks together again."""
    end = len(order) - len(order) % span
    return np.concatenate(
        (np.sort(order[:end].reshape(-1, span), axis=1).reshape(-1), np.sort(order[end:]))
    )


def _new_pool(
    reader: BatchReader, shape: tuple[int, int], options: StreamOptions, depth: int
) -> WorkerPool:
    if options.num_workers and options.worker_type == "process":
        return ProcessWorkerPool(reader, shape, depth, options)
    buffers = BufferPool(shape, partial(batch_memory, device=options.buffer_device))
    read = partial(_read_into_buffers, reader, buffers)
    if not options.num_workers:
        return InlinePool(read)
    return ThreadWorkerPool(read, options.num_workers, depth, options.timeout)


def _read_into_buffers(
    reader: BatchReader, buffers: BufferPool, request: BatchRequest
) -> BatchTensors:
    n_rows = len(request.indices)
    return reader.read(request, *(buffers.acquire(n_rows) for _ in range(reader.n_buffers)))
