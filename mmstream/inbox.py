"""The queues in front of a worker: one bounded lane per edge and session, joined for each node, served in turn.

The thread that empties the lanes never waits for one session's sake. A node is not served for a session while a lane
that its packets come to is full, here or in another worker, nor while a sink that they reach is not ready.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from mmstream.core import Packet
from mmstream.graph import Edge
from mmstream.join import Inlet, Join
from mmstream.lane import Lane, LaneKey, LaneReport, is_weightless, lost_by_session
from mmstream.overload import LagBound

STALL_POLL_S = 0.25  # wall-clock seconds between two looks at a lane that waits for another
READY_POLL_S = 0.02  # wall-clock seconds between two looks at a sink that was not ready


@dataclass(frozen=True, slots=True)
class Item:
    """One packet for one node; ``reached`` is the node's watermark after it."""

    node: str
    packet: Packet[Any]
    reached: float
    waited_s: float = 0.0  # how long the packet lay on its lane, wall-clock seconds


HasRoom = Callable[[Edge, str], bool]  # whether another worker's lane of a session takes a packet now; never waits
IsReady = Callable[[str, str], bool]  # whether a sink takes a packet of a session now; never waits


class Inbox:
    """All lanes into one worker. Thread-safe: many threads put, one takes; sessions are served in turn.

    ``on_room`` is called, without any lock, after a packet has been taken: a worker before this one may wait for that.
    """

    def __init__(
        self,
        inlets: Iterable[Inlet],
        has_room: HasRoom = lambda edge, session: True,
        is_ready: IsReady = lambda sink, session: True,
        bound: LagBound | None = None,
    ) -> None:
        """``bound``: how late the media of live sessions may be; None: nothing is given up for being late."""
        self._inlets = tuple(inlets)
        self._has_room = has_room
        self._is_ready = is_ready
        self._bound = bound
        self.on_room: Callable[[], None] = lambda: None
        self._held = False  # a session was passed over because there was no room for what it would give
        self._unready = False  # or because a sink was not ready
        self._relieved = False  # lanes have room because packets were given up, and nobody has heard of it
        self._epochs: dict[str, int] = {}
        self._unstarted: set[str] = set()  # sessions that are not served yet
        self._lock = threading.Lock()
        self._filled = threading.Condition(self._lock)
        self._freed = threading.Condition(self._lock)
        self._joins: dict[tuple[str, str], Join] = {}  # by (session, node)
        self._lanes: dict[tuple[str, str], tuple[Lane, Join]] = {}  # by (session, edge)
        self._turn: dict[Join, None] = {}  # joins that may have a packet ready, in order of service
        self._stalled: set[Join] = set()  # joins to look at again in a while, whatever arrives
        self._calls: deque[Callable[[], None]] = deque()
        self._closed = False

    def open(self, session: str, epoch: int = 0, *, live: bool = True, held: bool = False) -> None:
        """Make the lanes of a session. Those of an earlier epoch are gone, with what is on them.

        ``live``: what is late may be given up, after epoch 0 only once the session has caught up. ``held``: it is not
        served before ``release``.
        """
        with self._lock:
            self._forget(session)
            self._epochs[session] = epoch
            (self._unstarted.add if held else self._unstarted.discard)(session)
            for inlet in self._inlets:
                join = Join(inlet, session, self._bound if live else None, excused=epoch > 0)
                self._joins[session, join.node] = join
                for name, lane in join.lanes.items():
                    self._lanes[session, name] = (lane, join)
            self._freed.notify_all()

    def release(self, session: str) -> None:
        """Serve a session that was held."""
        with self._lock:
            self._unstarted.discard(session)
            self._filled.notify()

    def put(self, edge: str, packet: Packet[Any], epoch: int = 0, *, wait: bool = False) -> bool:
        """Queue ``packet``, waiting for room where the edge blocks, or for ``wait`` on any edge.

        False when the session is not open here, in this epoch.
        """
        with self._lock:
            found = self._lanes.get((packet.session, edge))
            if self._epochs.get(packet.session) != epoch:
                return False
            while found is not None and not self._closed:
                lane, join = found
                if is_weightless(packet) or lane.room > 0 or (lane.accepts_more and not wait):
                    self._append(lane, join, packet)
                    return True
                self._wait_for_room(lane, join)
                if self._lanes.get((packet.session, edge)) is not found:
                    return False
            return False

    def _wait_for_room(self, lane: Lane, join: Join) -> None:
        """Wait until a sender may go on, or the session or the inbox is gone: the caller looks which."""
        key = (lane.session, lane.edge.name)
        self._freed.wait_for(
            lambda: (lane.room > 0 and _is_roomy(lane, join)) or self._closed or self._lanes.get(key) != (lane, join)
        )

    def push(self, edge: str, packet: Packet[Any], epoch: int = 0) -> None:
        """Queue ``packet`` from a worker's thread, which cannot wait: what one packet gives may exceed the capacity."""
        with self._lock:
            found = self._lanes.get((packet.session, edge))
            if found is not None and self._epochs.get(packet.session) == epoch:
                self._append(*found, packet)

    def accepts(self, edge: str, session: str) -> bool:
        """Whether a lane takes a packet now, for a worker that would give one; without a lock, so a moment old."""
        found = self._lanes.get((session, edge))
        return found is None or found[0].accepts_more

    def _append(self, lane: Lane, join: Join, packet: Packet[Any]) -> None:
        lane.put(packet)
        self._turn.setdefault(join)
        self._filled.notify()

    def room(self, edge: str, session: str, epoch: int = 0) -> int | None:
        """Free places of one lane, for a sender elsewhere; None when the session is not open here, in this epoch."""
        with self._lock:
            found = self._lanes.get((session, edge))
            if found is None or self._closed or self._epochs.get(session) != epoch:
                return None
            lane = found[0]
            return lane.edge.capacity if lane.edge.overflow != "block" else lane.room

    def rooms(self, lanes: Iterable[LaneKey]) -> dict[LaneKey, int | None]:
        """``room`` of each lane."""
        return {(edge, session, epoch): self.room(edge, session, epoch) for edge, session, epoch in lanes}

    def wait_for_room(
        self, lanes: Collection[LaneKey], timeout_s: float, obsolete: Callable[[], bool] = lambda: False
    ) -> None:
        """Return once any of the lanes has room enough or is gone, or after ``timeout_s``.

        A later call makes those before it look whether they have become ``obsolete``.
        """

        def has_room() -> bool:
            found = [
                self._lanes.get((session, edge)) if self._epochs.get(session) == epoch else None
                for edge, session, epoch in lanes
            ]
            return self._closed or obsolete() or any(entry is None or _is_roomy(*entry) for entry in found)

        with self._lock:
            self._freed.notify_all()
            self._freed.wait_for(has_room, timeout_s)

    def call(self, action: Callable[[], None]) -> None:
        """Have the taking thread run ``action`` before it takes the next packet."""
        with self._lock:
            self._calls.append(action)
            self._filled.notify()

    def waiting(self) -> dict[str, tuple[int, float]]:
        """Edge -> packets that wait on its lanes, and how long the oldest of them has, wall-clock seconds."""
        with self._lock:
            found = {edge.name: (0, 0.0) for inlet in self._inlets for edge in inlet.inputs}
            for lane, _ in self._lanes.values():
                packets, oldest_s = found[lane.edge.name]
                found[lane.edge.name] = packets + len(lane), max(oldest_s, lane.oldest_s)
            return found

    def dropped(self) -> dict[str, int]:
        """Session -> packets that its lanes have lost until now; only those that have lost some."""
        with self._lock:
            return lost_by_session(lane for lane, _ in self._lanes.values())

    def nudge(self) -> None:
        """There may be room again in another worker's lane."""
        if self._held:
            with self._lock:
                self._held = False
                self._filled.notify()

    def take(self) -> Item | Callable[[], None] | None:
        """The next packet or call, waiting for one; None once the inbox is closed and empty of calls."""
        while True:
            with self._lock:
                if self._calls:
                    return self._calls.popleft()
                if self._closed:
                    return None
                self._look_again()
                item = self._next(lambda join: True)
                if item is None and not self._relieved:
                    self._filled.wait(
                        READY_POLL_S if self._unready else STALL_POLL_S if self._stalled or self._held else None
                    )
                    continue
                self._relieved = False
            self.on_room()
            if item is not None:
                return item

    def take_more(self, node: str, sessions: Collection[str], deadline: float | None) -> Item | None:
        """A further packet for ``node`` from a session not in ``sessions``; waits until ``deadline`` (monotonic).

        None as soon as a call waits: it may open the very session whose packet would come next.
        """
        with self._lock:
            while not self._calls:
                item = self._next(lambda join: join.node == node and join.session not in sessions)
                wait_s = 0.0 if deadline is None else deadline - time.monotonic()
                if item is not None or wait_s <= 0 or self._closed:
                    break
                self._filled.wait(wait_s)
            else:
                return None
        self.on_room()
        return item

    def take_for(self, node: str, session: str) -> Item | None:
        """The next packet of one node and session, without waiting."""
        with self._lock:
            return self._next(lambda join: join.node == node and join.session == session)

    def _next(self, wanted: Callable[[Join], bool]) -> Item | None:
        self._unready = False
        item = None
        served: list[Join] = []
        for join in self._turn:
            if not wanted(join) or join.session in self._unstarted or not self._may_go(join):
                continue
            served.append(join)
            before = join.given_up
            packet = join.take()
            if join.given_up > before:
                self._relieved = True
                self._freed.notify_all()
            if packet is not None:
                item = Item(join.node, packet, min(lane.watermark for lane in join.lanes.values()), join.waited_s)
                break
            if join.waits:
                self._stalled.add(join)
        for join in served:
            del self._turn[join]
        if item is not None:
            last = served[-1]
            self._turn[last] = None  # to the back: other sessions come first
            if len(last.lanes) > 1 or any(lane.half_free for lane in last.lanes.values()):
                self._freed.notify_all()
        return item

    def _may_go(self, join: Join) -> bool:
        """Whether there is room for what the node would give."""
        inlet, session = join.inlet, join.session
        if any(not self._lanes[session, edge][0].accepts_more for edge in inlet.fills):
            return False
        if not all(self._has_room(edge, session) for edge in inlet.leaves):
            self._held = True  # and then look again, so that no nudge is missed
            if not all(self._has_room(edge, session) for edge in inlet.leaves):
                return False
        if not all(self._is_ready(sink, session) for sink in inlet.sinks):
            self._unready = True
            return False
        return True

    def _look_again(self) -> None:
        """Give joins a turn that time alone may let go on, however busy other sessions are."""
        now = time.monotonic()
        for join in tuple(self._stalled):
            if join.has_waited(now):
                self._stalled.discard(join)
                self._turn.setdefault(join)

    def close_session(self, session: str) -> tuple[LaneReport, ...]:
        """Forget a session's lanes and release whoever waits to put into them."""
        with self._lock:
            reports = self._forget(session)
            self._epochs.pop(session, None)
            self._unstarted.discard(session)
            self._freed.notify_all()
            return reports

    def _forget(self, session: str) -> tuple[LaneReport, ...]:
        reports = []
        for key in [(session, inlet.node.name) for inlet in self._inlets if (session, inlet.node.name) in self._joins]:
            join = self._joins.pop(key)
            self._turn.pop(join, None)
            self._stalled.discard(join)
            for name, lane in join.lanes.items():
                del self._lanes[session, name]
                reports.append(lane.report)
        return tuple(reports)

    def close(self) -> None:
        """Release everybody who waits; ``take`` gives None."""
        with self._lock:
            self._closed = True
            self._filled.notify_all()
            self._freed.notify_all()


def _is_roomy(lane: Lane, join: Join) -> bool:
    """Whether it is worth waking a sender: half a lane at a time, so that it works in runs.

    A join takes one packet of a full lane when another has stalled it; its sender must hear of every place.
    """
    return lane.half_free if len(join.lanes) == 1 else lane.accepts_more
