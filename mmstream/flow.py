"""Packets through the nodes of one worker: into operators, down the chains that call each other, out to other workers.

Everything here runs in the worker's own thread.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol

from mmstream.core import Barrier, BatchOperator, End, MmstreamError, Operator, Packet, Watermark
from mmstream.graph import Edge
from mmstream.inbox import Inbox, Item
from mmstream.lane import promise
from mmstream.layout import Layout
from mmstream.media import Gap, passes
from mmstream.observe.watch import Watch
from mmstream.outcome import OperatorError
from mmstream.record import Record
from mmstream.recovery.blackbox import BlackBox
from mmstream.recovery.cut import Recorded
from mmstream.recovery.saving import Part

log = logging.getLogger(__name__)

WATERMARK_STEP_S = 0.1  # media seconds by which a watermark must advance before it is worth a packet

CONTROL = (End, Watermark, Barrier, Recorded)


class Ports(Protocol):
    """How a worker reaches the others."""

    def deliver(self, edge: Edge, packet: Packet[Any], epoch: int, *, wait: bool | None) -> None:
        """Hand a packet to the worker of the edge's target.

        ``wait``: None, from a worker's thread, never waits; False waits for room where the edge blocks, True on any.
        """

    def has_room(self, edge: Edge, session: str) -> bool:
        """Whether that worker's lane takes a packet now; never waits."""


class Flow:
    """Moves one packet at a time as far as it goes. A fault in a node ends that node's session, and no other."""

    def __init__(
        self,
        layout: Layout,
        operators: Mapping[str, Operator[Any]],
        sessions: Mapping[str, Record],
        inbox: Inbox,
        ports: Ports,
        finish: Callable[[Record, MmstreamError | None], None],
        saved: Callable[[Part], None] | None,
        blackbox: BlackBox | None,
        watch: Watch,
    ) -> None:
        """``finish`` ends a session in this worker; ``saved`` takes its parts of snapshots, None: there are none."""
        self._layout = layout
        self._nodes = layout.nodes
        self._outputs = layout.outputs
        self._operators = operators
        self._sessions = sessions
        self._inbox = inbox
        self._ports = ports
        self._finish = finish
        self._saved = saved
        self._blackbox = blackbox
        self._watch = watch

    def _lives(self, record: Record) -> bool:
        """Whether the session goes on; one of the same name may have been opened since it ended."""
        return self._sessions.get(record.name) is record

    def handle(self, item: Item) -> None:
        """Take one packet, with those of other sessions where the node works in batches."""
        record = self._sessions.get(item.packet.session)
        if record is None:
            return
        record.reached = max(record.reached, item.packet.end)
        operator = self._operators[item.node]
        batch = self._layout.spec.batch
        control = isinstance(item.packet.data, (*CONTROL, Gap))
        if not control:
            record.lag_s = operator.clock.now() - item.packet.captured_at
        if batch is None or control or record.alone or not isinstance(operator, BatchOperator):
            self.accept(record, item.node, item.packet, item.reached, item.waited_s)
        else:
            self._share(operator, item, batch.max_size, batch.max_wait_s)

    def _share(self, operator: BatchOperator[Any], first: Item, max_size: int, max_wait_s: float) -> None:
        """One call for the packets that several sessions have ready; control packets end the gathering."""
        waits = max_wait_s > 0 and first.node not in self._layout.inner  # this thread alone could bring it more
        deadline = time.monotonic() + max_wait_s if waits else None
        items: dict[str, Item] = {first.packet.session: first}
        after: list[Item] = []
        while len(items) < max_size:
            item = self._inbox.take_more(first.node, items.keys() | {i.packet.session for i in after}, deadline)
            if item is None:
                break
            record = self._sessions.get(item.packet.session)
            if isinstance(item.packet.data, (*CONTROL, Gap)) or (record is not None and record.alone):
                after.append(item)
            elif record is not None:
                items[item.packet.session] = item
        self._run_batch(operator, first.node, list(items.values()))
        for item in after:
            self.handle(item)

    def _run_batch(self, operator: BatchOperator[Any], node: str, items: list[Item]) -> None:
        records = [self._sessions[item.packet.session] for item in items]
        states = [record.states[node] for record in records]
        if self._blackbox is not None:
            self._blackbox.note(*((item.packet.session, item.packet.start) for item in items))
        began = self._watch.now()
        try:
            results = [list(given) for given in operator.process_batch([item.packet for item in items], states)]
            if len(results) != len(items):
                raise ValueError(f"process_batch gave {len(results)} results for {len(items)} packets")
        except Exception as error:  # noqa: BLE001 - it becomes the error of the session at fault
            if len(items) == 1:
                self._finish(records[0], OperatorError.of(self._nodes[node], *_place(items[0].packet), error))
            else:
                for item in items:
                    self._run_batch(operator, node, [item])
            return
        packets, waited = [item.packet for item in items], [item.waited_s for item in items]
        self._watch.batch(node, packets, waited, results, began)
        for record, item, given in zip(records, items, results, strict=True):
            self._emit(record, node, given, item.packet)
            with Blame(self, record, node, item.packet.start):
                self._tell(record, node, item.packet, item.reached)

    def accept(self, record: Record, name: str, packet: Packet[Any], reached: float, waited_s: float = 0.0) -> None:
        """Take one packet, which has ``waited_s`` for it, into a node and all that comes of it down the chain."""
        if name not in record.running:  # it had ended before the session was put back
            return
        with Blame(self, record, name, packet.start):
            if isinstance(packet.data, (Barrier, Recorded)):
                self._save(record, name, packet)
            elif not self._is_old(record, name, packet):
                self._watch.begin(name, packet, waited_s)
                try:
                    self._work(record, name, packet, reached)
                finally:
                    self._watch.end()

    def _is_old(self, record: Record, name: str, packet: Packet[Any]) -> bool:
        """Whether a sink has shown ``packet`` before the session was put back."""
        if name not in record.shown or isinstance(packet.data, (End, Watermark)):
            return False
        return not record.shown[name].is_new(packet)

    def _work(self, record: Record, name: str, packet: Packet[Any], reached: float) -> None:
        operator = self._operators[name]
        if isinstance(packet.data, End):
            self._emit(record, name, operator.flush(record.states[name]), packet)
            self._end(record, name, packet)
            return
        if self._blackbox is not None:
            self._blackbox.note((record.name, packet.start))
        if isinstance(packet.data, Gap) and Gap not in operator.accepts:
            self._emit(record, name, operator.flush(record.states[name]), packet)
            if not self._lives(record):
                return
            record.states[name] = operator.open(record.name)
            self._emit(record, name, [packet], packet)
        elif not isinstance(packet.data, Watermark):
            self._emit(record, name, operator.process(packet, record.states[name]), packet)
        self._tell(record, name, packet, reached)

    def _emit(self, record: Record, name: str, given: Iterable[Packet[Any]], cause: Packet[Any]) -> None:
        """Send on what a node gives; ``given`` is usually a generator, so the node's own faults surface here."""
        packets: Iterator[Packet[Any]] = iter(given)
        while self._lives(record):
            with Blame(self, record, name, cause.start):
                packet = next(packets, None)
                if packet is None:
                    return
                if packet.session != record.name:
                    raise ValueError(f"it gave a packet of session {packet.session!r}")
                if self._watch.recorder is not None:
                    self._watch.gave(name, packet)
                for edge in self._outputs[name]:
                    if passes(packet.data, edge.carries):
                        self._pass_on(record, edge, packet)

    def _pass_on(self, record: Record, edge: Edge, packet: Packet[Any]) -> None:
        if edge.target not in self._nodes:
            self._ports.deliver(edge, packet, record.epoch, wait=None)
        elif edge.target not in self._layout.queued:
            self.accept(record, edge.target, packet, promise(packet, edge))
        else:
            while self._inbox.room(edge.name, record.name, record.epoch) == 0:  # this thread alone can make room
                item = self._inbox.take_for(edge.target, record.name)
                if item is None:
                    break
                self.handle(item)
            if self._lives(record):
                self._inbox.push(edge.name, packet, record.epoch)

    def _tell(self, record: Record, name: str, packet: Packet[Any], reached: float) -> None:
        """Pass the node's watermark on, where a join further down waits for it."""
        if name not in self._layout.timed or not self._lives(record):
            return
        promised = self._operators[name].watermark(record.states[name], reached)
        if promised < record.told.get(name, 0.0) + WATERMARK_STEP_S or promised == float("inf"):
            return
        record.told[name] = promised
        mark = packet.derive(Watermark(), start=promised, end=promised)
        for edge in self._outputs[name]:
            self._pass_on(record, edge, mark)

    def _end(self, record: Record, name: str, packet: Packet[Any]) -> None:
        """The node has nothing more to give: tell those after it, and the session's owner when it was the last."""
        if not self._lives(record):  # its flush failed
            return
        for edge in self._outputs[name]:
            self._pass_on(record, edge, packet.derive(End()))
        self.node_ended(record, name)

    def node_ended(self, record: Record, name: str) -> None:
        """A node or source gives nothing more; the session ends here with the last of them."""
        if not self._lives(record):
            return
        record.running.discard(name)
        if record.saving is not None:
            self._hand_in(record.saving.whole(self._ended(record)))
        if not record.running:
            self._finish(record, None)

    # Snapshots.

    def _save(self, record: Record, name: str, packet: Packet[Any]) -> None:
        """A barrier has come to a node, or what lay on its lanes is known."""
        if record.saving is None:
            return
        ended = self._ended(record)
        if isinstance(packet.data, Recorded):
            self._hand_in(record.saving.recorded(name, packet.data, ended))
            return
        state = record.states[name]
        if name in record.shown:  # a sink is not put back, but all that it is to show has come to it
            record.shown[name].mark(packet.data.number)
            state = None
        joins = len(self._layout.inputs(name)) > 1
        part = record.saving.node(packet.data.number, name, state, joins, ended)
        for edge in self._outputs[name]:
            self._pass_on(record, edge, packet)
        self._hand_in(part)

    def source_saved(self, record: Record, name: str, number: int, position: int) -> None:
        """A source has sent the barrier of snapshot ``number`` behind its first ``position`` packets."""
        if self._lives(record) and record.saving is not None:
            self._hand_in(record.saving.source(number, name, position, self._ended(record)))

    def _ended(self, record: Record) -> set[str]:
        return self._nodes.keys() - record.running

    def _hand_in(self, part: Part | None) -> None:
        if part is not None and self._saved is not None:
            self._saved(part)


def _place(packet: Packet[Any]) -> tuple[str, float]:
    return packet.session, packet.start


class Blame:
    """Turns an exception raised while a node worked into the failure of its session, named after the node."""

    def __init__(self, flow: Flow, record: Record, node: str, media_time: float) -> None:
        self._flow, self._record, self._node, self._media_time = flow, record, node, media_time

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Exception):
            return False
        node = self._flow._nodes[self._node]
        log.debug("session %s failed", self._record.name, exc_info=error)
        self._flow._finish(self._record, OperatorError.of(node, self._record.name, self._media_time, error))
        return True
