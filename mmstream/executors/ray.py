"""One actor for each worker replica; capture devices and sinks stay in the user's process.

Starts a Ray of its own, or joins the cluster that ``RAY_ADDRESS`` names.
"""

from __future__ import annotations

import logging
import os
import threading
from functools import partial
from typing import Any

import ray

from mmstream.clock import SYSTEM_CLOCK, Clock
from mmstream.core import MmstreamError, Packet
from mmstream.executors.ledger import Ledger, Replica, Result
from mmstream.executors.outbox import Batch, LaneKey, Question
from mmstream.executors.ray_host import CLOSE_TIMEOUT_S, Departures, Host, Parcel
from mmstream.executors.ray_link import ROOM_POLL_S, LinkError, ask
from mmstream.graph import Edge, Graph, WorkerSpec
from mmstream.worker import Arguments, Outcome, Worker

log = logging.getLogger(__name__)

START_TIMEOUT_S = 300.0  # placing an actor and loading its models
PULL_S = 2.0  # how long an actor holds the driver's question before it answers that there is nothing


class RayExecutor:
    """Runs a graph in actors. Every call has a timeout; a worker that dies or hangs ends its sessions with an error."""

    def __init__(self, graph: Graph, clock: Clock = SYSTEM_CLOCK) -> None:
        self._graph = graph
        self._ledger = Ledger(graph.workers, self._give_up)
        self._departures = Departures(graph, "driver")
        self._driver: Worker | None = None
        self._threads: list[threading.Thread] = []
        self._actors: dict[Replica, Any] = {}
        self._living: set[Replica] = set()  # actors that have answered and are not lost; Ray may not find the others
        self._asked: dict[Replica, int] = {}  # number of an actor's last question about room here
        self._closing = False
        self._owns_ray = False
        for spec in graph.workers.values():
            if spec.place == "driver":
                self._driver = Worker(graph, spec, self._deliver, self._driver_ended, clock)

    def start(self) -> None:
        try:
            if self._driver is not None:
                self._driver.build()
            self._join_cluster()
            self._start_actors([spec for spec in self._graph.workers.values() if spec.place == "worker"])
        except MmstreamError:
            self.close()
            raise
        self._departures.connect(self._actors, self._replica_lost, self._session_failed)
        for replica in self._actors:
            self._run(partial(self._pull, replica), f"pull-{replica[0]}-{replica[1]}")
        if self._driver is not None:
            self._run(self._driver.run, "driver")

    def _start_actors(self, specs: list[WorkerSpec]) -> None:
        _check_room(specs)
        for spec in specs:
            for number in range(spec.replicas):
                self._actors[spec.name, number] = self._place(spec, number)
        starting = {
            replica: actor.start.remote({peer: self._actors[peer] for peer in self._peers_of(replica)})
            for replica, actor in self._actors.items()
        }
        for replica, reference in starting.items():
            fault = ask(reference, replica, START_TIMEOUT_S)
            if fault is not None:
                raise fault
            self._living.add(replica)

    def open(self, session: str, arguments: Arguments | None = None) -> None:
        pins = self._ledger.pin(session)
        self._departures.open(session, pins)
        if self._driver is not None:
            self._driver.open(session)
        actors = {replica: self._actors[replica] for replica in pins.values() if replica in self._actors}
        self._ask_all(session, {replica: actor.open.remote(session, pins) for replica, actor in actors.items()})
        fault = self._ledger.fault(session)
        if fault is not None:  # it may have come before every worker knew the session and could give it up
            self._give_up(session, fault)
        given = arguments or {}
        self._ask_all(session, {r: actor.start_session.remote(session, given) for r, actor in actors.items()})
        if self._driver is not None:
            self._driver.start(session, given)

    def wait(self, timeout_s: float | None = None) -> Result | None:
        return self._ledger.wait(timeout_s)

    def stop(self, session: str) -> None:
        if self._driver is not None:
            self._driver.stop(session)
        for actor in self._actors_of(session):
            actor.stop.remote(session)

    def abort(self, session: str) -> None:
        self._give_up(session, MmstreamError(f"session {session!r} was aborted"))

    def reached(self, session: str) -> float:
        return (self._driver.reached(session) if self._driver else None) or 0.0

    def close(self) -> None:
        self._closing = True
        for session in self._ledger.sessions():
            self.abort(session)
        self._departures.close()
        if self._driver is not None:
            self._driver.close()
        ending = [self._actors[replica].close.remote() for replica in tuple(self._living)]
        if ending:
            ray.wait(ending, num_returns=len(ending), timeout=CLOSE_TIMEOUT_S)
        for actor in self._actors.values():
            ray.kill(actor)
        for thread in self._threads:
            thread.join(PULL_S)
        self._ledger.end_all(MmstreamError("the executor was closed"))
        if self._owns_ray:
            ray.shutdown()

    def _join_cluster(self) -> None:
        if ray.is_initialized():
            return
        # Ray runs its workers at nice 15 unless told otherwise: on a busy machine words would wait for seconds.
        os.environ.setdefault("RAY_worker_niceness", "0")
        try:
            if "RAY_ADDRESS" in os.environ:
                ray.init(logging_level=logging.ERROR, log_to_driver=False)
            else:  # left to itself it would look for the last cluster of this machine, and wait for one that is gone
                ray.init("local", include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
        except (ConnectionError, RuntimeError) as error:
            raise MmstreamError(f"cannot join or start Ray: {str(error).splitlines()[0]}") from error
        self._owns_ray = True

    def _place(self, spec: WorkerSpec, number: int) -> Any:
        upstream = sum(replica != (spec.name, number) for replica in self._all_replicas()) + 1
        asked = dict(spec.resources)
        remote: Any = ray.remote  # its stubs know no concurrency groups
        return remote(
            num_cpus=asked.pop("CPU", 0),
            num_gpus=asked.pop("GPU", 0),
            memory=asked.pop("memory", None),
            resources=asked or None,
            max_restarts=0,
            max_task_retries=0,
            concurrency_groups={"link": 1, "control": 2, "pull": 1, "room": 2 * upstream},
        )(Host).remote(self._graph, spec.name, number)

    def _all_replicas(self) -> list[Replica]:
        return [(spec.name, n) for spec in self._graph.workers.values() for n in range(spec.replicas)]

    def _peers_of(self, replica: Replica) -> set[Replica]:
        """The replicas that this one may send to."""
        spec = self._graph.workers[replica[0]]
        targets = {edge.target for node in spec.nodes for edge in self._graph.outputs(node)} - set(spec.nodes)
        return {peer for peer in self._actors if set(self._graph.workers[peer[0]].nodes) & targets}

    def _actors_of(self, session: str) -> list[Any]:
        replicas = [self._ledger.replica(session, name) for name in self._graph.workers]
        return [self._actors[replica] for replica in replicas if replica in self._actors]

    def _run(self, target: Any, name: str) -> None:
        thread = threading.Thread(target=target, name=f"mmstream-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _ask_all(self, session: str, references: dict[Replica, Any]) -> None:
        for replica, reference in references.items():
            try:
                ask(reference, replica)
            except LinkError as error:
                self._replica_lost(replica, error)

    def _deliver(self, edge: Edge, packet: Packet[Any]) -> None:
        self._departures.deliver(edge, packet)

    def _driver_ended(self, outcome: Outcome) -> None:
        self._departures.end(outcome.session, deliver=outcome.drained)
        self._ledger.report(outcome)

    def _pull(self, replica: Replica) -> None:
        """Bring what an actor has for this process: packets for its sinks, and how sessions ended."""
        actor = self._actors[replica]
        granted: dict[LaneKey, int | None] = {}
        while not self._closing:
            try:
                parcel: Parcel = ask(actor.pull.remote(granted, PULL_S), replica)
            except LinkError as error:
                self._replica_lost(replica, error)
                return
            granted = self._take_in(parcel.batch)
            if parcel.question is not None:
                self._asked[replica] = parcel.question.number
                answer = partial(self._answer, replica, parcel.question)
                threading.Thread(target=answer, name="mmstream-answer", daemon=True).start()
            for peer, fault in parcel.lost:
                self._replica_lost(peer, fault)
            for outcome in parcel.outcomes:
                self._ledger.report(outcome)

    def _take_in(self, batch: Batch) -> dict[LaneKey, int | None]:
        """Queue packets for this process, for which there is room, and give the room that is left."""
        if self._driver is None:
            return {}
        for edge, packet in batch:
            self._driver.inbox.put(edge, packet)
        return self._driver.inbox.rooms({(edge, packet.session) for edge, packet in batch})

    def _answer(self, replica: Replica, question: Question) -> None:
        """Tell an actor once lanes that it asked about have room, unless it has asked again meanwhile."""
        if self._driver is None:
            return
        inbox = self._driver.inbox
        inbox.wait_for_room(question.lanes, ROOM_POLL_S, lambda: self._asked[replica] > question.number)
        if not self._closing:
            self._actors[replica].answer.remote(question, inbox.rooms(question.lanes))

    def _session_failed(self, session: str, error: MmstreamError) -> None:
        """A packet of this process cannot be sent."""
        if self._driver is not None:
            self._ledger.report(Outcome(session, self._driver.spec.name, error, ()))

    def _replica_lost(self, replica: Replica, error: LinkError) -> None:
        """End the sessions of a dead or silent actor on its behalf, and see that it stays dead."""
        if self._closing:
            return
        ray.kill(self._actors[replica])
        self._living.discard(replica)
        self._ledger.bury(replica)
        for session in self._ledger.sessions(replica):
            self._ledger.report(Outcome(session, replica[0], error, ()))

    def _give_up(self, session: str, error: MmstreamError) -> None:
        self._departures.end(session, deliver=False)
        if self._driver is not None:
            self._driver.abort(session, error)
        for actor in self._actors_of(session):
            actor.abort.remote(session, error)


def _check_room(specs: list[WorkerSpec]) -> None:
    """Refuse what the nodes of the cluster could never hold, rather than wait for it.

    Raises:
        MmstreamError: names the worker, what it asks for and what there is.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]
    for spec in specs:
        wanted = {name: amount for name, amount in spec.resources.items() if amount > 0}
        places = sum(
            min(int(node.get(name, 0) // amount) for name, amount in wanted.items()) for node in nodes if wanted
        )
        if not wanted or places >= spec.replicas:
            continue
        asked = ", ".join(f"{name}: {amount:g}" for name, amount in spec.resources.items())
        there = "; ".join(
            ", ".join(f"{name}: {amount:g}" for name, amount in sorted(node.items()) if "node:" not in name)
            for node in nodes
        )
        if places == 0:
            raise MmstreamError(f"worker {spec.name!r} asks for {{{asked}}}, which no node has ({there})")
        replicas = f"{spec.replicas} replicas of worker {spec.name!r} ask for {{{asked}}} each"
        raise MmstreamError(f"{replicas}, and there is room for {places} ({there})")
