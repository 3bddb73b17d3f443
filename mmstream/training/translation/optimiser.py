"""Muon: momentum whose matrix is made orthogonal, so that every direction of it moves the weights alike.

Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024, kellerjordan.github.io/posts/muon); the
iteration is Newton and Schulz's with their coefficients. It needs about half the steps of Adam, which is what counts
where a step is dear. Embeddings, biases and normalisations keep AdamW.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
FUSED = {"query_key_value": 3, "key_value": 2}  # matrices that are several, one above the other


class Muon(torch.optim.Optimizer):
    """For matrices; those of one shape are made orthogonal together."""

    def __init__(self, params: Iterable[dict[str, Any]], lr: float, momentum: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "parts": 1})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Move the weights against their gradients."""
        waiting: dict[tuple[int, int], list[tuple[Tensor, Tensor, float]]] = defaultdict(list)
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["momentum"] = torch.zeros_like(weight)
                state["momentum"].lerp_(weight.grad, 1 - group["momentum"])
                ahead = weight.grad.lerp(state["momentum"], group["momentum"])  # Nesterov
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                for part, update in zip(weight.chunk(group["parts"]), ahead.chunk(group["parts"]), strict=True):
                    waiting[part.shape[0], part.shape[1]].append((part, update, group["lr"]))
        for (rows, columns), parts in waiting.items():
            updates = orthogonal(torch.stack([update for _, update, _ in parts]))
            for (part, _, lr), update in zip(parts, updates, strict=True):
                part.sub_(update, alpha=lr * max(1.0, rows / columns) ** 0.5)


def orthogonal(matrices: Tensor) -> Tensor:
    """(matrix, row, column): the nearest matrices whose singular values are all about 1."""
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).bfloat16()
    x = x / (x.float().norm(dim=(1, 2), keepdim=True) + 1e-7).bfloat16()
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    orthogonalised: Tensor = (x.mT if tall else x).float()
    return orthogonalised


def groups(net: nn.Module) -> tuple[list[dict[str, Any]], list[Tensor]]:
    """The parameters of ``net`` for Muon, and those for AdamW."""
    matrices: dict[int, list[Tensor]] = defaultdict(list)
    rest: list[Tensor] = []
    for name, weight in net.named_parameters():
        if weight.ndim == 2 and name.endswith(".weight"):
            matrices[FUSED.get(name.split(".")[-2], 1)].append(weight)
        else:
            rest.append(weight)
    return [{"params": found, "parts": parts} for parts, found in sorted(matrices.items())], rest
