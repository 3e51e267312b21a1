"""The norm of Llama with a gradient of its own: on CPUs a small network learns some percent faster.

transformers writes RMSNorm as seven operations, and the gradient of each passes over all hidden states again. Written
as one, with its gradient by hand, it takes less than half of the time, and keeps two tensors instead of five. Not for
GPUs, where `compiled` does this and more.

Legend: B rows, L columns, d width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import LlamaRMSNorm


class RMSNorm(nn.Module):
    """w x / sqrt(mean(x^2) + eps) over the last dimension, with the weight of a norm that it stands in for."""

    def __init__(self, norm: LlamaRMSNorm) -> None:
        super().__init__()
        self.weight, self.eps = norm.weight, float(norm.variance_epsilon)

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the normalised hidden states, of the shape of those given: [B, L, d]."""
        normed: Tensor = _RMSNorm.apply(hidden, self.weight, self.eps)  # type: ignore[no-untyped-call]
        return normed


class _RMSNorm(torch.autograd.Function):
    """With n = x / s, s = sqrt(mean(x^2) + eps) and h = w dy:  dx = (h - n mean(h n)) / s,  dw = sum(dy n)."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, eps: float) -> Tensor:
        scale = torch.linalg.vecdot(hidden, hidden).div_(hidden.shape[-1]).add_(eps).rsqrt_().unsqueeze(-1)
        normed: Tensor = hidden * scale
        ctx.save_for_backward(normed, scale, weight)
        return normed * weight

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        normed, scale, weight = ctx.saved_tensors
        of_weight = torch.linalg.vecdot(gradient.flatten(0, -2), normed.flatten(0, -2), dim=0)
        inner = gradient * weight
        along = torch.linalg.vecdot(inner, normed).div_(normed.shape[-1]).unsqueeze(-1)
        return inner.addcmul_(normed, along, value=-1).mul_(scale), of_weight, None


def swap_norms(network: nn.Module) -> None:
    """Put `RMSNorm` in the place of every norm of Llama, with the same weights under the same names."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is LlamaRMSNorm:
                setattr(parent, name, RMSNorm(child))
