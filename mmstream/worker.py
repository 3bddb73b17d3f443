"""One worker: its operators, its sessions, and the loop that serves them; the same in a thread and in an actor.

One thread runs all operators of a worker. A node whose only input is a node of the same worker is called directly;
every other node has lanes in the worker's inbox. Sources run in threads of their own and feed lanes (``feed.py``).
"""

from __future__ import annotations

import logging
import pickle
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from mmstream.alignment import aligned
from mmstream.clock import SYSTEM_CLOCK, Clock
from mmstream.core import End, MediaLost, MmstreamError, Operator, Packet, Sink, Source
from mmstream.feed import Feed, Outlet
from mmstream.flow import Blame, Flow, Ports
from mmstream.graph import Edge, Graph, WorkerSpec
from mmstream.inbox import Inbox, Item
from mmstream.join import Inlet
from mmstream.layout import Layout
from mmstream.observe.metrics import Metrics
from mmstream.observe.spans import Recorder
from mmstream.observe.watch import Watch
from mmstream.outcome import OperatorError, Outcome
from mmstream.overload import LagBound, is_live
from mmstream.record import Arguments, Record
from mmstream.recovery.blackbox import BlackBox
from mmstream.recovery.saving import Part, Saving
from mmstream.recovery.shown import Shown

log = logging.getLogger(__name__)


class Worker:
    """Runs the nodes of one worker for many sessions. ``run`` belongs to one thread; the rest is thread-safe.

    ``report`` hears once of every session's end, ``saved`` of every part of a snapshot; without it there are none.
    """

    def __init__(
        self,
        graph: Graph,
        spec: WorkerSpec,
        ports: Ports,
        report: Callable[[Outcome], None],
        clock: Clock = SYSTEM_CLOCK,
        saved: Callable[[Part], None] | None = None,
        blackbox: BlackBox | None = None,
        metrics: Metrics | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        """``recorder`` is told what is done with each packet; None where the run is not traced."""
        self.spec = spec
        self._ports = ports
        self._report = report
        self._clock = clock
        self._recovery = graph.recovery if saved is not None else None
        layout = self._layout = Layout(graph, spec)
        self._nodes = layout.nodes
        self._operators: dict[str, Operator[Any]] = {}
        self._sessions: dict[str, Record] = {}
        self._spent: dict[str, list[Feed]] = {}  # of sessions that have ended here, but not everywhere
        self._lock = threading.Lock()
        self._broken: MmstreamError | None = None  # why nothing runs here any more
        self._working_since: float | None = None  # monotonic seconds
        self._blackbox = blackbox
        self._recorder = recorder
        sinks = {name for name, node in layout.nodes.items() if issubclass(node.kind, Sink)}
        self._watch = Watch(metrics or Metrics(), sinks, recorder, clock)
        self._live = is_live(graph)
        self.inbox = Inbox(
            [self._inlet(graph, name) for name in sorted(layout.queued)],
            ports.has_room,
            self._sink_is_ready,
            LagBound.of(graph, clock),
        )
        self._flow = Flow(
            layout, self._operators, self._sessions, self.inbox, ports, self._finish, saved, blackbox, self._watch
        )

    def _inlet(self, graph: Graph, name: str) -> Inlet:
        layout = self._layout
        return Inlet(
            graph.nodes[name],
            graph.inputs(name),
            tuple(layout.fills(name)),
            tuple(layout.leaves(name)),
            tuple(layout.sinks(name)),
            bounded=graph.live,
        )

    def build(self) -> None:
        """Build every operator, models included. Call it in the thread that calls ``run``, before it.

        Raises:
            OperatorError: a constructor failed.
        """
        for name, node in self._nodes.items():
            if issubclass(node.kind, Source):
                continue
            try:
                operator = node.kind(**node.arguments)
            except Exception as error:
                raise OperatorError.of(node, "", 0.0, error) from error
            operator.clock = self._clock
            self._operators[name] = operator

    # Sessions: called from any thread.

    def _lives(self, record: Record) -> bool:
        """Whether the session goes on; one of the same name may have been opened since it ended."""
        return self._sessions.get(record.name) is record

    def open(
        self, session: str, epoch: int = 0, part: Part | None = None, *, alone: bool = False, live: bool | None = None
    ) -> None:
        """Make a session's lanes and states: new ones, or those of ``part``. Nothing flows before ``start``.

        A session that is open here is put back. Sinks keep what they have. ``alone``: it shares no calls.
        ``live``: its media can be too late; None: as the graph says.
        """
        if self._broken is not None:
            self._report(Outcome(session, self.spec.name, self._broken, (), epoch=epoch))
            return
        record = Record(session, epoch, alone=alone, part=part, live=self._live if live is None else live)
        ended = part.ended if part is not None else frozenset()
        record.running = set(self._nodes) - ended
        if self._recovery is not None:
            sources = {name for name, node in self._nodes.items() if node.is_source}
            saving = Saving(self.spec.name, session, epoch, self._nodes.keys() - sources, sources)
            record.saving = saving
        before = self._sessions.get(session)
        if before is None:
            record.feeds = self._spent.pop(session, [])
            self._enter(record)
            self.inbox.call(lambda: self._open_states(record, None))
            return
        for feed in before.feeds:
            feed.pause()
        replaced = threading.Event()
        self.inbox.call(lambda: self._replace(before, record, replaced))
        assert self._recovery is not None
        replaced.wait(self._recovery.hung_s)

    def _replace(self, before: Record, record: Record, replaced: threading.Event) -> None:
        self._enter(record)
        self._open_states(record, before)
        replaced.set()

    def _enter(self, record: Record) -> None:
        with self._lock:
            self._sessions[record.name] = record
        self.inbox.open(record.name, record.epoch, live=record.live, held=record.part is not None)
        self._put_back(record)

    def start(self, session: str, arguments: Arguments | None = None, epoch: int = 0, *, first: bool = True) -> None:
        """Let the session flow: its sources, with ``arguments`` over those of the file, from where it was put back.

        ``first``: they have not been started before, here or elsewhere.
        """
        record = self._sessions.get(session)
        if record is None or record.epoch != epoch:
            return
        self.inbox.release(session)
        feeds: list[Feed] = []
        begin: list[Callable[[], None]] = []
        placing = aligned([node for node in self._nodes.values() if node.is_source])
        old = {feed.node.name: feed for feed in record.feeds}
        for name, node in self._nodes.items():
            if not node.is_source:
                continue
            outlet = Outlet(
                partial(self._send, record), partial(self._feed_ended, record), partial(self._marked, record)
            )
            position = record.part.positions.get(name, 0) if record.part is not None else 0
            if name in old and old[name].can_replay:
                begin.append(partial(old[name].replay, position, outlet))
                feeds.append(old[name])
                continue
            if name in old:
                old[name].cancel()
            given = {**node.arguments, **(arguments or {}).get(name, {})}
            skip = None if first else position
            replay_s = self._recovery.replay_s if self._recovery is not None else None
            edges = self._layout.outputs[name]
            feed = Feed(
                node, given, session, edges, outlet, self._clock, placing.get(name), replay_s, skip, self._recorder
            )
            feeds.append(feed)
            begin.append(feed.start)
        with self._lock:
            if not self._lives(record):
                return
            record.feeds = feeds
        for go in begin:
            go()

    def stop(self, session: str) -> None:
        """End the session's sources soon; what they gave until now still comes out at the sinks."""
        record = self._sessions.get(session)
        for feed in tuple(record.feeds) if record else ():
            feed.stop()

    def reached(self, session: str) -> float | None:
        """How far the session has come here, media seconds; None when it is not open."""
        record = self._sessions.get(session)
        return record.reached if record else None

    def lag_s(self, session: str) -> float:
        """How long before now the packet was captured that the session took last here, when it took it."""
        record = self._sessions.get(session)
        return record.lag_s if record else 0.0

    def abort(self, session: str, error: MmstreamError) -> None:
        """Give the session up: nothing more comes out, nothing half-written stays."""
        self.stop(session)
        record = self._sessions.get(session)
        if record is not None:
            self.inbox.call(lambda: self._finish(record, error))

    def replayed_s(self, session: str) -> float:
        """The media seconds that a source of the session has sent again here, over all recoveries."""
        record = self._sessions.get(session)
        return max((feed.replayed_s for feed in record.feeds), default=0.0) if record else 0.0

    def forget(self, session: str) -> None:
        """The session has ended everywhere: what was kept for a replay may go."""
        self._spent.pop(session, None)

    def close(self) -> None:
        """Let ``run`` return once it has done what it is at. Sessions still open are aborted."""
        for session in tuple(self._sessions):
            self.abort(session, MmstreamError(f"session {session!r} was aborted"))
        self.inbox.close()

    # Snapshots: called from any thread.

    def mark(self, session: str, number: int) -> None:
        """Have the session's sources send the barrier of snapshot ``number``."""
        record = self._sessions.get(session)
        for feed in tuple(record.feeds) if record else ():
            feed.mark(number)

    def trim(self, session: str, number: int, positions: Mapping[str, int]) -> None:
        """Snapshot ``number``, with its sources' ``positions``, is whole: nothing before it is asked for again."""
        record = self._sessions.get(session)
        if record is None:
            return
        for feed in tuple(record.feeds):
            feed.trim(positions.get(feed.node.name, 0))
        for shown in record.shown.values():
            self.inbox.call(partial(shown.trim, number))

    @property
    def working_s(self) -> float:
        """How long the operator call under way has lasted, wall-clock seconds; 0 between calls."""
        since = self._working_since
        return 0.0 if since is None else time.monotonic() - since

    # The loop: everything below runs in the worker's thread, but for _send, _feed_ended and _marked.

    def run(self) -> None:
        """Work until ``close``. A fault outside any node ends every session of the worker, and the worker."""
        try:
            while (item := self.inbox.take()) is not None:
                self._working_since = time.monotonic()
                if isinstance(item, Item):
                    self._flow.handle(item)
                else:
                    item()
                self._working_since = None
                if self._blackbox is not None:
                    self._blackbox.clear()
        except Exception as error:
            self._broken = MmstreamError(f"worker {self.spec.name!r} failed: {type(error).__name__}: {error}")
            for record in tuple(self._sessions.values()):
                self._finish(record, self._broken)
            raise
        finally:
            for operator in self._operators.values():
                operator.close()

    def _open_states(self, record: Record, before: Record | None) -> None:
        """New states, or those that the session is put back to; ``before``: what it was here until now."""
        part = record.part
        for name, operator in self._operators.items():
            if not self._lives(record):
                return
            with Blame(self._flow, record, name, 0.0):
                if isinstance(operator, Sink):
                    self._open_sink(record, name, operator, before)
                    continue
                if before is not None and name in before.states:
                    operator.discard(before.states[name])
                saved = part.nodes.get(name) if part is not None else None
                record.states[name] = pickle.loads(saved.state) if saved is not None else operator.open(record.name)
        if before is not None:
            record.feeds = before.feeds
            record.lost = before.lost

    def _open_sink(self, record: Record, name: str, sink: Sink[Any], before: Record | None) -> None:
        if before is not None and name in before.states:
            record.states[name] = before.states[name]
            record.shown[name] = before.shown[name]
            record.shown[name].rewind(record.part.number if record.part is not None else None)
            if name not in before.running:
                record.running.discard(name)
        elif record.part is not None:
            raise MmstreamError("it was lost with its worker, and what it wrote with it: keep sinks in the driver")
        else:
            record.states[name] = sink.open(record.name)
            if self._recovery is not None:
                record.shown[name] = Shown()

    def _put_back(self, record: Record) -> None:
        """Put on the lanes what the snapshot holds of them, before anything else can come there."""
        if record.part is None:
            return
        for saved in record.part.nodes.values():
            for edge, packets in saved.packets.items():
                for packet in packets:
                    self.inbox.push(edge, packet, record.epoch)
            for edge in saved.ended:
                self.inbox.push(edge, Packet(record.name, 0.0, 0.0, End(), 0.0), record.epoch)

    def _sink_is_ready(self, sink: str, session: str) -> bool:
        record = self._sessions.get(session)
        operator = self._operators[sink]
        if record is None or sink not in record.states or not isinstance(operator, Sink):
            return True
        return operator.ready(record.states[sink])

    def _finish(self, record: Record, error: MmstreamError | None) -> None:
        with self._lock:
            if not self._lives(record):
                return
            del self._sessions[record.name]
        if error is not None:
            self._release(record)
        elif self._recovery is not None and record.feeds:
            self._spent[record.name] = record.feeds
        lanes = self.inbox.close_session(record.name)
        self._watch.session_ended(record.name)
        drained = error is None
        self._report(Outcome(record.name, self.spec.name, error or record.lost, lanes, drained, record.epoch))

    def _release(self, record: Record) -> None:
        """Stop the sources and discard the states of a session that failed; a fault in that harms nobody else."""
        releases = [(feed.node.name, feed.stop) for feed in record.feeds]
        releases += [(name, partial(self._operators[name].discard, state)) for name, state in record.states.items()]
        for name, release in releases:
            try:
                release()
            except Exception as error:  # noqa: BLE001 - the session has its error already
                log.warning("session %s: node %r, while being given up: %s", record.name, name, error)

    # Called from the sources' threads.

    def _send(self, record: Record, edge: Edge, packet: Packet[Any], wait: bool) -> bool:
        """Queue a source's packet here or with its worker; False when the session is gone, or was put back."""
        if not self._lives(record):
            return False
        if edge.target in self._nodes:
            return self.inbox.put(edge.name, packet, record.epoch, wait=wait)
        self._ports.deliver(edge, packet, record.epoch, wait=wait)
        return self._lives(record)

    def _marked(self, record: Record, feed: Feed, number: int, position: int) -> None:
        self.inbox.call(lambda: self._flow.source_saved(record, feed.node.name, number, position))

    def _feed_ended(self, record: Record, feed: Feed, error: BaseException | None) -> None:
        fault = None if error is None else OperatorError.of(feed.node, feed.session, feed.reached, error)
        if error is None or isinstance(error, MediaLost):
            record.lost = record.lost or fault
            for other in record.feeds if fault else ():  # a camera alone would go on for ever
                other.stop()
            self.inbox.call(lambda: self._flow.node_ended(record, feed.node.name))
        else:
            self.inbox.call(lambda: self._finish(record, fault))
