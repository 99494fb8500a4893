"""The optimiser of a training: Adam, in one kernel where torch has it."""

from collections.abc import Iterable

import torch
from torch import nn


def make_adam(
    parameters: Iterable[nn.Parameter], lr: float, device: torch.device
) -> torch.optim.Adam:
    """Return Adam for parameters on a device, fused if :func:`has_fused_adam` says so."""
    # None leaves the choice of a slower form to torch.
    return torch.optim.Adam(parameters, lr=lr, fused=has_fused_adam(device) or None)


def has_fused_adam(device: torch.device) -> bool:
    """Return whether torch updates parameters on a device in one pass over memory."""
    parameter = nn.Parameter(torch.zeros(1, device=device, dtype=torch.float32))
    parameter.grad = torch.zeros_like(parameter)
    try:
        torch.optim.Adam([parameter], fused=True).step()
    except (RuntimeError, NotImplementedError):
        return False
    return True
