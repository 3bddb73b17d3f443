"""From the pieces of a file to its captions: the sinks that the user asked for, fed in this process."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mmstream.core import MmstreamError, Sink
from mmstream.graph import Edge, Graph, Node
from mmstream.transcription.pieces import Heard, Keep


def keep_pieces(graph: Graph, folder: Path) -> tuple[Graph, Joiner]:
    """The graph with one sink that keeps pieces in ``folder``, in the place of its sinks; and what joins the pieces.

    Raises:
        MmstreamError: an argument of a sink is out of range.
    """
    sinks = [node for node in graph.nodes.values() if issubclass(node.kind, Sink)]
    first, others = sinks[0], {node.name for node in sinks[1:]}
    keep = replace(first, use=f"{Keep.__module__}:{Keep.__name__}", kind=Keep, arguments={"folder": str(folder)})
    nodes = {name: keep if node is first else node for name, node in graph.nodes.items() if name not in others}
    feeds: dict[str, Edge] = {}  # what any of the sinks takes, all of it for the one that keeps
    for edge in graph.edges:
        if edge.target in (first.name, *others):
            before = feeds.get(edge.source, edge)
            carries = tuple(dict.fromkeys([*before.carries, *edge.carries]))
            feeds[edge.source] = replace(before, target=first.name, carries=carries)
    kept = [edge for edge in graph.edges if edge.target not in (first.name, *others)]
    workers = {
        name: replace(spec, nodes=tuple(node for node in spec.nodes if node not in others))
        for name, spec in graph.workers.items()
    }
    occupied = {name: spec for name, spec in workers.items() if spec.nodes}
    return replace(graph, nodes=nodes, edges=(*kept, *feeds.values()), workers=occupied), Joiner(sinks)


class Joiner:
    """Writes captions with sinks of its own. For one thread."""

    def __init__(self, sinks: Sequence[Node]) -> None:
        self._nodes = sinks
        self._clock = _Arrival()
        self._make()  # faults in arguments show before anything is heard

    def write(self, session: str, heard: Iterable[Heard]) -> None:
        """All captions of one file, in the order given. Every format appears whole, or none that was begun.

        Raises:
            MmstreamError: a file cannot be read or written.
        """
        sinks = self._make()
        states: list[Any] = []
        try:
            for sink in sinks:
                states.append(sink.open(session))
            for one in heard:
                self._clock.time = one.arrived_at
                for sink, state in zip(sinks, states, strict=True):
                    if isinstance(one.packet.data, sink.accepts):
                        sink.process(one.packet, state)
            for sink, state in zip(sinks, states, strict=True):
                sink.flush(state)
        except BaseException:
            for sink, state in zip(sinks, states, strict=False):
                sink.discard(state)
            raise

    def _make(self) -> list[Sink[Any]]:
        sinks: list[Sink[Any]] = []
        for node in self._nodes:
            try:
                sink: Any = node.kind(**node.arguments)
            except ValueError as fault:
                raise MmstreamError(f"node {node.name!r} ({node.use}): {fault}") from fault
            sink.clock = self._clock
            sinks.append(sink)
        return sinks


@dataclass
class _Arrival:
    """A clock that shows when the packet came that a sink is given now."""

    time: float = 0.0

    def now(self) -> float:
        return self.time

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        return stop.is_set()
