"""The training loop without the files of a run."""

from collections.abc import Iterator

import pytest
import torch

from galahstream.learn.data import Datasets, Loaders, make_loaders, open_datasets
from galahstream.learn.models.base import SpectraNetwork
from galahstream.learn.models.cnn import SpectraCNN
from galahstream.learn.observers.base import EpochStart, Observer
from galahstream.learn.recipe import Recipe
from galahstream.learn.results import EpochRecord
from galahstream.learn.run import TrainOptions
from galahstream.learn.trained_model import TrainedModel
from galahstream.learn.trainer import Trainer
from galahstream.store import Store

OPTIONS = TrainOptions(epochs=2, device="cpu", labels=("teff",), num_workers=0)
N_TRAIN, N_BATCHES = 210, 7


@pytest.fixture
def loaders(datasets: Datasets) -> Iterator[Loaders]:
    loaders = make_loaders(datasets, OPTIONS, torch.device("cpu"))
    yield loaders
    loaders.close()


@pytest.fixture
def datasets(toy_store: Store) -> Datasets:
    return open_datasets(toy_store, OPTIONS)


def new_trainer(datasets: Datasets, loaders: Loaders) -> Trainer:
    torch.manual_seed(OPTIONS.seed)
    recipe = Recipe.of_dataset(datasets.train, OPTIONS.seed)
    return Trainer(TrainedModel(SpectraCNN(64, 1), recipe), loaders, OPTIONS)


class Recorder(Observer):
    """Note each call, and stop the run after a number of batches."""

    def __init__(self, stop_after: int = -1) -> None:
        self.calls: list[str] = []
        self.left = stop_after

    def epoch_started(self, start: EpochStart) -> None:
        self.calls.append(f"start {start.epoch}/{start.epochs}: {start.batches_done}")
        assert start.n_batches == N_BATCHES

    def batch_finished(self, loss: float) -> None:
        self.calls.append("batch")
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt

    def epoch_finished(self, record: EpochRecord, network: SpectraNetwork) -> None:
        self.calls.append(f"end {record.epoch}")

    def interrupted(self, error: BaseException) -> None:
        self.calls.append("interrupted")


def test_observers_are_told_what_happens_in_order(datasets: Datasets, loaders: Loaders) -> None:
    trainer, recorder = new_trainer(datasets, loaders), Recorder()
    trainer.observers.append(recorder)
    history = trainer.fit()
    epochs = [[f"start {n}/2: 0", *["batch"] * N_BATCHES, f"end {n}"] for n in (1, 2)]
    assert recorder.calls == [*epochs[0], *epochs[1]]
    assert [record.epoch for record in history] == [1, 2]
    assert (trainer.state.epoch, trainer.state.stars) == (3, 0)


@pytest.mark.slow
def test_a_trainer_restored_in_mid_epoch_learns_the_same(
    datasets: Datasets, loaders: Loaders
) -> None:
    trainer, recorder = new_trainer(datasets, loaders), Recorder(stop_after=9)
    trainer.observers.append(recorder)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    assert recorder.calls[-1] == "interrupted"
    snapshot = trainer.snapshot()
    assert (snapshot.state.epoch, snapshot.state.stars) == (2, 64)
    resumed, recorder = new_trainer(datasets, loaders), Recorder()
    resumed.restore(snapshot)
    resumed.observers.append(recorder)
    history = resumed.fit()
    assert recorder.calls == ["start 2/2: 2", *["batch"] * (N_BATCHES - 2), "end 2"]
    loaders.train.set_epoch(0)
    uncut = new_trainer(datasets, loaders)
    assert [(one.train_loss, one.val_loss) for one in uncut.fit()] == [
        (one.train_loss, one.val_loss) for one in history
    ]
    for a, b in zip(uncut.model.parameters(), resumed.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_times_are_those_of_the_epoch(datasets: Datasets, loaders: Loaders) -> None:
    for record in new_trainer(datasets, loaders).fit():
        assert 0 <= record.waiting_share < 1
        assert 0 < N_TRAIN / record.spectra_per_s < record.seconds
