"""The audio-visual recogniser: front ends, fusion, streaming encoder and heads in one module."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mmstream.nets import STEP_S, fusion
from mmstream.nets.audio import AudioFrontEnd
from mmstream.nets.encoder import StreamingConformer
from mmstream.nets.heads import CtcHead, TransducerHead
from mmstream.nets.visual import VisualFrontEnd
from mmstream.nets.vocabulary import CHARACTERS, Vocabulary

MEL_WINDOW_S = 0.025  # a mel frame hears this far; frames begin every 10 ms
JOIN_S = 0.04  # a step of sound waits for the picture taken during it


@dataclass(frozen=True, slots=True)
class NetConfig:
    """Everything that shapes the recogniser. Written beside its weights."""

    dim: int = 256
    layers: int = 6
    heads: int = 4
    kernel: int = 15
    expansion: int = 4
    chunk: int = 4  # steps that the encoder computes together
    left: int = 15  # chunks of the past that it sees
    lookahead: int = 2  # steps of the future that the front ends see
    n_mels: int = 80
    fusion: fusion.Kind = "gated"
    visual_channels: tuple[int, ...] = (32, 64, 96)
    transducer: bool = False
    alignment_classes: int = 0  # of the auxiliary frame-wise target in training; 0: none
    dropout: float = 0.1
    characters: str = CHARACTERS
    pieces: tuple[str, ...] = ()  # of words, as tokens besides the characters
    emission_delay_s: float = 0.0  # by which CTC tokens come late, measured after training: word times allow for it

    @property
    def algorithmic_latency_s(self) -> float:
        """Look-ahead, wait for the chunk and wait for the picture, with computing taken as instant: the worst step."""
        return (self.lookahead + self.chunk) * STEP_S + MEL_WINDOW_S - 0.01 + JOIN_S

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Encoded(NamedTuple):
    """What the recogniser makes of a batch: everything that heads and training need."""

    steps: Tensor  # (batch, step, dim)
    middle: Tensor  # (batch, step, dim), of the encoder's middle layer
    share: Tensor  # (batch, step): how far video counted, 0..1
    judgement: Tensor | None  # (batch, step, 2), see fusion


class AudioVisualRecogniser(nn.Module):
    """Sound, lips or both, to tokens."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        self.config = config
        self.vocabulary = Vocabulary(config.characters, config.pieces)
        self.audio = AudioFrontEnd(config.n_mels, config.dim, lookahead=config.lookahead)
        self.video = VisualFrontEnd(config.dim, config.visual_channels, config.lookahead)
        self.fusion = fusion.KINDS[config.fusion](config.dim)
        self.encoder = StreamingConformer(
            config.dim, config.layers, heads=config.heads, kernel=config.kernel, expansion=config.expansion,
            chunk=config.chunk, left=config.left, dropout=config.dropout,
        )  # fmt: skip
        self.ctc = CtcHead(config.dim, len(self.vocabulary))
        self.middle_ctc = CtcHead(config.dim, len(self.vocabulary))
        self.transducer = TransducerHead(config.dim, len(self.vocabulary)) if config.transducer else None
        self.align = nn.Linear(config.dim, config.alignment_classes) if config.alignment_classes else None

    def forward(self, mel: Tensor, crops: Tensor | None, trust: Tensor, mask: Tensor) -> Encoded:
        """Whole sequences.

        ``mel``: (batch, 4 * step, mel). ``crops``: (batch, step, SIZE, SIZE) in 0..255, or None where no sequence
        has video. ``trust``: (batch, step, 2), see ``fusion``. ``mask``: (batch, step), false beyond the end.
        """
        heard = self.audio(mel, mask)
        seen = torch.zeros_like(heard)
        there = mask & (trust[..., 1] > 0)
        rows = there.any(1)
        if crops is not None and rows.any():
            seen[rows] = self.video(crops[rows], there[rows]).to(heard.dtype)
        fused = self.fusion(heard, seen, trust.to(heard.dtype) * mask[..., None])
        steps, middle = self.encoder(fused.vectors, mask)
        return Encoded(steps, middle, fused.share, fused.judgement)
