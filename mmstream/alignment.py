"""One media clock for the live sources of a session.

A microphone counts samples and a camera its own ticks: each begins at 0 when it is ready, and they drift apart by a
tenth of a percent and more. What they share is the wall clock at capture. The first source that is not optional keeps
the session's media time; packets of the others are moved to where the keeper's media time stood when they were
captured.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from mmstream.core import Packet, Source
from mmstream.graph import Node

Placing = Callable[[Packet[Any]], Packet[Any] | None]

FORGET = 0.02  # share of a new observation in the running estimate: capture times jitter by a few milliseconds
JUMP_S = 0.1  # an estimate further off than this is not smoothed but corrected at once


class MediaClock:
    """The clock of one session. Thread-safe: every source has a thread of its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._origin: float | None = None  # wall-clock second of the keeper's media second 0

    def keep(self, packet: Packet[Any]) -> Packet[Any]:
        """Hear a packet of the source that keeps the time; it stays where it is."""
        with self._lock:
            self._origin = _smoothed(self._origin, packet.captured_at - packet.end)
        return packet

    def origin(self) -> float | None:
        """The wall-clock second of media second 0; None before the keeper's first packet."""
        with self._lock:
            return self._origin


class Follower:
    """Moves the packets of one source onto the session's clock."""

    def __init__(self, clock: MediaClock) -> None:
        self._clock = clock
        self._shift_s: float | None = None
        self._reached = 0.0  # nothing is placed before it: packets stay in order

    def place(self, packet: Packet[Any]) -> Packet[Any] | None:
        """``packet`` at the keeper's media time; None where that has not begun when the packet was captured."""
        origin = self._clock.origin()
        if origin is None:
            return None
        self._shift_s = _smoothed(self._shift_s, packet.captured_at - origin - packet.end)
        end = packet.end + self._shift_s
        if end <= self._reached or end <= 0:
            return None
        start = max(self._reached, packet.start + self._shift_s, 0.0)
        self._reached = end
        return replace(packet, start=start, end=end)


def aligned(sources: Sequence[Node]) -> dict[str, Placing]:
    """For each of a session's sources that needs one clock with others, what puts its packets on it."""
    live = [node for node in sources if issubclass(node.kind, Source) and node.kind.live]
    if len(live) < 2:
        return {}
    clock = MediaClock()
    keeper = next((node for node in live if not node.optional), live[0])
    return {node.name: clock.keep if node is keeper else Follower(clock).place for node in live}


def _smoothed(before: float | None, now: float) -> float:
    if before is None or abs(now - before) > JUMP_S:
        return now
    return before + FORGET * (now - before)
