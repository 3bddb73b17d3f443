"""Packets on their way to a peer: bounded lanes for each edge and session, handed out as far as the peer has room."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from mmstream.core import End, Packet
from mmstream.graph import Edge
from mmstream.lane import Lane, LaneKey, LaneReport, is_weightless, lost_by_session
from mmstream.overload import HOLD_S, LagBound, Shedding

CROWD = 8  # lanes
MAX_PACKETS = 256  # in one batch
MAX_BYTES = 4_000_000  # in one batch, by the size of arrays; a single larger packet still goes, alone

Batch = list[tuple[str, int, Packet[Any]]]  # (edge name, epoch of the session, packet), in order within each lane


@dataclass(frozen=True, slots=True)
class Question:
    """Lanes that wait for room at the peer, which is to answer once any has some, or once asked again."""

    number: int
    lanes: tuple[LaneKey, ...]


class Outbox:
    """Many threads put, one takes a batch at a time. Lanes appear with the first packet and leave with ``End``.

    A lane hands out no more packets than the peer has granted; a new lane starts with the whole capacity of its edge,
    which is what the peer's empty lane holds. ``on_room`` is called, without any lock, once packets have been taken.
    With a ``bound`` lanes of live sessions give up what is late, so that it need not be sent.
    """

    def __init__(self, on_room: Callable[[], None] = lambda: None, bound: LagBound | None = None) -> None:
        self._on_room = on_room
        self._bound = bound
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._lanes: dict[LaneKey, Lane] = {}
        self._credits: dict[LaneKey, int] = {}
        self._asked = Question(0, ())  # the last question that has not been answered
        self._open: dict[str, int] = {}  # sessions that may put, and their epochs
        self._live: set[str] = set()  # those whose packets can be too late
        self._reports: dict[str, list[LaneReport]] = {}  # of their lanes that have lost packets and are gone
        self._gathering = False  # a taker waits for more than there is
        self._full = False  # a lane has become full meanwhile
        self._woken = False
        self._closed = False

    def open(self, session: str, epoch: int = 0, *, live: bool = True) -> None:
        """Expect packets of a session. Those of an earlier epoch are gone; ``live``: as for ``Inbox.open``."""
        with self._lock:
            for key in [key for key in self._lanes if key[1] == session and key[2] != epoch]:
                self._forget(key)
            self._open[session] = epoch
            (self._live.add if live else self._live.discard)(session)
            self._changed.notify_all()

    def put(self, edge: Edge, packet: Packet[Any], epoch: int = 0, *, wait: bool | None = False) -> None:
        """Queue; nothing happens while the session is not open in this epoch.

        ``wait``: False waits for room where the edge blocks, True on any edge, None nowhere.
        """
        key = (edge.name, packet.session, epoch)
        with self._lock:
            while self._open.get(packet.session) == epoch and not self._closed:
                lane = self._lanes.get(key)
                if lane is None:
                    lane = self._lanes[key] = Lane(edge, packet.session, self._shedding(packet.session, epoch))
                    self._credits.setdefault(key, edge.capacity)
                if wait is None or is_weightless(packet) or lane.room > 0 or (lane.accepts_more and not wait):
                    lane.put(packet)
                    self._full = self._full or lane.room == 0
                    if self._full or not self._gathering:  # nobody waits for less
                        self._changed.notify_all()
                    return
                self._changed.wait()

    def _shedding(self, session: str, epoch: int) -> Shedding | None:
        if self._bound is None or session not in self._live:
            return None
        return Shedding(self._bound, excused=epoch > 0)

    def dropped(self) -> dict[str, int]:
        """Session -> packets lost here until now, of those that are open and have lost some."""
        with self._lock:
            gone = [report for reports in self._reports.values() for report in reports]
            return lost_by_session([*self._lanes.values(), *gone])

    def accepts(self, edge: str, session: str) -> bool:
        """Whether a lane takes a packet now; without a lock, so a moment old."""
        lane = self._lanes.get((edge, session, self._open.get(session, 0)))
        return lane is None or lane.accepts_more

    @property
    def crowded(self) -> bool:
        """Whether so many lanes share the link that their packets are worth waiting for."""
        return len(self._lanes) > CROWD

    def gather(self, timeout_s: float) -> None:
        """Let packets gather for ``timeout_s``, so that one batch takes them all; less where a lane gets full."""

        with self._lock:
            self._full = any(lane.room == 0 for lane in self._lanes.values())
            self._gathering = True
            self._changed.wait_for(lambda: self._woken or self._closed or self._full, timeout_s)
            self._gathering = False

    def take(self, timeout_s: float | None = None) -> tuple[Batch, Question | None]:
        """What may be sent now, and what to ask the peer; waits until there is one of the two.

        There is neither after ``timeout_s``, on ``wake``, where all was given up, and once the outbox is closed.
        """
        with self._lock:
            batch, given_up = self._gather()
            question = self._question(batch)
            if not (batch or question or given_up or self._woken or self._closed):
                self._changed.wait(self._patience_s(timeout_s))
                batch, given_up = self._gather()
                question = self._question(batch)
            self._woken = False
            if batch or given_up:
                self._changed.notify_all()
        if batch or given_up:
            self._on_room()
        return batch, question

    def _patience_s(self, timeout_s: float | None) -> float | None:
        """At most ``timeout_s``, and less where a lane has a loss to tell."""
        if not any(lane.holds for lane in self._lanes.values()):
            return timeout_s
        return HOLD_S if timeout_s is None else min(timeout_s, HOLD_S)

    def _gather(self) -> tuple[Batch, int]:
        """What may be sent, and how many packets were given up on the way."""
        batch: Batch = []
        size = given_up = 0
        for key in tuple(self._lanes):
            lane = self._lanes[key]
            while len(batch) < MAX_PACKETS:
                given_up += lane.shed()
                if lane.head is None:
                    break
                counts = not is_weightless(lane.head)
                weight = _weight(lane.head)
                if (counts and self._credits[key] <= 0) or (batch and size + weight > MAX_BYTES):
                    break
                packet = lane.take()
                batch.append((key[0], key[2], packet))
                size += weight
                self._credits[key] -= counts
                if isinstance(packet.data, End):
                    self._forget(key)
                    break
        # The next batch starts with another lane, so that a busy one cannot keep the rest waiting.
        if batch and (first := next(iter(self._lanes), None)) is not None:
            self._lanes[first] = self._lanes.pop(first)
        return batch, given_up

    def _question(self, batch: Batch) -> Question | None:
        """Ask about every lane that waits for room, as soon as it is one more than was asked about.

        Not about lanes of ``batch``: its receipt will tell, and an answer from before it arrived would be wrong.
        """
        sent = {(edge, packet.session, epoch) for edge, epoch, packet in batch}
        starving = tuple(
            key
            for key, lane in self._lanes.items()
            if lane.head is not None and self._credits[key] <= 0 and key not in sent
        )
        if set(starving) <= set(self._asked.lanes):
            return None
        self._asked = Question(self._asked.number + 1, starving)
        return self._asked

    def grant(self, granted: Mapping[LaneKey, int | None]) -> None:
        """Take the peer's word on its room after a batch; None means that it no longer has the session."""
        with self._lock:
            self._grant(granted)

    def answer(self, question: Question, granted: Mapping[LaneKey, int | None]) -> None:
        """Take the peer's answer to ``question``; when there is a later one, what it says is out of date."""
        with self._lock:
            if question.number == self._asked.number:
                current = {key: granted[key] for key in self._asked.lanes if key in granted}
                self._asked = Question(self._asked.number, ())
                self._grant(current)

    def _grant(self, granted: Mapping[LaneKey, int | None]) -> None:
        for key, credit in granted.items():
            if credit is None:
                self._forget(key)
            elif key in self._lanes:
                self._credits[key] = credit
        self._changed.notify_all()

    def _forget(self, key: LaneKey) -> None:
        lane = self._lanes.pop(key, None)
        if lane is not None and lane.dropped and key[1] in self._open:
            self._reports.setdefault(key[1], []).append(lane.report)
        self._credits.pop(key, None)
        if key in self._asked.lanes:
            self._asked = replace(self._asked, lanes=tuple(lane for lane in self._asked.lanes if lane != key))

    def close_session(self, session: str, *, deliver: bool) -> tuple[LaneReport, ...]:
        """Take no more of a session and release whoever waits to put; ``deliver`` what is queued, or drop it.

        Gives the reports of those of its lanes that have lost packets until now.
        """
        with self._lock:
            self._open.pop(session, None)
            self._live.discard(session)
            lossy = [lane.report for key, lane in self._lanes.items() if key[1] == session and lane.dropped]
            reports = (*self._reports.pop(session, ()), *lossy)
            for key in [key for key in self._lanes if key[1] == session and not deliver]:
                self._forget(key)
            self._changed.notify_all()
            return reports

    def wake(self) -> None:
        """Let ``take`` return, or the next one if there is none."""
        with self._lock:
            self._woken = True
            self._changed.notify_all()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._changed.notify_all()

    @property
    def closed(self) -> bool:
        return self._closed


def _weight(packet: Packet[Any]) -> int:
    """Bytes of the payload's arrays; the rest of a packet is small."""
    for name in ("samples", "pixels", "values"):
        array = getattr(packet.data, name, None)
        if array is not None:
            return int(getattr(array, "nbytes", 0))
    return 0
