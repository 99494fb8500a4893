"""A `DataLoader` over spectra whose order depends on seed and epoch alone."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, Unpack

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, Sampler, default_collate

from galahstream.errors import OptionError, OrderError
from galahstream.stream.augmentation import Augmentation, check_augmentation
from galahstream.stream.batches import BatchStream, batches_per_request
from galahstream.stream.draws import EpochDraws
from galahstream.stream.items import BatchItems, Item
from galahstream.stream.options import DataLoaderKeywords, StreamOptions, WorkerType
from galahstream.stream.sampling import EpochIteration, EpochSampler
from galahstream.stream.selection import Selectable, select_items
from galahstream.stream.sharding import RankShard, check_rank, count_batches, shard_epoch
from galahstream.stream.workers.base import BatchRequest, BatchTensors
from galahstream.system.notebook import facts
from galahstream.validation import check_count

_State: TypeAlias = dict[str, str | int | bool | None]


class SpectraLoader(DataLoader[Item]):
    """Batches of spectra, in an order that seed and epoch alone decide.

    Parameters
    ----------
    dataset : SpectraDataset, Subset or ConcatDataset
        A :class:`~galahstream.SpectraDataset`, or torch's ``Subset``, ``random_split`` and
        ``ConcatDataset`` of such datasets, nested in any way. Indices are copied. Datasets of
        one ``ConcatDataset`` need the same pixels, labels and transforms.
    batch_size : int
        Stars per batch, B; at least 1.
    shuffle : bool
        Whether each epoch has a new global order; otherwise the order of the dataset.
    seed : int
        Seed of the shuffle, 0 to 2**63 - 1.
    num_workers : int
        Workers that read batches ahead; 0 reads each batch when it is asked for.
    worker_type : {"thread", "process"}
        Threads, or processes for transforms in pure Python, which hold the GIL.
    shuffle_block : int, optional
        Shuffle blocks of this many consecutive stored rows, and mix the rows within
        windows of 32 blocks: for a store larger than memory on a disk that reads long runs
        faster. The rows of a ``Subset`` are brought into stored order first, so that the blocks
        are long runs for it too. :func:`galahstream.stream.sampling.shuffle_quality` measures
        the mixing.
    drop_last : bool
        Skip a last batch of fewer than B stars.
    device : str or torch.device, optional
        Where batches go; None leaves them in plain memory.
    memory_budget : int, optional
        Bytes of a mapped store that may be resident; its pages are released beyond them.
    rank, world_size : int, optional
        Which process this is, of how many: each gets its share of every global batch of
        `batch_size` stars per process, so that all have the same number of batches and
        no star is seen twice. By default those of ``torch.distributed`` if it is
        initialised, otherwise 0 of 1.
    sampler, batch_sampler : optional
        Another order, as frameworks that rebuild loaders pass it. An
        :class:`~galahstream.stream.sampling.EpochSampler` brings its seed, shuffle and position
        along. Any other one keeps its own position: the loader then counts epochs and rows,
        and loading a state does not move the sampler.
    augment : AddNoise, ShiftVelocity, MaskPixels, Compose, str or None
        Random changes of the spectra, new in each epoch, or their text form, such as
        ``"noise=20:200,velocity=2,mask=0.02"``. They are a function of seed, epoch and row of
        the store alone, and act on the flux before its transform. Only this loader applies
        them: reading the dataset itself gives spectra as they are.
    **keywords
        Further keywords of :class:`torch.utils.data.DataLoader`: `collate_fn`, `pin_memory`,
        `timeout`, `prefetch_factor`, and for worker processes `worker_init_fn` and
        `multiprocessing_context`, mean what they mean there. Workers are always
        persistent. `generator` and ``in_order=False`` raise an error.

    Attributes
    ----------
    order : EpochSampler
        The order of the epochs; the same object as `sampler` unless another was given.

    Raises
    ------
    OptionError
        For another dataset, a batch size below 1, a negative number of workers, an unknown kind
        of worker, a block larger than the dataset, a rank outside `world_size`, an augmentation
        that is not known or is of a dataset with errors, or a keyword that could have no effect.
    WavelengthError
        If spectra are to be shifted by a velocity, and their wavelengths are not known.
    IndexError, TypeError
        If an index of a `Subset` is outside its dataset, or not an integer.
    DeviceError
        For a device that this machine does not have.
    StorageFullError
        When iteration starts, if there is too little memory for the batches of that many
        processes.

    Notes
    -----
    Iterating gives (flux (B, L), labels (B, K)) float32 tensors. Each ``iter(loader)`` begins
    the next epoch, except the first one after construction, :meth:`set_epoch` or
    :meth:`load_state_dict`, which begins where those say; an iteration that is left early has
    used up its epoch. Workers begin to read when it is called, before the first batch is asked
    for, and run until :meth:`close`. ``len(loader)`` is the number of batches of a complete
    epoch. A batch belongs to the user: its memory is reused when no tensor refers to it any
    more. Processes are started by forkserver or spawn, so a script needs its
    ``if __name__ == "__main__":``.
    """

    dataset: Any  # as it was given

    def __init__(
        self,
        dataset: Selectable,
        batch_size: int | None = 32,
        shuffle: bool = False,
        seed: int = 42,
        num_workers: int = 2,
        worker_type: WorkerType = "thread",
        shuffle_block: int | None = None,
        drop_last: bool = False,
        device: str | torch.device | None = None,
        memory_budget: int | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        sampler: Sampler[int] | Iterable[int] | None = None,
        batch_sampler: Sampler[list[int]] | Iterable[list[int]] | None = None,
        augment: Augmentation | str | None = None,
        **keywords: Unpack[DataLoaderKeywords],
    ) -> None:
        options = StreamOptions.checked(num_workers, worker_type, device, memory_budget, keywords)
        items = select_items(dataset)
        self.augment = check_augmentation(augment)
        if self.augment is not None:
            items.check_augmentation(self.augment)
        if sampler is None and batch_sampler is None:
            sampler = EpochSampler(len(items), shuffle=shuffle, seed=seed, block=shuffle_block)
        else:
            _check_one_order(shuffle, drop_last, sampler, batch_sampler)
        if batch_sampler is None:
            batch_size = check_count("batch_size", batch_size, minimum=1)
        self.order = _order_of(sampler, len(items), seed)
        self._items = items if self.order.block is None else items.in_stored_order()
        self._options = options
        self._stream: BatchStream | None = None
        super().__init__(
            dataset,
            batch_size=batch_size if batch_sampler is None else 1,  # 1 stands for "not given"
            sampler=sampler,
            batch_sampler=batch_sampler,
            drop_last=bool(drop_last),
            num_workers=0,
            collate_fn=keywords.get("collate_fn") or collate_without_copy,
            pin_memory=bool(keywords.get("pin_memory")),
            worker_init_fn=options.worker_init_fn,
        )
        self._ranks = _choose_rank(rank, world_size, has_own_order=self._has_own_order)
        self.seed, self.shuffle = self.order.seed, self.order.shuffle
        self.shuffle_block = self.order.block
        self.worker_type, self.workers = options.worker_type, options.num_workers
        self.device, self.memory_budget = options.device, options.memory_budget

    def _repr_html_(self) -> str:
        values = {
            "stars": f"{len(self._items):,}",
            "batches": f"{len(self):,} per epoch, of {self.batch_size}",
            "order": f"shuffled, seed {self.seed}" if self.shuffle else "as in the dataset",
            "workers": f"{self.workers} ({self.worker_type})",
            "next": f"epoch {self.order.next_position.epoch}",
        }
        return facts("SpectraLoader", values)

    # Properties, not attributes: frameworks pass a loader's attributes to the constructor
    # when they rebuild it, and a rebuilt loader has to find its own rank.
    @property
    def rank(self) -> int:
        """The number of this process among `world_size`."""
        return self._ranks[0]

    @property
    def world_size(self) -> int:
        """The number of processes that share each epoch."""
        return self._ranks[1]

    @property
    def epoch(self) -> int:
        """The epoch of the position that :meth:`state_dict` gives."""
        return self.order.epoch

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        """Begin the next epoch, or what remains of the one that a loaded state is in."""
        if self._stream is None or not self._stream.is_alive:
            self._stream = self._new_stream()
        # Begun before a worker is: another sampler that is read may begin our order too.
        iteration = self.order.begin()
        epoch, rows_served = iteration.begin
        draws = self._draws(epoch)
        if not self._has_own_order:
            assert self.batch_sampler is not None
            sizes: deque[int] = deque()
            requests = _count_rows(self.batch_sampler, sizes, draws)
            batches = self._stream.batches(requests, self._collate)
            return self._counted(iteration, batches, sizes)
        shard = self._shard(self.order.rows(epoch), rows_served)
        batches = self._stream.shard_batches(shard, self._collate, self.order.block, draws)
        return self._positioned(iteration, batches, shard.served)

    def __len__(self) -> int:
        """Return the number of batches of a complete epoch, the same for every rank."""
        if not self._has_own_order:
            return super().__len__()
        return count_batches(
            len(self.order), self._own_batch_size, self.world_size, drop_last=self.drop_last
        )

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration begin with an epoch; one that runs is not disturbed."""
        self.order.set_epoch(epoch)

    def state_dict(self) -> _State:
        """Return the position after the batch last handed over, and the order it belongs to.

        Returns
        -------
        dict
            Keys store, split, rows, selection, seed, shuffle, shuffle_block, epoch and
            rows_served. The selection is a digest of the chosen rows, None for a complete split.
            After the last batch of an epoch the position is the beginning of the next.
        """
        epoch, rows_served = self.order.position
        return {**self._identity(), "epoch": epoch, "rows_served": rows_served}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Let the next iteration begin at a position that :meth:`state_dict` returned.

        Batch size, workers, ranks and device may differ.

        Raises
        ------
        OrderError
            If store, split, chosen rows, seed, shuffle or block are not those of the state.
        """
        for name, value in self._identity().items():
            if state.get(name) != value:
                msg = (
                    f"the loader's state belongs to another order: {name} was "
                    f"{state.get(name)!r} and is {value!r} here"
                )
                raise OrderError(msg)
        self.order.set_position(state["epoch"], state["rows_served"])

    def close(self) -> None:
        """End the workers; a later iteration starts new ones."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def __enter__(self) -> "SpectraLoader":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def _has_own_order(self) -> bool:
        """Whether the batches are slices of the loader's own order."""
        return self.sampler is self.order and type(self.batch_sampler) is BatchSampler

    @property
    def _own_batch_size(self) -> int:
        assert self.batch_size is not None
        return self.batch_size

    def _new_stream(self) -> BatchStream:
        # Frameworks may set worker_init_fn after construction.
        options = replace(self._options, worker_init_fn=self.worker_init_fn)
        rows = self.batch_size or getattr(self.batch_sampler, "batch_size", None) or 1
        rows = min(rows, max(len(self._items), 1))
        if not self._has_own_order:
            return BatchStream(self._items, self._items.read_batch, rows, options)
        n_batches = batches_per_request(self._items, rows, options)
        # A rank's last batch can have one row more than the others.
        request_rows = rows * n_batches + (self.world_size > 1)
        read = self._items.read_valid_batch
        return BatchStream(self._items, read, request_rows, options, n_batches)

    def _draws(self, epoch: int) -> EpochDraws | None:
        if self.augment is None:
            return None
        return EpochDraws.of_epoch(self.augment, self.order.seed, epoch)

    def _shard(self, order: np.ndarray[Any, np.dtype[np.int64]], rows_served: int) -> RankShard:
        return shard_epoch(
            order, rows_served, self._own_batch_size, *self._ranks, drop_last=self.drop_last
        )

    def _positioned(
        self, iteration: EpochIteration, batches: Iterator[Any], served: Sequence[int]
    ) -> Iterator[Any]:
        """Yield the batches of the loader's own order, moving the position with each."""
        last = len(served) - 1
        for number, batch in enumerate(batches):
            if number < last:
                self.order.advance(iteration, served[number])
            else:
                self.order.finish(iteration)
            yield batch
        if not iteration.is_finished:  # nothing remained of the epoch
            self.order.finish(iteration)

    def _counted(
        self, iteration: EpochIteration, batches: Iterator[Any], sizes: "deque[int]"
    ) -> Iterator[Any]:
        """Yield the batches of another sampler, counting the rows that it asked for."""
        rows_served = iteration.begin.rows_served
        for batch in batches:
            rows_served += sizes.popleft()
            self.order.advance(iteration, rows_served)
            yield batch
        self.order.finish(iteration)

    def _collate(self, tensors: BatchTensors) -> Any:
        if self.collate_fn is collate_without_copy:
            return tensors if len(tensors) > 1 else tensors[0]
        return self.collate_fn(BatchItems(tensors))

    def _identity(self) -> _State:
        identity = self._items.identity
        return {
            "store": identity.store,
            "split": identity.split,
            "rows": self.order.n_rows,
            "selection": identity.selection,
            "seed": self.order.seed,
            "shuffle": self.order.shuffle,
            "shuffle_block": self.order.block,
        }


def collate_without_copy(items: Sequence[Item]) -> Any:
    """Return the tensors that the items of a batch are views of, without a copy."""
    if isinstance(items, BatchItems):
        return items.tensors if len(items.tensors) > 1 else items.tensors[0]
    return default_collate(list(items))


def _count_rows(
    batch_sampler: Iterable[Sequence[int]], sizes: "deque[int]", draws: EpochDraws | None
) -> Iterator[BatchRequest]:
    """Yield the requests of a sampler, and append the number of rows of each to `sizes`."""
    for rows in batch_sampler:
        request = BatchRequest(np.asarray(rows, np.int64), draws=draws)
        sizes.append(len(request.indices))
        yield request


def _check_one_order(
    shuffle: bool,
    drop_last: bool,
    sampler: object | None,
    batch_sampler: object | None,
) -> None:
    if shuffle:
        msg = "shuffle=True cannot be used with another sampler, which decides the order itself"
        raise OptionError(msg)
    if batch_sampler is not None and (sampler is not None or drop_last):
        msg = "batch_sampler decides the batches itself; leave out sampler and drop_last"
        raise OptionError(msg)


def _order_of(sampler: object | None, n_rows: int, seed: int) -> EpochSampler:
    """Return the sampler if it is one of ours, otherwise one that counts the epochs of it."""
    if not isinstance(sampler, EpochSampler):
        return EpochSampler(n_rows, shuffle=False, seed=seed)
    if sampler.n_rows != n_rows:
        msg = f"the sampler is for {sampler.n_rows} rows, and the dataset has {n_rows}"
        raise OptionError(msg)
    return sampler


def _choose_rank(
    rank: int | None, world_size: int | None, *, has_own_order: bool
) -> tuple[int, int]:
    if rank is None and world_size is None:
        distributed = torch.distributed
        if distributed.is_available() and distributed.is_initialized():
            return distributed.get_rank(), distributed.get_world_size()
        return 0, 1
    ranks = check_rank(rank, world_size)
    if ranks != (0, 1) and not has_own_order:
        msg = (
            "rank and world_size divide the loader's own order among processes; leave out the "
            "sampler, or leave the ranks to it"
        )
        raise OptionError(msg)
    return ranks
