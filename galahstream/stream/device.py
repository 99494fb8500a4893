"""Choose the device that a network runs on, and copy batches to it one ahead."""

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data._utils.pin_memory import pin_memory

from galahstream.errors import DeviceError

_Batch = TypeVar("_Batch")


def choose_device(name: str = "auto") -> torch.device:
    """Return a device by name.

    Parameters
    ----------
    name : str
        Such as ``"cpu"`` or ``"cuda:1"``; ``"auto"`` takes CUDA, else MPS, else the CPU.

    Raises
    ------
    DeviceError
        If this machine does not have the device; the message lists those that it has.
    """
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    kinds = ["cpu"] if accelerator is None else [accelerator.type, "cpu"]
    if name == "auto":
        return torch.device(kinds[0])
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    exists = device is not None and device.type in kinds
    if device is not None and exists and device.type != "cpu" and device.index is not None:
        exists = device.index < torch.accelerator.device_count()
    if device is None or not exists:
        msg = f"device {name!r} is not on this machine; it has {', '.join(kinds)} (or 'auto')"
        raise DeviceError(msg)
    return device


def batch_memory(shape: tuple[int, int], device: torch.device) -> npt.NDArray[np.float32]:
    """Return memory for the flux of a batch: pinned for CUDA, plain for other devices."""
    if device.type == "cuda":
        pinned = torch.empty(shape, dtype=torch.float32, pin_memory=True)
        return pinned.numpy()
    return np.empty(shape, dtype=np.float32)


def pin_batch(batch: _Batch) -> _Batch:
    """Return a batch whose tensors are in pinned memory; those that are already stay."""
    pinned: _Batch = pin_memory(batch)  # type: ignore[no-untyped-call]
    return pinned


def to_device(batches: Iterable[_Batch], device: torch.device) -> Iterator[_Batch]:
    """Return an iterator over batches on a device: tensors, or tuples and mappings of them.

    On the CPU they are returned unchanged. MPS gets blocking copies: non-blocking
    ones silently read released memory (pytorch issues 139550 and 189690). CUDA gets
    the next batch over a side stream while the last one is in use.
    """
    if device.type == "cpu":
        return iter(batches)
    if device.type == "cuda":
        return _prefetch_to_cuda(batches, device)
    return (_copy(batch, device) for batch in batches)


def _copy(batch: Any, device: torch.device, *, non_blocking: bool = False) -> Any:
    if isinstance(batch, torch.Tensor):
        return batch.to(device, non_blocking=non_blocking and batch.is_pinned())
    copy = partial(_copy, device=device, non_blocking=non_blocking)
    if isinstance(batch, Mapping):
        return {name: copy(item) for name, item in batch.items()}
    return tuple(map(copy, batch)) if isinstance(batch, tuple | list) else batch


def _tensors_in(batch: Any) -> Iterator[torch.Tensor]:
    if isinstance(batch, torch.Tensor):
        yield batch
    elif isinstance(batch, Mapping | tuple | list):
        for item in batch.values() if isinstance(batch, Mapping) else batch:
            yield from _tensors_in(item)


def _prefetch_to_cuda(batches: Iterable[Any], device: torch.device) -> Iterator[Any]:
    side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    waiting: tuple[Any, Any, Any] | None = None
    for source in batches:
        with torch.cuda.stream(side):
            copy = _copy(source, device, non_blocking=True)
            arrived = side.record_event()
        if waiting is not None:
            yield _synchronized(*waiting, device)
        waiting = (source, copy, arrived)
    if waiting is not None:
        yield _synchronized(*waiting, device)


def _synchronized(source: Any, copy: Any, arrived: Any, device: torch.device) -> Any:
    """Return a copy that the current stream may use, once nothing reads its source any more."""
    current = torch.cuda.current_stream(device)
    current.wait_event(arrived)
    for tensor in _tensors_in(copy):
        tensor.record_stream(current)
    arrived.synchronize()  # the memory of the source may be reused from here on
    del source
    return copy
