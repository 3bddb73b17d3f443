"""The thread that runs one source of one session and queues what it gives; and gives again what was lost."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mmstream.alignment import Placing
from mmstream.clock import Clock
from mmstream.core import Barrier, End, MediaLost, MmstreamError, Packet, Source
from mmstream.graph import Edge, Node
from mmstream.media import passes
from mmstream.observe.spans import Recorder
from mmstream.recovery.tape import Entry, Tape

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outlet:
    """Where a feed's packets go. Another one takes its place when the session is put back to a snapshot."""

    send: Callable[[Edge, Packet[Any], bool], bool]  # True waits for room on any edge; False once the session is gone
    ended: Callable[[Feed, BaseException | None], None]  # hears of the end or the fault, once
    marked: Callable[[Feed, int, int], None]  # snapshot, number of packets that were sent before its barrier


class Feed(threading.Thread):
    """Builds a source, sends its packets down the edges that take them, and ends those edges.

    With ``replay_s`` it can be put back: to what its tape holds, or to the source's beginning where that ``repeats``.
    """

    def __init__(
        self,
        node: Node,
        arguments: Mapping[str, Any],
        session: str,
        edges: tuple[Edge, ...],
        outlet: Outlet,
        clock: Clock,
        place: Placing | None = None,
        replay_s: float | None = None,
        skip: int | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        """``place`` puts packets on the clock that the session's live sources share; None for those before it.

        ``skip``: packets that were sent by a feed before this one, in a session that was put back.
        """
        super().__init__(name=f"mmstream-{node.name}", daemon=True)
        self.node = node
        self.session = session
        self.reached = 0.0  # end of the last packet, media seconds
        self.replayed_s = 0.0  # media that was sent again
        self._arguments = arguments
        self._edges = edges
        self._outlet = outlet
        self._clock = clock
        self._place = place
        self._replay_s = replay_s
        self._skip = skip
        self._recorder = recorder
        self._sent = 0  # packets, for a source that repeats
        self._tape: Tape | None = None
        self._sending = threading.Lock()  # held while one packet goes down its edges
        self._due = 0  # snapshot whose barrier is to follow that packet
        self._replaying = False  # the tape is being played; new packets wait on it for their turn
        self._cancelled = False  # another feed has taken over
        self._over = False  # the source has ended
        self._fault: BaseException | None = None  # why, where it broke off or failed
        self._building = threading.Lock()  # held while it is settled whether there is a tape
        self._built = False  # it is settled
        self._source: Source | None = None
        self._stop_wanted = threading.Event()

    def run(self) -> None:
        fault: BaseException | None = None
        try:
            self._pump()
        except Exception as error:  # noqa: BLE001 - it becomes the session's error
            fault = error
        if self._cancelled:
            return
        if self.node.optional and isinstance(fault, MmstreamError):
            log.warning("going on without %r: %s", self.node.name, fault)
            fault = None
        if fault is None or isinstance(fault, MediaLost):  # what came before it still comes out
            self._end(self._edges)
        with self._sending:
            self._over, self._fault = True, fault
            replaying, outlet = self._replaying, self._outlet
        if not replaying:
            outlet.ended(self, fault)

    def stop(self) -> None:
        """Ask the source to end; it may not have been built yet."""
        self._stop_wanted.set()
        if self._source is not None:
            self._source.stop()

    # Snapshots and replay: called from other threads.

    @property
    def can_replay(self) -> bool:
        """Whether the tape holds what was given, or nothing was; a source that repeats is built anew instead."""
        with self._building:
            return self._tape is not None or not (self._built or self._over or self._skip)

    def mark(self, number: int) -> None:
        """Send the barrier of snapshot ``number`` behind the packet that is being sent, or now."""
        self._due = number
        self._mark_when_due()

    def trim(self, position: int) -> None:
        """No replay starts before packet number ``position`` any more."""
        with self._sending:
            if self._tape is not None:
                self._tape.trim(position)

    def pause(self) -> None:
        """Send nothing until ``replay``: the session is being put back."""
        self._replaying = True

    def cancel(self) -> None:
        """Give nothing more and report nothing: another feed takes over."""
        self._cancelled = True
        self.stop()

    def replay(self, position: int, outlet: Outlet) -> None:
        """Send everything from packet number ``position`` on through ``outlet``, in a thread of its own."""
        with self._sending:
            self._outlet = outlet
            self._due = 0
            if self._tape is not None:
                self.replayed_s += self._tape.seconds_since(position)
        thread = threading.Thread(target=self._play, args=(position, outlet), name=f"{self.name}-replay", daemon=True)
        thread.start()

    def _play(self, position: int, outlet: Outlet) -> None:
        while True:
            with self._sending:
                entries: list[Entry] = []
                if self._tape is not None:
                    entries, position = self._tape.since(position), self._tape.end
                if not entries:
                    if self._outlet is outlet:
                        self._replaying = False
                    over, lost = self._over, self._tape is None and self._sent > 0
                    break
            for entry in entries:
                if not all(outlet.send(edge, entry.packet, True) for edge in entry.edges):
                    return  # put back once more, or gone
        if lost:  # it was built just now, and has given what nobody took
            outlet.ended(self, MmstreamError("it could not be put back to its beginning"))
            return
        self._mark_when_due()
        if over:
            outlet.ended(self, self._fault)

    def _mark_when_due(self) -> None:
        if not self._due or not self._sending.acquire(blocking=False):
            return  # whoever holds the lock looks once it has let go
        try:
            there = self._source is not None or self._over
            if self._due and there and not self._replaying and not self._cancelled:
                number, self._due = self._due, 0
                for edge in () if self._over else self._edges:
                    self._outlet.send(edge, Packet(self.session, 0.0, 0.0, Barrier(number), 0.0), False)
                position = max(self._sent, self._skip or 0) if self._tape is None else self._tape.end
                self._outlet.marked(self, number, position)
        finally:
            self._sending.release()

    # The thread itself.

    def _give(self, edges: tuple[Edge, ...], packet: Packet[Any]) -> bool:
        """Send one packet; False once the session is gone."""
        with self._sending:
            if self._tape is not None:
                self._tape.add(edges, packet)
            if self._replaying and self._tape is not None:
                return not self._cancelled
            began = self._clock.now()
            sent = all(self._outlet.send(edge, packet, False) for edge in edges)
            self._sent += 1
        if self._recorder is not None and not isinstance(packet.data, End):
            place = (packet.start, packet.end)
            self._recorder.worked(self.session, self.node.name, packet, began, self._clock.now(), gave=place)
        self._mark_when_due()
        return (sent or self._replaying) and not self._cancelled

    def _end(self, edges: tuple[Edge, ...]) -> None:
        """Say on ``edges`` that nothing more comes there."""
        if edges:
            self._give(edges, Packet(self.session, self.reached, self.reached, End(), self._clock.now()))

    def _end_missing(self, missing: frozenset[type]) -> None:
        """End the edges of what the source turned out not to have, so that nobody waits for it."""
        idle = tuple(edge for edge in self._edges if edge.carries and missing.issuperset(edge.carries))
        self._edges = tuple(edge for edge in self._edges if edge not in idle)
        self._end(idle)

    def _build(self) -> Source:
        assert issubclass(self.node.kind, Source)
        source = self.node.kind(**self._arguments)
        source.clock = self._clock
        if self._skip is not None and not source.repeats:
            raise MmstreamError("it was lost with its worker, and what it gave cannot be had again")
        with self._building:
            if self._replay_s is not None and not source.repeats:
                self._tape = Tape(self._replay_s)
            self._built = True
        self._source = source
        if self._stop_wanted.is_set():
            source.stop()
        return source

    def _pump(self) -> None:
        source = self._build()
        first = True
        for packet in source.packets(self.session):
            if first and source.live and (heard := str(source)):
                log.info("listening to %s; Ctrl-C ends", heard)
            if first and source.missing:
                self._end_missing(source.missing)
            first = False
            if packet.session != self.session:
                raise ValueError(f"it gave a packet of session {packet.session!r}")
            placed = packet if self._place is None else self._place(packet)
            if placed is None:
                continue
            packet = placed
            self.reached = max(self.reached, packet.end)
            if self._skip is not None and self._sent < self._skip:
                self._sent += 1
                continue
            edges = tuple(edge for edge in self._edges if passes(packet.data, edge.carries))
            if not self._give(edges, packet):
                source.stop()
                return
