"""Torchdata's nodes over the loader."""

import itertools
from typing import Any

from torch.utils.data import DataLoader
from torchdata.nodes import IterableWrapper, Loader

from galahstream.stream.loader import SpectraLoader
from tests.clients.conftest import MakeLoader
from tests.clients.helper import (
    CUT,
    EPOCHS,
    LIMIT,
    N_BATCHES,
    Epochs,
    Zipped,
    check_full_epochs,
    check_limited_epochs,
    expected,
    flat,
    ids_of,
)


def nodes(loader: Any) -> Any:
    return Loader(IterableWrapper(loader))


def run(pipeline: Any, limit: int | None = None, part: int | None = None) -> Epochs:
    return [
        [
            star
            for batch in itertools.islice(pipeline, limit)
            for star in ids_of(batch if part is None else batch[part])
        ]
        for _ in range(EPOCHS)
    ]


def test_four_epochs(loader: SpectraLoader, plain: DataLoader[Any]) -> None:
    check_full_epochs(run(nodes(loader)), loader, run(nodes(plain)))


def test_limited_batches(loader: SpectraLoader, plain: DataLoader[Any]) -> None:
    check_limited_epochs(run(nodes(loader), LIMIT), loader, run(nodes(plain), LIMIT))


def test_a_run_that_is_cut_in_mid_epoch_is_resumed_where_it_was(make_loader: MakeLoader) -> None:
    pipeline = nodes(make_loader())
    seen = [star for batch in pipeline for star in ids_of(batch)]
    for batch in itertools.islice(pipeline, CUT - N_BATCHES):
        seen += ids_of(batch)
    loader = make_loader()
    resumed = nodes(loader)
    resumed.load_state_dict(pipeline.state_dict())
    for _ in range(1, EPOCHS):
        seen += [star for batch in resumed for star in ids_of(batch)]
    assert seen == flat([expected(loader, epoch) for epoch in range(EPOCHS)])
    assert loader.epoch == EPOCHS


def test_two_loaders_side_by_side(make_loader: MakeLoader, plain: DataLoader[Any]) -> None:
    for part in (0, 1):
        loaders = [make_loader(1), make_loader(2)]
        seen = run(nodes(Zipped(*loaders)), part=part)
        check_full_epochs(seen, loaders[part], run(nodes(plain)))
