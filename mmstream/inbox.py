"""The queues in front of a worker: one bounded lane per edge and session, merged by media time, served in turn.

A node with several inputs gets their packets in one order of media time, whatever order they arrived in. A packet
waits until every other input has said that nothing earlier will still come (its watermark), so file runs repeat
exactly. Waiting is bounded twice: by the node's ``max_skew_s``, and by the lane's capacity, since a full lane never
waits for a silent one.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from mmstream.core import End, Packet, Watermark
from mmstream.graph import Edge, Node
from mmstream.media import Gap

_EVER = float("inf")


def promise(packet: Packet[Any]) -> float:
    """The media second before which nothing will still come on an edge, once ``packet`` has come."""
    if isinstance(packet.data, End):
        return _EVER
    return packet.end if getattr(packet.data, "contiguous", False) else packet.start


@dataclass(frozen=True, slots=True)
class LaneReport:
    """What one lane went through, for people and metrics."""

    edge: str
    session: str
    capacity: int  # packets
    peak: int  # most packets ever waiting
    dropped: int  # packets lost to the overflow policy


class Lane:
    """The bounded first-in first-out queue of one edge and session. Not thread-safe: its owner locks.

    What a drop policy loses comes out as one ``Gap`` at the place of the loss. ``End``, ``Watermark`` and gaps take
    no room, so they never wait and are never lost.
    """

    def __init__(self, edge: Edge, session: str) -> None:
        self.edge = edge
        self.session = session
        self.watermark = -_EVER  # nothing that starts before it will still come, media seconds
        self.newest = -_EVER  # latest media second that has arrived
        self.peak = 0
        self.dropped = 0
        self._queue: deque[Packet[Any]] = deque()
        self._waiting = 0  # packets that count against the capacity

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def room(self) -> int:
        """How many more packets fit."""
        return max(0, self.edge.capacity - self._waiting)

    @property
    def accepts_more(self) -> bool:
        """Whether ``put`` may be called: a full lane that blocks makes its sender wait."""
        return self.room > 0 or self.edge.overflow != "block"

    @property
    def head(self) -> Packet[Any] | None:
        return self._queue[0] if self._queue else None

    @property
    def report(self) -> LaneReport:
        return LaneReport(self.edge.name, self.session, self.edge.capacity, self.peak, self.dropped)

    def put(self, packet: Packet[Any]) -> None:
        """Append; on a full lane the overflow policy decides what is lost."""
        self.newest = max(self.newest, packet.end)
        if isinstance(packet.data, (End, Watermark, Gap)):
            self._queue.append(packet)
            return
        if self.room == 0:
            if self.edge.overflow == "drop_newest":
                self._lose(packet, at_head=False)
                return
            self._lose(self._take_oldest(), at_head=True)
        self._queue.append(packet)
        self._waiting += 1
        self.peak = max(self.peak, self._waiting)

    def take(self) -> Packet[Any]:
        """Remove the head; the watermark moves with it."""
        packet = self._queue.popleft()
        if not isinstance(packet.data, (End, Watermark, Gap)):
            self._waiting -= 1
        self.watermark = max(self.watermark, promise(packet))
        return packet

    def _take_oldest(self) -> Packet[Any]:
        """Remove the first packet that counts, stepping over gaps and watermarks in front of it."""
        for index, packet in enumerate(self._queue):
            if not isinstance(packet.data, (End, Watermark, Gap)):
                del self._queue[index]
                self._waiting -= 1
                return packet
        raise AssertionError("a full lane holds a packet")

    def _lose(self, packet: Packet[Any], *, at_head: bool) -> None:
        """Record the loss: widen the gap that is already there, or place one."""
        self.dropped += 1
        reason = f"{self.edge.name} was full ({self.edge.capacity} packets)"
        gap = packet.derive(Gap(getattr(packet.data, "medium", "audio"), reason))
        index = 0 if at_head else len(self._queue) - 1
        neighbour = self._queue[index] if self._queue else None
        if neighbour is not None and neighbour.data == gap.data:
            first, last = sorted((neighbour, gap), key=lambda lost: lost.start)
            self._queue[index] = last.derive(gap.data, start=first.start)
        elif at_head:
            self._queue.appendleft(gap)
        else:
            self._queue.append(gap)


class _Join:
    """The lanes of one node and session, merged by media time."""

    def __init__(self, node: Node, session: str, edges: Iterable[Edge]) -> None:
        self.node = node.name
        self.session = session
        self.lanes = {edge.name: Lane(edge, session) for edge in edges}
        self._max_skew_s = _EVER if node.max_skew_s is None else node.max_skew_s
        self._ended = False
        self._told = -_EVER  # the watermark last handed out

    def take(self) -> Packet[Any] | None:
        """The next packet in media order, a ``Watermark`` or the one ``End``; None when it has to wait."""
        while not self._ended:
            lane = self._earliest()
            if lane is None:
                return None
            packet = lane.take()
            reached = min(other.watermark for other in self.lanes.values())
            if isinstance(packet.data, End):
                if reached == _EVER:
                    self._ended = True
                    return packet
                continue
            if not isinstance(packet.data, Watermark):
                return packet
            if reached > self._told:
                self._told = reached
                return packet.derive(Watermark(), start=reached, end=reached)
        return None

    def _earliest(self) -> Lane | None:
        """The lane whose head goes next, or None while a head must wait for a silent lane."""
        filled = [lane for lane in self.lanes.values() if lane.head is not None]
        if not filled:
            return None
        control = [lane for lane in filled if lane.head is not None and isinstance(lane.head.data, (End, Watermark))]
        if control:
            return control[0]
        best = min(filled, key=lambda lane: lane.head.start if lane.head is not None else _EVER)
        silent = [lane for lane in self.lanes.values() if lane.head is None]
        start = best.head.start if best.head is not None else _EVER
        if all(lane.watermark >= start for lane in silent):
            return best
        if best.room == 0 or best.newest - min(lane.watermark for lane in silent) > self._max_skew_s:
            return best
        return next((lane for lane in filled if lane.room == 0), None)


@dataclass(frozen=True, slots=True)
class Item:
    """One packet for one node; ``reached`` is the node's watermark after it."""

    node: str
    packet: Packet[Any]
    reached: float


class Inbox:
    """All lanes into one worker. Thread-safe: many threads put, one takes; sessions are served in turn."""

    def __init__(self, nodes: Iterable[tuple[Node, tuple[Edge, ...]]]) -> None:
        self._nodes = tuple(nodes)
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)
        self._freed = threading.Condition(self._lock)
        self._joins: dict[tuple[str, str], _Join] = {}  # by (session, node)
        self._lanes: dict[tuple[str, str], tuple[Lane, _Join]] = {}  # by (session, edge)
        self._turn: dict[_Join, None] = {}  # joins that may have a packet ready, in order of service
        self._calls: deque[Callable[[], None]] = deque()
        self._closed = False

    def open(self, session: str) -> None:
        """Make the lanes of a session."""
        with self._lock:
            for node, edges in self._nodes:
                join = _Join(node, session, edges)
                self._joins[session, node.name] = join
                for name, lane in join.lanes.items():
                    self._lanes[session, name] = (lane, join)

    def put(self, edge: str, packet: Packet[Any]) -> bool:
        """Queue ``packet``, waiting for room where the edge blocks. False when the session is not open here."""
        with self._lock:
            while True:
                found = self._lanes.get((packet.session, edge))
                if found is None or self._closed:
                    return False
                lane, join = found
                if lane.accepts_more or isinstance(packet.data, (End, Watermark, Gap)):
                    break
                self._freed.wait()
            lane.put(packet)
            self._turn.setdefault(join)
            self._filled.notify()
            return True

    def room(self, edge: str, session: str) -> int | None:
        """Free places of one lane, for a sender elsewhere; None when the session is not open here."""
        with self._lock:
            found = self._lanes.get((session, edge))
            if found is None or self._closed:
                return None
            lane = found[0]
            return lane.edge.capacity if lane.edge.overflow != "block" else lane.room

    def wait_for_room(self, lanes: Collection[tuple[str, str]], timeout_s: float) -> None:
        """Return once any of the (edge, session) lanes has room or is gone, or after ``timeout_s``."""

        def has_room() -> bool:
            found = [self._lanes.get((session, edge)) for edge, session in lanes]
            return self._closed or any(entry is None or entry[0].accepts_more for entry in found)

        with self._lock:
            self._freed.wait_for(has_room, timeout_s)

    def call(self, action: Callable[[], None]) -> None:
        """Have the taking thread run ``action`` before it takes the next packet."""
        with self._lock:
            self._calls.append(action)
            self._filled.notify()

    def take(self) -> Item | Callable[[], None] | None:
        """The next packet or call, waiting for one; None once the inbox is closed and empty of calls."""
        with self._lock:
            while True:
                if self._calls:
                    return self._calls.popleft()
                if self._closed:
                    return None
                item = self._next(lambda join: True)
                if item is not None:
                    return item
                self._filled.wait()

    def take_more(self, node: str, sessions: Collection[str], deadline: float | None) -> Item | None:
        """A further packet for ``node`` from a session not in ``sessions``; waits until ``deadline`` (monotonic).

        None as soon as a call waits: it may open the very session whose packet would come next.
        """
        with self._lock:
            while not self._calls:
                item = self._next(lambda join: join.node == node and join.session not in sessions)
                wait_s = 0.0 if deadline is None else deadline - time.monotonic()
                if item is not None or wait_s <= 0 or self._closed:
                    return item
                self._filled.wait(wait_s)
            return None

    def take_for(self, node: str, session: str) -> Item | None:
        """The next packet of one node and session, without waiting."""
        with self._lock:
            return self._next(lambda join: join.node == node and join.session == session)

    def _next(self, wanted: Callable[[_Join], bool]) -> Item | None:
        for join in [join for join in self._turn if wanted(join)]:
            del self._turn[join]
            packet = join.take()
            if packet is None:
                continue
            self._turn[join] = None  # to the back: other sessions come first
            self._freed.notify_all()
            return Item(join.node, packet, min(lane.watermark for lane in join.lanes.values()))
        return None

    def close_session(self, session: str) -> tuple[LaneReport, ...]:
        """Forget a session's lanes and release whoever waits to put into them."""
        with self._lock:
            reports = []
            for key in [key for key in self._joins if key[0] == session]:
                join = self._joins.pop(key)
                self._turn.pop(join, None)
                for name, lane in join.lanes.items():
                    del self._lanes[session, name]
                    reports.append(lane.report)
            self._freed.notify_all()
            return tuple(reports)

    def close(self) -> None:
        """Release everybody who waits; ``take`` gives None."""
        with self._lock:
            self._closed = True
            self._filled.notify_all()
            self._freed.notify_all()
