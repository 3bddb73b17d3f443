"""How far the words of an utterance were said on camera."""

from __future__ import annotations

from dataclasses import dataclass, field

from mmstream.core import Packet
from mmstream.media import Speech


@dataclass
class Sight:
    """What ``Speech.on_camera`` said about one utterance; grows with changes of it, not with the length of speech."""

    spans: list[tuple[float, float, float]] = field(default_factory=list)  # start, end in media seconds, on camera

    def add(self, packet: Packet[Speech]) -> None:
        """Take the next packet of the utterance."""
        on_camera = packet.data.on_camera
        if not on_camera or packet.end <= packet.start:
            return
        if self.spans and self.spans[-1][1:] == (packet.start, on_camera):
            self.spans[-1] = (self.spans[-1][0], packet.end, on_camera)
        else:
            self.spans.append((packet.start, packet.end, on_camera))

    def share(self, start: float, end: float) -> float:
        """How far the time from ``start`` to ``end`` was on camera, 0..1; 0 where nobody looked."""
        if end <= start:
            return max((seen for begin, stop, seen in self.spans if begin <= start <= stop), default=0.0)
        seen = sum(max(0.0, min(end, stop) - max(start, begin)) * share for begin, stop, share in self.spans)
        return min(1.0, seen / (end - start))
