"""What training minimises."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, smooth_l1_loss

from mmstream.nets.recogniser import AudioVisualRecogniser
from mmstream.nets.visual import SIZE, middle
from mmstream.training.batches import IGNORED, Batch


@dataclass(frozen=True, slots=True)
class LossConfig:
    """Weights of the terms."""

    ctc: float = 1.0
    middle_ctc: float = 0.3
    transducer: float = 0.0
    alignment: float = 0.3
    judgement: float = 0.1


def counts(batch: Batch | None) -> Tensor:
    """What the terms are averaged over, (4,): tokens, aligned steps, steps of known SNR, steps judged to match."""
    if batch is None:
        return torch.zeros(4)
    known, both = _judged_steps(batch, _mask(batch))
    found = (batch.target_lengths.sum(), (batch.alignment != IGNORED).sum(), known.sum(), both.sum())
    return torch.stack(found).float()


def losses(
    net: AudioVisualRecogniser, batch: Batch, config: LossConfig, totals: Tensor | None = None
) -> dict[str, Tensor]:
    """Every term, weighted, under its name; their sum is what to minimise. CTC terms are nats per token.

    ``totals``: ``counts`` of the whole batch, where ``batch`` is a part of it: the terms of all parts then add up to
    those of the whole, and so do their gradients.
    """
    tokens, aligned, known, both = (counts(batch) if totals is None else totals).clamp(min=1).tolist()
    mask = _mask(batch)
    crops = batch.crops
    if crops is not None and crops.shape[-1] > SIZE:
        crops = middle(crops)
    out = net(batch.mel, crops, batch.trust, mask)
    terms: dict[str, Tensor] = {}
    aim = (batch.lengths, batch.targets, batch.target_lengths)
    with torch.autocast(batch.mel.device.type, enabled=False):
        encoded, halfway = out.steps.float(), out.middle.float()
        for name, head, steps in (("ctc", net.ctc, encoded), ("middle_ctc", net.middle_ctc, halfway)):
            terms[name] = getattr(config, name) * head.loss(steps, *aim, allowed=batch.allowed).sum() / tokens
        if net.transducer is not None and config.transducer:
            terms["transducer"] = config.transducer * net.transducer.loss(encoded, *aim).sum() / tokens
        if net.align is not None and (batch.alignment != IGNORED).any():
            scores = net.align(halfway).flatten(0, 1)
            wrong = cross_entropy(scores, batch.alignment.flatten(), ignore_index=IGNORED, reduction="sum")
            terms["alignment"] = config.alignment * wrong / aligned
        if out.judgement is not None:
            snr, match = _judged(out.judgement.float(), batch, mask)
            terms["judgement"] = config.judgement * (snr / known + match / both)
    return terms


def _judged(judgement: Tensor, batch: Batch, mask: Tensor) -> tuple[Tensor, Tensor]:
    """How wrong the gate's two estimates are, summed: signal-to-noise ratio; whether video belongs to the sound."""
    known, both = _judged_steps(batch, mask)
    snr = batch.snr[:, None].expand_as(known)[known]
    matched = batch.matched[:, None].expand_as(both)[both]
    return (
        smooth_l1_loss(judgement[..., 0][known], snr, reduction="sum"),
        binary_cross_entropy_with_logits(judgement[..., 1][both], matched, reduction="sum"),
    )


def _judged_steps(batch: Batch, mask: Tensor) -> tuple[Tensor, Tensor]:
    """(batch, step) twice: where the signal-to-noise ratio is known; where sound and video are both there."""
    known = mask & ~batch.snr.isnan()[:, None]
    return known, mask & ~batch.matched.isnan()[:, None] & (batch.trust[..., 1] > 0)


def _mask(batch: Batch) -> Tensor:
    """(batch, step): false beyond the end of a sequence."""
    return torch.arange(batch.trust.shape[1], device=batch.mel.device)[None] < batch.lengths[:, None]
