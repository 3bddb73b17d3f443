"""Graphs cut in two: the part up to a node, to record what it gives; and the part behind it, to play that back."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from mmstream.core import Operator, Source
from mmstream.graph import Edge, Graph, Node


def up_to(graph: Graph, name: str, sink: type[Operator[Any]], arguments: Mapping[str, Any]) -> Graph:
    """``name`` and all that it is made from, with ``sink`` behind it in the same worker."""
    given = graph.nodes[name].kind.emits
    carries = tuple(kind for kind in given if kind in sink.accepts)
    part = _part(graph, _made_from({name}, graph, graph.edges))
    end = Node(f"{name}_record", f"{sink.__module__}:{sink.__name__}", sink, arguments)
    worker = part.worker_of(name)
    return replace(
        part,
        nodes={**part.nodes, end.name: end},
        edges=(*part.edges, Edge(name, end.name, carries, _capacity(graph), "block")),
        workers={**part.workers, worker.name: replace(worker, nodes=(*worker.nodes, end.name))},
    )


def from_on(graph: Graph, name: str, source: type[Source]) -> Graph:
    """The graph with ``source`` in the place of ``name``; what fed nothing but ``name`` is gone."""
    node = Node(name, f"{source.__module__}:{source.__name__}", source)
    ends = {one for one in graph.nodes if not graph.outputs(one)}
    edges = tuple(edge for edge in graph.edges if edge.target != name)
    changed = replace(graph, nodes={**graph.nodes, name: node}, edges=edges)
    return _part(changed, _made_from(ends, changed, edges))


def _part(graph: Graph, kept: Collection[str]) -> Graph:
    """The nodes ``kept``, the edges between them, and their workers."""
    workers = {
        name: replace(spec, nodes=tuple(node for node in spec.nodes if node in kept))
        for name, spec in graph.workers.items()
    }
    return replace(
        graph,
        nodes={name: node for name, node in graph.nodes.items() if name in kept},
        edges=tuple(edge for edge in graph.edges if edge.source in kept and edge.target in kept),
        workers={name: spec for name, spec in workers.items() if spec.nodes},
    )


def _made_from(ends: Collection[str], graph: Graph, edges: Collection[Edge]) -> set[str]:
    """``ends`` and all that feeds them by ``edges``."""
    kept = set(ends)
    for name in reversed(list(graph.nodes)):  # in topological order
        if any(edge.source == name and edge.target in kept for edge in edges):
            kept.add(name)
    return kept


def _capacity(graph: Graph) -> int:
    return max(edge.capacity for edge in graph.edges)
