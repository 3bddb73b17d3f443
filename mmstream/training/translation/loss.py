"""Cross entropy with smoothed labels (Szegedy et al., CVPR 2016), computed a few hundred tokens at a time.

Scores over the whole vocabulary are the largest tensor of a step. Here their gradient is worked out in the same pass
that computes them, while they are in the cache, and they are never stored.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mmstream.nets.translation import PADDING

AT_ONCE = 256  # tokens
COUNTS_BY = 64  # tokens


def smoothed_cross_entropy(steps: Tensor, embedding: Tensor, wanted: Tensor, smoothing: float, scale: float) -> Tensor:
    """The sum over tokens times ``scale``, without padding. ``steps`` (token, dim); ``wanted`` (token,)."""
    loss: Tensor = _SmoothedCrossEntropy.apply(steps, embedding, wanted, smoothing, scale)
    return loss


class _SmoothedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, steps: Tensor, embedding: Tensor, wanted: Tensor, smoothing: float, scale: float) -> Tensor:
        table = embedding.to(steps.dtype)
        size = len(table)
        by_step, by_table = torch.empty_like(steps), torch.zeros_like(embedding)
        total = steps.new_zeros((), dtype=torch.float32)
        for at in range(0, len(steps), AT_ONCE):
            some, right = steps[at : at + AT_ONCE], wanted[at : at + AT_ONCE, None]
            scores = (some @ table.T).float()
            real = (right != PADDING).float()
            norm = scores.logsumexp(1, keepdim=True)
            smoothed = (1 - smoothing) * scores.gather(1, right) + smoothing * scores.mean(1, keepdim=True)
            total += ((norm - smoothed) * real).sum()
            gradient = scores.sub_(norm).exp_().sub_(smoothing / size)
            gradient.scatter_add_(1, right, gradient.new_full(right.shape, smoothing - 1))
            rounded = gradient.mul_(real * scale).to(steps.dtype)
            by_step[at : at + AT_ONCE] = rounded @ table
            by_table += rounded.T @ some
        ctx.save_for_backward(by_step, by_table)
        return total * scale

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        by_step, by_table = ctx.saved_tensors
        return by_step * gradients[0], by_table * gradients[0], None, None, None


def worth_scoring(wanted: Tensor) -> Tensor:
    """Where ``wanted`` (token,) is no padding, and a padded place so often that there are few numbers of them."""
    real, padding = (wanted != PADDING).nonzero()[:, 0], (wanted == PADDING).nonzero()[:, 0]
    return torch.cat([real, padding[:1].repeat(-len(real) % COUNTS_BY)])
