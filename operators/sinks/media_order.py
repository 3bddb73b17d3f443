"""Translated utterances and lost media in one order: they come to a sink by two ways, of which one is slower."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mmstream.core import Packet
from mmstream.media import Caption, Gap, Translation

MOST_HELD = 16  # translated utterances: a sink that is never told what was said waits for no more


@dataclass
class MediaOrder:
    """One session and language. Lost media comes out before the first utterance that begins after it.

    An utterance waits until what was said, or lost, has come as far, so that two runs of one file agree.
    """

    reached: float = -math.inf  # where the newest that was said or lost begins, media seconds
    said: int | None = None  # index of the newest utterance that was said
    translated: int | None = None  # index of the newest that came out
    over: deque[Packet[Translation]] = field(default_factory=deque)  # utterances that have not come out
    lost: deque[Packet[Gap]] = field(default_factory=deque)

    def note_said(self, packet: Packet[Caption]) -> None:
        self.reached = max(self.reached, packet.start)
        self.said = packet.data.index

    def note_lost(self, packet: Packet[Gap]) -> None:
        self.reached = max(self.reached, packet.start)
        self.lost.append(packet)

    def add(self, packet: Packet[Translation]) -> None:
        """The last state of an utterance."""
        self.over.append(packet)

    def due(self) -> Iterator[Packet[Any]]:
        """What may come out now."""
        while self.over and (self.over[0].start <= self.reached or len(self.over) > MOST_HELD):
            yield from self._next()
        if self.said == self.translated:
            yield from self._lost_before(math.inf)

    def rest(self) -> Iterator[Packet[Any]]:
        """All that is left at the end of the stream."""
        while self.over:
            yield from self._next()
        yield from self._lost_before(math.inf)

    def _next(self) -> Iterator[Packet[Any]]:
        utterance = self.over.popleft()
        yield from self._lost_before(utterance.start)
        yield utterance
        self.translated = utterance.data.index

    def _lost_before(self, start: float) -> Iterator[Packet[Gap]]:
        while self.lost and self.lost[0].start < start:
            yield self.lost.popleft()
