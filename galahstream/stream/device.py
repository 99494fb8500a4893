"""Choosing where a network runs, and bringing batches there one ahead of it."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from galahstream.errors import DeviceError


def choose_device(name: str = "auto") -> torch.device:
    """Return a device by name; ``"auto"`` takes cuda, else mps, else cpu.

    Raises
    ------
    DeviceError
        If this machine does not have the device; the message lists those it has.
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    kinds = ["cpu"] if accelerator is None else [accelerator.type, "cpu"]
    if name == "auto":
        return torch.device(kinds[0])
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    known = device is not None and device.type in kinds
    if device is not None and known and device.type != "cpu" and device.index is not None:
        known = device.index < torch.accelerator.device_count()
    if device is None or not known:
        msg = f"device {name!r} is not on this machine; it has {', '.join(kinds)} (or 'auto')"
        raise DeviceError(msg)
    return device


def batch_memory(shape: tuple[int, int], device: torch.device) -> npt.NDArray[np.float32]:
    """Return memory for the flux of a batch: pinned for cuda, plain for all others."""
    if device.type == "cuda":
        pinned = torch.empty(shape, dtype=torch.float32, pin_memory=True)
        return pinned.numpy()
    return np.empty(shape, dtype=np.float32)


def to_device(batches: Iterable[Any], device: torch.device) -> Iterator[Any]:
    """Yield batches, tensors or tuples of them, on a device.

    On the CPU they are handed on as they are. MPS gets blocking copies: others
    read released memory in silence (pytorch issues 139550 and 189690). CUDA gets
    the next batch over a stream of its own while the last one is in use.
    """
    if device.type == "cpu":
        yield from batches
    elif device.type == "cuda":
        yield from _prefetch_to_cuda(batches, device)
    else:
        for batch in batches:
            yield _moved(batch, device)


def _moved(batch: Any, device: torch.device, *, non_blocking: bool = False) -> Any:
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=non_blocking and batch.is_pinned())
    return tuple(_moved(part, device, non_blocking=non_blocking) for part in batch)


def _prefetch_to_cuda(batches: Iterable[Any], device: torch.device) -> Iterator[Any]:
    side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    waiting: tuple[Any, Any, Any] | None = None
    for source in batches:
        with torch.cuda.stream(side):
            copy = _moved(source, device, non_blocking=True)
            arrived = side.record_event()
        if waiting is not None:
            yield _arrived(*waiting, device)
        waiting = (source, copy, arrived)
    if waiting is not None:
        yield _arrived(*waiting, device)


def _arrived(source: Any, copy: Any, arrived: Any, device: torch.device) -> Any:
    """Return a copy that the current stream may use, once nothing reads its source any more."""
    current = torch.cuda.current_stream(device)
    current.wait_event(arrived)
    for part in (copy,) if isinstance(copy, torch.Tensor) else copy:
        part.record_stream(current)
    arrived.synchronize()  # the loader may use the source's memory again from here on
    del source
    return copy
