"""What the live protocol tells its client: packets as events, and those kept for a client that comes back."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from mmstream.core import Packet
from mmstream.media import Caption, Gap, Sight, Translation, Word
from mmstream.server.session import Percentiles, Statistics

KEPT = 128  # events, and as many for each language; those of an utterance count once, since the newest says all


@dataclass(frozen=True, slots=True)
class _Entry:
    seq: int
    name: tuple[int, str | None] | None  # of a caption: its utterance; of a translation: its language too
    final: bool
    text: str


class EventLog:
    """The numbered events of a session, of which the newest can be had again. One event loop."""

    def __init__(self, languages: int = 0) -> None:
        """``languages``: how many the session is translated into."""
        self.seq = 0  # of the last event
        self._kept = KEPT * (1 + languages)
        self._entries: list[_Entry] = []  # few enough to take from the front
        self._forgotten = 0  # seq of the last event that cannot be had again

    def add(self, event: dict[str, Any]) -> str:
        """Number an event and keep it: its text."""
        self.seq += 1
        event["seq"] = self.seq
        text = as_text(event)
        name = (event["index"], event.get("target")) if event["type"] in ("caption", "translation") else None
        if name is not None:
            self._leave_out(name)
        self._entries.append(_Entry(self.seq, name, event.get("final", False), text))
        if len(self._entries) > self._kept:
            self._forgotten = self._entries.pop(0).seq
        return text

    def _leave_out(self, name: tuple[int, str | None]) -> None:
        """Whoever comes back needs the newest event of this name only, of those that are not final."""
        for at in range(len(self._entries) - 1, -1, -1):
            if self._entries[at].name == name:
                if not self._entries[at].final:
                    del self._entries[at]
                return

    def after(self, seq: int) -> list[str] | None:
        """The events after number ``seq``; None where some of them are gone, or there was no such number."""
        if not self._forgotten <= seq <= self.seq:
            return None
        return [entry.text for entry in self._entries if entry.seq > seq]


def event_of(packet: Packet[Any], offset_s: float) -> dict[str, Any]:
    """A caption, a translation, a gap or a sight as an event without its number."""
    data = packet.data
    if isinstance(data, Caption):
        return {"type": "caption", **_said(packet, offset_s), "language": data.language}
    if isinstance(data, Translation):
        return {"type": "translation", **_said(packet, offset_s), "target": data.language}
    if isinstance(data, Gap):
        return {
            "type": "gap",
            "seq": 0,
            "start": _seconds(packet.start, offset_s),
            "end": _seconds(packet.end, offset_s),
            "medium": data.medium,
            "reason": data.reason,
        }
    assert isinstance(data, Sight), data
    return {
        "type": "sight",
        "time": _seconds(packet.start, offset_s),
        "width": data.width,
        "height": data.height,
        "face": _box(data.face),
        "mouth": _box(data.mouth),
        "quality": round(data.quality, 3),
        "speaking": round(data.speaking, 3),
    }


def _said(packet: Packet[Caption] | Packet[Translation], offset_s: float) -> dict[str, Any]:
    data, words = packet.data, packet.data.words
    return {
        "seq": 0,
        "index": data.index,
        "final": data.final,
        "start": _seconds(words[0].start if words else packet.start, offset_s),
        "end": _seconds(words[-1].end if words else packet.end, offset_s),
        "stable": [_word(word, offset_s) for word in data.stable],
        "unstable": [_word(word, offset_s) for word in data.unstable],
    }


def statistics_event(statistics: Statistics, offset_s: float) -> dict[str, Any]:
    """How the session is doing."""
    return {
        "type": "statistics",
        "received_bytes": statistics.received_bytes,
        "received_s": _seconds(statistics.received_s, offset_s),
        "reached_s": _seconds(statistics.reached_s, offset_s),
        "lag_ms": round(statistics.lag_ms, 1),
        "dropped_s": round(statistics.dropped_s, 3),
        "emission_ms": _percentiles(statistics.emission_ms),
        "commit_ms": _percentiles(statistics.commit_ms),
    }


def as_text(event: dict[str, Any]) -> str:
    """One line of JSON."""
    return json.dumps(event, ensure_ascii=False, separators=(",", ":"))


def _word(word: Word, offset_s: float) -> dict[str, Any]:
    return {
        "word": word.text,
        "start": _seconds(word.start, offset_s),
        "end": _seconds(word.end, offset_s),
        "confidence": None if word.confidence is None else round(word.confidence, 3),
        "video": round(word.video, 3),
    }


def _seconds(media_s: float, offset_s: float) -> float:
    return round(media_s + offset_s, 3)


def _box(box: tuple[float, float, float, float] | None) -> list[float] | None:
    return None if box is None else [round(side, 1) for side in box]


def _percentiles(percentiles: Percentiles) -> dict[str, float | None]:
    return {"p50": percentiles.p50, "p95": percentiles.p95}
