"""Measure the parts of training on a store: reading, verification, decoding, transfer and step."""

import math
import mmap
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import islice, repeat
from statistics import median

import numpy as np
import numpy.typing as npt
import psutil
import torch

from galahstream.errors import OptionError
from galahstream.learn.data import make_loaders, open_datasets
from galahstream.learn.diagnosis import Diagnosis, Rates, Setting
from galahstream.learn.losses import make_loss
from galahstream.learn.models import make_network
from galahstream.learn.models.base import SpectraNetwork
from galahstream.learn.optimizer import make_adam
from galahstream.learn.run import TrainOptions
from galahstream.learn.step import TrainingStep
from galahstream.store.readers import RowSpan
from galahstream.store.store import Store, open_store
from galahstream.stream.dataset import SpectraDataset
from galahstream.stream.device import batch_memory, choose_device, to_device
from galahstream.stream.kernels import best_backend
from galahstream.stream.loader import SpectraLoader
from galahstream.system.progress import progress_bar

# Each part is measured this many times, in turn with the others.
_ROUNDS = 3
# A single batch says little.
_MIN_BATCHES = 3


def examine(
    path: str | os.PathLike[str],
    options: TrainOptions | None = None,
    *,
    seconds: float = 2.0,
    progress: bool = True,
) -> Diagnosis:
    """Measure what bounds training on a store.

    Parameters
    ----------
    path : path-like
        A store with labels.
    options : TrainOptions, optional
        Those of the training; the number of epochs does not matter.
    seconds : float
        Time of each measurement.
    progress : bool
        Show a progress bar on a terminal.

    Returns
    -------
    Diagnosis

    Raises
    ------
    GalahStreamError
        If an option, the labels or the device cannot be used.

    Notes
    -----
    Nothing is written, and the training stars are read only. Rows are verified in one
    measurement and in no other.
    """
    options = options or TrainOptions()
    if not seconds > 0 or not math.isfinite(seconds):
        msg = f"seconds={seconds!r} cannot be used; expected a time above 0 (seconds=, --seconds)"
        raise OptionError(msg)
    with open_store(path, verify="open") as store:
        examination = _Examination(store, options, seconds)
        try:
            return Diagnosis(examination.rates(progress=progress), examination.setting())
        finally:
            examination.loader.close()


class _Examination:
    """The training of a run, in parts that are timed; the sample is what is read first."""

    def __init__(self, store: Store, options: TrainOptions, seconds: float) -> None:
        self.store, self.options, self.seconds = store, options, seconds
        self.device = choose_device(options.device)
        datasets = open_datasets(store, options)
        self.dataset: SpectraDataset = datasets.train
        self.loader = make_loaders(datasets, options, self.device).train
        # One thread, without the device: what one worker does.
        self.worker = make_loaders(
            datasets, replace(options, num_workers=0), torch.device("cpu")
        ).train
        self.n_batches = 0
        torch.manual_seed(options.seed)
        loss = make_loss(options.loss)
        sizes = self.dataset.n_pixels, len(self.dataset.label_names)
        network = make_network(options.model, *sizes, loss.output)
        self.network: SpectraNetwork = network.to(self.device)
        optimizer = make_adam(network.parameters(), options.lr, self.device)
        self.step = TrainingStep(self.network, loss, optimizer, options.clip_norm)

    def setting(self) -> Setting:
        """Return what was measured with."""
        return Setting(
            device=str(self.device),
            model=self.network.name,
            batch_size=self.options.batch_size,
            num_workers=self.options.num_workers,
            cores=os.cpu_count() or 1,
            kernels=best_backend().name,
            shuffle_block=self.options.shuffle_block,
            dtype=str(self.store.flux.dtype),
            access=self.store.flux.access,
            store_bytes=self.store.describe().bytes,
            free_memory=psutil.virtual_memory().available,
        )

    def rates(self, *, progress: bool) -> Rates:
        """Measure every part, the first reading before all others, and return medians."""
        parts: dict[str, Callable[[], Iterator[int]]] = {
            "data": self._data,
            "reading": self._reading,
            "verification": self._verification,
            "decoding": self._decoding,
            "step": self._steps,
            "together": self._training,
        }
        if self.device.type != "cpu":
            parts["transfer"] = self._transfers
        measured: dict[str, list[float]] = {name: [] for name in parts}
        n_measurements = 1 + _ROUNDS * len(parts)
        with progress_bar(n_measurements, "measuring", unit="", enabled=progress) as bar:
            first_data = self._first_data()
            bar.update()
            for _ in range(_ROUNDS):
                for name, part in parts.items():
                    measured[name].append(self._rate(part()))
                    bar.update()
        middle = {name: median(values) for name, values in measured.items()}
        transfer = middle.pop("transfer", None)
        return Rates(first_data=first_data, transfer=transfer, **middle)

    def _first_data(self) -> float:
        """Return the rate of the first batches, which become the sample."""
        self.dataset[:1]  # compiles the kernels
        n_stars, started_at = 0, time.perf_counter()
        for flux, *_ in self.loader:
            n_stars += len(flux)
            self.n_batches += 1
            if time.perf_counter() - started_at > self.seconds:
                break
        self._synchronize()
        return n_stars / (time.perf_counter() - started_at)

    def _rate(self, counts: Iterator[int]) -> float:
        """Return stars/s of work that yields numbers of stars forever."""
        next(counts)  # warms up
        self._synchronize()
        n_stars, started_at = 0, time.perf_counter()
        for number, count in enumerate(counts, 1):
            n_stars += count
            is_long_enough = time.perf_counter() - started_at > self.seconds / _ROUNDS
            if is_long_enough and number >= _MIN_BATCHES:
                break
        self._synchronize()
        return n_stars / (time.perf_counter() - started_at)

    def _batches(self, loader: SpectraLoader) -> Iterator[tuple[torch.Tensor, ...]]:
        """Yield the batches of the sample again and again."""
        while True:
            loader.set_epoch(0)
            yield from islice(loader, self.n_batches)

    def _data(self) -> Iterator[int]:
        return (len(flux) for flux, *_ in self._batches(self.loader))

    def _decoding(self) -> Iterator[int]:
        return (len(flux) for flux, *_ in self._batches(self.worker))

    def _training(self) -> Iterator[int]:
        return (self._learn(*batch) for batch in self._batches(self.loader))

    def _steps(self) -> Iterator[int]:
        batch = next(self._batches(self.loader))
        while True:
            yield self._learn(*batch)

    def _transfers(self) -> Iterator[int]:
        flux, *targets = next(self._batches(self.worker))
        memory = batch_memory((len(flux), self.dataset.n_pixels), self.device)
        memory[:] = flux
        batch = (torch.from_numpy(memory), *targets)
        while True:
            yield from (len(flux) for flux, *_ in to_device(repeat(batch, 100), self.device))

    def _reading(self) -> Iterator[int]:
        # A value of each page of memory.
        step = mmap.PAGESIZE // self.store.flux.dtype.itemsize
        touch = partial(_touch, np.arange(0, self.store.n_pixels, step))
        for rows in self._rows():
            self.store.flux.read(rows, touch)
            yield len(rows)

    def _verification(self) -> Iterator[int]:
        for rows in self._rows():
            self.store.flux.find_damaged(rows)
            yield len(rows)

    def _rows(self) -> Iterator[npt.NDArray[np.int64]]:
        """Yield the rows of each batch of the sample in the store, again and again."""
        size = self.options.batch_size
        rows = self.dataset.rows[self.loader.order.rows(0)[: size * self.n_batches]]
        while True:
            yield from (rows[first : first + size] for first in range(0, len(rows), size))

    def _learn(self, flux: torch.Tensor, *targets: torch.Tensor) -> int:
        self.step.differentiate(flux, *targets)
        self.step.update()
        return len(flux)

    def _synchronize(self) -> None:
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)


def _touch(offsets: npt.NDArray[np.int64], span: RowSpan) -> None:
    """Read some values of each row: a mapped row is read when its values are."""
    span.buffer[span.starts[:, None] + offsets].sum()
