"""The utterances of a session as they come by: which one is open, which are over."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from mmstream.core import Packet
from mmstream.media import Caption, Gap


@dataclass
class Utterances:
    """One session's captions in order. An utterance is over at its final caption, or when the next one begins."""

    open: Packet[Caption] | None = None  # the newest caption of the utterance that may still change
    done_index: int = -1
    done_end: float = -math.inf  # media seconds

    def repeats(self, caption: Caption) -> bool:
        """Whether the utterance is over already: after a recovery a session is replayed from its last commit.

        An index alone does not tell, because numbering may begin again after lost media; its time must agree.
        """
        begins = caption.words[0].start if caption.words else -math.inf
        return caption.index <= self.done_index and begins < self.done_end

    def take(self, packet: Packet[Caption]) -> Iterator[Packet[Caption]]:
        """Note ``packet``, which is no repetition; gives the last caption of each utterance that is over by it."""
        if self.open is not None and self.open.data.index != packet.data.index:
            yield from self.rest()
        self.open = packet
        if packet.data.final:
            yield from self.rest()

    def rest(self) -> Iterator[Packet[Caption]]:
        """The utterance that is still open at the end of the stream: nothing will change it any more."""
        if self.open is None:
            return
        packet, self.open = self.open, None
        self.done_index = packet.data.index
        words = packet.data.words
        self.done_end = max(self.done_end, words[-1].end if words else packet.end)
        yield packet


def describe_gap(packet: Packet[Gap]) -> str:
    """``2.3 s of audio lost: reason``."""
    seconds = packet.end - packet.start
    length = f"{seconds:.1f} s" if seconds >= 0.1 else f"{1000 * seconds:.0f} ms"
    return f"{length} of {packet.data.medium} lost: {packet.data.reason}"
