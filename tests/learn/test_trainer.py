"""The training loop without the files of a run."""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from galahstream.errors import TrainingDivergedError
from galahstream.learn import trainer as trainer_module
from galahstream.learn.data import Datasets, Loaders, make_loaders, open_datasets
from galahstream.learn.losses import LOSSES, Loss, LossName, MeanSquaredError, make_loss
from galahstream.learn.models.base import Prediction, SpectraNetwork
from galahstream.learn.models.cnn import SpectraCNN
from galahstream.learn.observers.base import EpochStart, Observer
from galahstream.learn.optimizer import has_fused_adam
from galahstream.learn.recipe import Recipe
from galahstream.learn.results import EpochRecord
from galahstream.learn.run import TrainOptions
from galahstream.learn.scaled_predictions import predict_scaled
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


def new_trainer(datasets: Datasets, loaders: Loaders, loss: Loss | None = None) -> Trainer:
    torch.manual_seed(OPTIONS.seed)
    recipe = Recipe.of_dataset(datasets.train, OPTIONS.seed)
    network = SpectraCNN(64, len(recipe.labels), (loss or MeanSquaredError()).output)
    options = replace(OPTIONS, batch_size=loaders.train.batch_size or 0)
    return Trainer(TrainedModel(network, recipe), loaders, options, loss)


class Recorder(Observer):
    """Note each call, and stop the run after a number of batches."""

    def __init__(self, stop_after: int = -1) -> None:
        self.calls: list[str] = []
        self.left = stop_after

    def epoch_started(self, start: EpochStart) -> None:
        self.calls.append(f"start {start.epoch}/{start.epochs}: {start.batches_done}")
        self.n_batches = start.n_batches

    def batch_finished(self) -> None:
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
    assert recorder.n_batches == N_BATCHES
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


class Synchronisations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Count operators that wait for a device: those of ``item()``, ``float()`` and ``bool()``."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


class LossRecorder(Observer):
    """Keep the losses, as often as they are read, and count steps and synchronisations in them."""

    def __init__(self, mode: Synchronisations | None = None) -> None:
        self.reads: list[list[float]] = []
        self.steps = 0
        self.in_steps = 0
        self._mode = mode or Synchronisations()

    def epoch_started(self, start: EpochStart) -> None:
        self._before = self._mode.count

    def batch_finished(self) -> None:
        self.steps += 1
        self.in_steps += self._mode.count - self._before
        self._before = self._mode.count

    def losses_read(self, losses: Sequence[float]) -> None:
        self.reads.append([*losses])


@pytest.mark.parametrize("missing", ["raise", "mask"])
@pytest.mark.parametrize("name", LOSSES)
def test_no_step_waits_for_the_device(
    toy_store: Store, name: LossName, missing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = replace(OPTIONS, labels=("teff", "logg"), missing=missing)
    datasets = open_datasets(toy_store, options)
    loaders = make_loaders(datasets, options, torch.device("cpu"))
    trainer = new_trainer(datasets, loaders, make_loss(name))
    mode = Synchronisations()
    recorder = LossRecorder(mode)
    trainer.observers.append(recorder)
    monkeypatch.setattr(trainer_module, "READ_STEPS", 3)
    with mode:
        trainer.fit()
    assert mode.count > 0  # in validation
    assert (recorder.steps, recorder.in_steps) == (2 * N_BATCHES, 0)
    assert [len(losses) for losses in recorder.reads] == 2 * [3, 3, 1]


@pytest.mark.parametrize("read_steps", [1, 4, 50])
def test_the_loss_of_an_epoch_does_not_depend_on_when_it_is_read(
    datasets: Datasets, loaders: Loaders, monkeypatch: pytest.MonkeyPatch, read_steps: int
) -> None:
    monkeypatch.setattr(trainer_module, "READ_STEPS", read_steps)
    trainer, recorder = new_trainer(datasets, loaders), LossRecorder()
    trainer.observers.append(recorder)
    history = trainer.fit()
    losses = [loss for read in recorder.reads for loss in read]
    assert len(losses) == 2 * N_BATCHES
    sizes = [32] * 6 + [N_TRAIN - 6 * 32]
    for record in history:
        total = 0.0
        for size in sizes:
            total += losses.pop(0) * size
        assert record.train_loss == total / N_TRAIN


class DivergingSquaredError(MeanSquaredError):
    """A loss that is not finite from a number of steps on."""

    def __init__(self, good_steps: int, value: float) -> None:
        self.left, self.value = good_steps, value

    def __call__(
        self,
        prediction: Prediction,
        target: torch.Tensor,
        label_error: torch.Tensor | None = None,
    ) -> torch.Tensor:
        self.left -= 1
        return super().__call__(prediction, target) * (1.0 if self.left >= 0 else self.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("good_steps", "batch_size", "epoch", "batch"),
    [(0, 32, 1, 1), (6, 32, 1, 7), (9, 32, 2, 3), (0, 2, 1, 1), (77, 2, 1, 78), (161, 2, 2, 57)],
)
def test_a_loss_that_is_not_finite_is_named_with_epoch_batch_and_rows_within_50_steps(
    datasets: Datasets, good_steps: int, batch_size: int, epoch: int, batch: int, value: float
) -> None:
    loaders = make_loaders(datasets, replace(OPTIONS, batch_size=batch_size), torch.device("cpu"))
    trainer, recorder = (
        new_trainer(datasets, loaders, DivergingSquaredError(good_steps, value)),
        Recorder(),
    )
    trainer.observers.append(recorder)
    with pytest.raises(TrainingDivergedError) as caught:
        trainer.fit()
    assert recorder.calls.count("batch") < good_steps + 50
    assert "interrupted" not in recorder.calls
    n_batches = -(-N_TRAIN // batch_size)
    assert f"epoch {epoch}/2, batch {batch} of {n_batches}: the loss is {value}" in str(
        caught.value
    )
    order = loaders.train.order.rows(epoch - 1)
    items = order[(batch - 1) * batch_size : batch * batch_size]
    rows = re.search(r"stars are the rows ([\d, ]+) of the store", str(caught.value))
    assert rows is not None
    assert rows[1] == ", ".join(map(str, sorted(datasets.train.rows[items].tolist())))


def test_a_state_that_diverged_is_never_saved(datasets: Datasets, loaders: Loaders) -> None:
    trainer = new_trainer(datasets, loaders, DivergingSquaredError(2, float("nan")))
    trainer.observers.append(Recorder(stop_after=4))
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    with pytest.raises(TrainingDivergedError, match="batch 3 of 7"):
        trainer.snapshot()


def test_adam_is_fused_where_torch_has_it(datasets: Datasets, loaders: Loaders) -> None:
    assert new_trainer(datasets, loaders).optimizer.defaults["fused"]
    assert has_fused_adam(torch.device("cpu"))
    assert not has_fused_adam(torch.device("meta"))


class SlowValidation:
    """Stand for the validation: it ends when the training loader was asked for more stars."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, trainer: Trainer, read: list[int]) -> None:
        self.read_during: list[list[int]] = []
        self._read = read
        self._trainer = trainer
        monkeypatch.setattr(trainer_module, "predict_scaled", self)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        is_last = self._trainer.state.epoch == OPTIONS.epochs
        before, deadline = len(self._read), time.monotonic() + (0.2 if is_last else 5)
        while time.monotonic() < deadline and len(self._read) < before + 32:
            time.sleep(0.01)
        self.read_during.append(self._read[before:])
        return predict_scaled(*arguments, **options)


def test_the_next_epoch_is_read_ahead_while_the_stars_are_validated(
    datasets: Datasets, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    read_batch = datasets.train.read_valid_batch

    def recorded(indices: Any, *out: Any, draws: Any) -> Any:
        read.extend(indices.tolist())
        return read_batch(indices, *out, draws=draws)

    monkeypatch.setattr(datasets.train, "read_valid_batch", recorded)
    loaders = make_loaders(datasets, replace(OPTIONS, num_workers=1), torch.device("cpu"))
    trainer = new_trainer(datasets, loaders)
    validation = SlowValidation(monkeypatch, trainer, read)
    trainer.fit()
    loaders.close()
    orders = [loaders.train.order.rows(epoch).tolist() for epoch in range(OPTIONS.epochs)]
    during = validation.read_during
    assert during == [orders[1][: len(during[0])], []]
    assert len(during[0]) >= 32
    assert read == orders[0] + orders[1]
