"""Options of a loader that change how batches are made, and never what is in them."""

import multiprocessing
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from typing import Any, Literal, TypeAlias, TypedDict, get_args

import torch

from galahstream.errors import OptionError
from galahstream.stream.device import choose_device
from galahstream.system.processes import safe_start_method
from galahstream.validation import check_choice, check_count, shown

WorkerType: TypeAlias = Literal["thread", "process"]
WorkerInit: TypeAlias = Callable[[int], None]
CollateFunction: TypeAlias = Callable[[Any], Any]

GROUP_BYTES = 8 * 1024 * 1024
"""Bytes of flux up to which consecutive batches are read together: handing one request to a
worker costs as much as reading a row or two."""


class DataLoaderKeywords(TypedDict, total=False):
    """The further keywords of :class:`torch.utils.data.DataLoader`."""

    collate_fn: CollateFunction | None
    pin_memory: bool
    timeout: float
    worker_init_fn: WorkerInit | None
    multiprocessing_context: str | BaseContext | None
    generator: torch.Generator | None
    prefetch_factor: int | None
    persistent_workers: bool
    pin_memory_device: str
    in_order: bool


@dataclass(frozen=True)
class StreamOptions:
    """How many workers of which kind read batches, how far ahead, and where batches go.

    Attributes
    ----------
    num_workers : int
    worker_type : {"thread", "process"}
    device : torch.device
    memory_budget : int or None
        Bytes of a mapped store that may be resident.
    prefetch_factor : int or None
        Batches that each worker reads ahead; None chooses.
    timeout : float
        Seconds to wait for a batch of a worker; 0 waits as long as it takes.
    pin_memory : bool
        Whether batches that stay on the CPU are handed over in pinned memory.
    multiprocessing_context : str, BaseContext or None
        How worker processes start; None takes forkserver, or spawn without it.
    worker_init_fn : callable or None
        Called with its number in each worker process.
    """

    num_workers: int = 0
    worker_type: WorkerType = "thread"
    device: torch.device = torch.device("cpu")  # noqa: RUF009  immutable
    memory_budget: int | None = None
    prefetch_factor: int | None = None
    timeout: float = 0.0
    pin_memory: bool = False
    multiprocessing_context: str | BaseContext | None = None
    worker_init_fn: WorkerInit | None = None

    @classmethod
    def checked(
        cls,
        num_workers: int,
        worker_type: WorkerType,
        device: str | torch.device | None,
        memory_budget: int | None,
        keywords: DataLoaderKeywords,
    ) -> "StreamOptions":
        """Return the options of a loader as plain Python objects.

        Raises
        ------
        OptionError
            For a value that cannot be used, or a keyword that could have no effect.
        DeviceError
            For a device that this machine does not have.
        TypeError
            For a keyword that :class:`torch.utils.data.DataLoader` does not have.
        """
        check_choice("worker_type", worker_type, get_args(WorkerType))
        workers = check_count("num_workers", num_workers, minimum=0)
        _check_keywords(keywords, workers, worker_type)
        prefetch_factor = keywords.get("prefetch_factor")
        target = torch.device("cpu") if device is None else choose_device(str(device))
        return cls(
            num_workers=workers,
            worker_type=worker_type,
            device=target,
            memory_budget=_optional_count("memory_budget", memory_budget),
            prefetch_factor=_optional_count("prefetch_factor", prefetch_factor),
            timeout=_checked_timeout(keywords.get("timeout", 0)),
            pin_memory=bool(keywords.get("pin_memory")) and _can_pin(target),
            multiprocessing_context=keywords.get("multiprocessing_context"),
            worker_init_fn=keywords.get("worker_init_fn"),
        )

    @property
    def buffer_device(self) -> torch.device:
        """The device that the memory of batches is made for: pinned for CUDA, plain for others."""
        accelerator = torch.accelerator.current_accelerator() if self.pin_memory else None
        return self.device if accelerator is None else accelerator

    @property
    def reader_budget(self) -> int | None:
        """The share of the memory budget that one process may have resident."""
        if self.memory_budget is None or self.worker_type == "thread":
            return self.memory_budget
        return max(self.memory_budget // max(self.num_workers, 1), 1)

    def start_context(self) -> BaseContext:
        """Return the context that starts worker processes."""
        context = self.multiprocessing_context or safe_start_method()
        return multiprocessing.get_context(context) if isinstance(context, str) else context

    def batches_per_request(self, batch_bytes: int) -> int:
        """Return the number of batches that are read together, at least 1."""
        batches = max(GROUP_BYTES // max(batch_bytes, 1), 1)
        return batches if self.prefetch_factor is None else min(batches, self.prefetch_factor)

    def depth(self, batches_per_request: int) -> int:
        """Return the number of requests that are in flight beyond the one handed over."""
        if self.prefetch_factor is None:
            return self.num_workers + 1  # few, so that reused buffers are still in the CPU cache
        return self.prefetch_factor * self.num_workers // batches_per_request


def _check_keywords(keywords: DataLoaderKeywords, num_workers: int, worker_type: str) -> None:
    """Raise an error for keywords that could have no effect; their defaults always pass."""
    unknown = sorted(set(keywords) - set(DataLoaderKeywords.__annotations__))
    if unknown:
        msg = f"SpectraLoader() got an unexpected keyword argument {unknown[0]!r}"
        raise TypeError(msg)
    if keywords.get("generator") is not None:
        msg = (
            "generator cannot be used; the order is a function of seed and epoch alone: give "
            "seed= instead"
        )
        raise OptionError(msg)
    if not keywords.get("in_order", True):
        msg = (
            "in_order=False cannot be used; batches always come in order, so that a run can resume"
        )
        raise OptionError(msg)
    _check_pin_memory_device(keywords.get("pin_memory_device"))
    for name in ("prefetch_factor", "persistent_workers", "timeout", "multiprocessing_context"):
        if keywords.get(name) and not num_workers:
            msg = f"{name} {shown(keywords.get(name))} needs workers; give num_workers=1 or more"
            raise OptionError(msg)
    if num_workers and worker_type == "thread":
        for name in ("worker_init_fn", "multiprocessing_context"):
            if keywords.get(name) is not None:
                msg = f"{name} is for worker processes; give worker_type='process' with it"
                raise OptionError(msg)
    _check_start_method(keywords.get("multiprocessing_context"))


def _check_pin_memory_device(name: str | None) -> None:
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if name and (accelerator is None or torch.device(name).type != accelerator.type):
        msg = (
            f"pin_memory_device {name!r} cannot be used; memory is pinned for the accelerator of "
            f"this machine ({accelerator or 'none'}): leave it out"
        )
        raise OptionError(msg)


def _can_pin(device: torch.device) -> bool:
    """Return whether batches are to be pinned, and warn if this machine cannot do it."""
    if device.type == "cuda":
        return False  # batches arrive on the device, through buffers that are pinned anyway
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None or accelerator.type == "mps":
        name = "no accelerator" if accelerator is None else "MPS, which does not support it"
        warnings.warn(
            f"pin_memory=True has no effect: this machine has {name}", UserWarning, stacklevel=4
        )
        return False
    return device.type == "cpu"


def _check_start_method(context: object) -> None:
    if context is None or isinstance(context, BaseContext):
        return
    check_choice("multiprocessing_context", context, multiprocessing.get_all_start_methods())


def _checked_timeout(value: object) -> float:
    try:
        timeout = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        timeout = -1.0
    if not 0 <= timeout <= threading.TIMEOUT_MAX:
        msg = f"timeout {shown(value)} cannot be used; expected seconds, 0 or more"
        raise OptionError(msg)
    return timeout


def _optional_count(name: str, value: object) -> int | None:
    return None if value is None else check_count(name, value, minimum=1)
