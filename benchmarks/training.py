"""Training of the reference network: the step, against the published script's.

Both train on the same stars, the first of the survey. Before they are timed, both learn the
same batches from the same weights, and their losses are compared.
"""

import copy
import time
from collections.abc import Sequence
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
_STARS, _SPLIT = 334, (0.96, 0.02, 0.02)
"""Stars of the survey that are used: 320 of them, or ten batches, for training."""
_OPTIONS = TrainOptions(epochs=5, device="cpu")
_STEPS = 50
"""Steps whose losses are compared."""
_PROFILE_EPOCHS = 2

_KINDS = {
    "convolutions": ("convolution",),
    "max-pooling": ("max_pool", "PairwiseMax"),
    "dense layers": ("addmm", "aten::mm", "linear"),
    "Adam": ("adam",),
    "ReLU": ("relu", "threshold", "clamp"),
}
"""Kinds of operators, by parts of their names."""


def run(source: Path, work: Path, rounds: int = 15) -> Result:
    """Measure spectra/s of the training steps of an epoch, on the CPU."""
    datasets = open_datasets(_store(source, work), _OPTIONS)
    loaders = make_loaders(datasets, _OPTIONS, torch.device("cpu"))
    ours = _Ours(datasets, loaders)
    plain = PlainTraining(_plain_twin(ours.trainer.model.network), _OPTIONS.lr)
    losses = ours.losses(_STEPS), _plain_losses(plain, datasets, loaders, _STEPS)
    difference = max(abs(a - b) for a, b in zip(*losses, strict=True))
    batches = published_script(datasets.train, _OPTIONS.batch_size)
    contenders: Contenders = {OURS: ours.epoch, PLAIN: partial(_plain_epoch, plain, batches)}
    ours.clock.reset()
    figures = interleaved(contenders, rounds)
    phases, operators = ours.clock.shares(), _operator_shares(ours)
    loaders.close()
    settings = {
        "batch": _OPTIONS.batch_size,
        "stars": len(datasets.train),
        "pixels": datasets.train.n_pixels,
        "parameters": ours.trainer.model.n_parameters,
        "threads": torch.get_num_threads(),
        "rounds": rounds,
        "loss_difference": difference,
        "losses": dict(zip((OURS, PLAIN), losses, strict=True)),
        "phases": phases,
        "operators": operators,
    }
    verdict = "reached" if difference <= LOSS_GOAL else "missed"
    notes = [
        f"losses of {len(losses[0])} steps differ by at most {difference:.2g}, goal "
        f"{LOSS_GOAL:g}: {verdict}",
        f"a step: {_in_words(phases)}",
        f"its operators: {_in_words(operators)}",
    ]
    return Result(
        "training", "Training of the reference network", "spectra/s", figures,
        [ratio(figures, OURS, PLAIN, GOAL)], settings, notes,
    )  # fmt: skip


def _store(source: Path, work: Path) -> Path:
    path = work / "training"
    if not path.exists():
        opened = open_source(source)
        rows = range(min(_STARS, len(opened)))
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
        self.reset()

    def reset(self) -> None:
        """Forget the times."""
        self._seconds: dict[str, float] = {}
        self.epoch_seconds = 0.0

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
        self.trainer.options = TrainOptions(epochs=self.trainer.state.epoch, device="cpu")
        self.trainer.fit()
        return self.trainer.n_stars / self.clock.epoch_seconds

    def losses(self, n_steps: int) -> list[float]:
        """Train for some steps, or a little longer, and return their losses."""
        while len(self.clock.losses) < n_steps:
            self.epoch(0)
        return self.clock.losses[:n_steps]


def _plain_twin(network: SpectraNetwork) -> PlainNetwork:
    """Return the published script's network with the same weights."""
    twin = PlainNetwork(network.n_pixels, network.n_labels)
    twin.load_state_dict(copy.deepcopy(network.state_dict()))
    return twin


def _plain_losses(
    plain: PlainTraining, datasets: Datasets, loaders: Loaders, n_steps: int
) -> list[float]:
    """Return the losses of the published script for the batches that the trainer learned."""
    tensors: Any = published_script(datasets.train, _OPTIONS.batch_size).dataset
    losses: list[float] = []
    for epoch in range(n_steps):
        order = loaders.train.order.rows(epoch)
        for start in range(0, len(order), _OPTIONS.batch_size):
            if len(losses) == n_steps:
                return losses
            losses.append(plain.step(*tensors[order[start : start + _OPTIONS.batch_size]]))
    return losses


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
