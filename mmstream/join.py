"""The lanes of one node and session, merged by media time.

A node with several inputs gets their packets in one order of media time, whatever order they arrived in. A packet
waits until every other input has said that nothing earlier will still come (its watermark), so file runs repeat
exactly. Waiting is bounded: by the node's ``max_skew_s``; on edges that drop, by the lane's capacity; and on edges that
block, by ``STALL_S`` of wall-clock time after the lane has filled, since both inputs may hang on one blocked source.
An operator that takes its inputs in any order never waits.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from mmstream.core import Barrier, End, Packet, Watermark
from mmstream.graph import Edge, Node
from mmstream.lane import Lane
from mmstream.overload import LagBound, Shedding
from mmstream.recovery.cut import Cut

log = logging.getLogger(__name__)

STALL_S = 2.0  # wall-clock seconds for which a full lane that blocks waits for a silent one
_EVER = float("inf")


@dataclass(frozen=True, slots=True)
class Inlet:
    """A node with lanes of its own in an inbox."""

    node: Node
    inputs: tuple[Edge, ...]
    fills: tuple[str, ...] = ()  # lanes of the same inbox that its packets come to
    leaves: tuple[Edge, ...] = ()  # edges on which they leave the worker
    sinks: tuple[str, ...] = ()  # sinks that they reach without another lane
    bounded: bool = True  # whether the node's ``max_skew_s`` holds


class Join:
    """The lanes of one node and session, merged by media time.

    With a ``bound`` they give up what is late; ``excused``, only once the session has caught up after a replay.
    """

    def __init__(self, inlet: Inlet, session: str, bound: LagBound | None = None, *, excused: bool = False) -> None:
        node = inlet.node
        self.node = node.name
        self.session = session
        self.lanes = {
            edge.name: Lane(edge, session, None if bound is None else Shedding(bound, excused=excused))
            for edge in inlet.inputs
        }
        self.inlet = inlet
        self._cut = Cut(self.lanes)
        self._due: deque[Packet[Any]] = deque()  # control packets to hand out next
        self._any_order = bool(getattr(node.kind, "any_order", False))
        self._max_skew_s = node.max_skew_s if node.max_skew_s is not None and inlet.bounded else _EVER
        self._ended = False
        self.waited_s = 0.0  # by the packet last taken, wall-clock seconds
        self.stalled_at: float | None = None  # monotonic seconds since which a full lane waits for a silent one
        self._stall_told = False  # the user has been warned of this wait
        self._stalled_behind = -_EVER  # how far the silent lane was when the waiting began, media seconds
        self._first = _EVER  # where the first packet that had to wait begins, media seconds
        self._told = -_EVER  # the watermark last handed out
        self.given_up = 0  # packets that were late

    def take(self) -> Packet[Any] | None:
        """The next packet in media order, a control packet or the one ``End``; None when it has to wait."""
        while not self._ended:
            if self._due:
                due = self._due.popleft()
                self._ended = isinstance(due.data, End)
                return due
            for one in self.lanes.values():
                self.given_up += one.shed()
            lane = self._earliest()
            if lane is None:
                return None
            packet = lane.take()
            self.waited_s = lane.waited_s
            self._due += self._cut.passed(lane.edge.name, packet)
            if isinstance(packet.data, Barrier):
                continue
            reached = min(other.watermark for other in self.lanes.values())
            if isinstance(packet.data, End) and reached == _EVER:
                self._due.append(packet)  # behind what the lanes held of a snapshot
                continue
            if not isinstance(packet.data, (End, Watermark)):
                return packet
            if reached > self._told:
                self._told = reached
                return packet.derive(Watermark(), start=reached, end=reached)
        return None

    @property
    def waits(self) -> bool:
        """Whether time alone may let it go on: it has to be looked at again, though nothing arrives."""
        return self.stalled_at is not None or any(lane.holds for lane in self.lanes.values())

    def has_waited(self, now: float) -> bool:
        """Whether it is worth a look at ``now`` (monotonic): a full lane waits for a silent one only for so long."""
        if self.stalled_at is None or now - self.stalled_at >= STALL_S:
            return True
        return any(lane.holds for lane in self.lanes.values())

    def _earliest(self) -> Lane | None:
        """The lane whose head goes next, or None while a head must wait for a silent lane."""
        filled = [lane for lane in self.lanes.values() if lane.head is not None]
        if not filled:
            return None
        control = [lane for lane in filled if lane.head and isinstance(lane.head.data, (End, Watermark, Barrier))]
        if control:
            return control[0]
        best = min(filled, key=_start)
        silent = [lane for lane in self.lanes.values() if lane.head is None]
        if self._any_order or all(self._goes_before(best, lane) for lane in silent):
            self.stalled_at = None
            return best
        self._first = min(self._first, _start(best))
        heard = min(lane.watermark for lane in silent)
        if best.newest - (self._first if heard == -_EVER else heard) > self._max_skew_s:
            return best
        full = [lane for lane in filled if lane.room == 0]
        return best if full and self._waited_enough(full, silent) else None

    def _goes_before(self, best: Lane, silent: Lane) -> bool:
        """Whether nothing that ``silent`` may still bring belongs before the head of ``best``.

        At the same start the lane of the earlier edge goes first, whichever came first.
        """
        order = list(self.lanes.values())
        if order.index(silent) < order.index(best):
            return silent.watermark > _start(best)
        return silent.watermark >= _start(best)

    def _waited_enough(self, full: list[Lane], silent: list[Lane]) -> bool:
        """Whether full lanes have waited long enough for silent ones; live lanes, which lose media, never wait.

        Once they have, what follows goes on at once, until the silent ones are heard again.
        """
        if any(lane.edge.overflow != "block" for lane in full):
            return True
        now = time.monotonic()
        heard = min(lane.watermark for lane in silent)
        if self.stalled_at is None or heard > self._stalled_behind:
            self.stalled_at, self._stalled_behind, self._stall_told = now, heard, False
        if now - self.stalled_at < STALL_S:
            return False
        if not self._stall_told:
            self._stall_told = True
            log.warning(
                "session %s: %s is full and waits for %s; going on. A larger capacity would keep them in step",
                self.session,
                full[0].edge.name,
                silent[0].edge.name,
            )
        return True


def _start(lane: Lane) -> float:
    return lane.head.start if lane.head is not None else _EVER
