"""The bounded queue of one edge and session, and what it promises about media time."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from mmstream.core import Barrier, End, Packet, Watermark
from mmstream.graph import Edge
from mmstream.media import Gap
from mmstream.overload import HOLD_S, Loss, Reason, Shedding, is_aside, is_superseded

_EVER = float("inf")

LaneKey = tuple[str, str, int]  # edge name, session, epoch of the session


def is_weightless(packet: Packet[Any]) -> bool:
    """Whether a packet takes no room, so that it never waits for any and is never lost."""
    return isinstance(packet.data, (End, Watermark, Barrier, Gap))


def promise(packet: Packet[Any], edge: Edge) -> float:
    """The media second before which nothing will still come on ``edge``, once ``packet`` has come.

    Packets come in order of their start; those of one medium do not overlap either, but where an edge carries sound
    and pictures, a picture may begin while a chunk of sound lasts.
    """
    if isinstance(packet.data, End):
        return _EVER
    if isinstance(packet.data, Barrier):
        return -_EVER
    alone = len({getattr(kind, "medium", None) for kind in edge.carries}) == 1
    return packet.end if alone and getattr(packet.data, "contiguous", False) else packet.start


@dataclass(frozen=True, slots=True)
class LaneReport:
    """What one lane went through, for people and metrics."""

    edge: str
    session: str
    capacity: int  # packets
    peak: int  # most packets ever waiting
    dropped: int  # packets lost to the overflow policy, or given up because they were late
    reasons: Mapping[Reason, int] = field(default_factory=dict)  # the same packets, by why they were lost


def lost_by_session(lanes: Iterable[Lane | LaneReport]) -> dict[str, int]:
    """Session -> packets that its lanes have lost; only those that have lost some."""
    lost: Counter[str] = Counter()
    for lane in lanes:
        if lane.dropped:
            lost[lane.session] += lane.dropped
    return dict(lost)


class Lane:
    """The bounded first-in first-out queue of one edge and session. Not thread-safe: its owner locks.

    What a drop policy loses comes out as one ``Gap`` at the place of the loss. Control packets and gaps take
    no room, so they never wait and are never lost; of watermarks in a row only the last is kept. On an edge that
    blocks, the sender looks at ``accepts_more`` first: ``put`` itself never loses anything there.

    With ``shedding`` the lane gives up what is late besides, whatever its policy: ``shed`` before a look at ``head``.
    """

    def __init__(self, edge: Edge, session: str, shedding: Shedding | None = None) -> None:
        self.edge = edge
        self.session = session
        self.watermark = -_EVER  # nothing that starts before it will still come, media seconds
        self.newest = -_EVER  # latest media second that has arrived
        self.peak = 0
        self.lost: Counter[Reason] = Counter()  # packets
        self.waited_s = 0.0  # by the packet last taken, wall-clock seconds
        self._shedding = shedding
        self._kept: Packet[Any] | None = None  # the head, once it was judged and kept
        self._gaps: dict[str, Packet[Gap]] = {}  # of the stretch that is being given up, by medium; not told yet
        self._mark: Packet[Any] | None = None  # the last watermark in that stretch
        self._shed_at = 0.0  # wall-clock seconds at which its last packet was given up
        self._queue: deque[Packet[Any]] = deque()
        self._since: deque[float] = deque()  # monotonic seconds at which each of them came
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
    def half_free(self) -> bool:
        """Whether it is worth telling a sender elsewhere that there is room: every message costs."""
        return self.edge.overflow != "block" or 2 * self.room >= self.edge.capacity

    @property
    def head(self) -> Packet[Any] | None:
        return self._queue[0] if self._queue else None

    @property
    def oldest_s(self) -> float:
        """How long the head has waited, wall-clock seconds; 0 for an empty lane."""
        return time.monotonic() - self._since[0] if self._since else 0.0

    @property
    def dropped(self) -> int:
        """Packets lost, for whatever reason."""
        return sum(self.lost.values())

    @property
    def holds(self) -> bool:
        """Whether a loss is still to be told: ``shed`` does, at the latest HOLD_S after it."""
        return bool(self._gaps)

    @property
    def report(self) -> LaneReport:
        return LaneReport(self.edge.name, self.session, self.edge.capacity, self.peak, self.dropped, dict(self.lost))

    def put(self, packet: Packet[Any]) -> None:
        """Append; on a full lane the overflow policy decides what is lost."""
        self.newest = max(self.newest, packet.end)
        if is_weightless(packet):
            if isinstance(packet.data, Watermark) and self._queue and isinstance(self._queue[-1].data, Watermark):
                self._queue.pop()
                self._since.pop()
            self._queue.append(packet)
            self._since.append(time.monotonic())
            return
        if self.room == 0 and self.edge.overflow == "drop_newest":
            self._lose(packet, len(self._queue))
            return
        if self.room == 0 and self.edge.overflow == "drop_oldest":
            self._lose(*self._take_oldest())
        self._queue.append(packet)
        self._since.append(time.monotonic())
        self._waiting += 1
        self.peak = max(self.peak, self._waiting)

    def shed(self) -> int:
        """Give up what is late at the head, and tell of it once the stretch is over; gives the number of packets."""
        if self._shedding is None:
            return 0
        count = 0
        while self._queue:
            packet = self._queue[0]
            if isinstance(packet.data, Watermark) and self._gaps:  # it would promise more than the gap, before it
                self._mark = self._pop()
                continue
            loss = None if is_weightless(packet) else self._judge(packet)
            if loss is None:
                self._kept = packet
                break
            self._pop()
            self._waiting -= 1
            self.lost[loss.reason] += 1
            count += 1
            if loss.gap is not None:
                self._widen(packet, loss.gap)
        if self._gaps and (self._queue or self._shedding.now() - self._shed_at >= HOLD_S):
            self._tell()
        return count

    def take(self) -> Packet[Any]:
        """Remove the head; the watermark moves with it."""
        self.waited_s = self.oldest_s
        packet = self._pop()
        if not is_weightless(packet):
            self._waiting -= 1
        self.watermark = max(self.watermark, promise(packet, self.edge))
        return packet

    def _pop(self) -> Packet[Any]:
        self._since.popleft()
        return self._queue.popleft()

    def _judge(self, head: Packet[Any]) -> Loss | None:
        assert self._shedding is not None
        others = (follower.data for follower in islice(self._queue, 1, None))
        there = (data for data in others if not isinstance(data, Watermark) and not is_aside(head.data, data))
        superseded = is_superseded(head.data, next(there, None))
        return self._shedding.judge(head, superseded=superseded, again=head is self._kept)

    def _widen(self, packet: Packet[Any], gap: Gap) -> None:
        """Count ``packet`` to the stretch of its medium."""
        assert self._shedding is not None
        before = self._gaps.get(gap.medium)
        start, data = (packet.start, gap) if before is None else (before.start, before.data)
        self._gaps[gap.medium] = packet.derive(data, start=start)
        self._shed_at = self._shedding.now()

    def _tell(self) -> None:
        """Put the gaps of the stretch before what follows it."""
        told: list[Packet[Any]] = sorted(self._gaps.values(), key=lambda gap: gap.start)
        if self._mark is not None:
            told.append(self._mark)
        self._queue.extendleft(reversed(told))
        self._since.extendleft([time.monotonic()] * len(told))
        self._gaps, self._mark = {}, None

    def _take_oldest(self) -> tuple[Packet[Any], int]:
        """Remove the first packet that counts, behind what takes no room; and say where it was."""
        for index, packet in enumerate(self._queue):
            if not is_weightless(packet):
                del self._queue[index]
                del self._since[index]
                self._waiting -= 1
                return packet, index
        raise AssertionError("a full lane holds a packet")

    def _lose(self, packet: Packet[Any], index: int) -> None:
        """Record the loss of ``packet`` at ``index``: widen the gap of this kind just before it, or place one."""
        self.lost["full"] += 1
        reason = f"{self.edge.name} was full ({self.edge.capacity} packets)"
        gap = packet.derive(Gap(getattr(packet.data, "medium", "audio"), reason))
        for place in range(index - 1, -1, -1):
            before = self._queue[place]
            if before.data == gap.data:
                self._queue[place] = before.derive(gap.data, end=max(before.end, gap.end))
                return
            if not isinstance(before.data, (Watermark, Gap)):
                break
        self._queue.insert(index, gap)
        self._since.insert(index, time.monotonic())
