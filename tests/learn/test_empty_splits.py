"""A store with an empty split is tested with and predicted from; training says what is missing."""

from pathlib import Path

import pytest

import galahstream as gs
from galahstream.cli.main import main
from galahstream.errors import LabelError, SplitError
from galahstream.learn.results import TrainingResult
from tests.conftest import Pair


@pytest.mark.slow
def test_a_store_of_test_stars_is_evaluated_and_predicted(
    pair: Pair, run: TrainingResult, tmp_path: Path
) -> None:
    path = str(tmp_path / "store")
    assert main(["convert", str(pair.folder), path, "--split", "0,0,1"]) == 0
    store = gs.open_store(path)
    assert store.manifest.split_sizes == (0, 0, 60)
    assert gs.evaluate(run.model, store).n_stars == 60
    assert len(gs.predict(run.model, store, split="test").ids) == 60
    assert len(gs.SpectraDataset(store, "test", target_transform=None)) == 60
    assert main(["info", path]) == 0
    with pytest.raises(LabelError, match=r"no star with labels in 'train'.*fit_on='all'"):
        gs.SpectraDataset(store, "test")


@pytest.mark.parametrize(
    ("split", "missing"),
    [((0, 0, 1), "train and val"), ((0.5, 0.5, 0), "test"), ((0.5, 0, 0.5), "val")],
)
def test_training_says_what_is_missing(
    pair: Pair, tmp_path: Path, split: tuple[float, float, float], missing: str
) -> None:
    store = gs.convert(pair.folder, tmp_path / "store", split=split)
    with pytest.raises(SplitError, match=f"no stars in {missing} .*--split"):
        gs.train(store, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()
