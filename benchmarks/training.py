"""Training of the reference network: the step, against the published script's.

Both train on the same stars, the first of the survey. Before they are timed, both learn the
same 50 batches from the same weights, and their losses are compared.
"""

import copy
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.plain import PlainNetwork, PlainTraining, published_script
from benchmarks.protocol import Contenders, Result, interleaved, ratio
from galahstream.conversion.convert import convert
from galahstream.learn.data import Datasets, Loaders, make_loaders, open_datasets
from galahstream.learn.models.base import SpectraNetwork
from galahstream.learn.models.cnn import SpectraCNN
from galahstream.learn.observers.base import EpochStart, Observer
from galahstream.learn.recipe import Recipe
from galahstream.learn.run import TrainOptions
from galahstream.learn.trained_model import TrainedModel
from galahstream.learn.trainer import Trainer
from galahstream.sources.open import open_source
from galahstream.sources.wrappers import Selected

OURS, PLAIN = "galahstream", "published script, all in memory"
GOAL, LOSS_GOAL = 1.6, 1e-4
_TIMED, _COMPARED = 334, 1667
"""Stars of which ten batches are timed, and of which 50 batches are compared."""
_SPLIT = (0.96, 0.02, 0.02)
BATCH = 32
_OPTIONS = TrainOptions(batch_size=BATCH, device="cpu")
_PROFILE_EPOCHS = 2

_KINDS = {
    "convolutions": ("convolution",),
    "max-pooling": ("max_pool", "PairMaximum"),
    "dense layers": ("addmm", "aten::mm", "linear"),
    "Adam": ("adam",),
    "ReLU": ("relu", "threshold", "clamp"),
}
"""Kinds of operators, by parts of their names."""


def run(source: Path, work: Path, rounds: int = 15) -> Result:
    """Measure spectra/s of the training steps of an epoch, on the CPU."""
    losses = _losses(_store(source, work, _COMPARED))
    difference = max(abs(a - b) for a, b in zip(*losses.values(), strict=True))
    datasets = open_datasets(_store(source, work, _TIMED), _OPTIONS)
    loaders = make_loaders(datasets, _OPTIONS, torch.device("cpu"))
    ours = _Ours(datasets, loaders)
    plain = PlainTraining(_plain_twin(ours.trainer.model.network), _OPTIONS.lr)
    batches = published_script(datasets.train, BATCH)
    contenders: Contenders = {OURS: ours.epoch, PLAIN: partial(_plain_epoch, plain, batches)}
    figures = interleaved(contenders, rounds)
    phases, operators = ours.clock.shares(), _operator_shares(ours)
    loaders.close()
    settings = {
        "batch": BATCH,
        "stars": len(datasets.train),
        "pixels": datasets.train.n_pixels,
        "parameters": ours.trainer.model.n_parameters,
        "threads": torch.get_num_threads(),
        "rounds": rounds,
        "loss_difference": difference,
        "losses": losses,
        "phases": phases,
        "operators": operators,
    }
    verdict = "reached" if difference <= LOSS_GOAL else "missed"
    notes = [
        f"losses of {len(losses[OURS])} steps differ by at most {difference:.2g}, goal "
        f"{LOSS_GOAL:g}: {verdict}",
        f"a step: {_in_words(phases)}",
        f"its operators: {_in_words(operators)}",
    ]
    return Result(
        "training", "Training of the reference network", "spectra/s", figures,
        [ratio(figures, OURS, PLAIN, GOAL)], settings, notes,
    )  # fmt: skip


def _store(source: Path, work: Path, n_stars: int) -> Path:
    path = work / f"first-{n_stars}"
    if not path.exists():
        opened = open_source(source)
        rows = range(min(n_stars, len(opened)))
        convert(Selected(opened, rows), path, split=_SPLIT).close()
    return path


class _Clock(Observer):
    """Seconds of the phases of each step, and the losses."""

    def __init__(self, trainer: Trainer) -> None:
        network, optimizer = trainer.model.network, trainer.optimizer
        network.register_forward_pre_hook(partial(self._next, "load"))
        network.register_forward_hook(partial(self._next, "forward"))
        optimizer.register_step_pre_hook(partial(self._next, "backward"))
        optimizer.register_step_post_hook(partial(self._next, "optimiser"))
        self.losses: list[float] = []
        self.epoch_seconds = 0.0
        self._seconds: dict[str, float] = {}

    def shares(self) -> dict[str, float]:
        """Return the share of each phase in the time of all steps."""
        total = sum(self._seconds.values())
        return {name: seconds / total for name, seconds in self._seconds.items()}

    def epoch_started(self, start: EpochStart) -> None:
        """Start the clock."""
        self._started_at = self._last = time.perf_counter()

    def batch_finished(self) -> None:
        """Note the time of the epoch so far."""
        self._last = time.perf_counter()
        self.epoch_seconds = self._last - self._started_at

    def losses_read(self, losses: Sequence[float]) -> None:
        """Keep the losses."""
        self.losses += losses

    def _next(self, phase: str, module: Any, *_: object) -> None:
        if getattr(module, "training", True):  # not in validation
            now = time.perf_counter()
            self._seconds[phase] = self._seconds.get(phase, 0.0) + now - self._last
            self._last = now


class _Ours:
    """A trainer that trains one epoch at a time."""

    def __init__(self, datasets: Datasets, loaders: Loaders) -> None:
        torch.manual_seed(_OPTIONS.seed)
        network = SpectraCNN(datasets.train.n_pixels, len(_OPTIONS.labels))
        model = TrainedModel(network, Recipe.of_dataset(datasets.train, _OPTIONS.seed))
        self.trainer = Trainer(model, loaders, _OPTIONS)
        self.clock = _Clock(self.trainer)
        self.trainer.observers.append(self.clock)

    def epoch(self, _: int) -> float:
        """Train one epoch and return spectra/s, validation apart."""
        self.trainer.options = replace(_OPTIONS, epochs=self.trainer.state.epoch)
        self.trainer.fit()
        return self.trainer.n_stars / self.clock.epoch_seconds


def _plain_twin(network: SpectraNetwork) -> PlainNetwork:
    """Return the published script's network with the same weights."""
    twin = PlainNetwork(network.n_pixels, network.n_labels)
    twin.load_state_dict(copy.deepcopy(network.state_dict()))
    return twin


def _losses(store: Path) -> dict[str, list[float]]:
    """Return the losses of the batches of an epoch, in the same order for both."""
    datasets = open_datasets(store, _OPTIONS)
    with closing(make_loaders(datasets, _OPTIONS, torch.device("cpu"))) as loaders:
        ours = _Ours(datasets, loaders)
        plain = PlainTraining(_plain_twin(ours.trainer.model.network), _OPTIONS.lr)
        order = loaders.train.order.rows(0)
        ours.epoch(0)
    tensors: Any = published_script(datasets.train, BATCH).dataset
    batches = (order[start : start + BATCH] for start in range(0, len(order), BATCH))
    return {OURS: ours.clock.losses, PLAIN: [plain.step(*tensors[items]) for items in batches]}


def _plain_epoch(plain: PlainTraining, batches: Any, _: int) -> float:
    started_at = time.perf_counter()
    n_stars = 0
    for flux, labels in batches:
        plain.step(flux, labels)
        n_stars += len(flux)
    return n_stars / (time.perf_counter() - started_at)


def _operator_shares(ours: _Ours) -> dict[str, float]:
    """Return the share of each kind of operator in the time of the operators of training."""
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(_PROFILE_EPOCHS):
            ours.epoch(0)
    seconds = dict.fromkeys((*_KINDS, "other"), 0.0)
    for event in profiled.key_averages():
        kind = next(
            (name for name, parts in _KINDS.items() if any(part in event.key for part in parts)),
            "other",
        )
        seconds[kind] += event.self_cpu_time_total
    total = sum(seconds.values())
    return {name: value / total for name, value in seconds.items()}


def _in_words(shares: dict[str, float]) -> str:
    return ", ".join(f"{name} {share:.0%}" for name, share in shares.items())
