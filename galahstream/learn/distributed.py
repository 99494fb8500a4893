"""The ranks that train one network together: who they are, and what they exchange.

A rank is a process with its own share of every batch. Alone, a process is rank 0 of 1, and
exchanges nothing.

Examples
--------
>>> alone = Ranks()
>>> alone.share(5)
range(0, 5)
>>> Ranks(rank=1, world_size=2).share(5)
range(2, 5)
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import distributed, nn

from galahstream.errors import DeviceError, RankError
from galahstream.stream.device import choose_device
from galahstream.system.launch import launched_by_torchrun

TIME_LIMIT = timedelta(minutes=10)
"""How long ranks wait for one another: the first one draws pictures and writes files alone."""

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Ranks:
    """One of the ranks that train together.

    Attributes
    ----------
    rank, world_size : int
        The number of this rank, from 0, and how many there are.
    """

    rank: int = 0
    world_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that writes files and messages."""
        return self.rank == 0

    def share(self, n: int) -> range:
        """Return which of `n` items are this rank's; those of all ranks are all, in order."""
        start, end = (n * rank // self.world_size for rank in (self.rank, self.rank + 1))
        return range(start, end)

    def wrap(self, module: nn.Module) -> nn.Module:
        """Return a module whose gradients are the means over the ranks."""
        if self.world_size == 1:
            return module
        # Networks may have weights without influence on the loss, the same in each step.
        return nn.parallel.DistributedDataParallel(module, static_graph=True)

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        """Return the sum over the ranks, the same bits on each; `values` may be changed."""
        if self.world_size > 1:
            distributed.all_reduce(values)
        return values

    def joined(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the rows of all ranks, in the order of the ranks."""
        return values if self.world_size == 1 else np.concatenate(self._gathered(values))

    def of_first(self, value: _Value) -> _Value:
        """Return the value of the first rank."""
        if self.world_size == 1:
            return value
        values: list[Any] = [value if self.is_first else None]
        distributed.broadcast_object_list(values)
        first: _Value = values[0]
        return first

    def check_equal(self, values: Mapping[str, object]) -> None:
        """Raise `RankError` on all ranks if one has another value of a name than the first."""
        all_values = self._gathered({name: str(value) for name, value in values.items()})
        for rank, others in enumerate(all_values):
            for name, first in all_values[0].items():
                if others[name] != first:
                    msg = (
                        f"rank {rank} has {name} {others[name]} and rank 0 has {first}; start all "
                        f"ranks with the same settings, on copies of the same store"
                    )
                    raise RankError(msg)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Run a block on every rank, and raise `RankError` on all if it fails on one.

        Alone, the error itself is raised.
        """
        if self.world_size == 1:
            yield
            return
        failure: Exception | None = None
        try:
            yield
        except Exception as error:
            failure = error
        text = None if failure is None else (str(failure) or type(failure).__name__)
        for rank, found in enumerate(self._gathered(text)):
            if found is not None:
                msg = f"rank {rank}: {found}"
                raise RankError(msg) from failure

    def draw_apart(self) -> None:
        """Let the random numbers of each rank differ, as those of the stars of one batch do."""
        if not self.is_first:
            torch.manual_seed(int(torch.randint(2**62, ())) + self.rank)

    def _gathered(self, value: _Value) -> list[_Value]:
        """Return the values of all ranks."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        distributed.all_gather_object(values, value)
        return values


@contextmanager
def joined_ranks(device: str) -> Iterator[tuple[Ranks, torch.device]]:
    """Join the other ranks, if there are any, and yield which one this is, and its device.

    Ranks are those of ``torch.distributed`` where it is initialised, else those that torchrun
    started, whose process group then lasts as long as the block.

    Parameters
    ----------
    device : str
        ``"auto"``, or a device; ``"cuda"`` stands for the GPU of this rank.

    Raises
    ------
    DeviceError
        If this machine does not have the device, or does not have one for each rank.
    RankError
        If another rank ended.
    """
    launch = launched_by_torchrun()
    is_initialised = distributed.is_available() and distributed.is_initialized()
    if not is_initialised and launch.world_size == 1:
        yield Ranks(), choose_device(device)
        return
    chosen = _device_of_rank(device, launch.local_rank)
    if is_initialised:
        yield Ranks(distributed.get_rank(), distributed.get_world_size()), chosen
        return
    backend = "cpu:gloo,cuda:nccl" if chosen.type == "cuda" else "gloo"
    distributed.init_process_group(backend, timeout=TIME_LIMIT)
    try:
        yield Ranks(launch.rank, launch.world_size), chosen
    finally:
        distributed.destroy_process_group()


def _device_of_rank(name: str, local_rank: int) -> torch.device:
    """Return the CPU, or the GPU whose number on this machine is that of the rank."""
    accelerator = choose_device("auto") if name == "auto" else choose_device(name)
    if accelerator.type == "mps":
        if name == "auto":
            return torch.device("cpu")
        msg = "ranks cannot share the device mps; train with device='cpu' (--device cpu), or alone"
        raise DeviceError(msg)
    if accelerator.type == "cpu":
        return accelerator
    n_devices = torch.accelerator.device_count()
    if accelerator.index is not None or local_rank >= n_devices:
        msg = (
            f"device {name!r} cannot be that of rank {local_rank} on this machine: each rank needs "
            f"a GPU of its own, and there are {n_devices}; start at most {n_devices} ranks per "
            f"machine with device='cuda' (--device cuda), or use device='cpu' (--device cpu)"
        )
        raise DeviceError(msg)
    torch.accelerator.set_device_index(local_rank)
    return torch.device(accelerator.type, local_rank)


@contextmanager
def explained_loss_of_ranks() -> Iterator[None]:
    """Raise `RankError` where an exchange fails because another rank ended."""
    try:
        yield
    except RuntimeError as error:
        is_lost = isinstance(error, distributed.DistError) or "gloo" in str(error)
        if not is_lost:
            raise
        msg = (
            "another rank ended, or did not answer in time; its number and exit code are in the "
            "output of torchrun. Start all ranks again with resume=True (--resume) to continue "
            "from the last checkpoint"
        )
        raise RankError(msg) from error
