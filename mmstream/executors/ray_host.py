"""The actor that hosts one replica of one worker on Ray."""

from __future__ import annotations

import os
import pickle
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ray

from mmstream.core import MmstreamError
from mmstream.executors.departures import Departures, Pins
from mmstream.executors.ledger import Replica
from mmstream.executors.outbox import Batch, Question
from mmstream.executors.ray_link import LinkError, Receipt
from mmstream.graph import Graph
from mmstream.lane import LaneKey
from mmstream.observe.metrics import Flusher
from mmstream.observe.ray_metrics import RayMetrics
from mmstream.observe.recorders import recorder
from mmstream.observe.spans import Tracing
from mmstream.outcome import Outcome
from mmstream.record import Arguments
from mmstream.recovery.blackbox import BlackBox
from mmstream.recovery.saving import Part
from mmstream.worker import Worker

CLOSE_TIMEOUT_S = 5.0  # for the worker's thread to end and its operators to close
PULL_SPACING_S = 0.05  # between two parcels: each costs 2 ms of CPU, however little is in it


@dataclass(frozen=True, slots=True)
class Parcel:
    """What an actor has for the driver."""

    batch: bytes  # a pickled ``Batch``: what cannot be pickled is found out here, not by Ray
    question: Question | None  # lanes of which it holds more than the driver has room for
    outcomes: Sequence[Outcome]
    parts: Sequence[Part]  # of snapshots
    lost: Sequence[tuple[Replica, LinkError]]  # peers that this actor cannot reach
    working_s: float  # how long the operator call under way has lasted
    oldest_s: float  # how long the packet that has waited longest has
    dropped: Mapping[str, int]  # session -> packets lost until now, before this worker and on the way out of it


@dataclass(frozen=True, slots=True)
class Opening:
    """A session as an actor is to open it, or to put it back."""

    session: str
    epoch: int
    pins: Pins
    peers: Mapping[Replica, Any]  # the actors that it is pinned to
    part: Part | None  # of the snapshot that it is put back to
    alone: bool  # it shares no calls with other sessions
    live: bool  # its media can be too late


@dataclass(frozen=True, slots=True)
class Start:
    """A session that every worker has opened, in this epoch."""

    session: str
    epoch: int
    arguments: Arguments  # of its sources
    first: bool  # no source of it has been started before, here or elsewhere


@dataclass(frozen=True, slots=True)
class Birth:
    """What the driver learns of an actor once it is there."""

    node: str  # Ray's id of the machine
    pid: int
    fault: MmstreamError | None  # why it cannot work


class Host:
    """A worker in an actor. ``put`` never waits and runs in a group of one thread, so packets stay in order.

    Faults are returned, not raised, where the caller is to read them: a raised one would come wrapped in Ray's own.
    """

    def __init__(self, graph: Graph, worker: str, number: int, box: str, tracing: Tracing | None) -> None:
        """``box``: name of the black box, see ``mmstream.recovery.blackbox``; ``tracing``: None for a run without."""
        self._incarnation = uuid.uuid4().hex
        self._blackbox = BlackBox(box)
        self._departures = Departures(
            graph, f"{worker}-{number}", self._peer_lost, self._session_failed, lambda: self._worker.inbox.nudge()
        )
        self._outcomes: deque[Outcome] = deque()
        self._parts: deque[Part] = deque()
        self._lost: deque[tuple[Replica, LinkError]] = deque()
        spec = graph.workers[worker]
        self._metrics = RayMetrics()
        self._recorder = recorder(tracing, graph, spec, number)
        self._observing = Flusher(self._flush, self._look)
        self._worker = Worker(
            graph,
            spec,
            self._departures,
            self._session_ended,
            saved=self._saved,
            blackbox=self._blackbox,
            metrics=self._metrics,
            recorder=self._recorder,
        )
        self._taken: dict[str, int] = {}  # link -> packets taken
        self._asked: dict[str, int] = {}  # link -> number of its last question about room
        self._thread: threading.Thread | None = None
        self._pulled_at = 0.0  # monotonic seconds of the last parcel

    @ray.method(concurrency_group="control")
    def start(self) -> Birth:
        """Build the worker."""
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
        self._observing.__enter__()
        return Birth(ray.get_runtime_context().get_node_id(), os.getpid(), faults[0] if faults else None)

    @ray.method(concurrency_group="control")
    def open(self, openings: Sequence[Opening]) -> None:
        """Open sessions, or put them back. Nothing of them flows before ``start_sessions``."""
        for one in openings:
            self._departures.open(one.session, one.epoch, one.pins, one.peers, live=one.live)
            self._worker.open(one.session, one.epoch, one.part, alone=one.alone, live=one.live)

    @ray.method(concurrency_group="control")
    def start_sessions(self, starts: Sequence[Start]) -> None:
        """Let sessions flow."""
        for one in starts:
            self._worker.start(one.session, one.arguments, one.epoch, first=one.first)

    @ray.method(concurrency_group="control")
    def stop(self, session: str) -> None:
        self._worker.stop(session)

    @ray.method(concurrency_group="control")
    def abort(self, session: str, error: MmstreamError) -> None:
        self._departures.end(session, None, deliver=False)
        self._worker.abort(session, error)

    @ray.method(concurrency_group="control")
    def mark(self, marks: Mapping[str, int]) -> None:
        """Have the sources of sessions send the barriers of these snapshots."""
        for session, number in marks.items():
            self._worker.mark(session, number)

    @ray.method(concurrency_group="control")
    def trim(self, session: str, number: int, positions: Mapping[str, int]) -> None:
        self._worker.trim(session, number, positions)

    @ray.method(concurrency_group="control")
    def forget(self, session: str) -> None:
        self._worker.forget(session)

    @ray.method(concurrency_group="control")
    def close(self) -> None:
        """Give up what is open and close the operators, before the actor is killed."""
        self._worker.close()
        self._departures.close()
        if self._thread is not None:
            self._thread.join(CLOSE_TIMEOUT_S)
        self._observing.__exit__()
        self._blackbox.close()

    @ray.method(concurrency_group="link")
    def put(self, link: str, first_seq: int, batch: Batch) -> Receipt:
        """Queue a batch. Its sender holds a credit for each packet, so there is always room."""
        taken = self._taken.get(link, 0)
        if first_seq != taken:
            raise LinkError(f"link {link!r} is at packet {taken}, the batch begins at {first_seq}")
        for edge, epoch, packet in batch:
            self._worker.inbox.push(edge, packet, epoch)
        self._taken[link] = taken + len(batch)
        lanes = {(edge, packet.session, epoch) for edge, epoch, packet in batch}
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
        return Parcel(
            self._packed(batch),
            question,
            _emptied(self._outcomes),
            _emptied(self._parts),
            _emptied(self._lost),
            self._worker.working_s,
            max((age_s for _, age_s in self._worker.inbox.waiting().values()), default=0.0),
            sum((Counter(part.dropped()) for part in (self._worker.inbox, self._departures)), Counter()),
        )

    @ray.method(concurrency_group="control")
    def answer(self, question: Question, granted: Mapping[LaneKey, int | None]) -> None:
        """The driver's lanes have room again."""
        self._departures.mailbox.answer(question, granted)

    def _look(self) -> None:
        for edge, (packets, age_s) in self._worker.inbox.waiting().items():
            self._metrics.queue(edge, packets, age_s)

    def _flush(self) -> None:
        self._metrics.flush()
        if self._recorder is not None:
            self._recorder.flush()

    def _session_ended(self, outcome: Outcome) -> None:
        lossy = self._departures.end(outcome.session, outcome.epoch, deliver=outcome.drained)
        self._outcomes.append(replace(outcome, lanes=(*outcome.lanes, *lossy)))
        self._departures.mailbox.wake()

    def _packed(self, batch: Batch) -> bytes:
        """The batch pickled. A packet that cannot be ends its session; the others go all the same."""
        try:
            return pickle.dumps(batch)
        except Exception as error:  # noqa: BLE001 - whatever a payload raises when it is pickled
            sessions = list(dict.fromkeys(packet.session for *_, packet in batch))
            if len(sessions) > 1:
                parts = [[entry for entry in batch if entry[2].session == session] for session in sessions]
                return pickle.dumps([entry for part in parts for entry in pickle.loads(self._packed(part))])
            reason = next(iter(str(error).splitlines()), "")
            edges = ", ".join(dict.fromkeys(edge for edge, *_ in batch))
            self._session_failed(sessions[0], MmstreamError(f"{edges}: a packet cannot be sent: {reason}"))
            return pickle.dumps([])

    def _saved(self, part: Part) -> None:
        """Goes with the next parcel: nobody waits for it."""
        self._parts.append(part)

    # What happens to links is told to the driver, which ends the sessions everywhere: here they may have ended well.

    def _session_failed(self, session: str, error: MmstreamError) -> None:
        self._outcomes.append(Outcome(session, self._worker.spec.name, error, (), epoch=None))
        self._departures.mailbox.wake()

    def _peer_lost(self, replica: Replica, error: LinkError) -> None:
        self._lost.append((replica, error))
        self._departures.mailbox.wake()


def _emptied(waiting: deque[Any]) -> list[Any]:
    return [waiting.popleft() for _ in range(len(waiting))]
