"""The published experiments on one network: learning rates, batch sizes and numbers of epochs.

A training is resumed where it was interrupted, and is not repeated once it is finished.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.protocol import Result, median, ratio
from benchmarks.stores import store_of
from galahstream.learn.run import RunFolder
from galahstream.learn.train import train
from galahstream.system.progress import progress_bar

STANDARD, FAST, SMALL, LARGE, LONG = (
    "batch 32, rate 0.001, 10 epochs",
    "rate 0.01",
    "batch 16",
    "batch 64",
    "15 epochs",
)
_SETTINGS: dict[str, dict[str, Any]] = {
    STANDARD: {},
    FAST: {"lr": 0.01},
    SMALL: {"batch_size": 16},
    LARGE: {"batch_size": 64},
    LONG: {"epochs": 15},
}
# Final losses that differ by less are called about equal.
_ABOUT = 1.25


class Curves(NamedTuple):
    """Losses of one training, one per epoch, its seconds and its device."""

    training: list[float]
    validation: list[float]
    seconds: float
    device: str


class Claim(NamedTuple):
    """What was reported, and what was found."""

    reported: str
    found: str
    agrees: bool

    def __str__(self) -> str:
        verdict = "agrees" if self.agrees else "disagrees"
        return f"reported: {self.reported}; found: {self.found} ({verdict})"


def run(source: Path, work: Path, rounds: int = 3) -> Result:
    """Train with each setting, and with a different seed in each round."""
    store = store_of(source, work, "npy float32")
    curves: dict[str, list[Curves]] = {name: [] for name in _SETTINGS}
    with progress_bar(rounds * len(_SETTINGS), "training", unit=" runs") as bar:
        for seed in range(rounds):
            for number, (name, settings) in enumerate(_SETTINGS.items()):
                folder = work / f"experiment-{number}-seed-{seed}"
                curves[name].append(_trained(store, folder, {"seed": seed, **settings}))
                bar.update()
    figures = {name: [each.validation[-1] for each in runs] for name, runs in curves.items()}
    return Result(
        "experiments",
        "Validation loss of the last epoch",
        "mean squared error of z-scores",
        figures,
        [ratio(figures, name, STANDARD) for name in (FAST, SMALL, LARGE, LONG)],
        {
            "seeds": rounds,
            "curves": {name: [each._asdict() for each in runs] for name, runs in curves.items()},
        },
        [str(claim) for claim in claims(curves)],
    )


def claims(curves: Mapping[str, Sequence[Curves]]) -> list[Claim]:
    """Return what was reported of these experiments, beside what the curves say."""
    standard, long = curves[STANDARD], curves[LONG]
    final = {name: median([each.validation[-1] for each in runs]) for name, runs in curves.items()}
    falling = sum(_falls(each.training) for each in standard)
    first, last = (median([each.validation[epoch] for each in standard]) for epoch in (0, -1))
    tenth = median([each.validation[9] for each in long])
    lowest = [min(range(len(each.validation)), key=each.validation.__getitem__) for each in long]
    rising = sum(epoch < len(each.validation) - 1 for epoch, each in zip(lowest, long, strict=True))
    fast, small, large = (final[name] / final[STANDARD] for name in (FAST, SMALL, LARGE))
    return [
        Claim(
            "the training loss falls at every epoch",
            f"it does with {falling} of {len(standard)} seeds",
            falling == len(standard),
        ),
        Claim(
            "the validation loss falls over the epochs",
            f"from {first:.3g} to {last:.3g}",
            last < first,
        ),
        Claim("a rate of 0.01 ends worse", f"it ends at {fast:.3g} times the loss", fast > 1),
        Claim(
            "batches of 16 and 64 end about where 32 does",
            f"they end at {small:.3g} and {large:.3g} times the loss",
            all(1 / _ABOUT < each < _ABOUT for each in (small, large)),
        ),
        Claim(
            "nothing is gained between epochs 10 and 15",
            f"the validation loss goes from {tenth:.3g} to {final[LONG]:.3g}",
            final[LONG] > tenth / _ABOUT,
        ),
        Claim(
            "the validation loss begins to rise before epoch 15",
            f"it is lowest in epoch {', '.join(str(epoch + 1) for epoch in lowest)}",
            rising == len(long),
        ),
    ]


def draw(result: Result, path: Path) -> None:
    """Draw the losses over the epochs, one panel per setting with the standard one behind."""
    from galahstream.plots.figures import new_figure, save_figure

    curves = result.settings["curves"]
    others = [name for name in curves if name != STANDARD]
    figure = new_figure(3.2 * len(others), 3.6)
    panels = figure.subplots(1, len(others), sharey=True)
    for axes, name in zip(panels, others, strict=True):
        for runs, color, label in ((curves[STANDARD], "0.6", STANDARD), (curves[name], "C0", name)):
            for number, each in enumerate(runs):
                epochs = range(1, len(each["training"]) + 1)
                once = label if number == 0 else None
                axes.plot(epochs, each["validation"], "-", color=color, label=once)
                axes.plot(epochs, each["training"], ":", color=color)
        axes.set(title=name, xlabel="epoch", yscale="log")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    panels[0].set_ylabel(f"{result.unit}\n(solid: validation, dotted: training)")
    panels[0].legend(frameon=False, fontsize=8)
    save_figure(figure, path)


def _trained(store: Path, folder: Path, settings: Mapping[str, Any]) -> Curves:
    """Return the losses of a training, which is finished first if it was interrupted."""
    run_folder = RunFolder.at(folder)
    if run_folder.finished_epochs() is None:
        train(store, folder, resume=True, progress=False, **settings)
    with run_folder.history.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return Curves(
        [float(row["train_loss"]) for row in rows],
        [float(row["val_loss"]) for row in rows],
        sum(float(row["seconds"]) for row in rows),
        json.loads(run_folder.metrics.read_bytes())["settings"]["device"],
    )


def _falls(losses: Sequence[float]) -> bool:
    return all(later < earlier for earlier, later in pairwise(losses))
