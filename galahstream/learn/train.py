"""Train a network on a store."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import torch

from galahstream.errors import DestinationExistsError, OptionError
from galahstream.learn.checkpoint import Checkpoint, CheckpointSaver, RunSettings
from galahstream.learn.data import Datasets, Loaders, make_loaders, open_datasets
from galahstream.learn.distributed import Ranks, joined_ranks
from galahstream.learn.header import run_header
from galahstream.learn.losses import LossName, make_loss
from galahstream.learn.models import Model, make_network
from galahstream.learn.observers.best_model import BestModelWriter
from galahstream.learn.observers.console import ConsoleObserver
from galahstream.learn.observers.history import HistoryWriter, write_history
from galahstream.learn.observers.pictures import PictureWriter
from galahstream.learn.observers.tensorboard import EventWriter
from galahstream.learn.recipe import Recipe
from galahstream.learn.record import RunRecord
from galahstream.learn.results import LabelPairs, TrainingResult
from galahstream.learn.run import RunFolder, TrainOptions
from galahstream.learn.schedule import ScheduleName
from galahstream.learn.trained_model import TrainedModel, save_model
from galahstream.learn.trainer import Trainer
from galahstream.learn.training_sample import TrainingSample
from galahstream.plots import figures
from galahstream.store import SpectraStore
from galahstream.stream.augmentation import Augmentation
from galahstream.stream.label_table import Missing
from galahstream.survey.labels import DEFAULT_LABELS
from galahstream.survey.windows import Window
from galahstream.system.atomic import atomic_write

Log = Callable[[str], None]


def train(
    store: SpectraStore | str | os.PathLike[str],
    out: str | os.PathLike[str] = "runs/first",
    *,
    epochs: int = 10,
    batch_size: int = 32,
    lr: float = 1e-3,
    seed: int = 42,
    device: str = "auto",
    labels: Sequence[str] = DEFAULT_LABELS,
    window: Window = None,
    model: Model = "reference",
    missing: Missing = "raise",
    num_workers: int = 2,
    shuffle_block: int | None = None,
    augment: Augmentation | str | None = None,
    loss: LossName = "mse",
    label_errors: bool = False,
    schedule: ScheduleName = "constant",
    patience: int | None = None,
    clip_norm: float | None = None,
    overfit_batch: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
    report: Log | None = None,
) -> TrainingResult:
    """Train the network on a store: Adam on the error of z-scored labels.

    Parameters
    ----------
    store : SpectraStore or path-like
        A store with labels.
    out : path-like
        Folder of the run: TensorBoard events, `checkpoint.pt`, `history.csv`,
        `model.pt` of the last epoch, `best.pt` of that with the lowest validation loss,
        `metrics.json`, and pictures if matplotlib is installed
        (docs/predictions.md).
    epochs, batch_size : int
        At least 1. Of several ranks, each has `batch_size` stars of every batch.
    lr : float
        Learning rate of Adam, above 0.
    seed : int
        Seed of the weights and of the order, 0 to 2⁶³ - 1.
    device : str
        ``"auto"`` chooses cuda, else mps, else cpu.
    labels : sequence of str
        The labels to predict.
    window : str, (float, float), sequence of them, mask, or None
        What to learn from, as in :class:`~galahstream.SpectraDataset`: a camera, a range in
        Å, several of them, a mask, or a named selection; None for all pixels.
    model : str, Module or callable
        The network: a name of :func:`~galahstream.models`, or one of your own, which turns
        (B, L) into (B, K) or a :class:`~galahstream.learn.models.base.Prediction`. Your own is
        trained from the weights that it has. Of a class, or a function that makes it, `seed`
        decides the weights; it is called with `n_pixels` and `n_labels` if it has parameters of
        these names. :func:`~galahstream.load_model` needs it again.
    missing : {"raise", "drop", "mask"}
        What to do with stars that lack a label: an error, skipping them, or using the labels
        that they have. With ``"mask"`` stars without any label are skipped.
    num_workers : int
        Threads that prepare batches.
    shuffle_block : int, optional
        Shuffle blocks of this many stars, for a store larger than memory.
    augment : AddNoise, ShiftVelocity, MaskPixels, Compose, str or None
        Random changes of the training stars, new in each epoch, or their text form, such as
        ``"noise=20:200,velocity=2,mask=0.02"``. Validation and test stars stay as they are.
    loss : {"mse", "nll", "full-nll"}
        What is minimised, per scaled label: the mean squared error, or the negative logarithm of
        a Gaussian likelihood, with a predicted variance of each label, or with the covariance
        matrix of all labels. The last two give predictions an uncertainty.
    label_errors : bool
        Let the errors of the labels (columns ``e_teff`` of ``teff`` and so on) enter the loss:
        as weights 1 / (1 + (σ / 0.1)²) for ``"mse"``, σ in standard deviations of the label,
        otherwise added to the predicted variance.
    schedule : {"constant", "cosine", "plateau"}
        The learning rate of each epoch: `lr`, or falling from it to nearly 0 in the last one, or
        halved after every 3 epochs in a row without a better validation loss.
    patience : int, optional
        Stop after this many epochs in a row without a better validation loss.
    clip_norm : float, optional
        Scale the gradients of a step down to this norm where theirs is larger.
    overfit_batch : bool
        Learn the first batch over and over, to see that the network can: its loss should fall
        to nearly 0. Such a model is of no further use.
    resume : bool
        Resume the interrupted run in `out` in mid-epoch, continue a finished one to
        more epochs, or start if there is none. On the CPU the weights are those of
        an uninterrupted run, bit for bit; device and number of workers may change.
    overwrite : bool
        Replace the run in `out`: its files are kept in the folder ``.replaced-run`` in it
        until the new run is finished. A folder that holds anything else is not touched.
    progress : bool
        Show a progress bar on a terminal.
    report : callable, optional
        Called with one line of text at the start and after each epoch.

    Returns
    -------
    TrainingResult

    Notes
    -----
    Under torchrun, or where ``torch.distributed`` is initialised, the processes train one network
    together; the first one alone writes the run (docs/devices.md).

    Raises
    ------
    GalahStreamError
        If an option, the network, the labels, the device or the folder cannot be used, if the
        checkpoint belongs to other settings, if another process trains in the
        folder, or if the loss is not finite.
    """
    options = TrainOptions(
        epochs=epochs,
        batch_size=batch_size,
        lr=lr,
        seed=seed,
        device=device,
        labels=labels,
        window=window,
        model=model,
        missing=missing,
        num_workers=num_workers,
        shuffle_block=shuffle_block,
        augment=augment,
        loss=loss,
        label_errors=label_errors,
        schedule=schedule,
        patience=patience,
        clip_norm=clip_norm,
        overfit_batch=overfit_batch,
    )
    if resume and overwrite:
        msg = "a run is either resumed or replaced; give resume (--resume) or overwrite "
        raise OptionError(msg + "(--overwrite)")
    with joined_ranks(options.device) as (ranks, place):
        with ranks.together():
            folder = RunFolder.at(out)
            datasets = open_datasets(store, options)
            log = report if report is not None and ranks.is_first else lambda line: None
            run = _Run(folder, options, datasets, log, ranks, place)
        with ExitStack() as closing:
            closing.callback(run.loaders.close)
            ranks.check_equal(run.identity)
            with ranks.together():
                if ranks.is_first:
                    closing.enter_context(folder.locked())
                    if overwrite:
                        folder.set_aside()
                    folder.check_usable(resume=resume)
            return run.train(resume=resume, progress=progress)


class _Run:
    """A trainer with the observers and files of a run.

    The constructor does not touch the folder, so that options that cannot be used
    leave nothing behind.
    """

    def __init__(
        self,
        folder: RunFolder,
        options: TrainOptions,
        datasets: Datasets,
        log: Log,
        ranks: Ranks,
        device: torch.device,
    ) -> None:
        self.folder, self.options, self.datasets, self.log = folder, options, datasets, log
        self.ranks = ranks
        torch.manual_seed(options.seed)
        train, loss = datasets.train, make_loss(options.loss)
        network = make_network(options.model, train.n_pixels, len(train.label_names), loss.output)
        ranks.draw_apart()
        self.model = TrainedModel(network, Recipe.of_dataset(train, options.seed), options.loss)
        self.loaders: Loaders = make_loaders(datasets, options, device, ranks)
        self.model.to(device)
        self.trainer = Trainer(self.model, self.loaders, options, loss, ranks)
        self.settings = RunSettings.of_options(
            options, train.store.fingerprint, network.name, ranks.world_size
        )

    @property
    def identity(self) -> dict[str, object]:
        """What must be equal for all ranks."""
        return {
            **vars(self.settings),
            "split": self.datasets.train.store.split_fingerprint,
            "epochs": self.options.epochs,
            "patience": self.options.patience,
        }

    def train(self, *, resume: bool, progress: bool) -> TrainingResult:
        """Train all epochs that are left, test, and write all files of the run."""
        for line in run_header(self.trainer, self.datasets):
            self.log(line)
        checkpoint = Checkpoint(self.folder.checkpoint, self.settings)
        if self.ranks.of_first(resume and checkpoint.path.exists()):
            self._resume(checkpoint)
        if self.ranks.is_first:
            self._observe(checkpoint, resume=resume, progress=progress)
        observers = self.trainer.observers
        try:
            for observer in observers:
                observer.started(self.model.network)
            self.trainer.fit()
            return self._finish()
        finally:
            for observer in observers:
                observer.close()

    def _observe(self, checkpoint: Checkpoint, *, resume: bool, progress: bool) -> None:
        """Let the trainer's observers write the files of the run."""
        first_epoch = self.trainer.state.epoch if resume else None
        observers = self.trainer.observers
        if figures.has_matplotlib():
            loss = self.trainer.loss.description
            observers.append(PictureWriter(self.folder, loss, self.datasets.test))
        observers += [
            EventWriter(self.folder, first_epoch),  # after the pictures, which it shows
            HistoryWriter(self.folder.history, self.trainer.state.history),
            BestModelWriter(
                self.folder.best_model, self.model, self.trainer.state.history, self.datasets
            ),
            CheckpointSaver(checkpoint, self.trainer),
            ConsoleObserver(self.options.epochs, self.log, progress=progress),
        ]

    def _finish(self) -> TrainingResult:
        pairs, test_loss = self.trainer.test()
        with self.ranks.together():
            result = self._result(pairs, test_loss)
            if self.ranks.is_first:
                self._write(result, pairs)
        return result

    def _result(self, pairs: LabelPairs, test_loss: float) -> TrainingResult:
        recipe, test = self.model.recipe, self.datasets.test
        self.model.sample = TrainingSample.of_datasets(
            self.model.network, self.datasets.train, self.datasets.val
        )
        return TrainingResult(
            model=self.model.to("cpu").eval(),
            out=self.folder.path,
            history=tuple(self.trainer.state.history),
            test_loss=test_loss,
            test=pairs.metrics(recipe),
            test_groups=pairs.group_metrics(recipe, test.store, test.rows),
            stars=self.datasets.counts,
            options=self.options,
            device=str(self.loaders.train.device),
            record=RunRecord.of_run(
                test.store, self.options, self.folder.path, self.ranks.world_size
            ),
            notes=tuple(self._notes()),
            ranks=self.ranks.world_size,
        )

    def _write(self, result: TrainingResult, pairs: LabelPairs) -> None:
        """Write the results, the last of which says that the run is finished."""
        write_history(result.history, self.folder.history)
        save_model(result.model, self.folder.model)
        for observer in self.trainer.observers:
            observer.finished(result, pairs)
        with atomic_write(self.folder.metrics) as path:
            text = json.dumps(result.as_dict(), indent=1, allow_nan=False)
            path.write_text(text + "\n", encoding="utf-8")
        self.folder.discard_replaced()

    def _notes(self) -> Iterator[str]:
        history = self.trainer.state.history
        if self.trainer.has_stopped_early:
            yield (
                f"training stopped after epoch {len(history)} of {self.options.epochs}: "
                f"{self.options.patience} epochs without a better validation loss"
            )
        if self.options.overfit_batch:
            yield (
                f"only one batch was learned, over and over: its loss went from "
                f"{history[0].train_loss:.3g} to {history[-1].train_loss:.3g}; this model is of no "
                f"further use"
            )
        if not figures.has_matplotlib():
            yield "no pictures: pip install 'galahstream[plots]'"

    def _resume(self, checkpoint: Checkpoint) -> None:
        with self.ranks.together():
            if self.ranks.is_first:
                checkpoint.load(self.trainer)
                self._check_unfinished()
        snapshot = self.trainer.snapshot() if self.ranks.is_first else None
        first = self.ranks.of_first(snapshot)
        if first is not None and not self.ranks.is_first:
            self.trainer.restore(first)
            self.ranks.draw_apart()
        state, epochs = self.trainer.state, self.options.epochs
        if self.trainer.is_finished:
            self.log(f"all {state.epoch - 1} epochs are trained")
        else:
            stars = f"{state.stars:,} of its stars"
            self.log(f"resuming in epoch {state.epoch} of {epochs}, after {stars}")

    def _check_unfinished(self) -> None:
        trained = self.trainer.state.epoch - 1
        if self.trainer.is_finished and self.folder.finished_epochs() == trained:
            stopped, more = "", "epochs (epochs=, --epochs)"
            if self.trainer.has_stopped_early:
                stopped, more = " that stopped early", "patience (patience=, --patience)"
            msg = (
                f"{self.folder.path} holds a finished run of {trained} epochs{stopped} (model.pt); "
                f"continue it with more {more}, or choose another folder (out=, --out)"
            )
            raise DestinationExistsError(msg)
