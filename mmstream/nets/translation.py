"""The translation net: a Transformer with a deep encoder and a shallow decoder, several target languages in one.

Transformer: Vaswani et al., NeurIPS 2017, with the normalisation before each part rather than behind it (Xiong et al.,
ICML 2020). A deep encoder and a shallow decoder: Kasai et al., ICLR 2021; nearly all time of a translation goes into
the decoder, which runs once per token. The first token of a source names the target language (Johnson et al., TACL
2017). Source, target and output share one table of embeddings (Press and Wolf, EACL 2017). Every part is one that
CTranslate2's TransformerSpec computes in the same way, so a trained net is exported without loss.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear, relu

PADDING, UNKNOWN, BEGIN, END = range(4)  # the first tokens of every vocabulary
UNSEEN = -1e4  # an attention score for what must not be seen
MOST_TOKENS = 256  # of a sentence, its target language and its end included


@dataclass(frozen=True, slots=True)
class TranslationConfig:
    """How a translation net is shaped."""

    vocabulary: int = 8000  # tokens, shared by all languages
    dim: int = 256
    heads: int = 4
    feed_forward: int = 1024
    encoder_layers: int = 6
    decoder_layers: int = 2
    dropout: float = 0.1

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Attention(nn.Module):
    """Every query over the keys: of the same sequence, or of another one."""

    def __init__(self, dim: int, heads: int, *, cross: bool = False) -> None:
        super().__init__()
        self.heads, self.cross = heads, cross
        self.norm = nn.LayerNorm(dim)
        if cross:
            self.query, self.key_value = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        else:
            self.query_key_value = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, steps: Tensor, memory: Tensor | None, mask: Tensor | None) -> Tensor:
        """``steps`` (batch, step, dim); ``mask`` is added to scores: (batch, 1, query, key)."""
        normed = self.norm(steps)
        if memory is None:
            query, key, value = self._split(self.query_key_value(normed), 3)
        else:
            (query,) = self._split(self.query(normed), 1)
            key, value = self._split(self.key_value(memory), 2)
        # torch's fused attention takes twice as long as this, forward and back, for sentences of a dozen tokens
        scores = query * query.shape[-1] ** -0.5 @ key.mT
        weights = (scores if mask is None else scores + mask.to(scores.dtype)).softmax(-1)
        out: Tensor = self.out((weights.to(value.dtype) @ value).transpose(1, 2).flatten(2))
        return out

    def _split(self, projected: Tensor, parts: int) -> tuple[Tensor, ...]:
        """(batch, step, parts * dim) -> ``parts`` of (batch, head, step, width)."""
        batch, steps, _ = projected.shape
        return projected.view(batch, steps, parts, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)


class FeedForward(nn.Module):
    """Each step by itself."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.up, self.down = nn.Linear(dim, width), nn.Linear(width, dim)

    def forward(self, steps: Tensor) -> Tensor:
        out: Tensor = self.down(relu(self.up(self.norm(steps))))
        return out


class Layer(nn.Module):
    """One layer of the encoder or, with attention to the source, of the decoder."""

    def __init__(self, config: TranslationConfig, *, decoder: bool) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.attention = Attention(config.dim, config.heads)
        self.source_attention = Attention(config.dim, config.heads, cross=True) if decoder else None
        self.feed_forward = FeedForward(config.dim, config.feed_forward)

    def forward(
        self, steps: Tensor, mask: Tensor | None, source: Tensor | None = None, source_mask: Tensor | None = None
    ) -> Tensor:
        chance = self.dropout if self.training else 0.0
        steps = steps + dropped(self.attention(steps, None, mask), chance)
        if self.source_attention is not None:
            steps = steps + dropped(self.source_attention(steps, source, source_mask), chance)
        return steps + dropped(self.feed_forward(steps), chance)


class TranslationNet(nn.Module):
    """Tokens of a source sentence, and of a target so far -> what the decoder knows before each next token."""

    positions: Tensor

    def __init__(self, config: TranslationConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Parameter(torch.empty(config.vocabulary, config.dim))
        self.register_buffer("positions", sinusoids(MOST_TOKENS, config.dim), persistent=False)
        self.encoder = nn.ModuleList(Layer(config, decoder=False) for _ in range(config.encoder_layers))
        self.encoder_norm = nn.LayerNorm(config.dim)
        self.decoder = nn.ModuleList(Layer(config, decoder=True) for _ in range(config.decoder_layers))
        self.decoder_norm = nn.LayerNorm(config.dim)
        self._initialise()

    def _initialise(self) -> None:
        nn.init.normal_(self.embedding, std=self.config.dim**-0.5)
        for name, one in self.named_modules():
            if isinstance(one, nn.Linear):
                nn.init.xavier_uniform_(one.weight, gain=0.5 if name.endswith((".out", ".down")) else 1.0)
                nn.init.zeros_(one.bias)

    def encode(self, source: Tensor, mask: Tensor | None) -> Tensor:
        """(batch, token) and what ``padding_mask`` made of it -> (batch, token, dim)."""
        steps = self._embedded(source)
        for layer in self.encoder:
            steps = layer(steps, mask)
        out: Tensor = self.encoder_norm(steps)
        return out

    def decode(self, target: Tensor, source: Tensor, mask: Tensor | None) -> Tensor:
        """``target`` (batch, token) begins with BEGIN; ``source`` as encoded -> (batch, token, dim)."""
        steps = self._embedded(target)
        future = causal_mask(target.shape[1], steps)
        for layer in self.decoder:
            steps = layer(steps, future, source, mask)
        out: Tensor = self.decoder_norm(steps)
        return out

    def scores(self, steps: Tensor) -> Tensor:
        """(..., dim) -> (..., vocabulary), before softmax."""
        return linear(steps, self.embedding)

    def _embedded(self, tokens: Tensor) -> Tensor:
        steps = embedding(tokens, self.embedding) * math.sqrt(self.config.dim) + self.positions[: tokens.shape[1]]
        if torch.is_autocast_enabled(steps.device.type):
            steps = steps.to(torch.get_autocast_dtype(steps.device.type))  # sums over layers too: half the memory
        return dropped(steps, self.config.dropout if self.training else 0.0)


def padding_mask(tokens: Tensor) -> Tensor | None:
    """(batch, token) -> (batch, 1, 1, token) to add to attention scores; None where nothing is padded."""
    padded = tokens == PADDING
    if not bool(padded.any()):
        return None
    return torch.zeros(padded.shape, device=tokens.device).masked_fill(padded, UNSEEN)[:, None, None]


def causal_mask(length: int, like: Tensor) -> Tensor:
    """(query, key) to add to attention scores: nothing sees what comes after it."""
    return torch.full((length, length), UNSEEN, dtype=like.dtype, device=like.device).triu(1)


def dropped(steps: Tensor, chance: float) -> Tensor:
    """Dropout in 256ths. torch's own draws one number per value, on one core; here one gives eight."""
    threshold = round(256 * chance)
    if not threshold:
        return steps
    draws = torch.empty((steps.numel() + 7) // 8, dtype=torch.int64, device=steps.device)
    draws.random_(-(2**63), None, generator=getattr(_draws, "generator", None))
    dropped = draws.view(torch.uint8)[: steps.numel()].view(steps.shape) < threshold
    return steps.masked_fill(dropped, 0) * (256 / (256 - threshold))


_draws = threading.local()


@contextlib.contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Dropout in this thread draws from a generator of its own: torch's is shared by all threads."""
    _draws.generator = torch.Generator(device)
    _draws.generator.manual_seed(seed)
    try:
        yield
    finally:
        del _draws.generator


def sinusoids(length: int, dim: int) -> Tensor:
    """(length, dim): sines of the position at falling rates, then their cosines."""
    rates = 10_000.0 ** (-torch.arange(dim // 2) / (dim // 2))
    angles = torch.arange(length)[:, None].float() * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)
