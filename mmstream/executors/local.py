"""Everything in this process: one thread for each worker replica, one for each source."""

from __future__ import annotations

import logging
import threading
from typing import Any

from mmstream.clock import SYSTEM_CLOCK, Clock
from mmstream.core import MmstreamError, Packet
from mmstream.executors.ledger import Ledger, Replica, Result
from mmstream.graph import Edge, Graph
from mmstream.observe.metrics import Flusher
from mmstream.observe.recorders import recorder
from mmstream.observe.spans import Recorder, Tracing
from mmstream.overload import is_live
from mmstream.record import Arguments
from mmstream.sessions import Expiry, SessionRow, State, admit
from mmstream.worker import Worker

log = logging.getLogger(__name__)

JOIN_TIMEOUT_S = 5.0


class LocalExecutor:
    """Runs a graph in threads. A full queue makes the thread before it wait: that is the backpressure."""

    def __init__(self, graph: Graph, clock: Clock = SYSTEM_CLOCK, tracing: Tracing | None = None) -> None:
        self._graph = graph
        self._clock = clock
        self._since: dict[str, float] = {}  # session -> wall-clock seconds at which it was opened
        self._draining: set[str] = set()
        self._ledger = Ledger(graph.workers, self._give_up)
        self._home = {node: spec.name for spec in graph.workers.values() for node in spec.nodes}
        self._recorders: list[Recorder] = []
        self._workers: dict[Replica, Worker] = {}
        for name, spec in graph.workers.items():
            for number in range(spec.replicas):
                own = recorder(tracing, graph, spec, number)
                self._workers[name, number] = Worker(graph, spec, self, self._ledger.report, clock, recorder=own)
                self._recorders += [own] if own is not None else []
        self._expiry = Expiry(graph.sessions, clock)
        self._tending = Flusher(self._flush, self._expire)
        self._threads: list[threading.Thread] = []
        self._started = False
        for worker in self._workers.values():
            worker.inbox.on_room = self._room_somewhere

    def start(self) -> None:
        faults: list[MmstreamError] = []
        built = threading.Barrier(len(self._workers) + 1)

        def live(worker: Worker) -> None:
            try:
                worker.build()
            except MmstreamError as error:
                faults.append(error)
                built.wait()
                return
            built.wait()
            worker.run()

        for (name, number), worker in self._workers.items():
            thread = threading.Thread(target=live, args=(worker,), name=f"mmstream-{name}-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()
        built.wait()
        if faults:
            self.close()
            raise faults[0]
        self._tending.__enter__()
        self._started = True

    def open(self, session: str, arguments: Arguments | None = None) -> None:
        admit(session, len(self._ledger.sessions()), self._graph.sessions)
        self._since[session] = self._clock.now()
        workers = [self._workers[replica] for replica in self._ledger.pin(session).values()]
        for worker in workers:
            worker.open(session, live=is_live(self._graph, arguments))
        self._give_up_again(session)
        for worker in workers:
            worker.start(session, arguments)

    def wait(self, timeout_s: float | None = None) -> Result | None:
        result = self._ledger.wait(timeout_s)
        if result is not None:
            self._since.pop(result.session, None)
            self._draining.discard(result.session)
        return result

    def table(self) -> tuple[SessionRow, ...]:
        rows = []
        lost = [worker.inbox.dropped() for worker in self._workers.values()]
        for session in self._ledger.sessions():
            pins = {name: self._ledger.replica(session, name) for name in self._graph.workers}
            replicas = {name: replica[1] for name, replica in pins.items() if replica is not None}
            state: State = "draining" if session in self._draining else "running"
            lag_s = max((worker.lag_s(session) for worker in self._workers_of(session)), default=0.0)
            since = self._since.get(session, 0.0)
            dropped = sum(one.get(session, 0) for one in lost)
            rows.append(SessionRow(session, state, replicas, self.reached(session), lag_s, dropped, 0, 0.0, since))
        return tuple(rows)

    def stop(self, session: str) -> None:
        self._draining.add(session)
        for worker in self._workers_of(session):
            worker.stop(session)

    def abort(self, session: str) -> None:
        self._give_up(session, MmstreamError(f"session {session!r} was aborted"))

    def reached(self, session: str) -> float:
        return min((worker.reached(session) or 0.0 for worker in self._workers_of(session)), default=0.0)

    def close(self) -> None:
        for session in self._ledger.sessions():
            self.abort(session)
        for worker in self._workers.values():
            worker.close()
        for thread in self._threads:
            thread.join(JOIN_TIMEOUT_S)
        if self._started:
            self._tending.__exit__()
        self._ledger.end_all(MmstreamError("the executor was closed"))

    def _flush(self) -> None:
        for one in self._recorders:
            one.flush()

    def _expire(self) -> None:
        for session in self._expiry.idle({name: self.reached(name) for name in self._ledger.sessions()}):
            log.info("session %s: nothing has come for %g s; it ends", session, self._graph.sessions.idle_s)
            self.stop(session)

    def _workers_of(self, session: str) -> list[Worker]:
        replicas = [self._ledger.replica(session, name) for name in self._graph.workers]
        return [self._workers[replica] for replica in replicas if replica is not None]

    def _give_up_again(self, session: str) -> None:
        """A fault may have come before every worker knew the session and could give it up."""
        fault = self._ledger.fault(session)
        if fault is not None:
            self._give_up(session, fault)

    def _give_up(self, session: str, error: MmstreamError) -> None:
        for worker in self._workers_of(session):
            worker.abort(session, error)

    # How workers reach each other.

    def deliver(self, edge: Edge, packet: Packet[Any], epoch: int, *, wait: bool | None) -> None:
        replica = self._ledger.replica(packet.session, self._home[edge.target])
        if replica is None:
            return
        inbox = self._workers[replica].inbox
        if wait is None:
            inbox.push(edge.name, packet, epoch)
        else:
            inbox.put(edge.name, packet, epoch, wait=wait)

    def has_room(self, edge: Edge, session: str) -> bool:
        replica = self._ledger.replica(session, self._home[edge.target])
        return replica is None or self._workers[replica].inbox.accepts(edge.name, session)

    def _room_somewhere(self) -> None:
        for worker in self._workers.values():
            worker.inbox.nudge()
