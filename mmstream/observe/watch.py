"""What a worker's thread calls around its operators: compute time for metrics and, where a run is traced, spans."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from mmstream.clock import SYSTEM_CLOCK, Clock
from mmstream.core import Packet
from mmstream.media import Caption
from mmstream.observe.metrics import Metrics
from mmstream.observe.spans import Place, Recorder
from mmstream.observe.words import Words


@dataclass(slots=True)
class _Call:
    """An operator call under way."""

    node: str
    packet: Packet[Any]
    waited_s: float
    began: float
    called_s: float = 0.0  # spent in nodes that this one called
    gave: Place | None = None


class Watch:
    """Follows the calls of one worker, which may lie in one another. One thread.

    A caption that one of ``sinks`` begins on is shown at that moment. ``recorder``: None where the run is not traced;
    then ``gave`` need not be called.
    """

    def __init__(
        self,
        metrics: Metrics,
        sinks: Collection[str] = (),
        recorder: Recorder | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.metrics = metrics
        self.recorder = recorder
        self._sinks = frozenset(sinks)
        self._clock = clock
        self._calls: list[_Call] = []
        self._reached: dict[str, dict[str, float]] = {}  # session -> node -> media seconds
        self._words: dict[str, Words] = {}  # by session

    def now(self) -> float:
        """Wall-clock seconds: when a batch begins."""
        return self._clock.now()

    def begin(self, node: str, packet: Packet[Any], waited_s: float = 0.0) -> None:
        """``node`` begins on ``packet``, which has waited for so long in the node's lane."""
        now = self._clock.now()
        self._calls.append(_Call(node, packet, waited_s, now))
        if node in self._sinks and isinstance(packet.data, Caption):
            self._show(node, packet, now)

    def gave(self, node: str, packet: Packet[Any]) -> None:
        """The call of ``node`` that is under way has given ``packet``; what a batch gave is told with it."""
        if not self._calls:
            return
        call = self._calls[-1]
        if (call.node, call.packet.session) != (node, packet.session):
            return
        call.gave = (packet.start if call.gave is None else call.gave[0], packet.end)

    def end(self) -> None:
        """The call that began last has ended, well or not."""
        call = self._calls.pop()
        ended = self._clock.now()
        lasted_s = ended - call.began
        if self._calls:
            self._calls[-1].called_s += lasted_s
        self.metrics.worked(call.node, lasted_s - call.called_s, self._new_media(call.node, call.packet))
        if self.recorder is not None:
            session = call.packet.session
            self.recorder.worked(session, call.node, call.packet, call.began, ended, call.waited_s, 1, call.gave)

    def batch(
        self,
        node: str,
        packets: Sequence[Packet[Any]],
        waited_s: Sequence[float],
        gave: Sequence[Sequence[Packet[Any]]],
        began: float,
    ) -> None:
        """One call for packets of several sessions, begun at that wall-clock second, has ended and given those."""
        ended = self._clock.now()
        if self._calls:
            self._calls[-1].called_s += ended - began
        self.metrics.batch(node, len(packets))
        self.metrics.worked(node, ended - began, sum(self._new_media(node, packet) for packet in packets))
        if self.recorder is not None:
            for packet, waited, given in zip(packets, waited_s, gave, strict=True):
                place = (given[0].start, given[-1].end) if given else None
                self.recorder.worked(packet.session, node, packet, began, ended, waited, len(packets), place)

    def session_ended(self, session: str) -> None:
        """Forget it. A session that is put back to a snapshot has not ended."""
        self._reached.pop(session, None)
        self._words.pop(session, None)
        if self.recorder is not None:
            self.recorder.session_ended(session)

    def _show(self, node: str, packet: Packet[Caption], now: float) -> None:
        """The latency of the words that a caption makes stable is known."""
        for word in self._words.setdefault(packet.session, Words()).take(packet, now):
            self.metrics.emitted(word.emitted_at - word.captured_at)
            self.metrics.committed(word.committed_at - word.captured_at)
        if self.recorder is not None:
            self.recorder.shown(packet.session, node, packet, now)

    def _new_media(self, node: str, packet: Packet[Any]) -> float:
        """How much further than before the media now reaches at ``node``: overlapping packets count once."""
        reached = self._reached.setdefault(packet.session, {})
        before = reached.get(node, packet.start)
        if packet.end <= before:
            return 0.0
        reached[node] = packet.end
        return packet.end - before
