"""What live sessions give up when they fall behind, in this order: partial results, frame rate, video, audio last.

A lane looks at the age of a packet, the time since its media was captured, when it is about to hand it out. How old it
may be is a share of the session's bound, by what it carries. So whatever has piled up, a node begins no packet of a
live session that is older than the bound. Media that is given up becomes one ``Gap`` for each stretch; of pictures
every other one may go without a gap, since a picture lasts until the next. Results that are final always come out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mmstream.clock import SYSTEM_CLOCK, Clock
from mmstream.core import Packet, Source
from mmstream.graph import Graph
from mmstream.media import Caption, Gap, Hypothesis, Medium, Translation

Reason = Literal["full", "partial", "frame_rate", "late_video", "late_audio"]  # why a lane lost a packet

# Shares of the bound.
PARTIAL = 0.25  # a partial result goes where a newer one waits behind it
FRAME_RATE = 0.4  # every other picture goes
VIDEO = 0.6  # video goes, all of it,
VIDEO_BACK = 0.3  # until it is no older than this
AUDIO = 1.0  # audio goes, in one stretch:
AUDIO_BACK = 0.5  # what is older than this; few long gaps, since each one costs a recogniser what it remembers
EXCUSED = 0.5  # a session that was put back has caught up once it is no older than this

HOLD_S = 0.5  # wall-clock seconds for which an empty lane waits for more of a stretch, before it tells its gap


@dataclass(frozen=True, slots=True)
class Loss:
    """Why a packet is given up. ``gap`` is what tells of it, None where nothing is missing without it."""

    reason: Reason
    gap: Gap | None = None


@dataclass(frozen=True, slots=True)
class LagBound:
    """How far behind the clock the media of live sessions may be."""

    max_lag_s: float
    clock: Clock = SYSTEM_CLOCK
    excused_s: float = 60.0  # wall-clock seconds that a session has for its replay, once it was put back

    @classmethod
    def of(cls, graph: Graph, clock: Clock = SYSTEM_CLOCK) -> LagBound | None:
        """What the graph asks for; None: nothing is ever given up."""
        return None if graph.max_lag_s is None else cls(graph.max_lag_s, clock, graph.recovery.replay_s)


class Shedding:
    """Judges the packets of one lane in order. Not thread-safe: the lane's owner locks.

    ``excused``: the session was put back and plays again what is late already. Nothing is given up before it has
    caught up, or has had ``bound.excused_s`` for it.
    """

    def __init__(self, bound: LagBound, *, excused: bool = False) -> None:
        self._bound = bound
        self._excused_until = self.now() + bound.excused_s if excused else None
        self._giving_up: dict[Medium, Loss] = {}  # media whose packets go until they are young again
        self._skips = False  # the next picture goes, if the rate is still to be halved

    def now(self) -> float:
        """Wall-clock seconds."""
        return self._bound.clock.now()

    def judge(self, packet: Packet[Any], *, superseded: bool = False, again: bool = False) -> Loss | None:
        """Why ``packet`` is given up, None where it is not.

        ``superseded``: a newer result waits right behind it. ``again``: it was judged before, and kept.
        """
        share = (self.now() - packet.captured_at) / self._bound.max_lag_s
        if self._excused_until is not None:
            if share > EXCUSED and self.now() < self._excused_until:
                return None
            self._excused_until = None
        data = packet.data
        if isinstance(data, (Hypothesis, Caption, Translation)):
            return Loss("partial") if superseded and not data.final and share > PARTIAL else None
        if getattr(data, "medium", None) == "video":
            return self._stretch("video", share, VIDEO, VIDEO_BACK) or self._rate(data, share, again)
        if getattr(data, "contiguous", False):
            return self._stretch("audio", share, AUDIO, AUDIO_BACK)
        return None

    def _stretch(self, medium: Medium, share: float, limit: float, back: float) -> Loss | None:
        """Media goes from ``limit`` on, and then until it is no older than ``back``."""
        if share > limit and medium not in self._giving_up:
            behind_s, limit_s = share * self._bound.max_lag_s, limit * self._bound.max_lag_s
            told = f"{math.ceil(10 * behind_s) / 10:.1f} s behind, more than {limit_s:.3g} s"
            self._giving_up[medium] = Loss("late_video" if medium == "video" else "late_audio", Gap(medium, told))
        elif share <= back:
            self._giving_up.pop(medium, None)
        return self._giving_up.get(medium)

    def _rate(self, data: Any, share: float, again: bool) -> Loss | None:
        if again:
            return None
        if share <= FRAME_RATE or not hasattr(data, "pixels"):
            self._skips = False
            return None
        self._skips = not self._skips
        return None if self._skips else Loss("frame_rate")


def is_superseded(partial: Any, follower: Any) -> bool:
    """Whether the result ``follower`` says all that ``partial`` does."""
    if isinstance(partial, Caption):
        return isinstance(follower, Caption) and follower.index == partial.index
    if isinstance(partial, Translation):
        same = isinstance(follower, Translation) and follower.language == partial.language
        return same and follower.index == partial.index
    return isinstance(partial, Hypothesis) and isinstance(follower, Hypothesis)


def is_aside(result: Any, other: Any) -> bool:
    """Whether what supersedes ``result`` may still follow behind ``other``, an utterance in another language."""
    texts = (Caption, Translation)
    return isinstance(result, texts) and isinstance(other, texts) and _translated(result) != _translated(other)


def _translated(text: Caption | Translation) -> str | None:
    return text.language if isinstance(text, Translation) else None


def is_live(graph: Graph, arguments: Mapping[str, Mapping[str, Any]] | None = None) -> bool:
    """Whether a session's media comes at the pace of the wall clock, so that it can be too late.

    ``arguments``: the session's own for its sources, over those of the file.
    """
    given = arguments or {}
    return any(
        issubclass(node.kind, Source) and node.kind.comes_live({**node.arguments, **given.get(name, {})})
        for name, node in graph.nodes.items()
    )
