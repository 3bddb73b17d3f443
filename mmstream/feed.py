"""The thread that runs one source of one session and queues what it gives."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

from mmstream.alignment import Placing
from mmstream.clock import Clock
from mmstream.core import End, MediaLost, MmstreamError, Packet, Source
from mmstream.graph import Edge, Node
from mmstream.media import passes

log = logging.getLogger(__name__)


class Feed(threading.Thread):
    """Builds a source, sends its packets down the edges that take them, and ends those edges.

    ``send`` waits for room and says False once the session is gone; ``ended`` hears of the end or the fault, once.
    """

    def __init__(
        self,
        node: Node,
        arguments: Mapping[str, Any],
        session: str,
        edges: tuple[Edge, ...],
        send: Callable[[Edge, Packet[Any]], bool],
        ended: Callable[[Feed, BaseException | None], None],
        clock: Clock,
        place: Placing | None = None,
    ) -> None:
        """``place`` puts packets on the clock that the session's live sources share; None for those before it."""
        super().__init__(name=f"mmstream-{node.name}", daemon=True)
        self.node = node
        self.session = session
        self.reached = 0.0  # end of the last packet, media seconds
        self._arguments = arguments
        self._edges = edges
        self._send = send
        self._ended = ended
        self._clock = clock
        self._place = place
        self._source: Source | None = None
        self._stop_wanted = threading.Event()

    def run(self) -> None:
        lost: MediaLost | None = None
        try:
            self._pump()
        except MediaLost as error:  # what came before it still comes out
            if self.node.optional:
                log.warning("going on without %r: %s", self.node.name, error)
            else:
                lost = error
        except Exception as error:  # noqa: BLE001 - it becomes the session's error
            if not (self.node.optional and isinstance(error, MmstreamError)):
                self._ended(self, error)
                return
            log.warning("going on without %r: %s", self.node.name, error)
        self._end(self._edges)
        self._ended(self, lost)

    def stop(self) -> None:
        """Ask the source to end; it may not have been built yet."""
        self._stop_wanted.set()
        if self._source is not None:
            self._source.stop()

    def _end(self, edges: tuple[Edge, ...]) -> None:
        """Say on ``edges`` that nothing more comes there."""
        for edge in edges:
            self._send(edge, Packet(self.session, self.reached, self.reached, End(), self._clock.now()))

    def _end_missing(self, missing: frozenset[type]) -> None:
        """End the edges of what the source turned out not to have, so that nobody waits for it."""
        idle = tuple(edge for edge in self._edges if edge.carries and missing.issuperset(edge.carries))
        self._edges = tuple(edge for edge in self._edges if edge not in idle)
        self._end(idle)

    def _pump(self) -> None:
        assert issubclass(self.node.kind, Source)
        source = self.node.kind(**self._arguments)
        source.clock = self._clock
        self._source = source
        if self._stop_wanted.is_set():
            source.stop()
        first = True
        for packet in source.packets(self.session):
            if first and source.live:
                log.info("listening to %s; Ctrl-C ends", source)
            if first and source.missing:
                self._end_missing(source.missing)
            first = False
            if packet.session != self.session:
                raise ValueError(f"it gave a packet of session {packet.session!r}")
            placed = packet if self._place is None else self._place(packet)
            if placed is None:
                continue
            packet = placed
            self.reached = max(self.reached, packet.end)
            for edge in self._edges:
                if passes(packet.data, edge.carries) and not self._send(edge, packet):
                    source.stop()
                    return
