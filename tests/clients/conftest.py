"""A small survey, and the loaders that each trainer is given: galahstream's and torch's own."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from torch.utils.data import DataLoader

import galahstream as gs
from galahstream.stream.loader import SpectraLoader
from tests.clients.helper import BATCH, N_PIXELS
from tests.conftest import make_pair

MakeLoader: TypeAlias = Callable[..., SpectraLoader]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> gs.SpectraDataset:
    folder: Path = tmp_path_factory.mktemp("clients")
    store = gs.convert(make_pair(folder / "raw", 300, N_PIXELS).folder, folder / "store")
    return gs.SpectraDataset(store, return_ids=True)


@pytest.fixture
def make_loader(dataset: gs.SpectraDataset) -> Iterator[MakeLoader]:
    loaders: list[SpectraLoader] = []

    def make(seed: int = 42) -> SpectraLoader:
        loaders.append(SpectraLoader(dataset, BATCH, shuffle=True, seed=seed))
        return loaders[-1]

    yield make
    for loader in loaders:
        loader.close()


@pytest.fixture
def loader(make_loader: MakeLoader) -> SpectraLoader:
    return make_loader()


@pytest.fixture
def plain(dataset: gs.SpectraDataset) -> DataLoader[Any]:
    return DataLoader(dataset, BATCH, shuffle=True)
