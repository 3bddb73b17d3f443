"""The actor that hosts one replica of one worker on Ray."""

from __future__ import annotations

import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray

from mmstream.core import MmstreamError, Packet
from mmstream.executors.ledger import Replica
from mmstream.executors.outbox import Batch, LaneKey, Outbox, Question
from mmstream.executors.ray_link import Failed, LinkError, Lost, Receipt, Sender
from mmstream.graph import Edge, Graph
from mmstream.worker import Arguments, Outcome, Worker

Pins = Mapping[str, Replica]  # worker name -> the replica that a session lives in

CLOSE_TIMEOUT_S = 5.0  # for the worker's thread to end and its operators to close
PULL_SPACING_S = 0.05  # between two parcels: each costs 2 ms of CPU, however little is in it


class Departures:
    """Where packets go that leave a process: a link for each peer actor, and the mailbox of the driver."""

    def __init__(self, graph: Graph, link: str) -> None:
        self.mailbox = Outbox()
        self._home = {node: spec for spec in graph.workers.values() for node in spec.nodes}
        self._link = link
        self._senders: dict[Replica, Sender] = {}
        self._pins: dict[str, Pins] = {}

    def connect(self, peers: Mapping[Replica, Any], lost: Lost, failed: Failed) -> None:
        """Start a link to each actor; ``lost`` hears when one breaks, ``failed`` when a session cannot go on."""
        for replica, actor in peers.items():
            self._senders[replica] = Sender(self._link, replica, actor, lost, failed)
            self._senders[replica].start()

    def open(self, session: str, pins: Pins) -> None:
        self._pins[session] = pins
        for outbox in self._outboxes(pins):
            outbox.open(session)

    def deliver(self, edge: Edge, packet: Packet[Any]) -> None:
        """Queue a packet for the worker of the edge's target; waits for room where the edge blocks."""
        pins = self._pins.get(packet.session)
        if pins is None:
            return
        spec = self._home[edge.target]
        outbox = self.mailbox if spec.place == "driver" else self._senders[pins[spec.name]].outbox
        outbox.put(edge, packet)

    def end(self, session: str, *, deliver: bool) -> None:
        """The session is over here; ``deliver`` what is still queued, or drop it."""
        pins = self._pins.pop(session, {})
        for outbox in self._outboxes(pins):
            outbox.close_session(session, deliver=deliver)

    def close(self) -> None:
        self.mailbox.close()
        for sender in self._senders.values():
            sender.outbox.close()

    def _outboxes(self, pins: Pins) -> list[Outbox]:
        peers = (self._senders.get(replica) for replica in pins.values())
        return [self.mailbox, *(sender.outbox for sender in peers if sender is not None)]


@dataclass(frozen=True, slots=True)
class Parcel:
    """What an actor has for the driver."""

    batch: Batch
    question: Question | None  # lanes of which it holds more than the driver has room for
    outcomes: list[Outcome]
    lost: list[tuple[Replica, LinkError]]  # peers that this actor cannot reach


class Host:
    """A worker in an actor. ``put`` never waits and runs in a group of one thread, so packets stay in order.

    Faults are returned, not raised, where the caller is to read them: a raised one would come wrapped in Ray's own.
    """

    def __init__(self, graph: Graph, worker: str, number: int) -> None:
        self._incarnation = uuid.uuid4().hex
        self._graph = graph
        self._departures = Departures(graph, f"{worker}-{number}")
        self._worker = Worker(graph, graph.workers[worker], self._departures.deliver, self._session_ended)
        self._outcomes: deque[Outcome] = deque()
        self._lost: deque[tuple[Replica, LinkError]] = deque()
        self._taken: dict[str, int] = {}  # link -> packets taken
        self._asked: dict[str, int] = {}  # link -> number of its last question about room
        self._thread: threading.Thread | None = None
        self._pulled_at = 0.0  # monotonic seconds of the last parcel

    @ray.method(concurrency_group="control")
    def start(self, peers: Mapping[Replica, Any]) -> MmstreamError | None:
        """Build the worker and connect it to its peers; gives the fault, or None."""
        self._departures.connect(peers, self._peer_lost, self._session_failed)
        built = threading.Event()
        faults: list[MmstreamError] = []

        def live() -> None:
            try:
                self._worker.build()
            except MmstreamError as error:
                faults.append(error)
                return
            finally:
                built.set()
            self._worker.run()

        self._thread = threading.Thread(target=live, name="mmstream-worker", daemon=True)
        self._thread.start()
        built.wait()
        return faults[0] if faults else None

    @ray.method(concurrency_group="control")
    def open(self, session: str, pins: Pins) -> None:
        self._departures.open(session, pins)
        self._worker.open(session)

    @ray.method(concurrency_group="control")
    def start_session(self, session: str, arguments: Arguments) -> None:
        self._worker.start(session, arguments)

    @ray.method(concurrency_group="control")
    def stop(self, session: str) -> None:
        self._worker.stop(session)

    @ray.method(concurrency_group="control")
    def abort(self, session: str, error: MmstreamError) -> None:
        self._departures.end(session, deliver=False)
        self._worker.abort(session, error)

    @ray.method(concurrency_group="control")
    def close(self) -> None:
        """Give up what is open and close the operators, before the actor is killed."""
        self._worker.close()
        self._departures.close()
        if self._thread is not None:
            self._thread.join(CLOSE_TIMEOUT_S)

    @ray.method(concurrency_group="link")
    def put(self, link: str, first_seq: int, batch: Batch) -> Receipt:
        """Queue a batch. Its sender holds a credit for each packet, so there is always room."""
        taken = self._taken.get(link, 0)
        if first_seq != taken:
            raise LinkError(f"link {link!r} is at packet {taken}, the batch begins at {first_seq}")
        for edge, packet in batch:
            self._worker.inbox.put(edge, packet)
        self._taken[link] = taken + len(batch)
        lanes = {(edge, packet.session) for edge, packet in batch}
        return Receipt(self._incarnation, self._taken[link], self._worker.inbox.rooms(lanes))

    @ray.method(concurrency_group="room")
    def wait_for_room(self, link: str, question: Question, timeout_s: float) -> Mapping[LaneKey, int | None]:
        """The lanes' free places, once any has some, the link asks again, or ``timeout_s`` has passed."""
        self._asked[link] = max(question.number, self._asked.get(link, 0))
        self._worker.inbox.wait_for_room(question.lanes, timeout_s, lambda: self._asked[link] > question.number)
        return self._worker.inbox.rooms(question.lanes)

    @ray.method(concurrency_group="pull")
    def pull(self, granted: Mapping[LaneKey, int | None], timeout_s: float) -> Parcel:
        """What has come for the driver, waiting up to ``timeout_s``; ``granted``: the room after the last parcel."""
        mailbox = self._departures.mailbox
        mailbox.grant(granted)
        mailbox.gather(self._pulled_at + PULL_SPACING_S - time.monotonic())
        batch, question = mailbox.take(timeout_s)
        self._pulled_at = time.monotonic()
        outcomes = [self._outcomes.popleft() for _ in range(len(self._outcomes))]
        return Parcel(batch, question, outcomes, [self._lost.popleft() for _ in range(len(self._lost))])

    @ray.method(concurrency_group="control")
    def answer(self, question: Question, granted: Mapping[LaneKey, int | None]) -> None:
        """The driver's lanes have room again."""
        self._departures.mailbox.answer(question, granted)

    def _session_ended(self, outcome: Outcome) -> None:
        self._departures.end(outcome.session, deliver=outcome.drained)
        self._outcomes.append(outcome)
        self._departures.mailbox.wake()

    # What happens to links is told to the driver, which ends the sessions everywhere: here they may have ended well.

    def _session_failed(self, session: str, error: MmstreamError) -> None:
        self._outcomes.append(Outcome(session, self._worker.spec.name, error, ()))
        self._departures.mailbox.wake()

    def _peer_lost(self, replica: Replica, error: LinkError) -> None:
        self._lost.append((replica, error))
        self._departures.mailbox.wake()
