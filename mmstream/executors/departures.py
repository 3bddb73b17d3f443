"""Where packets go that leave a process on Ray: a link for each peer actor, and the mailbox of the driver."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from mmstream.core import Packet
from mmstream.executors.ledger import Replica
from mmstream.executors.outbox import Outbox
from mmstream.executors.ray_link import SEND_SPACING_S, Failed, Lost, Sender
from mmstream.graph import Edge, Graph
from mmstream.lane import LaneReport
from mmstream.overload import LagBound

Pins = Mapping[str, Replica]  # worker name -> the replica that a session lives in


class Departures:
    """The outboxes of one process. Links are made when the first session needs them. Thread-safe."""

    def __init__(self, graph: Graph, link: str, lost: Lost, failed: Failed, on_room: Callable[[], None]) -> None:
        """``lost`` hears when a link breaks, ``failed`` when a session cannot go on, ``on_room`` of room."""
        self._bound = LagBound.of(graph)
        self.mailbox = Outbox(on_room, self._bound)
        self._home = {node: spec for spec in graph.workers.values() for node in spec.nodes}
        self._deadline_s = graph.recovery.deadline_s
        self._spacing_s = {  # a worker that shares calls gets all sessions' packets of so long in one batch
            name: max(SEND_SPACING_S, spec.batch.max_wait_s if spec.batch else 0.0)
            for name, spec in graph.workers.items()
        }
        self._link = link
        self._lost = lost
        self._failed = failed
        self._on_room = on_room
        self._senders: dict[Replica, Sender] = {}
        self._pins: dict[str, Pins] = {}
        self._epochs: dict[str, int] = {}

    def open(self, session: str, epoch: int, pins: Pins, peers: Mapping[Replica, Any], *, live: bool = True) -> None:
        """Send the session's packets to where it is pinned; ``peers``: the actors among those.

        ``live``: its media can be too late.
        """
        for replica, actor in peers.items():
            if replica not in self._senders:
                link = self._senders[replica] = Sender(
                    self._link,
                    replica,
                    actor,
                    self._lost,
                    self._failed,
                    self._on_room,
                    self._deadline_s,
                    self._bound,
                    self._spacing_s[replica[0]],
                )
                link.start()
        self._pins[session] = pins
        self._epochs[session] = epoch
        for outbox in self._outboxes(pins):
            outbox.open(session, epoch, live=live)

    def deliver(self, edge: Edge, packet: Packet[Any], epoch: int, *, wait: bool | None) -> None:
        """Queue a packet for the worker of the edge's target; see ``mmstream.flow.Ports``."""
        outbox = self._outbox(edge, packet.session)
        if outbox is not None:
            outbox.put(edge, packet, epoch, wait=wait)

    def has_room(self, edge: Edge, session: str) -> bool:
        outbox = self._outbox(edge, session)
        return outbox is None or outbox.accepts(edge.name, session)

    def end(self, session: str, epoch: int | None, *, deliver: bool) -> tuple[LaneReport, ...]:
        """The session is over here, if it still is in ``epoch``; ``deliver`` what is still queued, or drop it.

        Gives the reports of lanes that have lost packets.
        """
        if epoch not in (None, self._epochs.get(session)):
            return ()
        self._epochs.pop(session, None)
        pins = self._pins.pop(session, {})
        closed = (outbox.close_session(session, deliver=deliver) for outbox in self._outboxes(pins))
        return tuple(report for reports in closed for report in reports)

    def dropped(self) -> dict[str, int]:
        """Session -> packets that were lost on the way out of this process until now."""
        lost: Counter[str] = Counter()
        for outbox in (self.mailbox, *(sender.outbox for sender in tuple(self._senders.values()))):
            lost.update(outbox.dropped())
        return dict(lost)

    def forget(self, replica: Replica) -> None:
        """A peer is lost: nothing more is sent to it, and nobody waits for room in its queues."""
        sender = self._senders.pop(replica, None)
        if sender is not None:
            sender.outbox.close()

    def close(self) -> None:
        self.mailbox.close()
        for sender in tuple(self._senders.values()):
            sender.outbox.close()

    def _outbox(self, edge: Edge, session: str) -> Outbox | None:
        pins = self._pins.get(session)
        if pins is None:
            return None
        spec = self._home[edge.target]
        if spec.place == "driver":
            return self.mailbox
        sender = self._senders.get(pins[spec.name])
        return sender.outbox if sender is not None else None

    def _outboxes(self, pins: Pins) -> list[Outbox]:
        peers = (self._senders.get(replica) for replica in pins.values())
        return [self.mailbox, *(sender.outbox for sender in peers if sender is not None)]
