"""Error rates of a net over a corpus: whole clips, no augmentation, greedy CTC."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from mmstream.core import MmstreamError
from mmstream.evaluation.wer import error_rates
from mmstream.nets import STEP_S
from mmstream.nets.recogniser import AudioVisualRecogniser
from mmstream.nets.visual import SIZE, middle
from mmstream.nets.vocabulary import collapsed
from mmstream.training.batches import IGNORED, Batch, Example, collate, log_mel
from mmstream.training.config import Modality
from mmstream.training.corpus import SAMPLES_PER_STEP, Clip, Corpus
from mmstream.training.precision import Precision
from mmstream.training.sight import held

AT_ONCE = 10  # clips


class Stopped(Exception):  # noqa: N818 - what happened is a wish, not a mistake
    """Measuring was given up because the run is to end."""


def measured(
    net: AudioVisualRecogniser, corpus: Corpus, modalities: Sequence[Modality], precision: Precision,
    stopping: Callable[[], bool] = lambda: False,
) -> dict[Modality, dict[str, Any]]:  # fmt: skip
    """For each modality: ``error_rates`` as a mapping, and the mean share of video. ``net`` is in eval mode after it.

    Raises:
        MmstreamError: the corpus holds no word.
        Stopped: ``stopping`` says so.
    """
    net.eval()
    clips = sorted(corpus.clips, key=lambda clip: clip.samples)
    found: dict[Modality, dict[str, Any]] = {}
    for modality in modalities:
        references: list[str] = []
        hypotheses: list[str] = []
        shares: list[float] = []
        delays: list[float] = []
        for at in range(0, len(clips), AT_ONCE):
            if stopping():
                raise Stopped
            batch = collate([_example(corpus, clip) for clip in clips[at : at + AT_ONCE]], net.vocabulary)
            references += [clip.text for clip in clips[at : at + AT_ONCE]]
            best, share = read(net, without(batch, modality), precision)
            hypotheses += [_text(net, row) for row in best]
            delays += [one for clip, row in zip(clips[at:], best, strict=False) for one in _delays(net, clip, row)]
            shares.append(share)
        try:
            rates = asdict(error_rates(references, hypotheses))
        except MmstreamError as fault:
            raise MmstreamError(f"{corpus.folder}: {fault}") from fault
        found[modality] = {**rates, "wer_ci": list(rates["wer_ci"]), "video": float(np.mean(shares))}
        if delays:
            found[modality]["emission_delay_s"] = round(float(np.median(delays)), 3)
    return found


def without(batch: Batch, modality: Modality) -> Batch:
    """``batch`` as it is for somebody who has only ``modality``."""
    trust = batch.trust.clone()
    if modality == "audio":
        trust[..., 1] = 0
    if modality == "video":
        trust[..., 0] = 0
    return batch._replace(trust=trust, crops=None if modality == "audio" else batch.crops)


@torch.no_grad()
def read(net: AudioVisualRecogniser, batch: Batch, precision: Precision) -> tuple[list[list[int]], float]:
    """The best token of each step of each sequence of ``batch``, and the mean share of video."""
    batch = precision.place(batch)
    steps = torch.arange(batch.trust.shape[1], device=batch.trust.device)
    mask = steps[None] < batch.lengths[:, None]
    with precision.autocast():
        out = net(batch.mel, batch.crops, batch.trust, mask)
        scores = net.ctc(out.steps.float())
    best = scores.argmax(-1).tolist()
    rows = [row[:length] for row, length in zip(best, batch.lengths.tolist(), strict=True)]
    return rows, float(out.share[mask].float().mean())


def _text(net: AudioVisualRecogniser, best: Sequence[int]) -> str:
    return " ".join(net.vocabulary.decode(collapsed(best)).split())


def _delays(net: AudioVisualRecogniser, clip: Clip, best: Sequence[int]) -> list[float]:
    """For a clip with word times that was read without a mistake: seconds from each word's end to its last token's."""
    if not clip.words or _text(net, best) != clip.text:
        return []
    last = [k for k, token in enumerate(best) if token and (k == 0 or best[k - 1] != token)]
    ends = [(k + 1) * STEP_S for k in last if net.vocabulary.texts[best[k]].endswith(" ")]
    return [end - word.end for end, word in zip(ends, clip.words, strict=True)] if len(ends) == len(clip.words) else []


def _example(corpus: Corpus, clip: Clip) -> Example:
    """A clip as it comes live: every crop, missing ones held for a while."""
    sound = corpus.sound(clip)
    steps = len(sound) // SAMPLES_PER_STEP
    trust = np.zeros((steps, 2), np.float32)
    trust[:, 0] = 1
    crops = None
    if clip.crops:
        pictures, quality = held(*corpus.video(clip))
        crops = np.zeros((steps, SIZE, SIZE), np.uint8)
        known = min(steps, len(quality))
        crops[:known], trust[:known, 1] = middle(torch.from_numpy(pictures[:known])).numpy(), quality[:known]
    unaligned = np.full(steps, IGNORED, np.int64)
    return Example(log_mel(sound)[: steps * 4], crops, trust, clip.text, unaligned, float("nan"), float("nan"))


def sets(metrics: dict[str, Any]) -> Iterator[tuple[str, Modality, dict[str, Any]]]:
    """Every (set, modality, figures) of a line of ``metrics.jsonl``."""
    for name, modalities in metrics.get("sets", {}).items():
        for modality, figures in modalities.items():
            yield name, modality, figures
