"""A DataLoader over spectra whose order does not depend on its workers."""

import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import BatchSampler, DataLoader, Sampler, default_collate

from galahstream.errors import OptionError, OrderError
from galahstream.stream.dataset import BatchItems, Item, SpectraDataset
from galahstream.stream.device import batch_memory, choose_device, to_device
from galahstream.stream.sampling import WINDOW_BLOCKS, EpochSampler, Share, count_batches
from galahstream.stream.transforms import LogFlux
from galahstream.stream.workers.buffers import BufferPool
from galahstream.stream.workers.processes import ProcessWorkerPool
from galahstream.stream.workers.threads import ThreadWorkerPool
from galahstream.system.processes import safe_start_method
from galahstream.validation import check_count

_Indices: TypeAlias = npt.NDArray[np.int64]
_NOTHING: _Indices = np.empty(0, dtype=np.int64)

# Rows asked of the disk ahead of the batch that needs them, for an order without blocks.
_ROWS_AHEAD = 128
# The system maps so many bytes around a page that is touched.
_MAPPED_ALONG = 64 * 1024
# Small batches are made several at a time: handing one over costs as much as a row or two.
_GROUP_BYTES = 8 * 1024 * 1024


class SpectraLoader(DataLoader[Item]):
    """Batches of a :class:`SpectraDataset`, in an order that seed and epoch alone decide.

    Parameters
    ----------
    dataset : SpectraDataset
    batch_size : int
        Stars a batch, B; from 1 up.
    shuffle : bool
        A new global order every epoch; else the order of the dataset.
    seed : int
        Of the shuffles.
    num_workers : int
        Workers that make batches ahead; 0 makes them where they are asked for.
    worker_type : {"thread", "process"}
        Threads, or processes for transforms in pure Python, which hold the GIL.
    shuffle_block : int, optional
        Shuffle blocks of so many rows that lie together, and mix the rows of 32
        blocks: for a store larger than memory on a disk that reads long runs faster.
        :func:`galahstream.stream.sampling.shuffle_quality` measures what it is worth.
    drop_last : bool
        Leave out a last batch of fewer than B stars.
    device : str or torch.device, optional
        Where batches go; None leaves them in plain memory.
    rank, world_size : int, optional
        Which of how many processes this one is: each gets its share of every global
        batch of `batch_size` stars for each, so that all have equally many batches
        and no star is seen twice. Those of ``torch.distributed`` where it is
        initialised, else 0 of 1.
    memory_budget : int, optional
        Bytes of a mapped store that may be resident; pages go back beyond them.
    sampler, batch_sampler : optional
        An order of one's own instead, as frameworks that build loaders anew hand in.
    **keywords
        Further arguments of :class:`torch.utils.data.DataLoader`.

    Raises
    ------
    OptionError
        For a batch size below 1, workers below 0, an unknown kind of worker, a
        block larger than the split, or a rank that is none of `world_size`.
    DeviceError
        For a device that this machine does not have.
    StorageFullError
        If there is too little memory for the batches of so many processes.

    Notes
    -----
    Iterating gives (flux (B, L), labels (B, K)) float32 tensors, and counts the
    epochs: only an iteration that ran to its end goes on to the next one. Workers
    live on from epoch to epoch, until :meth:`close`. A batch is the user's: its
    memory is used again only when no tensor sees it any more. Processes are started
    by forkserver or spawn, so a script needs its ``if __name__ == "__main__":``.
    """

    def __init__(
        self,
        dataset: SpectraDataset,
        batch_size: int | None = 32,
        shuffle: bool = False,
        seed: int = 42,
        num_workers: int = 2,
        worker_type: str = "thread",
        shuffle_block: int | None = None,
        drop_last: bool = False,
        device: str | torch.device | None = None,
        memory_budget: int | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        sampler: Sampler[int] | None = None,
        batch_sampler: Sampler[list[int]] | None = None,
        **keywords: Any,
    ) -> None:
        if batch_sampler is None:
            check_count("batch_size", batch_size, minimum=1)
        check_count("num_workers", num_workers, minimum=0)
        if memory_budget is not None:
            check_count("memory_budget", memory_budget, minimum=1)
        if worker_type not in ("thread", "process"):
            msg = f"worker_type {worker_type!r} is not known; expected 'thread' or 'process'"
            raise OptionError(msg)
        self.seed = seed
        self.shuffle = shuffle
        self.shuffle_block = shuffle_block
        self.worker_type = worker_type
        self.workers = num_workers
        self.device = choose_device(str(device)) if device is not None else torch.device("cpu")
        self.memory_budget = memory_budget
        if (rank is not None or world_size is not None) and (sampler or batch_sampler):
            msg = "rank and world_size share out the loader's own order; leave out the sampler"
            raise OptionError(msg)
        self.rank, self.world_size = _place_among_ranks(rank, world_size)
        self.order = EpochSampler(len(dataset), shuffle=shuffle, seed=seed, block=shuffle_block)
        self._start_method = keywords.pop("multiprocessing_context", None) or safe_start_method()
        keywords.setdefault("collate_fn", collate_without_copy)
        if batch_sampler is not None:
            keywords["batch_sampler"] = batch_sampler
        else:
            keywords |= {
                "batch_size": batch_size,
                "sampler": self.order if sampler is None else sampler,
                "drop_last": drop_last,
            }
        super().__init__(dataset, num_workers=0, **keywords)
        largest = batch_size if batch_sampler is None else getattr(batch_sampler, "batch_size", 1)
        rows = min(largest or 1, max(len(dataset), 1))
        self._group = 1
        if self._knows_order and isinstance(dataset.transform, LogFlux | None):
            self._group = max(_GROUP_BYTES // (4 * rows * dataset.n_pixels), 1)
        # A rank's last batch can have a row more than the others.
        self._shape = (rows * self._group + (self.world_size > 1), dataset.n_pixels)
        self._maker = _Maker(dataset, self._pool(), self._knows_order, memory_budget)
        self._workers: ThreadWorkerPool | ProcessWorkerPool | None = None
        self._served = 0

    @property
    def epoch(self) -> int:
        """The epoch that is, or will be, iterated."""
        return self.order.epoch

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self._served = self.order.served
        share = self._share() if self._knows_order else None
        for number, batch in enumerate(to_device(self._batches(share), self.device)):
            self._served = share.served[number] if share else self._served + _rows_in(batch)
            yield batch
        self.set_epoch(self.epoch + 1)

    def __len__(self) -> int:
        """Return the number of batches that are left of the epoch, the same for every rank."""
        if not self._knows_order:
            return super().__len__()
        size = self.batch_size
        assert size is not None
        return count_batches(len(self.order), size, self.world_size, drop_last=self.drop_last)

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch."""
        check_count("epoch", epoch, minimum=0)
        self.order.epoch = epoch
        self.order.served = self._served = 0

    def state_dict(self) -> dict[str, Any]:
        """Return the position: seed, epoch, rows served, and what they belong to."""
        return {**self._identity(), "epoch": self.epoch, "rows_served": self._served}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a position that :meth:`state_dict` gave; batch size and workers may differ.

        Raises
        ------
        OrderError
            If store, rows, seed, shuffle or block are not those of the state.
        """
        for name, value in self._identity().items():
            if state.get(name) != value:
                msg = (
                    f"the loader's state belongs to another order: {name} was "
                    f"{state.get(name)!r} and is {value!r} here"
                )
                raise OrderError(msg)
        self.set_epoch(int(state["epoch"]))
        self.order.served = self._served = int(state["rows_served"])

    def close(self) -> None:
        """End the workers; a later iteration starts new ones."""
        crew, self._workers = self._workers, None
        if crew is not None:
            crew.close()

    def __enter__(self) -> "SpectraLoader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _pool(self) -> BufferPool:
        return BufferPool(self._shape, partial(batch_memory, device=self.device))

    def _batches(self, share: Share | None) -> Iterator[Any]:
        if share is None:
            for whole in self._groups(self._asked_by_sampler()):
                yield self._collated(whole)
            return
        first = 0
        for group in self._groups(self._asked(share)):
            sizes = share.sizes[first : first + self._group]
            first += self._group
            parts = [torch.split(tensor, sizes) for tensor in group]
            del group
            for batch in zip(*parts, strict=True):
                yield self._collated(batch)

    def _collated(self, whole: tuple[torch.Tensor, ...]) -> Any:
        if self.collate_fn is collate_without_copy:
            return whole if len(whole) > 1 else whole[0]
        return self.collate_fn(BatchItems(whole))

    def _groups(
        self, asked: Iterator[tuple[_Indices, _Indices]]
    ) -> Iterator[tuple[torch.Tensor, ...]]:
        if self.workers == 0:
            return (self._maker.make(*wanted) for wanted in asked)
        if self._workers is None or not self._workers.is_alive:
            self._workers = self._new_workers()
        if isinstance(self._workers, ThreadWorkerPool):
            makers = (partial(self._maker.make, *wanted) for wanted in asked)
            return self._workers.run(makers, self._group)
        return self._workers.run(asked, self._group)

    @property
    def _knows_order(self) -> bool:
        """Whether the batches are slices of the loader's own order."""
        return self.sampler is self.order and type(self.batch_sampler) is BatchSampler

    def _share(self) -> Share:
        size = self.batch_size
        assert size is not None
        return Share.of(
            self.order.rows(),
            self.order.served,
            size,
            self.rank,
            self.world_size,
            drop_last=self.drop_last,
        )

    def _asked_by_sampler(self) -> Iterator[tuple[_Indices, _Indices]]:
        batches: Any = self.batch_sampler
        for indices in batches:
            yield np.asarray(indices, dtype=np.int64), _NOTHING

    def _asked(self, share: Share) -> Iterator[tuple[_Indices, _Indices]]:
        """Yield the items of each group of batches, and those that the disk is asked for ahead."""
        # Slices of an array: lists of numbers cost as much as the rest of the loop.
        rows, distance = share.rows, _ROWS_AHEAD
        ahead = rows
        if self.shuffle_block is not None:
            distance = WINDOW_BLOCKS * self.shuffle_block
            ahead = sorted_in_spans(rows, distance)
        start = 0
        for first in range(0, len(share.sizes), self._group):
            size = sum(share.sizes[first : first + self._group])
            # The first group asks for all that lies before the place where the second goes on.
            begin = start + distance if start else 0
            yield rows[start : start + size], ahead[begin : start + distance + size]
            start += size

    def _new_workers(self) -> ThreadWorkerPool | ProcessWorkerPool:
        depth = self.workers + 1  # few: the cache then holds the memory that is used again
        if self.worker_type == "thread":
            return ThreadWorkerPool(self.workers, depth)
        dataset: Any = self.dataset
        context = self._start_method
        if isinstance(context, str):
            context = multiprocessing.get_context(context)
        return ProcessWorkerPool(dataset, self.workers, depth, self._shape, context)

    def _identity(self) -> dict[str, Any]:
        dataset: Any = self.dataset
        return {
            "store": dataset.store.fingerprint,
            "split": dataset.split,
            "rows": self.order.n_rows,
            "seed": self.order.seed,
            "shuffle": self.order.shuffle,
            "shuffle_block": self.order.block,
        }


class _Maker:
    """Makes batches in whichever thread asks; it does not know the loader, which may go."""

    def __init__(
        self, dataset: SpectraDataset, pool: BufferPool, is_checked: bool, memory_budget: int | None
    ) -> None:
        self._dataset, self._pool = dataset, pool
        self._read = dataset.read_valid_batch if is_checked else dataset.read_batch
        self._budget = memory_budget
        self._touched = 0

    def make(self, indices: _Indices, ahead: _Indices) -> tuple[torch.Tensor, ...]:
        if len(ahead):
            self._dataset.prefetch(ahead)
        whole = self._read(indices, self._pool.take(len(indices)))
        if self._budget is not None:
            self._release_pages(len(indices), self._budget)
        return whole

    def _release_pages(self, n_rows: int, budget: int) -> None:
        flux = self._dataset.store.flux
        self._touched += n_rows * (flux.shape[1] * flux.dtype.itemsize + _MAPPED_ALONG)
        if self._touched > budget:
            self._dataset.store.release_pages()
            self._touched = 0


def sorted_in_spans(order: _Indices, span: int) -> _Indices:
    """Return an order with each `span` of it sorted: blocks that were mixed are whole again."""
    whole = len(order) - len(order) % span
    return np.concatenate(
        (np.sort(order[:whole].reshape(-1, span), axis=1).reshape(-1), np.sort(order[whole:]))
    )


def collate_without_copy(items: Sequence[Item]) -> Any:
    """Return the tensors that a batch of items are views of, without a copy."""
    if isinstance(items, BatchItems):
        return items.tensors if len(items.tensors) > 1 else items.tensors[0]
    return default_collate(list(items))


def _place_among_ranks(rank: int | None, world_size: int | None) -> tuple[int, int]:
    distributed = torch.distributed
    if rank is None and world_size is None:
        if distributed.is_available() and distributed.is_initialized():
            return distributed.get_rank(), distributed.get_world_size()
        return 0, 1
    if rank is None or world_size is None:
        msg = f"rank {rank} of world_size {world_size}: give both, or neither"
        raise OptionError(msg)
    check_count("world_size", world_size, minimum=1)
    check_count("rank", rank, minimum=0)
    if rank >= world_size:
        msg = f"rank {rank} of {world_size}; ranks are counted from 0 to {world_size - 1}"
        raise OptionError(msg)
    return rank, world_size


def _rows_in(batch: Any) -> int:
    return len(batch if isinstance(batch, torch.Tensor) else batch[0])
