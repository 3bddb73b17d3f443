"""Video that is lost or out of time, on purpose: conditions to measure an audio-visual recogniser in."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from mmstream.core import Operator, Packet
from mmstream.media import Faces, Gap, Mouth, VideoFrame

Kind = Literal["random", "burst", "all"]

MILLISECONDS = 1000
ROUNDING_S = 1e-6  # less than any picture lasts, more than floats are wrong by


class DropFrames(Operator[str]):
    """Pictures -> the same, some of them lost: each lost one is a ``Gap`` in its place. Holds nothing back.

    ``kind``: ``random`` loses every picture with the chance ``fraction``; ``burst`` loses all that begin within one
    stretch of ``fraction`` of the first ``length_s`` seconds; ``all`` loses the whole stream of a ``fraction`` of the
    sessions. What is lost depends on ``seed``, the session's name and the picture's start alone: so frames and the
    mouths cut out of them are lost alike, and what is lost at a small fraction is lost at every larger one (but for
    bursts, which move as they grow).

    Errors: ValueError for an argument out of range, and for a burst without ``length_s``.
    """

    accepts: ClassVar[tuple[type, ...]] = (VideoFrame, Faces, Mouth, Gap)
    emits: ClassVar[tuple[type, ...]] = (VideoFrame, Faces, Mouth, Gap)

    def __init__(self, fraction: float, kind: Kind = "random", seed: int = 0, length_s: float | None = None) -> None:
        if not 0 <= fraction <= 1:
            raise ValueError(f"fraction is 0 to 1, not {fraction:g}")
        if kind not in get_args(Kind):
            raise ValueError(f"kind is one of {', '.join(get_args(Kind))}, not {kind!r}")
        if seed < 0:
            raise ValueError(f"seed is 0 or more, not {seed}")
        if kind == "burst" and (length_s is None or length_s <= 0):
            raise ValueError(f"a burst needs length_s, the seconds of media that it lies in, not {length_s}")
        self.fraction, self.kind, self.seed, self.length_s = fraction, kind, seed, length_s

    def open(self, session: str) -> str:
        return session

    def process(self, packet: Packet[Any], state: str) -> Iterator[Packet[Any]]:
        if isinstance(packet.data, Gap) or not self.loses(state, packet.start):
            yield packet
        else:
            yield packet.derive(Gap("video", f"dropped on purpose ({self.kind}, {self.fraction:g})"))

    def loses(self, session: str, start: float) -> bool:
        """Whether the picture that begins at media second ``start`` is lost."""
        if self.kind == "random":
            return self._draw(session, max(0, round(start * MILLISECONDS))) < self.fraction
        if self.kind == "all":
            return self._draw(session) < self.fraction
        assert self.length_s is not None
        lasts = self.fraction * self.length_s
        begins = self._draw(session) * (self.length_s - lasts)
        return begins <= start < begins + lasts or self.fraction == 1

    def _draw(self, session: str, *place: int) -> float:
        """0 <= x < 1, the same for the same ``place`` of a session."""
        return float(np.random.default_rng([self.seed, zlib.crc32(session.encode()), *place]).random())


class Shift(Operator[None]):
    """Pictures -> the same, later against the sound by ``offset_ms`` (earlier where negative). Holds nothing back.

    What would begin before media second 0 is left out, and so is what would begin at ``until_s`` or later, where that
    is given: a clip whose video is out of time is no longer than it was. Of a picture that would reach over 0, the
    part after it stays.
    """

    accepts: ClassVar[tuple[type, ...]] = (VideoFrame, Faces, Mouth, Gap)
    emits: ClassVar[tuple[type, ...]] = (VideoFrame, Faces, Mouth, Gap)

    def __init__(self, offset_ms: float, until_s: float | None = None) -> None:
        if until_s is not None and until_s <= 0:
            raise ValueError(f"until_s is above 0, not {until_s:g}")
        self.offset_s, self.until_s = offset_ms / MILLISECONDS, until_s

    def open(self, session: str) -> None: ...

    def process(self, packet: Packet[Any], state: None) -> Iterator[Packet[Any]]:
        start, end = packet.start + self.offset_s, packet.end + self.offset_s
        if end > ROUNDING_S and (self.until_s is None or start < self.until_s - ROUNDING_S):
            yield packet.derive(packet.data, max(0.0, start), end)

    def watermark(self, state: None, reached: float) -> float:
        return reached + self.offset_s
