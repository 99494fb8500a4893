"""What every trainer has to show: the stars of each epoch, as torch's own loader would."""

from collections.abc import Iterator
from typing import Any, TypeAlias

from galahstream.stream.loader import SpectraLoader

BATCH, N_PIXELS, EPOCHS, N_BATCHES = 32, 16, 4, 7
LIMIT = 3  # batches of an epoch that is left early
CUT = N_BATCHES + 3  # batches before a cut, in the middle of the second epoch

Epochs: TypeAlias = list[list[int]]
"""Ids of the stars of each epoch, in the order in which the trainer was given them."""


def ids_of(batch: Any) -> list[int]:
    ids: list[int] = batch[-1].tolist()
    return ids


def expected(loader: SpectraLoader, epoch: int) -> list[int]:
    """Return the ids of an epoch of a loader in its own order."""
    ids: list[int] = loader.dataset.ids[loader.order.rows(epoch)].tolist()
    return ids


def flat(epochs: Epochs) -> list[int]:
    return [star for epoch in epochs for star in epoch]


def check_full_epochs(seen: Epochs, loader: SpectraLoader, peer: Epochs) -> None:
    """Compare epochs with the loader's own order, and with those of torch's loader."""
    assert seen == [expected(loader, epoch) for epoch in range(EPOCHS)]
    assert len({tuple(epoch) for epoch in seen}) == EPOCHS
    assert [sorted(epoch) for epoch in seen] == [sorted(epoch) for epoch in peer]
    assert [len(set(epoch)) for epoch in seen] == [len(loader.dataset)] * EPOCHS
    assert loader.epoch == EPOCHS


def check_limited_epochs(seen: Epochs, loader: SpectraLoader, peer: Epochs) -> None:
    """Compare epochs that are left early: each begins a new order, as with torch's loader."""
    assert seen == [expected(loader, epoch)[: LIMIT * BATCH] for epoch in range(EPOCHS)]
    assert [len(epoch) for epoch in seen] == [len(epoch) for epoch in peer]
    assert len({tuple(epoch) for epoch in seen}) == EPOCHS
    assert loader.order.next_position == (EPOCHS, 0)


class Zipped:
    """Two loaders side by side, as a trainer's only loader."""

    def __init__(self, *loaders: Any) -> None:
        self.loaders = loaders

    def __len__(self) -> int:
        return min(len(loader) for loader in self.loaders)

    def __iter__(self) -> Iterator[Any]:
        return zip(*self.loaders, strict=False)
