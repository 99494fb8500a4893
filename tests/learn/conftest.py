"""A run on a small store, trained once for all tests that read its files."""

from pathlib import Path

import pytest

from galahstream.conversion.convert import convert
from galahstream.learn.results import TrainingResult
from galahstream.learn.train import train
from galahstream.store import Store
from tests.conftest import make_pair


@pytest.fixture(scope="session")
def toy_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("toy")
    return convert(make_pair(folder / "raw", stars=300).folder, folder / "store")


@pytest.fixture(scope="session")
def run(toy_store: Store, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    out: Path = tmp_path_factory.mktemp("runs") / "first"
    return train(toy_store, out, epochs=4, device="cpu", labels=("teff",))
