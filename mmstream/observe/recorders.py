"""The recorder of a worker in a run that is traced."""

from __future__ import annotations

from mmstream.graph import Graph, WorkerSpec
from mmstream.observe.otel import exporter
from mmstream.observe.spans import Recorder, Tracing


def recorder(tracing: Tracing | None, graph: Graph, spec: WorkerSpec, number: int) -> Recorder | None:
    """What replica ``number`` of a worker tells its spans to; None where the run is not traced."""
    if tracing is None:
        return None
    return Recorder(tracing, graph, spec, number, exporter(tracing.run, f"{spec.name}-{number}"))
