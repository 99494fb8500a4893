"""What a run says before it begins: what is trained, on what, how, and why it was chosen."""

from collections.abc import Iterator

import torch

from galahstream.learn.data import Datasets
from galahstream.learn.run import TrainOptions
from galahstream.learn.trainer import Trainer
from galahstream.stream.kernels import best_backend
from galahstream.stream.sampling import can_measure_shuffle, shuffle_quality

_DEFAULTS = TrainOptions()


def run_header(trainer: Trainer, datasets: Datasets) -> Iterator[str]:
    """Yield the lines that describe a run, each beginning with what it is about."""
    options, model = trainer.options, trainer.model
    counts = ", ".join(f"{count:,} {name}" for name, count in datasets.counts._asdict().items())
    yield f"stars: {counts}, of {model.n_pixels:,} pixels"
    dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
    yield (
        f"model: {model.network.name}, {model.n_parameters:,} parameters "
        f"({_reason(options, 'model')})"
    )
    yield f"device: {_device(trainer)}"
    yield f"dtype: {dtype} (as in the batches of the loader)"
    yield f"kernels: {_kernels()}"
    yield f"optimiser: {_optimiser(trainer)}"
    yield f"batches: {_batches(trainer)}"
    yield f"workers: {_workers(options)}"
    yield from _special_settings(trainer)


def _reason(options: TrainOptions, name: str) -> str:
    is_default = getattr(options, name) == getattr(_DEFAULTS, name)
    return "the default" if is_default else "as asked"


def _device(trainer: Trainer) -> str:
    device = trainer.loaders.train.device
    threads = f", torch threads: {torch.get_num_threads()}" if device.type == "cpu" else ""
    if trainer.options.device != "auto":
        reason = "as asked"
    elif device.type == "cpu":
        reason = "torch finds no accelerator"
    else:
        reason = "an accelerator goes before the cpu"
    return f"{device}{threads} ({reason})"


def _kernels() -> str:
    backend = best_backend()
    if not backend.problem:
        return f"{backend.name} (compiled, since it is installed)"
    return f"{backend.name} (numba cannot be used: {backend.problem})"


def _optimiser(trainer: Trainer) -> str:
    options = trainer.options
    if trainer.optimizer.defaults["fused"]:
        form = "fused"
    else:
        form = f"not fused, as torch cannot do it on {trainer.loaders.train.device.type}"
    clipping = "" if options.clip_norm is None else f", gradients of norm {options.clip_norm:g}"
    return f"Adam, {form}; learning rate {options.lr:g}, {options.schedule}{clipping}"


def _batches(trainer: Trainer) -> str:
    options, ranks = trainer.options, trainer.ranks.world_size
    size = f"{options.batch_size} stars"
    if ranks > 1:
        size = f"{trainer.global_batch_size} stars, {size} on each of {ranks} ranks"
    return f"{size}, {len(trainer.loaders.train)} per epoch ({_reason(options, 'batch_size')})"


def _workers(options: TrainOptions) -> str:
    reason = _reason(options, "num_workers")
    if options.num_workers == 0:
        return f"none, the main thread loads the data ({reason})"
    plural = "" if options.num_workers == 1 else "s"
    return f"{options.num_workers} thread{plural} to load data ({reason})"


def _special_settings(trainer: Trainer) -> Iterator[str]:
    options = trainer.options
    if options.loss != "mse" or options.label_errors:
        errors = " and errors of labels" if options.label_errors else ""
        yield f"loss: {trainer.loss.description}{errors}"
    if options.patience is not None:
        yield f"patience: stop after {options.patience} epochs without a better validation loss"
    if options.augment is not None:
        yield f"augmentation: training stars are changed by {options.augment}"
    if options.overfit_batch:
        size = min(options.batch_size, trainer.n_stars)
        yield f"overfitting: every batch is the same {size} stars, to see if the network can learn"
    if options.shuffle_block is not None:
        yield _describe_shuffle(trainer)


def _describe_shuffle(trainer: Trainer) -> str:
    order, size = trainer.loaders.train.order.rows(), trainer.options.batch_size
    if not can_measure_shuffle(len(order), size):
        return f"block shuffle: {len(order)} stars are too few to measure how they are mixed"
    return str(shuffle_quality(order, size))
