"""The spectra of a training run: one dataset and one loader for each split."""

import os
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Subset

from galahstream.errors import LabelError, SplitError
from galahstream.learn.distributed import Ranks
from galahstream.learn.results import SplitCounts
from galahstream.learn.run import TrainOptions
from galahstream.store import SpectraStore, open_store
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.loader import SpectraLoader
from galahstream.stream.transforms import LogFlux, ZScore
from galahstream.survey.splits import SPLIT_NAMES


class Datasets(NamedTuple):
    """The datasets of the three splits."""

    train: SpectraDataset
    val: SpectraDataset
    test: SpectraDataset

    @property
    def counts(self) -> SplitCounts:
        """The number of stars in each."""
        return SplitCounts(len(self.train), len(self.val), len(self.test))


class Loaders(NamedTuple):
    """The loaders of the three splits."""

    train: SpectraLoader
    val: SpectraLoader
    test: SpectraLoader

    def close(self) -> None:
        """End the workers of all loaders."""
        for loader in self:
            loader.close()


def open_datasets(store: SpectraStore | str | os.PathLike[str], options: TrainOptions) -> Datasets:
    """Return the datasets of a store's splits.

    Raises
    ------
    LabelError
        If the store has no labels, or a split has no stars with all of them.
    SplitError
        If a split of the store is empty.
    """
    opened = open_store(store) if isinstance(store, str | os.PathLike) else store
    if not options.labels:
        msg = "there is nothing to learn: name at least one label (labels=, --labels)"
        raise LabelError(msg)
    if not opened.labels:
        msg = f"{opened.path}: there is nothing to learn; training needs a store with labels"
        raise LabelError(msg)
    _check_splits(opened)
    datasets = Datasets(
        *(
            SpectraDataset(
                opened,
                split,
                options.labels,
                options.window,
                LogFlux(),
                ZScore(),
                options.missing,
                return_label_errors=options.label_errors,
            )
            for split in SPLIT_NAMES
        )
    )
    for split, dataset in zip(SPLIT_NAMES, datasets, strict=True):
        if len(dataset) == 0:
            msg = (
                f"{opened.path}: no star of {split!r} has all of the labels "
                f"{', '.join(options.labels)}; choose other labels (labels=, --labels)"
            )
            raise LabelError(msg)
    return datasets


def _check_splits(store: SpectraStore) -> None:
    rows = np.arange(len(store))
    counts = {name: len(rows[store.rows_of(name)]) for name in SPLIT_NAMES}
    empty = [name for name, count in counts.items() if count == 0]
    if empty:
        found = ", ".join(f"{count:,} {name}" for name, count in counts.items())
        msg = (
            f"{store.path}: no stars in {' and '.join(empty)} ({found}); training needs stars in "
            f"all three: convert again with other fractions (split=, --split)"
        )
        raise SplitError(msg)


def make_loaders(
    datasets: Datasets,
    options: TrainOptions,
    device: torch.device,
    ranks: Ranks = Ranks(),
) -> Loaders:
    """Return the loaders of the datasets; only training stars are shuffled and augmented.

    Of several ranks, each has its part of every training batch, and of the validation and test
    stars those of its share.

    With `overfit_batch` every training batch is the first one, and an epoch has as many as usual.
    """
    size, workers = options.batch_size, options.num_workers
    val, test = (
        SpectraLoader(
            dataset if ranks.world_size == 1 else Subset(dataset, ranks.share(len(dataset))),
            size,
            seed=options.seed,
            num_workers=workers,
            device=device,
            rank=0,
            world_size=1,
        )
        for dataset in (datasets.val, datasets.test)
    )
    train = SpectraLoader(
        _first_batch_repeated(datasets.train, size) if options.overfit_batch else datasets.train,
        size,
        shuffle=not options.overfit_batch,
        seed=options.seed,
        num_workers=workers,
        device=device,
        shuffle_block=options.shuffle_block,
        augment=options.augment,
        rank=ranks.rank,
        world_size=ranks.world_size,
    )
    return Loaders(train, val, test)


def _first_batch_repeated(dataset: SpectraDataset, size: int) -> Subset[Any]:
    items = np.arange(min(size, len(dataset)))
    repeated: Any = np.tile(items, -(-len(dataset) // size))
    return Subset(dataset, repeated)


def complete_dataset(dataset: SpectraDataset | Subset[Any]) -> SpectraDataset:
    """Return the dataset that a loader of validation or test stars has a share of."""
    if isinstance(dataset, SpectraDataset):
        return dataset
    parent: Any = dataset.dataset
    return complete_dataset(parent)


def store_rows(
    dataset: SpectraDataset | Subset[Any], items: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Return the rows in the store of items that the loader of the training stars reads."""
    if isinstance(dataset, SpectraDataset):
        return dataset.rows[items]
    parent: Any = dataset.dataset
    return store_rows(parent, np.asarray(dataset.indices)[items])
