"""The utterances of a session as they come by: which one is open, which are over."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from mmstream.core import Packet
from mmstream.media import Caption, Gap, Translation

Utterance = Caption | Translation
Said = TypeVar("Said", Caption, Translation)


@dataclass
class InOneLanguage(Generic[Said]):
    """One session's captions, or its translations into one language, in order.

    An utterance is over at its final one, or when the next utterance begins.
    """

    open: Packet[Said] | None = None  # the newest of the utterance that may still change
    done_index: int = -1
    done_end: float = -math.inf  # media seconds

    def repeats(self, said: Said) -> bool:
        """Whether the utterance is over already: after a recovery a session is replayed from its last commit.

        An index alone does not tell, because numbering may begin again after lost media; its time must agree.
        """
        begins = said.words[0].start if said.words else -math.inf
        return said.index <= self.done_index and begins < self.done_end

    def take(self, packet: Packet[Said]) -> Iterator[Packet[Said]]:
        """Note ``packet``, which is no repetition; gives the last state of each utterance that is over by it."""
        if self.open is not None and self.open.data.index != packet.data.index:
            yield from self.rest()
        self.open = packet
        if packet.data.final:
            yield from self.rest()

    def rest(self) -> Iterator[Packet[Said]]:
        """The utterance that is still open at the end of the stream: nothing will change it any more."""
        if self.open is None:
            return
        packet, self.open = self.open, None
        self.done_index = packet.data.index
        words = packet.data.words
        self.done_end = max(self.done_end, words[-1].end if words else packet.end)
        yield packet


Utterances = InOneLanguage[Caption]  # what was said
Translations = InOneLanguage[Translation]


def describe_gap(packet: Packet[Gap]) -> str:
    """``2.3 s of audio lost: reason``."""
    seconds = packet.end - packet.start
    length = f"{seconds:.1f} s" if seconds >= 0.1 else f"{1000 * seconds:.0f} ms"
    return f"{length} of {packet.data.medium} lost: {packet.data.reason}"
