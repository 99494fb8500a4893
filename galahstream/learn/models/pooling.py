"""Max-pooling of pairs of pixels, on the CPU in a fraction of the time of torch's own.

Torch's writes and reads the position of each maximum as int64, one value at a time; one bool per
pair and whole-array operators are enough. Values and gradients are the same: of two equal values
the first one gets the gradient.
"""

from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional


class PairMaxPool(nn.Module):
    """The larger one of every two adjacent pixels; a last single pixel is dropped.

    Examples
    --------
    >>> PairMaxPool()(torch.tensor([[[1.0, 3.0, 2.0, -1.0, 9.0]]]))
    tensor([[[3., 2.]]])
    """

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return the maxima (B, C, L // 2) of values (B, C, L)."""
        if values.device.type != "cpu":
            return functional.max_pool1d(values, 2)
        pooled: torch.Tensor = _PairMaximum.apply(values)  # type: ignore[no-untyped-call]
        return pooled


class _PairMaximum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: torch.Tensor) -> torch.Tensor:
        n_pairs = values.shape[-1] // 2
        pairs = values[..., : 2 * n_pairs].unflatten(-1, (n_pairs, 2))
        first, second = pairs.unbind(-1)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(second > first)
            ctx.n_pixels = values.shape[-1]
        return torch.maximum(first, second)

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        (second_is_larger,) = ctx.saved_tensors
        n_pairs = gradient.shape[-1]
        new = gradient.new_empty(*gradient.shape[:-1], ctx.n_pixels)
        new[..., 2 * n_pairs :] = 0
        first, second = new[..., : 2 * n_pairs].unflatten(-1, (n_pairs, 2)).unbind(-1)
        torch.mul(gradient, second_is_larger, out=second)
        torch.sub(gradient, second, out=first)
        return new
