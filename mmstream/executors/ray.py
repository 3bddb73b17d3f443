"""One actor for each worker replica; capture devices and sinks stay in the user's process.

Starts a Ray of its own, or joins the cluster that ``RAY_ADDRESS`` names. A session whose worker is lost goes on in
another one, from its last snapshot.
"""

from __future__ import annotations

import logging
import pickle
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, get_args

import ray

from mmstream.clock import SYSTEM_CLOCK, Clock
from mmstream.core import MmstreamError
from mmstream.executors import cluster
from mmstream.executors.departures import Departures
from mmstream.executors.keeper import Keeper
from mmstream.executors.ledger import Ledger, Replica, Result
from mmstream.executors.outbox import Batch, Question
from mmstream.executors.pool import Member, Pool
from mmstream.executors.ray_host import Parcel
from mmstream.executors.ray_link import ROOM_POLL_S, LinkError, ask
from mmstream.executors.rescue import Loss, Rescue
from mmstream.executors.spread import Live, Move, Spreader
from mmstream.graph import Graph
from mmstream.lane import LaneKey
from mmstream.observe.metrics import Flusher
from mmstream.observe.ray_metrics import RayMetrics
from mmstream.observe.recorders import recorder
from mmstream.observe.spans import Recorder, Tracing
from mmstream.outcome import Outcome
from mmstream.record import Arguments
from mmstream.recovery.book import Book, Snapshot
from mmstream.recovery.saving import Part
from mmstream.sessions import SessionRow, State, admit
from mmstream.worker import Worker

log = logging.getLogger(__name__)

PULL_S = 1.0  # how long an actor holds the driver's question before it answers that there is nothing


class RayExecutor:
    """Runs a graph in actors. Every call has a timeout; the sessions of a worker that dies or hangs go on elsewhere."""

    def __init__(self, graph: Graph, clock: Clock = SYSTEM_CLOCK, tracing: Tracing | None = None) -> None:
        self._graph = graph
        self._clock = clock
        self._ledger = Ledger(graph.workers, self._give_up)
        self._lives: dict[str, Live] = {}
        self._threads: list[threading.Thread] = []
        self._asked: dict[Replica, int] = {}  # number of an actor's last question about room here
        self._oldest_s: dict[Replica, float] = {}  # how long an actor's oldest packet has waited
        self._dropped: dict[Replica, Mapping[str, int]] = {}  # packets lost in an actor, by session
        self._books = threading.Lock()
        self._closing = False
        self._started = False
        self._owns_ray = False
        self._departures = Departures(graph, "driver", self._replica_lost, self._session_failed, self._room)
        self._driver: Worker | None = None
        self._metrics = RayMetrics()
        self._recorder: Recorder | None = None
        self._observing = Flusher(self._flush, self._look)
        for spec in graph.workers.values():
            for number in range(spec.replicas):
                self._ledger.bury((spec.name, number))  # none is there yet
            if spec.place == "driver":
                self._recorder = recorder(tracing, graph, spec, 0)
                self._driver = Worker(
                    graph,
                    spec,
                    self._departures,
                    self._driver_ended,
                    clock,
                    saved=self._saved,
                    metrics=self._metrics,
                    recorder=self._recorder,
                )
        self._pool = Pool(graph, self._ledger, self._actor_born, tracing)
        self._spreader = Spreader(graph, self._driver, self._departures, self._pool, self._replica_lost)
        self._rescue = Rescue(graph, self._ledger, self._pool, self._spreader, self._lives, self._fail, self._recovered)
        self._keeper = Keeper(
            graph,
            self._ledger,
            self._pool,
            self._lives,
            self._mark,
            self.reached,
            self._expire,
            lambda replica: self._oldest_s.get(replica, 0.0),
        )

    def start(self) -> None:
        try:
            if self._driver is not None:
                self._driver.build()
            self._owns_ray = cluster.join()
            cluster.check_room(self._pool.specs.values())
            self._pool.start()
        except MmstreamError:
            self.close()
            raise
        if self._driver is not None:
            self._run(self._driver.run, "driver")
        self._observing.__enter__()
        self._started = True
        for thread in (self._rescue.thread, self._keeper.thread):
            self._threads.append(thread)
            thread.start()

    def open(self, session: str, arguments: Arguments | None = None) -> None:
        admit(session, len(self._lives), self._graph.sessions)
        for worker in self._pool.specs:
            self._pool.has_replica(worker)  # a lost one may be on its way back
        pins = self._ledger.pin(session)
        now = time.monotonic()
        live = Live(session, arguments or {}, self._clock.now(), Book(self._graph, session), marked_at=now)
        self._lives[session] = live
        self._spreader.spread([Move(live, 0, pins)])
        fault = self._ledger.fault(session)
        if fault is not None:  # it may have come before every worker knew the session and could give it up
            self._give_up(session, fault)

    def wait(self, timeout_s: float | None = None) -> Result | None:
        result = self._ledger.wait(timeout_s)
        if result is not None:
            self._forget(result.session)
            self._metrics.session_ended(result.session)
            for lane in result.lanes:
                for reason, packets in lane.reasons.items():
                    self._metrics.dropped(lane.edge, reason, packets)
        return result

    def _forget(self, session: str) -> None:
        """A session has ended everywhere: nothing is kept for a replay."""
        live = self._lives.pop(session, None)
        if self._driver is not None:
            self._driver.forget(session)
        for replica in live.sources if live is not None else ():
            actor = self._pool.actor(replica)
            if actor is not None:
                actor.forget.remote(session)

    def stop(self, session: str) -> None:
        live = self._lives.get(session)
        if live is not None:
            live.draining = True
        if self._driver is not None:
            self._driver.stop(session)
        for actor in self._actors_of(session):
            actor.stop.remote(session)

    def abort(self, session: str) -> None:
        self._give_up(session, MmstreamError(f"session {session!r} was aborted"))

    def reached(self, session: str) -> float:
        return (self._driver.reached(session) if self._driver else None) or 0.0

    def table(self) -> tuple[SessionRow, ...]:
        rows = []
        lossy = [self._departures.dropped(), *self._dropped.values()]
        if self._driver is not None:
            lossy.append(self._driver.inbox.dropped())
        for live in tuple(self._lives.values()):
            state = "recovering" if live.recovering else "draining" if live.draining else "running"
            pins = {name: self._ledger.replica(live.name, name) for name in self._pool.specs}
            rows.append(
                SessionRow(
                    live.name,
                    state,  # type: ignore[arg-type]
                    {name: replica[1] for name, replica in pins.items() if replica is not None},
                    self.reached(live.name),
                    self._driver.lag_s(live.name) if self._driver else 0.0,
                    sum(lost.get(live.name, 0) for lost in lossy),
                    live.recoveries,
                    live.replayed_s,
                    live.since,
                )
            )
        return tuple(rows)

    def members(self) -> dict[Replica, Member]:
        """The actors that are there, standbys among them."""
        return self._pool.members()

    def sessions_on(self, replica: Replica) -> tuple[str, ...]:
        """The sessions that a replica has now."""
        return self._ledger.sessions(replica)

    def roll(self, worker: str) -> None:
        """Move a worker's sessions to new replicas, one replica at a time, and end the old ones.

        Raises:
            MmstreamError: a new replica did not come; what has not been moved stays where it is.
        """
        for old in self._ledger.replicas(worker):
            self._pool.add(worker)
            self._ledger.bury(old)
            self._rescue.put_back(self._ledger.sessions(old), time.monotonic())
            self._pool.release(old)
            self._departures.forget(old)

    def close(self) -> None:
        self._closing = True
        self._keeper.close()
        self._rescue.close()
        for session in self._ledger.sessions():
            self.abort(session)
        self._departures.close()
        if self._driver is not None:
            self._driver.close()
        if self._started:
            self._observing.__exit__()
        self._pool.close()
        for thread in self._threads:
            thread.join(PULL_S + 1.0)
        self._ledger.end_all(MmstreamError("the executor was closed"))
        if self._owns_ray:
            ray.shutdown()

    def _run(self, target: Any, name: str) -> None:
        thread = threading.Thread(target=target, name=f"mmstream-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _room(self) -> None:
        if self._driver is not None:
            self._driver.inbox.nudge()

    def _actors_of(self, session: str) -> list[Any]:
        replicas = [self._ledger.replica(session, name) for name in self._pool.specs]
        actors = [self._pool.actor(replica) for replica in replicas if replica is not None]
        return [actor for actor in actors if actor is not None]

    # What comes from the actors.

    def _actor_born(self, replica: Replica, actor: Any) -> None:
        self._run(partial(self._pull, replica, actor), f"pull-{replica[0]}-{replica[1]}")

    def _pull(self, replica: Replica, actor: Any) -> None:
        """Bring what an actor has for this process: packets for its sinks, snapshots, and how sessions ended."""
        recovery = self._graph.recovery
        granted: dict[LaneKey, int | None] = {}
        while not self._closing and self._pool.actor(replica) is not None:
            try:
                parcel: Parcel = ask(actor.pull.remote(granted, PULL_S), replica, PULL_S + recovery.deadline_s)
                if parcel.working_s > recovery.hung_s:
                    raise LinkError(f"worker {replica[0]!r} has been at one packet for {parcel.working_s:.0f} s")
            except LinkError as error:
                if self._pool.actor(replica) is not None:
                    self._replica_lost(replica, error)
                return
            self._oldest_s[replica], self._dropped[replica] = parcel.oldest_s, parcel.dropped
            granted = self._take_in(pickle.loads(parcel.batch))
            if parcel.question is not None:
                self._asked[replica] = parcel.question.number
                answer = partial(self._answer, replica, actor, parcel.question)
                threading.Thread(target=answer, name="mmstream-answer", daemon=True).start()
            for part in parcel.parts:
                self._saved(part)
            for peer, fault in parcel.lost:
                self._replica_lost(peer, fault)
            for outcome in parcel.outcomes:
                self._ended_in(outcome)

    def _take_in(self, batch: Batch) -> dict[LaneKey, int | None]:
        """Queue packets for this process, for which there is room, and give the room that is left."""
        if self._driver is None:
            return {}
        for edge, epoch, packet in batch:
            self._driver.inbox.push(edge, packet, epoch)
        return self._driver.inbox.rooms({(edge, packet.session, epoch) for edge, epoch, packet in batch})

    def _answer(self, replica: Replica, actor: Any, question: Question) -> None:
        """Tell an actor once lanes that it asked about have room, unless it has asked again meanwhile."""
        if self._driver is None:
            return
        inbox = self._driver.inbox
        inbox.wait_for_room(question.lanes, ROOM_POLL_S, lambda: self._asked[replica] > question.number)
        if not self._closing:
            actor.answer.remote(question, inbox.rooms(question.lanes))

    # How sessions end.

    def _driver_ended(self, outcome: Outcome) -> None:
        lossy = self._departures.end(outcome.session, outcome.epoch, deliver=outcome.drained)
        self._ended_in(replace(outcome, lanes=(*outcome.lanes, *lossy)))

    def _ended_in(self, outcome: Outcome) -> None:
        self._ledger.report(outcome)
        live = self._lives.get(outcome.session)
        if live is not None and outcome.drained:
            with self._books:
                whole = live.book.complete(self._ledger.drained(live.name))
            self._trim(live, whole)

    def _session_failed(self, session: str, error: MmstreamError) -> None:
        """A packet of this process cannot be sent."""
        if self._driver is not None:
            self._fail_in(session, self._driver.spec.name, error)

    def _fail(self, session: str, error: MmstreamError) -> None:
        """End a session on behalf of the lost actors that it was pinned to; the others are told to give it up."""
        for worker in self._pool.specs:
            replica = self._ledger.replica(session, worker)
            if replica is not None and self._pool.actor(replica) is None:
                self._fail_in(session, worker, error)

    def _fail_in(self, session: str, worker: str, error: MmstreamError) -> None:
        self._ledger.report(Outcome(session, worker, error, (), epoch=None))

    def _give_up(self, session: str, error: MmstreamError) -> None:
        self._departures.end(session, None, deliver=False)
        if self._driver is not None:
            self._driver.abort(session, error)
        for actor in self._actors_of(session):
            actor.abort.remote(session, error)

    def _expire(self, session: str) -> None:
        log.info("session %s: nothing has come for %g s; it ends", session, self._graph.sessions.idle_s)
        self.stop(session)

    # Snapshots and losses.

    def _mark(self, marks: Mapping[str, int]) -> None:
        """Begin snapshots: session -> number."""
        there: dict[Replica, dict[str, int]] = {}
        for session, number in marks.items():
            if self._driver is not None:
                self._driver.mark(session, number)
            for replica in self._lives[session].sources if session in self._lives else ():
                there.setdefault(replica, {})[session] = number
        for replica, numbers in there.items():
            actor = self._pool.actor(replica)
            if actor is not None:
                actor.mark.remote(numbers)

    def _saved(self, part: Part) -> None:
        live = self._lives.get(part.session)
        if live is None:
            return
        with self._books:
            whole = live.book.add(part, self._ledger.drained(live.name))
        self._trim(live, whole)

    def _trim(self, live: Live, whole: Snapshot | None) -> None:
        """A snapshot is whole: nothing before it is needed any more."""
        if whole is None:
            return
        if self._driver is not None:
            self._driver.trim(live.name, whole.number, whole.positions)
        for replica in live.sources:
            actor = self._pool.actor(replica)
            if actor is not None:
                actor.trim.remote(live.name, whole.number, whole.positions)

    def _replica_lost(self, replica: Replica, error: LinkError) -> None:
        """An actor is dead or silent: its sessions are to go on elsewhere."""
        if self._closing:
            return
        since = time.monotonic()
        at = self._pool.lose(replica)
        self._departures.forget(replica)
        if at is not None:
            self._metrics.restarted(replica[0])
            self._rescue.lost(Loss(replica, error, at, since))

    def _recovered(self, live: Live, seconds: float) -> None:
        self._metrics.recovered(seconds)
        if self._driver is not None:
            before, live.replayed_s = live.replayed_s, self._driver.replayed_s(live.name)
            self._metrics.replayed(live.replayed_s - before)
        log.info("session %s goes on after %.2f s", live.name, seconds)

    def _look(self) -> None:
        """Read off what the metrics are to show."""
        rows = self.table()
        counts = Counter(row.state for row in rows)
        self._metrics.sessions({state: counts[state] for state in get_args(State)})
        for row in rows:
            self._metrics.lag(row.session, row.lag_s)
        if self._driver is not None:
            for edge, (packets, age_s) in self._driver.inbox.waiting().items():
                self._metrics.queue(edge, packets, age_s)

    def _flush(self) -> None:
        self._metrics.flush()
        if self._recorder is not None:
            self._recorder.flush()
