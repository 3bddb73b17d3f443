"""The queues in front of a worker: one bounded lane per edge and session, merged by media time, served in turn.

A node with several inputs gets their packets in one order of media time, whatever order they arrived in. A packet
waits until every other input has said that nothing earlier will still come (its watermark), so file runs repeat
exactly. Waiting is bounded: by the node's ``max_skew_s``; on edges that drop, by the lane's capacity; and on edges that
block, by ``STALL_S`` of wall-clock time after the lane has filled, since both inputs may hang on one blocked source.

A lane between two nodes of the worker is filled by the thread that empties it, so nobody can wait there. Instead,
a node is not served while a lane that it fills is full.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from mmstream.core import End, Packet, Watermark
from mmstream.graph import Edge, Node
from mmstream.lane import Lane, LaneReport
from mmstream.media import Gap

log = logging.getLogger(__name__)

STALL_S = 2.0  # wall-clock seconds for which a full lane that blocks waits for a silent one
_EVER = float("inf")


class _Join:
    """The lanes of one node and session, merged by media time."""

    def __init__(self, inlet: Inlet, session: str) -> None:
        node = inlet.node
        self.node = node.name
        self.session = session
        self.lanes = {edge.name: Lane(edge, session) for edge in inlet.inputs}
        self.fills = inlet.fills
        self._max_skew_s = node.max_skew_s if node.max_skew_s is not None and inlet.bounded else _EVER
        self._ended = False
        self.stalled_at: float | None = None  # monotonic seconds since which a full lane waits for a silent one
        self._stall_told = False  # the user has been warned of this wait
        self._stalled_behind = -_EVER  # how far the silent lane was when the waiting began, media seconds
        self._first = _EVER  # where the first packet that had to wait begins, media seconds
        self._told = -_EVER  # the watermark last handed out

    def take(self) -> Packet[Any] | None:
        """The next packet in media order, a ``Watermark`` or the one ``End``; None when it has to wait."""
        while not self._ended:
            lane = self._earliest()
            if lane is None:
                return None
            packet = lane.take()
            reached = min(other.watermark for other in self.lanes.values())
            if isinstance(packet.data, End) and reached == _EVER:
                self._ended = True
                return packet
            if not isinstance(packet.data, (End, Watermark)):
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
        best = min(filled, key=_start)
        silent = [lane for lane in self.lanes.values() if lane.head is None]
        if all(self._goes_before(best, lane) for lane in silent):
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


@dataclass(frozen=True, slots=True)
class Inlet:
    """A node with lanes of its own in an inbox."""

    node: Node
    inputs: tuple[Edge, ...]
    fills: tuple[str, ...] = ()  # lanes of the same inbox that its packets come to
    bounded: bool = True  # whether the node's ``max_skew_s`` holds


@dataclass(frozen=True, slots=True)
class Item:
    """One packet for one node; ``reached`` is the node's watermark after it."""

    node: str
    packet: Packet[Any]
    reached: float


class Inbox:
    """All lanes into one worker. Thread-safe: many threads put, one takes; sessions are served in turn."""

    def __init__(self, inlets: Iterable[Inlet]) -> None:
        self._inlets = tuple(inlets)
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)
        self._freed = threading.Condition(self._lock)
        self._joins: dict[tuple[str, str], _Join] = {}  # by (session, node)
        self._lanes: dict[tuple[str, str], tuple[Lane, _Join]] = {}  # by (session, edge)
        self._turn: dict[_Join, None] = {}  # joins that may have a packet ready, in order of service
        self._stalled: set[_Join] = set()  # joins to look at again after STALL_S, whatever arrives
        self._calls: deque[Callable[[], None]] = deque()
        self._closed = False

    def open(self, session: str) -> None:
        """Make the lanes of a session."""
        with self._lock:
            for inlet in self._inlets:
                join = _Join(inlet, session)
                self._joins[session, join.node] = join
                for name, lane in join.lanes.items():
                    self._lanes[session, name] = (lane, join)

    def put(self, edge: str, packet: Packet[Any]) -> bool:
        """Queue ``packet``, waiting for room where the edge blocks. False when the session is not open here."""
        with self._lock:
            found = self._lanes.get((packet.session, edge))
            while found is not None and not self._closed:
                lane, join = found
                if lane.accepts_more or isinstance(packet.data, (End, Watermark, Gap)):
                    self._append(lane, join, packet)
                    return True
                self._wait_for_room(lane, join)
                if self._lanes.get((packet.session, edge)) is not found:
                    return False
            return False

    def _wait_for_room(self, lane: Lane, join: _Join) -> None:
        """Wait until a sender may go on, or the session or the inbox is gone: the caller looks which."""
        key = (lane.session, lane.edge.name)
        self._freed.wait_for(lambda: _is_roomy(lane, join) or self._closed or self._lanes.get(key) != (lane, join))

    def push(self, edge: str, packet: Packet[Any]) -> None:
        """Queue ``packet`` from the taking thread, which cannot wait for itself: a burst may exceed the capacity."""
        with self._lock:
            found = self._lanes.get((packet.session, edge))
            if found is not None:
                self._append(*found, packet)

    def _append(self, lane: Lane, join: _Join, packet: Packet[Any]) -> None:
        lane.put(packet)
        self._turn.setdefault(join)
        self._filled.notify()

    def room(self, edge: str, session: str) -> int | None:
        """Free places of one lane, for a sender elsewhere; None when the session is not open here."""
        with self._lock:
            found = self._lanes.get((session, edge))
            if found is None or self._closed:
                return None
            lane = found[0]
            return lane.edge.capacity if lane.edge.overflow != "block" else lane.room

    def rooms(self, lanes: Iterable[tuple[str, str]]) -> dict[tuple[str, str], int | None]:
        """``room`` of each (edge, session) lane."""
        return {(edge, session): self.room(edge, session) for edge, session in lanes}

    def wait_for_room(
        self, lanes: Collection[tuple[str, str]], timeout_s: float, obsolete: Callable[[], bool] = lambda: False
    ) -> None:
        """Return once any of the (edge, session) lanes has room enough or is gone, or after ``timeout_s``.

        A later call makes those before it look whether they have become ``obsolete``.
        """

        def has_room() -> bool:
            found = [self._lanes.get((session, edge)) for edge, session in lanes]
            return self._closed or obsolete() or any(entry is None or _is_roomy(*entry) for entry in found)

        with self._lock:
            self._freed.notify_all()
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
                self._look_again()
                item = self._next(lambda join: True)
                if item is not None:
                    return item
                self._filled.wait(STALL_S if self._stalled else None)

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
            if any(not self._lanes[join.session, edge][0].accepts_more for edge in join.fills):
                continue
            del self._turn[join]
            packet = join.take()
            if packet is None:
                if join.stalled_at is not None:
                    self._stalled.add(join)
                continue
            self._turn[join] = None  # to the back: other sessions come first
            if len(join.lanes) > 1 or any(lane.half_free for lane in join.lanes.values()):
                self._freed.notify_all()
            return Item(join.node, packet, min(lane.watermark for lane in join.lanes.values()))
        return None

    def _look_again(self) -> None:
        """Give joins a turn whose full lane has waited long enough, however busy other sessions are."""
        now = time.monotonic()
        for join in tuple(self._stalled):
            if join.stalled_at is None or now - join.stalled_at >= STALL_S:
                self._stalled.discard(join)
                self._turn.setdefault(join)

    def close_session(self, session: str) -> tuple[LaneReport, ...]:
        """Forget a session's lanes and release whoever waits to put into them."""
        with self._lock:
            reports = []
            for key in [key for key in self._joins if key[0] == session]:
                join = self._joins.pop(key)
                self._turn.pop(join, None)
                self._stalled.discard(join)
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


def _is_roomy(lane: Lane, join: _Join) -> bool:
    """Whether it is worth waking a sender: half a lane at a time, so that it works in runs.

    A join takes one packet of a full lane when another has stalled it; its sender must hear of every place.
    """
    return lane.half_free if len(join.lanes) == 1 else lane.accepts_more
