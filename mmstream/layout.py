"""How the nodes of one worker hang together: which have lanes, which are called directly, which must tell the time."""

from __future__ import annotations

from collections.abc import Iterator

from mmstream.core import BatchOperator, Sink
from mmstream.graph import Edge, Graph, WorkerSpec


class Layout:
    """Worked out once for each worker; sessions only look things up."""

    def __init__(self, graph: Graph, spec: WorkerSpec) -> None:
        self._graph = graph
        self.spec = spec
        self.nodes = {name: graph.nodes[name] for name in graph.nodes if name in spec.nodes}
        self.outputs = {name: graph.outputs(name) for name in self.nodes}
        self.queued = {name for name in self.nodes if self._is_queued(name)}
        self.inner = {name for name in self.queued if not any(map(self._comes_from_outside, graph.inputs(name)))}
        self.timed = {name for name in self.nodes if _feeds_a_join(graph, name)}

    def fills(self, name: str) -> Iterator[str]:
        """The lanes of this worker that a node fills, itself or through nodes that it calls."""
        for edge in self.outputs[name]:
            if edge.target in self.queued:
                yield edge.name
            elif edge.target in self.nodes:
                yield from self.fills(edge.target)

    def inputs(self, name: str) -> tuple[Edge, ...]:
        return self._graph.inputs(name)

    def leaves(self, name: str) -> Iterator[Edge]:
        """The edges on which packets of a node leave the worker, from itself or from nodes that it calls."""
        for edge in self.outputs[name]:
            if edge.target not in self.nodes:
                yield edge
            elif edge.target not in self.queued:
                yield from self.leaves(edge.target)

    def sinks(self, name: str) -> Iterator[str]:
        """The sinks that may not be ready among a node and those that it calls, itself or through others."""
        kind = self.nodes[name].kind
        if issubclass(kind, Sink) and kind.ready is not Sink.ready:
            yield name
        for edge in self.outputs[name]:
            if edge.target in self.nodes and edge.target not in self.queued:
                yield from self.sinks(edge.target)

    def _is_queued(self, name: str) -> bool:
        """Whether a node has lanes, rather than being called by the one node before it."""
        inputs = self._graph.inputs(name)
        if not inputs:
            return False
        shared = self.spec.batch is not None and issubclass(self.nodes[name].kind, BatchOperator)
        return shared or len(inputs) > 1 or self._comes_from_outside(inputs[0])

    def _comes_from_outside(self, edge: Edge) -> bool:
        return edge.source not in self.nodes or self.nodes[edge.source].is_source


def _feeds_a_join(graph: Graph, name: str) -> bool:
    """Whether a node with several inputs lies anywhere after ``name``."""
    return any(len(graph.inputs(edge.target)) > 1 or _feeds_a_join(graph, edge.target) for edge in graph.outputs(name))
