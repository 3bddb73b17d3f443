"""Fusion: audio and video vectors of the same steps -> one vector a step, and how far video counted.

One interface, several kinds. ``trust`` holds, for every step, whether there is sound (0 or 1) and how far the crop
can be trusted (0..1, 0 where there is none). The share of video is 1 where only video is there, 0 where only audio is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, silu

from mmstream.nets.rounding import weighed

Kind = Literal["concatenation", "sum", "mean", "weighted", "gated", "cross_attention"]
CONTEXT = 12  # steps before the present one that the gate and the cross-attention see


class Fused(NamedTuple):
    """``vectors``: (batch, step, dim). ``share``: (batch, step), 0..1. ``judgement``: (batch, step, 2) or None."""

    vectors: Tensor
    share: Tensor
    judgement: Tensor | None = None  # estimates: signal-to-noise ratio / 10 dB; logit that video belongs to the sound


class Fusion(nn.Module):
    """Base of all kinds: ``join`` combines what was projected; ``memory`` steps of the past come along."""

    memory: ClassVar[int] = 0

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.audio = nn.Linear(dim, dim)
        self.video = nn.Linear(dim, dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, audio: Tensor, video: Tensor, trust: Tensor) -> Fused:
        """``audio``, ``video``: (batch, step, dim); ``trust``: (batch, step, 2)."""
        past = self.memory
        return self.join(*(pad(one, (0, 0, past, 0)) for one in (audio, video, trust)))

    def start(self, batch: int) -> Tensor:
        return self.norm.weight.new_zeros(batch, self.memory, 2 * self.dim + 2)

    def step(self, audio: Tensor, video: Tensor, trust: Tensor, state: Tensor) -> tuple[Fused, Tensor]:
        seen = torch.cat([state, torch.cat([audio, video, trust], dim=-1)], dim=1)
        fused = self.join(seen[..., : self.dim], seen[..., self.dim : -2], seen[..., -2:])
        return fused, seen[:, len(seen[0]) - self.memory :]

    def join(self, audio: Tensor, video: Tensor, trust: Tensor) -> Fused:
        """All of them with ``memory`` steps of the past in front, which the result leaves out."""
        raise NotImplementedError


def _present(audio: Tensor, video: Tensor, trust: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Vectors that are zero where a medium is missing, and the share of video if both count alike."""
    there = (trust > 0).to(audio.dtype)
    share = there[..., 1] / there.sum(-1).clamp(min=1)
    return audio * there[..., :1], video * there[..., 1:], share


class Concatenation(Fusion):
    """A linear map of both vectors side by side."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.mix = nn.Linear(2 * dim, dim)

    def join(self, audio: Tensor, video: Tensor, trust: Tensor) -> Fused:
        heard, seen, share = _present(self.audio(audio), self.video(video), trust)
        return Fused(self.norm(self.mix(torch.cat([heard, seen], dim=-1))), share)


class Sum(Fusion):
    def join(self, audio: Tensor, video: Tensor, trust: Tensor) -> Fused:
        heard, seen, share = _present(self.audio(audio), self.video(video), trust)
        return Fused(self.norm(heard + seen), share)


class Mean(Fusion):
    """The sum, divided by the number of media that are there."""

    def join(self, audio: Tensor, video: Tensor, trust: Tensor) -> Fused:
        heard, seen, share = _present(self.audio(audio), self.video(video), trust)
        there = (trust > 0).to(audio.dtype).sum(-1, keepdim=True).clamp(min=1)
        return Fused(self.norm((heard + seen) / there), share)


class Weighted(Fusion):
    """alpha * audio + beta * video, both learned, the same for all steps."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim)
        self.alpha = nn.Parameter(torch.tensor(1.0))
        self.beta = nn.Parameter(torch.tensor(1.0))

    def join(self, audio: Tensor, video: Tensor, trust: Tensor) -> Fused:
        heard, seen, _ = _present(self.audio(audio), self.video(video), trust)
        there = (trust > 0).to(audio.dtype)
        alpha, beta = self.alpha.abs() * there[..., 0], self.beta.abs() * there[..., 1]
        return Fused(self.norm(self.alpha * heard + self.beta * seen), beta / (alpha + beta).clamp(min=1e-6))


class Gated(Fusion):
    """(1 - g) * audio + g * video, where g is judged from both vectors, the crop's quality and the last half second.

    What the judgement rests on is trained to tell the signal-to-noise ratio and whether the lips belong to the
    sound (they do not where audio and video are apart in time, or another person is on camera).
    """

    memory = CONTEXT

    def __init__(self, dim: int, width: int = 96) -> None:
        super().__init__(dim)
        self.see = nn.Linear(3 * dim + 2, width)
        self.context = nn.Conv1d(width, width, CONTEXT + 1, groups=8)
        self.gate = nn.Linear(width, 1)
        self.judge = nn.Linear(width, 2)

    def join(self, audio: Tensor, video: Tensor, trust: Tensor) -> Fused:
        heard, seen, even = _present(self.audio(audio), self.video(video), trust)
        view = silu(self.see(torch.cat([heard, seen, heard * seen, trust], dim=-1)))
        view = silu(view[:, self.memory :] + self.context(view.transpose(1, 2)).transpose(1, 2))
        heard, seen, even, trust = (one[:, self.memory :] for one in (heard, seen, even, trust))
        both = (even > 0) & (even < 1)
        judged = torch.sigmoid(weighed(self.gate, view).double())  # in float32 its last bits depend on the batch
        share = torch.where(both, judged.to(even.dtype), even)
        mixed = (1 - share)[..., None] * heard + share[..., None] * seen
        return Fused(self.norm(mixed), share, self.judge(view))


class CrossAttention(Fusion):
    """Sound asks the last half second of video, so that a constant offset between them does little harm."""

    memory = CONTEXT

    def __init__(self, dim: int, heads: int = 4) -> None:
        super().__init__(dim)
        self.heads = heads
        self.key = nn.Linear(dim, dim)
        self.mix = nn.Linear(dim, dim)

    def join(self, audio: Tensor, video: Tensor, trust: Tensor) -> Fused:
        heard, seen, share = _present(self.audio(audio), self.video(video), trust)
        there = (trust[..., 1] > 0).unfold(1, CONTEXT + 1, 1)  # (batch, step, past)
        keys, values = (
            one.unfold(1, CONTEXT + 1, 1).reshape(*there.shape[:2], self.heads, -1, CONTEXT + 1).transpose(-1, -2)
            for one in (self.key(seen), seen)
        )  # (batch, step, head, past, width)
        asked = heard[:, self.memory :].reshape(*there.shape[:2], self.heads, 1, -1)
        any_there = there.any(-1)[..., None, None, None]
        allowed = there[:, :, None, None, :] | ~any_there  # with nothing to see, all of it: zeros come out
        found = nn.functional.scaled_dot_product_attention(asked, keys, values, attn_mask=allowed)
        found = self.mix(found.flatten(2)) * any_there[..., 0, 0]
        vectors = heard[:, self.memory :] + seen[:, self.memory :] + found
        return Fused(self.norm(vectors), share[:, self.memory :])


KINDS: Mapping[str, type[Fusion]] = {
    "concatenation": Concatenation,
    "sum": Sum,
    "mean": Mean,
    "weighted": Weighted,
    "gated": Gated,
    "cross_attention": CrossAttention,
}
