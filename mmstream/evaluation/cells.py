"""The grid of a sweep: which conditions there are, and which of them are one and the same for a clip."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from mmstream.evaluation.conditions import Clip, Condition, Disturbance
from operators.video.loss import DropFrames, Kind

SNRS_DB: tuple[float | None, ...] = (None, 10.0, 5.0, 0.0, -5.0, -10.0)  # None: as recorded
FRACTIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
KINDS: tuple[Kind, ...] = ("random", "burst", "all")
OFFSETS_MS = tuple(range(-200, 201, 50))
VIDEO_SNRS_DB: tuple[float | None, ...] = (None, 0.0)  # at which video is lost and shifted


def by_snr(media: Collection[str]) -> list[Condition]:
    """Each modality at each ratio; lips alone do not depend on it."""
    audio = [Condition("audio", snr_db) for snr_db in SNRS_DB]
    if "video" not in media:
        return audio
    return [*audio, Condition("video"), *(Condition("av", snr_db) for snr_db in SNRS_DB)]


def by_missing_video() -> list[Condition]:
    return [
        Condition("av", snr_db, drop_video=fraction, drop_kind=kind)
        for snr_db in VIDEO_SNRS_DB
        for kind in KINDS
        for fraction in FRACTIONS
    ]


def by_offset() -> list[Condition]:
    return [
        Condition("av", snr_db, av_offset_ms=float(offset_ms)) for snr_db in VIDEO_SNRS_DB for offset_ms in OFFSETS_MS
    ]


def grid(media: Collection[str]) -> list[Condition]:
    """Every condition that a model which uses ``media`` can be measured in, once."""
    cells = by_snr(media)
    if "video" in media:
        cells += [*by_missing_video(), *by_offset()]
    return list(dict.fromkeys(cells))


def simplest(condition: Condition, clip: Clip, disturbance: Disturbance) -> Condition:
    """The plainest condition that does the same to this clip: it need be run once."""
    if not condition.drop_video:
        return replace(condition, drop_kind="random")
    if condition.drop_kind == "all":
        loses = DropFrames(condition.drop_video, "all", disturbance.seed).loses(clip.name, 0.0)
        if not loses:
            return replace(condition, drop_video=0.0, drop_kind="random")
    return replace(condition, drop_video=1.0, drop_kind="all") if _loses_all(condition) else condition


def _loses_all(condition: Condition) -> bool:
    return condition.drop_kind == "all" or condition.drop_video == 1
