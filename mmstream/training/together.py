"""Several processes that train one net: each computes a part of every batch, and their gradients add up.

Loss terms are sums over a part divided by counts of the whole batch, so the sum of the parts' gradients is the
gradient of the batch, however it was parted, but for rounding, dropout's draws, and the batch normalisation in the
visual front end, which sees the statistics of its own part (so parts should hold several sequences with video).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Together:
    """One of ``size`` processes. With one, nothing is sent."""

    rank: int = 0
    size: int = 1

    def add(self, values: Tensor) -> Tensor:
        """The sum over all processes; every one of them must call this."""
        if self.size > 1:
            torch.distributed.all_reduce(values)
        return values

    def add_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give every process the sum of all gradients; None stays where no process has one."""
        if self.size == 1:
            return
        known = list(parameters)
        device = known[0].device
        there = self.add(torch.tensor([float(one.grad is not None) for one in known], device=device)).tolist()
        used = [one for one, count in zip(known, there, strict=True) if count]
        flat = self.add(torch.cat([_gradient(one).flatten() for one in used]))
        for one, gradient in zip(used, torch.split(flat, [one.numel() for one in used]), strict=True):
            one.grad = gradient.view_as(one)


ALONE = Together()


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
