"""The streaming encoder: a Conformer whose attention sees its own chunk of steps and a bounded past.

Conformer: Gulati et al., Interspeech 2020. Chunks: a step attends to all of its own chunk and ``left`` chunks before
it, as in Zhang et al., "Unified streaming and non-streaming two-pass end-to-end speech recognition" (2020); the
convolution is causal. So nothing but the wait for the chunk delays a result, however many layers there are, and
computing chunk by chunk gives what computing at once gives. Positions are rotary (Su et al., 2021): attention depends
on distance alone, and a stream may last for ever.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import glu, pad, scaled_dot_product_attention, silu


class LayerState(NamedTuple):
    """What one layer remembers of a batch of streams."""

    keys: Tensor  # (batch, left * chunk, dim), before rotation
    values: Tensor  # (batch, left * chunk, dim)
    steps: Tensor  # (batch, kernel - 1, dim): input of the convolution


class EncoderState(NamedTuple):
    """What the encoder remembers of a batch of streams."""

    layers: tuple[LayerState, ...]
    known: Tensor  # (batch,): how many of the remembered steps exist


def rotated(vectors: Tensor, length: int) -> Tensor:
    """(batch, head, step, width) turned by angles that grow with the position; the steps are the last of ``length``."""
    half = vectors.shape[-1] // 2
    turns = _turns(length, half, vectors.device)
    cos, sin = (one[length - vectors.shape[-2] :].to(vectors.dtype) for one in turns)
    one, other = vectors[..., :half], vectors[..., half:]
    return torch.cat([one * cos - other * sin, one * sin + other * cos], dim=-1)


@lru_cache(maxsize=8)
def _turns(length: int, half: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosine and sine for each position and rate, (length, half)."""
    with torch.inference_mode(False), torch.no_grad():  # training may use them too
        rates = 10_000.0 ** (-torch.arange(half, device=device) / half)
        angles = torch.arange(length, device=device)[:, None].float() * rates
        return angles.cos(), angles.sin()


class ConformerLayer(nn.Module):
    """Attention, causal convolution and feed-forward, each around a shortcut after a layer normalisation."""

    def __init__(self, dim: int, heads: int, kernel: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.kernel = heads, kernel
        self.attention_norm = nn.LayerNorm(dim)
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.attended = nn.Linear(dim, dim)
        self.convolution_norm = nn.LayerNorm(dim)
        self.into = nn.Linear(dim, 2 * dim)
        self.depthwise = nn.Conv1d(dim, dim, kernel, groups=dim)
        self.depthwise_norm = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, dim)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(dim), nn.Linear(dim, expansion * dim), nn.SiLU(), nn.Linear(expansion * dim, dim),
        )  # fmt: skip
        self.dropout = nn.Dropout(dropout)

    def forward(self, steps: Tensor, allowed: Tensor, mask: Tensor) -> Tensor:
        """``allowed``: (1 or batch, step, step), who may see whom; ``mask``: (batch, step), false beyond the end."""
        query, key, value = self._project(steps)
        steps = steps + self._attend(query, key, value, allowed)
        inner = self._gated(steps) * mask[..., None]
        steps = steps + self._convolve(pad(inner, (0, 0, self.kernel - 1, 0)))
        return steps + self.dropout(self.feed_forward(steps))  # type: ignore[no-any-return]

    def step(self, steps: Tensor, allowed: Tensor, state: LayerState) -> tuple[Tensor, LayerState]:
        """One chunk; ``allowed``: (batch, step, remembered + step)."""
        query, key, value = self._project(steps)
        keys, values = torch.cat([state.keys, key], dim=1), torch.cat([state.values, value], dim=1)
        steps = steps + self._attend(query, keys, values, allowed)
        inner = torch.cat([state.steps, self._gated(steps)], dim=1)
        steps = steps + self._convolve(inner)
        remembered = state.keys.shape[1]
        after = LayerState(keys[:, -remembered:], values[:, -remembered:], inner[:, -(self.kernel - 1) :])
        return steps + self.dropout(self.feed_forward(steps)), after

    def _project(self, steps: Tensor) -> tuple[Tensor, ...]:
        return self.query_key_value(self.attention_norm(steps)).chunk(3, dim=-1)  # type: ignore[no-any-return]

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor) -> Tensor:
        asked, keys, values = (
            one.reshape(*one.shape[:2], self.heads, -1).transpose(1, 2) for one in (query, key, value)
        )  # (batch, head, step, width)
        found = scaled_dot_product_attention(
            rotated(asked, key.shape[1]), rotated(keys, key.shape[1]), values, attn_mask=allowed[:, None]
        )
        return self.attended(found.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _gated(self, steps: Tensor) -> Tensor:
        return glu(self.into(self.convolution_norm(steps)), dim=-1)

    def _convolve(self, inner: Tensor) -> Tensor:
        """(batch, kernel - 1 + step, dim) -> (batch, step, dim)."""
        mixed = self.depthwise(inner.transpose(1, 2)).transpose(1, 2)
        return self.out(silu(self.depthwise_norm(mixed)))  # type: ignore[no-any-return]


class StreamingConformer(nn.Module):
    """Takes and gives (batch, step, dim)."""

    def __init__(
        self, dim: int, layers: int, *, heads: int = 4, kernel: int = 15, expansion: int = 4, chunk: int = 4,
        left: int = 15, dropout: float = 0.1,
    ) -> None:  # fmt: skip
        """``chunk``: steps that are computed together; ``left``: chunks of the past that attention sees."""
        super().__init__()
        self.chunk, self.left, self.dim, self.kernel = chunk, left, dim, kernel
        self.layers = nn.ModuleList(ConformerLayer(dim, heads, kernel, expansion, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, steps: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The output, and that of the middle layer. ``mask``: (batch, step), false beyond a sequence's end."""
        allowed = self.allowed(steps.shape[1], steps.device)[None] & mask[:, None, :]
        allowed = allowed | torch.eye(steps.shape[1], dtype=torch.bool, device=steps.device)  # padding sees itself
        middle = steps
        for k, layer in enumerate(self.layers):
            steps = layer(steps, allowed, mask)
            if k == (len(self.layers) - 1) // 2:
                middle = steps
        return self.norm(steps), middle

    def allowed(self, length: int, device: torch.device) -> Tensor:
        """(length, length): whether the step of a row may see the step of a column."""
        chunks = torch.arange(length, device=device) // self.chunk
        back = chunks[:, None] - chunks[None, :]
        return (back >= 0) & (back <= self.left)

    def start(self, batch: int) -> EncoderState:
        new = self.norm.weight.new_zeros
        past = self.left * self.chunk
        layers = tuple(
            LayerState(new(batch, past, self.dim), new(batch, past, self.dim), new(batch, self.kernel - 1, self.dim))
            for _ in self.layers
        )
        return EncoderState(layers, torch.zeros(batch, dtype=torch.long, device=self.norm.weight.device))

    def step(self, steps: Tensor, state: EncoderState) -> tuple[Tensor, EncoderState]:
        """The next chunk: ``chunk`` steps, or fewer where the stream ends with it."""
        past, new = self.left * self.chunk, steps.shape[1]
        known = torch.arange(past, device=steps.device)[None] >= past - state.known[:, None]
        allowed = pad(known, (0, new), value=True)[:, None, :].expand(-1, new, -1)
        layers = []
        for layer, before in zip(self.layers, state.layers, strict=True):
            assert isinstance(layer, ConformerLayer)
            steps, after = layer.step(steps, allowed, before)
            layers.append(after)
        return self.norm(steps), EncoderState(tuple(layers), (state.known + new).clamp(max=past))
