"""What a run computes on, and in which numbers."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from mmstream.core import MmstreamError
from mmstream.training.batches import Batch


@dataclass(frozen=True, slots=True)
class Precision:
    """A device, and whether matrices are multiplied in bfloat16 there. Weights and sums stay in float32."""

    device: torch.device
    bfloat16: bool

    def __str__(self) -> str:
        return f"{'bfloat16' if self.bfloat16 else 'float32'} on {self.device}"

    def autocast(self) -> AbstractContextManager[None]:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bfloat16)

    def place(self, batch: Batch) -> Batch:
        """``batch`` on the device."""
        there = {name: one.to(self.device) for name, one in batch._asdict().items() if one is not None}
        return batch._replace(**there)


def chosen(device: str, precision: str) -> Precision:
    """``auto`` made out: a GPU where there is one; bfloat16 where the device computes in it.

    Raises:
        MmstreamError: there is no such device.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    place = torch.device(device)
    if place.type == "cuda" and (not torch.cuda.is_available() or (place.index or 0) >= torch.cuda.device_count()):
        raise MmstreamError(
            f"run.device {device}: this machine has {torch.cuda.device_count()} GPUs that torch can use"
        )
    native = torch.cuda.is_bf16_supported(False) if place.type == "cuda" else _cpu_has_bfloat16()
    return Precision(place, native if precision == "auto" else precision == "bfloat16")


def _cpu_has_bfloat16() -> bool:
    """Without these instructions bfloat16 is emulated, and slower than float32."""
    known: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # torch < 2.12 does not tell
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))
