"""Training the network on a store, with everything a run leaves behind."""

import csv
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm.auto import tqdm

from galahstream.errors import (
    DestinationExistsError,
    LabelError,
    OptionError,
    TrainingDivergedError,
)
from galahstream.learn.checkpoint import CHECKPOINT, RunCheckpoint, RunSettings
from galahstream.learn.inference import predict_scaled, wavelength_range
from galahstream.learn.metrics import LabelMetrics, label_metrics
from galahstream.learn.models.cnn import SpectraCNN
from galahstream.learn.observers.tensorboard import EpochRecord, EventWriter
from galahstream.learn.recipe import Recipe
from galahstream.learn.trained_model import save_model
from galahstream.plots.figures import has_matplotlib
from galahstream.plots.training import plot_losses, plot_predictions
from galahstream.store import Store, open_store
from galahstream.stream.dataset import Missing, SpectraDataset
from galahstream.stream.device import choose_device
from galahstream.stream.loader import SpectraLoader
from galahstream.stream.sampling import shuffle_quality
from galahstream.stream.transforms import LogFlux, ZScore
from galahstream.survey.splits import check_seed
from galahstream.survey.wavelength import Window
from galahstream.system.atomic import atomic_write
from galahstream.system.interrupts import delayed_interrupts
from galahstream.validation import check_count

REFERENCE_SECONDS = 150.0
"""What training and validation took in the run this project starts from: 10 epochs, batch 32."""

_LEFT_BEHIND = ("model.pt", "metrics.json", "history.csv")
# FluxSummary last.
_COMPLETE = "model.pt"


@dataclass(frozen=True)
class TrainingResult:
    """A finished run: the trained model, its history, and its errors on the test stars.

    `seconds` is the wall time of the training and validation loop.
    """

    model: SpectraCNN
    out: Path
    history: tuple[EpochRecord, ...]
    test_loss: float
    test: tuple[LabelMetrics, ...]
    seconds: float
    device: str
    notes: tuple[str, ...]


def train(
    store: Store | str | os.PathLike[str],
    out: str | os.PathLike[str] = "runs/first",
    *,
    epochs: int = 10,
    batch_size: int = 32,
    lr: float = 1e-3,
    seed: int = 42,
    device: str = "auto",
    labels: Sequence[str] = ("teff", "logg", "fe_h"),
    window: Window = None,
    missing: Missing = "raise",
    num_workers: int = 2,
    shuffle_block: int | None = None,
    resume: bool = False,
    progress: bool = True,
    report: Callable[[str], None] | None = None,
) -> TrainingResult:
    """Train the network on a store: Adam on the mean squared error of z-scored labels.

    Parameters
    ----------
    store : Store or path-like
        A store with labels.
    out : path-like
        Folder of the run: TensorBoard events, `model.pt`, `history.csv`,
        `metrics.json`, and pictures where matplotlib is there.
    epochs, batch_size, lr, seed
        The settings of the optimisation; the seed fixes weights and order.
    device : str
        ``"auto"`` takes cuda, else mps, else cpu.
    labels : sequence of str
        What to learn.
    window : str, (float, float) or None
        A camera or a range in Å to learn from.
    missing : {"raise", "drop"}
        What to do with stars that lack a label.
    num_workers : int
        Threads that make batches ahead.
    shuffle_block : int, optional
        Shuffle blocks of so many stars, for a store larger than memory.
    resume : bool
        Go on with the run in `out` that was cut off, in mid-epoch, or begin it
        where there is none. On the CPU its weights are those of an uninterrupted
        one, bit for bit; device and number of workers may be others.
    progress : bool
        Show a progress bar on a terminal.
    report : callable, optional
        Gets one line of text at the start and after each epoch.

    Returns
    -------
    TrainingResult

    Raises
    ------
    GalahStreamError
        For settings, labels, a device or a destination that cannot be used, for a
        checkpoint of other settings, and for a loss that is no longer finite.
    """
    check_settings(epochs, batch_size, lr)
    check_seed(seed)
    chosen = choose_device(device)
    folder = _folder_of_run(Path(out), resume)
    tell = report or (lambda line: None)
    opened = store if isinstance(store, Store) else open_store(store)
    parts = _datasets(opened, tuple(labels), window, missing)
    torch.manual_seed(seed)
    model = SpectraCNN(parts["train"].n_pixels, len(parts["train"].label_names))
    model.recipe = _recipe(parts["train"], seed)
    loaders = {
        name: SpectraLoader(
            part,
            batch_size,
            shuffle=name == "train",
            seed=seed,
            num_workers=num_workers,
            device=chosen,
            shuffle_block=shuffle_block if name == "train" else None,
        )
        for name, part in parts.items()
    }
    tell(_header(model, parts, chosen, num_workers))
    if shuffle_block is not None:
        tell(str(shuffle_quality(loaders["train"].order.rows(), batch_size)))
    folder.mkdir(parents=True, exist_ok=True)
    model.to(chosen)
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    decisive = RunSettings(
        epochs, batch_size, lr, seed, tuple(labels), window, missing, shuffle_block,
        opened.fingerprint,
    )  # fmt: skip
    checkpoint = RunCheckpoint(folder / CHECKPOINT, decisive, model, optimizer, loaders["train"])
    if resume and checkpoint.path.exists():
        checkpoint.load()
        so_far = checkpoint.progress
        tell(f"going on in epoch {so_far.epoch} of {epochs}, after {so_far.stars:,} of its stars")
    events = EventWriter(folder, checkpoint.progress.epoch if resume else None)
    try:
        events.start(model)
        history = _run_epochs(model, loaders, events, optimizer, checkpoint, progress, tell)
        scores, test_loss = predict_scaled(model, loaders["test"])
        predicted = model.recipe.target_transform.inverse(scores)
        true = parts["test"].targets
        test = label_metrics(predicted, true, model.recipe.labels, model.recipe.units)
        settings: dict[str, int | float | str] = {
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": lr,
            "seed": seed,
            "device": str(chosen),
        }
        events.finish(epochs, test_loss, test, settings)
    finally:
        events.close()
        for loader in loaders.values():
            loader.close()
    seconds = sum(record.seconds for record in history)
    notes = () if has_matplotlib() else ("no pictures: pip install 'galahstream[plots]'",)
    model.cpu().eval()
    result = TrainingResult(model, folder, history, test_loss, test, seconds, str(chosen), notes)
    _write_results(result, settings, parts)
    checkpoint.remove()
    if has_matplotlib():
        plot_losses(
            [record.train_loss for record in history],
            [record.val_loss for record in history],
            folder / "loss.png",
        )
        title = f"{len(parts['test']):,} test stars, never trained on"
        plot_predictions(
            predicted,
            true,
            model.recipe.labels,
            model.recipe.units,
            [label.caption for label in test],
            title,
            folder / "predictions.png",
        )
    return result


def check_settings(epochs: int, batch_size: int, lr: float) -> None:
    """Raise `OptionError` for settings that nothing can be trained with."""
    check_count("epochs", epochs, minimum=1)
    check_count("batch_size", batch_size, minimum=1)
    if not (isinstance(lr, int | float) and math.isfinite(lr) and lr > 0):
        msg = f"learning rate {lr!r} cannot be used; expected a number above 0, such as 1e-3"
        raise OptionError(msg)


def _folder_of_run(folder: Path, resume: bool) -> Path:
    if folder.exists() and not folder.is_dir():
        msg = f"{folder} is a file; choose another folder for the run (out=, --out)"
        raise DestinationExistsError(msg)
    if resume and not (folder / _COMPLETE).exists():
        return folder
    if (folder / CHECKPOINT).exists():
        msg = f"{folder} holds a run that was cut off; go on with it (resume=True, --resume), or "
        raise DestinationExistsError(msg + "choose another folder (out=, --out)")
    found = [name for name in _LEFT_BEHIND if (folder / name).exists()]
    found += [path.name for path in folder.glob("events.out.tfevents.*")][:1]
    if found:
        msg = f"{folder} holds a run already ({found[0]}); choose another folder (out=, --out)"
        raise DestinationExistsError(msg)
    return folder


def _datasets(
    store: Store, labels: tuple[str, ...], window: Window, missing: Missing
) -> dict[str, SpectraDataset]:
    if not labels or not store.labels:
        msg = f"{store.path}: nothing to learn; training needs a store with labels"
        raise LabelError(msg)
    parts = {
        split: SpectraDataset(store, split, labels, window, LogFlux(), ZScore(), missing)
        for split in ("train", "val", "test")
    }
    for split, part in parts.items():
        if len(part) == 0:
            msg = f"{store.path}: no star of {split!r} has all of {', '.join(labels)}"
            raise LabelError(msg + "; choose other labels")
    return parts


def _recipe(dataset: SpectraDataset, seed: int) -> Recipe:
    score, transform = dataset.target_transform, dataset.transform
    assert isinstance(transform, LogFlux)
    assert score is not None
    assert score.mean is not None
    assert score.std is not None
    return Recipe(
        n_pixels=dataset.n_pixels,
        labels=dataset.label_names,
        units=dataset.label_units,
        mean=tuple(score.mean.tolist()),
        std=tuple(score.std.tolist()),
        floor=transform.floor,
        fill=transform.fill,
        window=dataset.window,
        wavelength_range=wavelength_range(dataset),
        split_fingerprint=dataset.store.split_fingerprint,
        seed=seed,
    )


def _header(
    model: SpectraCNN, parts: dict[str, SpectraDataset], device: torch.device, num_workers: int
) -> str:
    stars = ", ".join(f"{len(part):,} {name}" for name, part in parts.items())
    return (
        f"{stars} stars of {model.n_pixels:,} pixels; {model.n_parameters:,} parameters on "
        f"{device} with {torch.get_num_threads()} threads; {num_workers} loader threads"
    )


def _run_epochs(
    model: SpectraCNN,
    loaders: dict[str, SpectraLoader],
    events: EventWriter,
    optimizer: torch.optim.Adam,
    checkpoint: RunCheckpoint,
    progress: bool,
    tell: Callable[[str], None],
) -> tuple[EpochRecord, ...]:
    epochs, so_far = checkpoint.settings.epochs, checkpoint.progress
    dataset: Any = loaders["val"].dataset
    true = dataset.targets
    assert model.recipe is not None
    while so_far.epoch <= epochs:
        epoch = so_far.epoch
        with _kept_when_cut(checkpoint):
            _train_epoch(
                model, loaders["train"], optimizer, checkpoint, f"epoch {epoch}/{epochs}", progress
            )
            start = time.perf_counter()
            scores, val_loss = predict_scaled(model, loaders["val"])
        validated = time.perf_counter() - start
        train_loss = so_far.total / so_far.stars
        predicted = model.recipe.target_transform.inverse(scores)
        record = EpochRecord(
            epoch=epoch,
            train_loss=train_loss,
            val_loss=val_loss,
            labels=label_metrics(predicted, true, model.recipe.labels, model.recipe.units),
            learning_rate=optimizer.param_groups[0]["lr"],
            spectra_per_s=so_far.stars / so_far.seconds,
            waiting_share=so_far.waited / so_far.seconds,
            seconds=so_far.seconds + validated,
        )
        events.epoch(record, model)
        so_far.finish_epoch(record, loaders["train"].state_dict())
        _write_history(so_far.history, checkpoint.path.parent)
        checkpoint.save()
        tell(
            f"epoch {epoch}/{epochs}: training loss {train_loss:.4f}, validation loss "
            f"{val_loss:.4f}, {record.spectra_per_s:.0f} spectra/s, waiting for data "
            f"{record.waiting_share:.1%}"
        )
    return tuple(so_far.history)


@contextmanager
def _kept_when_cut(checkpoint: RunCheckpoint) -> Iterator[None]:
    """Save the checkpoint when an interrupt or an error of the data ends the run."""
    try:
        yield
    except TrainingDivergedError:
        raise
    except BaseException as error:
        checkpoint.save()
        error.add_note(f"what was learnt is in {checkpoint.path}: go on with --resume")
        raise


def _train_epoch(
    model: SpectraCNN,
    loader: SpectraLoader,
    optimizer: torch.optim.Optimizer,
    checkpoint: RunCheckpoint,
    title: str,
    progress: bool,
) -> None:
    """Learn from what is left of an epoch, noting how far it is after each batch."""
    model.train()
    loss_function = nn.MSELoss()
    so_far = checkpoint.progress
    done = -(-so_far.stars // checkpoint.settings.batch_size)
    total = done + len(loader)
    hidden = None if progress else True
    with tqdm(total=total, initial=done, desc=title, delay=1, disable=hidden) as bar:
        asked = time.perf_counter()
        for number, (flux, labels) in enumerate(loader, start=done):
            arrived = time.perf_counter()
            loss = loss_function(model(flux), labels)
            optimizer.zero_grad()
            loss.backward()
            value = float(loss.detach())
            if not math.isfinite(value):
                msg = (
                    f"{title}, batch {number}: the loss is {value}; train with a smaller learning "
                    f"rate (lr=, --lr) and look at the labels with 'galahstream info'"
                )
                raise TrainingDivergedError(msg)
            # Weights and position belong together: an interrupt comes before or after both.
            with delayed_interrupts():
                optimizer.step()
                finished = time.perf_counter()
                so_far.total += value * len(flux)
                so_far.stars += len(flux)
                so_far.waited += arrived - asked
                so_far.seconds += finished - asked
                so_far.position = loader.state_dict()
            bar.set_postfix(loss=f"{value:.4f}", refresh=False)
            bar.update()
            asked = time.perf_counter()
            checkpoint.save_when_due()


def _write_history(history: Sequence[EpochRecord], folder: Path) -> None:
    rows = [record.as_row() for record in history]
    with (
        atomic_write(folder / "history.csv") as path,
        path.open("w", newline="", encoding="utf-8") as file,
    ):
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _write_results(
    result: TrainingResult,
    settings: dict[str, int | float | str],
    parts: dict[str, SpectraDataset],
) -> None:
    _write_history(result.history, result.out)
    metrics = {
        "test_loss": result.test_loss,
        "test": {label.name: asdict(label) for label in result.test},
        "train_loss": result.history[-1].train_loss,
        "val_loss": result.history[-1].val_loss,
        "seconds": result.seconds,
        "reference_seconds": REFERENCE_SECONDS,
        "stars": {name: len(part) for name, part in parts.items()},
        "parameters": result.model.n_parameters,
        "settings": settings,
    }
    with atomic_write(result.out / "metrics.json") as path:
        path.write_text(json.dumps(metrics, indent=1) + "\n", encoding="utf-8")
    save_model(result.model, result.out / "model.pt")
