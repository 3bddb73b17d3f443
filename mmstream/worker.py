"""The loop around the nodes of one worker: the same code in a thread (local) and in an actor (Ray).

One thread runs all operators of a worker. A node whose only input is a node of the same worker is called directly;
every other node has lanes in the worker's inbox. Sources run in threads of their own and feed lanes (``feed.py``).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from mmstream.alignment import aligned
from mmstream.clock import SYSTEM_CLOCK, Clock
from mmstream.core import BatchOperator, End, MediaLost, MmstreamError, Operator, Packet, Source, Watermark
from mmstream.feed import Feed
from mmstream.graph import Edge, Graph, Node, WorkerSpec
from mmstream.inbox import Inbox, Inlet, Item
from mmstream.lane import LaneReport, promise
from mmstream.layout import Layout
from mmstream.media import Gap, passes

log = logging.getLogger(__name__)

WATERMARK_STEP_S = 0.1  # media seconds by which a watermark must advance before it is worth a packet

Arguments = Mapping[str, Mapping[str, Any]]  # node -> constructor arguments over those of the file
Deliver = Callable[[Edge, Packet[Any]], None]  # hands a packet to another worker; may wait


class OperatorError(MmstreamError):
    """A fault inside a node, with its place. Picklable, so it crosses actors as it is."""

    def __init__(self, node: str, use: str, session: str, media_time: float, cause: str) -> None:
        super().__init__(node, use, session, media_time, cause)
        self.node = node
        self.use = use
        self.session = session
        self.media_time = media_time  # seconds
        self.cause = cause

    def __str__(self) -> str:
        place = f", session {self.session!r}, at {self.media_time:.3f} s" if self.session else ""
        return f"node {self.node!r} ({self.use}){place}: {self.cause}"

    @classmethod
    def of(cls, node: Node, session: str, media_time: float, error: BaseException) -> OperatorError:
        """The fault ``error``, raised in ``node``; an error that explains itself keeps its words."""
        if isinstance(error, OperatorError):
            return error
        cause = str(error) if isinstance(error, MmstreamError) else f"{type(error).__name__}: {error}"
        return cls(node.name, node.use, session, media_time, cause)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a session ended in one worker."""

    session: str
    worker: str
    error: MmstreamError | None
    lanes: tuple[LaneReport, ...]
    drained: bool = False  # all that the session had to say has come out, with or without an error


@dataclass(eq=False)
class _Session:
    """What a worker remembers of one session."""

    name: str
    states: dict[str, Any] = field(default_factory=dict)  # by operator
    feeds: list[Feed] = field(default_factory=list)
    running: set[str] = field(default_factory=set)  # nodes that have not ended
    told: dict[str, float] = field(default_factory=dict)  # node -> watermark last sent, media seconds
    lost: MmstreamError | None = None  # a source broke off; all before it still comes out
    reached: float = 0.0  # end of the last packet taken, media seconds


class Worker:
    """Runs the nodes of one worker for many sessions. ``run`` belongs to one thread; the rest is thread-safe.

    ``deliver`` hands on what leaves the worker and may wait for room; ``report`` hears once of every session's end.
    """

    def __init__(
        self,
        graph: Graph,
        spec: WorkerSpec,
        deliver: Deliver,
        report: Callable[[Outcome], None],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.spec = spec
        self._deliver = deliver
        self._report = report
        self._clock = clock
        layout = Layout(graph, spec)
        self._nodes = layout.nodes
        self._outputs = layout.outputs
        self._queued = layout.queued
        self._timed = layout.timed
        self._operators: dict[str, Operator[Any]] = {}
        self._sessions: dict[str, _Session] = {}
        self._lock = threading.Lock()
        self._broken: MmstreamError | None = None  # why nothing runs here any more
        self.inbox = Inbox(
            Inlet(graph.nodes[name], graph.inputs(name), tuple(layout.fills(name)), bounded=graph.live)
            for name in sorted(self._queued)
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

    def _lives(self, record: _Session) -> bool:
        """Whether the session goes on; one of the same name may have been opened since it ended."""
        return self._sessions.get(record.name) is record

    def open(self, session: str) -> None:
        """Make a session's lanes and states. Nothing flows before ``start``."""
        if self._broken is not None:
            self._report(Outcome(session, self.spec.name, self._broken, ()))
            return
        record = _Session(session, running=set(self._nodes))
        with self._lock:
            self._sessions[session] = record
        self.inbox.open(session)
        self.inbox.call(lambda: self._open_states(record))

    def start(self, session: str, arguments: Arguments | None = None) -> None:
        """Start the session's sources, with ``arguments`` (node -> constructor arguments) over those of the file."""
        record = self._sessions.get(session)
        if record is None:
            return
        feeds = []
        placing = aligned([node for node in self._nodes.values() if node.is_source])
        for name, node in self._nodes.items():
            if node.is_source:
                given = {**node.arguments, **(arguments or {}).get(name, {})}
                send, ended = partial(self._send, record), partial(self._feed_ended, record)
                place = placing.get(name)
                feeds.append(Feed(node, given, session, self._outputs[name], send, ended, self._clock, place))
        with self._lock:
            if not self._lives(record):
                return
            record.feeds = feeds
        for feed in feeds:
            feed.start()

    def stop(self, session: str) -> None:
        """End the session's sources soon; what they gave until now still comes out at the sinks."""
        record = self._sessions.get(session)
        for feed in tuple(record.feeds) if record else ():
            feed.stop()

    def reached(self, session: str) -> float | None:
        """How far the session has come here, media seconds; None when it is not open."""
        record = self._sessions.get(session)
        return record.reached if record else None

    def abort(self, session: str, error: MmstreamError) -> None:
        """Give the session up: nothing more comes out, nothing half-written stays."""
        self.stop(session)
        record = self._sessions.get(session)
        if record is not None:
            self.inbox.call(lambda: self._finish(record, error))

    def close(self) -> None:
        """Let ``run`` return once it has done what it is at. Sessions still open are aborted."""
        for session in tuple(self._sessions):
            self.abort(session, MmstreamError(f"session {session!r} was aborted"))
        self.inbox.close()

    # The loop: everything below runs in the worker's thread, but for _send and _feed_ended.

    def run(self) -> None:
        """Work until ``close``. A fault outside any node ends every session of the worker, and the worker."""
        try:
            while (item := self.inbox.take()) is not None:
                if isinstance(item, Item):
                    self._handle(item)
                else:
                    item()
        except Exception as error:
            self._broken = MmstreamError(f"worker {self.spec.name!r} failed: {type(error).__name__}: {error}")
            for record in tuple(self._sessions.values()):
                self._finish(record, self._broken)
            raise
        finally:
            for operator in self._operators.values():
                operator.close()

    def _open_states(self, record: _Session) -> None:
        for name, operator in self._operators.items():
            if self._lives(record):
                with _Blame(self, record, name, 0.0):
                    record.states[name] = operator.open(record.name)

    def _handle(self, item: Item) -> None:
        record = self._sessions.get(item.packet.session)
        if record is None:
            return
        record.reached = max(record.reached, item.packet.end)
        operator = self._operators[item.node]
        if isinstance(item.packet.data, (End, Watermark, Gap)):
            self._accept(record, item.node, item.packet, item.reached)
        elif isinstance(operator, BatchOperator) and self.spec.batch is not None:
            self._share(operator, item)
        else:
            self._accept(record, item.node, item.packet, item.reached)

    def _share(self, operator: BatchOperator[Any], first: Item) -> None:
        """One call for the packets that several sessions have ready; control packets end the gathering."""
        assert self.spec.batch is not None
        deadline = time.monotonic() + self.spec.batch.max_wait_s if self.spec.batch.max_wait_s > 0 else None
        items: dict[str, Item] = {first.packet.session: first}
        after: list[Item] = []
        while len(items) < self.spec.batch.max_size:
            item = self.inbox.take_more(first.node, items.keys() | {i.packet.session for i in after}, deadline)
            if item is None:
                break
            if isinstance(item.packet.data, (End, Watermark, Gap)):
                after.append(item)
            elif item.packet.session in self._sessions:
                items[item.packet.session] = item
        self._run_batch(operator, first.node, list(items.values()))
        for item in after:
            self._handle(item)

    def _run_batch(self, operator: BatchOperator[Any], node: str, items: list[Item]) -> None:
        records = [self._sessions[item.packet.session] for item in items]
        states = [record.states[node] for record in records]
        try:
            results = [list(given) for given in operator.process_batch([item.packet for item in items], states)]
            if len(results) != len(items):
                raise ValueError(f"process_batch gave {len(results)} results for {len(items)} packets")
        except Exception as error:  # noqa: BLE001 - it becomes the error of every session in the batch
            for record, item in zip(records, items, strict=True):
                self._finish(record, OperatorError.of(self._nodes[node], record.name, item.packet.start, error))
            return
        for record, item, given in zip(records, items, results, strict=True):
            self._emit(record, node, given, item.packet)
            with _Blame(self, record, node, item.packet.start):
                self._tell(record, node, item.packet, item.reached)

    def _accept(self, record: _Session, name: str, packet: Packet[Any], reached: float) -> None:
        """Take one packet into a node and everything that comes of it down the chain."""
        operator = self._operators[name]
        with _Blame(self, record, name, packet.start):
            if isinstance(packet.data, End):
                self._emit(record, name, operator.flush(record.states[name]), packet)
                self._end(record, name, packet)
                return
            if isinstance(packet.data, Gap) and Gap not in operator.accepts:
                self._emit(record, name, operator.flush(record.states[name]), packet)
                if not self._lives(record):
                    return
                record.states[name] = operator.open(record.name)
                self._emit(record, name, [packet], packet)
            elif not isinstance(packet.data, Watermark):
                self._emit(record, name, operator.process(packet, record.states[name]), packet)
            self._tell(record, name, packet, reached)

    def _emit(self, record: _Session, name: str, given: Iterable[Packet[Any]], cause: Packet[Any]) -> None:
        """Send on what a node gives; ``given`` is usually a generator, so the node's own faults surface here."""
        packets: Iterator[Packet[Any]] = iter(given)
        while self._lives(record):
            with _Blame(self, record, name, cause.start):
                packet = next(packets, None)
                if packet is None:
                    return
                if packet.session != record.name:
                    raise ValueError(f"it gave a packet of session {packet.session!r}")
                for edge in self._outputs[name]:
                    if passes(packet.data, edge.carries):
                        self._pass_on(record, edge, packet)

    def _pass_on(self, record: _Session, edge: Edge, packet: Packet[Any]) -> None:
        if edge.target not in self._nodes:
            self._deliver(edge, packet)
        elif edge.target not in self._queued:
            self._accept(record, edge.target, packet, promise(packet, edge))
        else:
            while self.inbox.room(edge.name, record.name) == 0:  # this thread is the one that would make room
                item = self.inbox.take_for(edge.target, record.name)
                if item is None:
                    break
                self._handle(item)
            if self._lives(record):
                self.inbox.push(edge.name, packet)

    def _tell(self, record: _Session, name: str, packet: Packet[Any], reached: float) -> None:
        """Pass the node's watermark on, where a join further down waits for it."""
        if name not in self._timed or not self._lives(record):
            return
        promised = self._operators[name].watermark(record.states[name], reached)
        if promised < record.told.get(name, 0.0) + WATERMARK_STEP_S or promised == float("inf"):
            return
        record.told[name] = promised
        mark = packet.derive(Watermark(), start=promised, end=promised)
        for edge in self._outputs[name]:
            self._pass_on(record, edge, mark)

    def _end(self, record: _Session, name: str, packet: Packet[Any]) -> None:
        """The node has nothing more to give: tell those after it, and the session's owner when it was the last."""
        if not self._lives(record):
            return
        for edge in self._outputs[name]:
            self._pass_on(record, edge, packet.derive(End()))
        self._node_ended(record, name)

    def _node_ended(self, record: _Session, name: str) -> None:
        record.running.discard(name)
        if not record.running:
            self._finish(record, None)

    def _finish(self, record: _Session, error: MmstreamError | None) -> None:
        with self._lock:
            if not self._lives(record):
                return
            del self._sessions[record.name]
        if error is not None:
            self._release(record)
        lanes = self.inbox.close_session(record.name)
        self._report(Outcome(record.name, self.spec.name, error or record.lost, lanes, drained=error is None))

    def _release(self, record: _Session) -> None:
        """Stop the sources and discard the states of a session that failed; a fault in that harms nobody else."""
        releases = [(feed.node.name, feed.stop) for feed in record.feeds]
        releases += [(name, partial(self._operators[name].discard, state)) for name, state in record.states.items()]
        for name, release in releases:
            try:
                release()
            except Exception as error:  # noqa: BLE001 - the session has its error already
                log.warning("session %s: node %r, while being given up: %s", record.name, name, error)

    # Called from the sources' threads.

    def _send(self, record: _Session, edge: Edge, packet: Packet[Any]) -> bool:
        """Queue a source's packet here or with its worker; False when the session is gone."""
        if not self._lives(record):
            return False
        if edge.target in self._nodes:
            return self.inbox.put(edge.name, packet)
        self._deliver(edge, packet)
        return True

    def _feed_ended(self, record: _Session, feed: Feed, error: BaseException | None) -> None:
        fault = None if error is None else OperatorError.of(feed.node, feed.session, feed.reached, error)
        if error is None or isinstance(error, MediaLost):
            record.lost = record.lost or fault
            for other in record.feeds if fault else ():  # a camera alone would go on for ever
                other.stop()
            self.inbox.call(lambda: self._node_ended(record, feed.node.name))
        else:
            self.inbox.call(lambda: self._finish(record, fault))


class _Blame:
    """Turns an exception raised while a node worked into the failure of its session, named after the node."""

    def __init__(self, worker: Worker, record: _Session, node: str, media_time: float) -> None:
        self._worker, self._record, self._node, self._media_time = worker, record, node, media_time

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Exception):
            return False
        node = self._worker._nodes[self._node]
        log.debug("session %s failed", self._record.name, exc_info=error)
        self._worker._finish(self._record, OperatorError.of(node, self._record.name, self._media_time, error))
        return True
