"""When each word of a session was first shown, and from when on it never changed."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from mmstream.core import Packet
from mmstream.media import Caption, Word


@dataclass(frozen=True, slots=True)
class Committed:
    """A word that has become stable. All but its media times are wall-clock seconds."""

    word: Word
    captured_at: float  # of the word's end
    emitted_at: float  # when its place first showed this text
    committed_at: float


@dataclass
class _Utterance:
    first_shown: list[dict[str, float]] = field(default_factory=list)  # position -> text -> wall seconds
    stable: int = 0


class Words:
    """Follows the captions of one session. One thread. Sinks that show the same captions may all tell it."""

    def __init__(self) -> None:
        self._open: dict[int, _Utterance] = {}  # by index
        self._done_index = -1
        self._done_end = -math.inf  # media seconds

    def take(self, packet: Packet[Caption], now: float) -> list[Committed]:
        """The words that ``packet``, shown at the wall-clock second ``now``, has made stable."""
        caption = packet.data
        begins = caption.words[0].start if caption.words else -math.inf
        if caption.index <= self._done_index and begins < self._done_end:  # from another sink, or replayed
            return []
        for index in [index for index in self._open if index < caption.index]:
            del self._open[index]
        utterance = self._open.setdefault(caption.index, _Utterance())
        for position, word in enumerate(caption.words):
            if position == len(utterance.first_shown):
                utterance.first_shown.append({})
            utterance.first_shown[position].setdefault(word.text, now)
        origin = packet.captured_at - packet.end  # wall-clock time of media second 0
        newly = list(enumerate(caption.words if caption.final else caption.stable))[utterance.stable :]
        utterance.stable += len(newly)
        if caption.final:
            del self._open[caption.index]
            self._done_index = caption.index
            self._done_end = max(self._done_end, caption.words[-1].end if caption.words else packet.end)
        return [
            Committed(word, origin + word.end, utterance.first_shown[position][word.text], now)
            for position, word in newly
        ]
