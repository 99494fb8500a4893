"""A DataLoader over spectra whose order does not depend on its workers."""

from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler, default_collate

from galahstream.errors import OptionError, OrderError
from galahstream.options import check_count
from galahstream.processes import safe_start_method
from galahstream.stream.dataset import Item, SpectraDataset, Views
from galahstream.stream.order import EpochOrder


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
        Processes that make batches; 0 makes them where they are asked for.
    worker_type : {"process"}
        What the workers are.
    drop_last : bool
        Leave out a last batch of fewer than B stars.
    sampler, batch_sampler : optional
        An order of one's own instead, as frameworks that build loaders anew hand in.
    **keywords
        Further arguments of :class:`torch.utils.data.DataLoader`.

    Raises
    ------
    OptionError
        For a batch size below 1, workers below 0, or an unknown kind of worker.

    Notes
    -----
    Iterating gives (flux (B, L), labels (B, K)) float32 tensors, and counts the
    epochs: only an iteration that ran to its end goes on to the next one.
    Worker processes are started by forkserver or spawn, so a script needs its
    ``if __name__ == "__main__":``.
    """

    def __init__(
        self,
        dataset: SpectraDataset,
        batch_size: int | None = 32,
        shuffle: bool = False,
        seed: int = 42,
        num_workers: int = 0,
        worker_type: str = "process",
        drop_last: bool = False,
        sampler: Sampler[int] | None = None,
        batch_sampler: Sampler[list[int]] | None = None,
        **keywords: Any,
    ) -> None:
        if batch_sampler is None:
            check_count("batch_size", batch_size, least=1)
        check_count("num_workers", num_workers, least=0)
        if worker_type != "process":
            msg = f"worker_type {worker_type!r} is not known; expected 'process'"
            raise OptionError(msg)
        if num_workers > 0:
            keywords.setdefault("persistent_workers", True)
            keywords.setdefault("multiprocessing_context", safe_start_method())
        keywords.setdefault("collate_fn", whole_batch)
        self.order = EpochOrder(len(dataset), shuffle=shuffle, seed=seed)
        if batch_sampler is not None:
            keywords["batch_sampler"] = batch_sampler
        else:
            keywords |= {
                "batch_size": batch_size,
                "sampler": self.order if sampler is None else sampler,
                "drop_last": drop_last,
            }
        super().__init__(dataset, num_workers=num_workers, **keywords)
        self._served = 0

    @property
    def epoch(self) -> int:
        """The epoch that is, or will be, iterated."""
        return self.order.epoch

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        batches = super().__iter__()
        self._served = self.order.served
        for batch in batches:
            self._served += _rows_in(batch)
            yield batch
        self.set_epoch(self.epoch + 1)

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch."""
        check_count("epoch", epoch, least=0)
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
            If store, rows, seed or shuffle are not those of the state.
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
        """End the worker processes; a later iteration starts new ones."""
        iterator, self._iterator = self._iterator, None
        if iterator is not None and hasattr(iterator, "_shutdown_workers"):
            iterator._shutdown_workers()

    def __enter__(self) -> "SpectraLoader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _identity(self) -> dict[str, Any]:
        dataset: Any = self.dataset
        return {
            "store": dataset.store.fingerprint,
            "split": dataset.split,
            "rows": self.order.n_rows,
            "seed": self.order.seed,
            "shuffle": self.order.shuffle,
        }


def whole_batch(items: Sequence[Item]) -> Any:
    """Return the tensors that a batch of items are views of, without a copy."""
    if isinstance(items, Views):
        return items.whole if len(items.whole) > 1 else items.whole[0]
    return default_collate(list(items))


def _rows_in(batch: Any) -> int:
    return len(batch if isinstance(batch, torch.Tensor) else batch[0])
