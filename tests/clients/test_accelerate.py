"""Accelerate's prepared loader, which reads the dataset in the order of the loader's sampler."""

from typing import Any

from accelerate import Accelerator, skip_first_batches
from torch.utils.data import DataLoader

from galahstream.stream.loader import SpectraLoader
from tests.clients.conftest import MakeLoader
from tests.clients.helper import (
    BATCH,
    CUT,
    EPOCHS,
    LIMIT,
    N_BATCHES,
    Epochs,
    check_full_epochs,
    check_limited_epochs,
    expected,
    flat,
    ids_of,
)


def prepared(loader: Any) -> Any:
    return Accelerator(cpu=True).prepare(loader)


def run(loader: Any, first: int = 0, limit: int | None = None) -> Epochs:
    """Return the stars of each epoch.

    Accelerate begins the same epoch again after a loop that left early, unless it is told
    which epoch comes next.
    """
    seen: Epochs = []
    for epoch in range(first, EPOCHS):
        if limit is not None and hasattr(loader, "set_epoch"):
            loader.set_epoch(epoch)
        seen.append([])
        for step, batch in enumerate(loader, 1):
            seen[-1] += ids_of(batch)
            if step == limit:
                break
    return seen


def test_four_epochs(loader: SpectraLoader, plain: DataLoader[Any]) -> None:
    check_full_epochs(run(prepared(loader)), loader, run(prepared(plain)))


def test_limited_batches(loader: SpectraLoader, plain: DataLoader[Any]) -> None:
    seen, peer = (run(prepared(one), limit=LIMIT) for one in (loader, plain))
    check_limited_epochs(seen, loader, peer)


def test_a_run_that_is_cut_in_mid_epoch_is_resumed_where_it_was(loader: SpectraLoader) -> None:
    epoch, batches = divmod(CUT, N_BATCHES)
    again = prepared(loader)
    again.set_epoch(epoch)
    rest = [star for batch in skip_first_batches(again, batches) for star in ids_of(batch)]
    assert rest == expected(loader, epoch)[batches * BATCH :]
    again.set_epoch(epoch + 1)
    later = flat(run(again, epoch + 1))
    assert later == flat([expected(loader, number) for number in range(epoch + 1, EPOCHS)])
    assert loader.epoch == EPOCHS


def test_two_loaders_side_by_side(make_loader: MakeLoader, plain: DataLoader[Any]) -> None:
    loaders = [make_loader(1), make_loader(2)]
    first, second = map(prepared, loaders)
    seen: list[Epochs] = [[], []]
    for _ in range(EPOCHS):
        pairs = list(zip(first, second, strict=True))
        for part in (0, 1):
            seen[part].append([star for pair in pairs for star in ids_of(pair[part])])
    for part in (0, 1):
        check_full_epochs(seen[part], loaders[part], run(prepared(plain)))
