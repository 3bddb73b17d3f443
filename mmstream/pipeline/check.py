"""Document -> checked graph: all the checks, in an order that lets every problem be told at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmstream.core import Sink
from mmstream.graph import Graph
from mmstream.media import Hypothesis
from mmstream.pipeline.classes import check_allowed
from mmstream.pipeline.document import Document
from mmstream.pipeline.edges import Drafts, check_cycles, check_edges, finished_edge, in_order
from mmstream.pipeline.limits import Limits, read_limits
from mmstream.pipeline.nodes import Draft, read_nodes
from mmstream.pipeline.problems import PipelineError, Problem
from mmstream.pipeline.report import Report
from mmstream.pipeline.workers import WorkerDraft, queues, read_workers, waiting_cycle

TOP_KEYS = ("capacity", "nodes", "workers", "sessions", "recovery", "max_lag_ms")


@dataclass(frozen=True)
class Roles:
    """The nodes of a document by what they do, each in the order of the file."""

    sources: tuple[str, ...]
    decoders: tuple[str, ...]  # they give Hypothesis
    commits: tuple[str, ...]  # they make captions of Hypothesis: which words are stable
    sinks: tuple[str, ...]  # they give nothing


def check(document: Document, allow: Sequence[str] = ()) -> Graph:
    """The graph that ``document`` describes. Operators' modules are imported; no operator is built.

    ``allow`` names modules that ``use`` may take classes from, besides ``operators.*``: whole packages or modules.

    Raises:
        PipelineError: with every problem of the document.
    """
    report = Report(document)
    found = _examine(report, allow)
    if report.problems:
        raise PipelineError(report.problems)
    return _graph(document, found)


def roles(document: Document, allow: Sequence[str] = ()) -> Roles:
    """Which nodes are sources, decoders, commit policies and sinks: what a command looks at before it replaces some.

    Raises:
        PipelineError: the class of a node cannot be found; with every problem of the document.
    """
    report = Report(document)
    drafts = _examine(report, allow).drafts
    if any(draft.kind is None for draft in drafts.values()):
        raise PipelineError(report.problems)
    operators = [draft for draft in drafts.values() if not draft.is_source]
    sinks = [draft for draft in operators if _is_sink(draft)]
    return Roles(
        sources=tuple(draft.name for draft in drafts.values() if draft.is_source),
        decoders=tuple(draft.name for draft in operators if Hypothesis in draft.emits),
        commits=tuple(draft.name for draft in operators if Hypothesis in draft.accepts and draft not in sinks),
        sinks=tuple(draft.name for draft in sinks),
    )


def _is_sink(draft: Draft) -> bool:
    return draft.kind is not None and (issubclass(draft.kind, Sink) or not draft.emits)


@dataclass(frozen=True)
class _Found:
    """A document taken apart."""

    drafts: Drafts
    workers: Mapping[str, WorkerDraft]
    capacity: int | None
    limits: Limits


def _examine(report: Report, allow: Sequence[str]) -> _Found:
    document = report.document
    for name in check_allowed(allow, Path(document.path).parent):
        message = "--allow takes the name of a module, such as my_operators"
        report.problems.append(Problem(f"--allow {name}", 0, message))
    report.mapping(document.content, (), "a pipeline file", TOP_KEYS, "{nodes: ...}")
    capacity = None
    if "capacity" in document.content:
        capacity = report.integer(document.content["capacity"], ("capacity",), "'capacity' (packets)", 1)
    limits = read_limits(report)
    drafts = read_nodes(report, allow)
    check_edges(report, drafts, allow)
    cyclic = check_cycles(report, drafts)
    workers = read_workers(report, drafts)
    _check_sizes(report, drafts, workers)
    if not cyclic:
        _check_circle(report, drafts, workers)
    return _Found(drafts, workers, capacity, limits)


def _check_sizes(report: Report, drafts: Drafts, workers: Mapping[str, WorkerDraft]) -> None:
    """Every queue needs a size that somebody has chosen."""
    unsized = [
        f"{given.source}->{draft.name}"
        for draft in drafts.values()
        for given in draft.inputs
        if given.source in drafts and given.capacity is None and queues(workers, drafts[given.source], draft)
    ]
    if unsized and "capacity" not in report.document.content:
        report.add(
            (),
            f"no 'capacity' for {', '.join(unsized)}: say how many packets may wait on an edge, "
            "such as 'capacity: 64' at the top of the file",
        )


def _check_circle(report: Report, drafts: Drafts, workers: Mapping[str, WorkerDraft]) -> None:
    """No queue may wait for itself."""
    circle = waiting_cycle(drafts, workers)
    if circle:
        edges = ", ".join(f"{source}->{target}" for source, target in circle)
        report.add(
            ("workers",) if "workers" in report.document.content else ("nodes", circle[0][1]),
            f"workers wait for each other: {edges} lead round in a circle and all of them block, so once they are "
            "full nothing moves again; put these nodes into one worker, or give one edge 'overflow: drop_oldest'",
        )


def _graph(document: Document, found: _Found) -> Graph:
    drafts, order = found.drafts, in_order(found.drafts)
    return Graph(
        document.path,
        {name: drafts[name].finished(document.lines.get(("nodes", name), 0)) for name in order},
        tuple(
            finished_edge(drafts[given.source], drafts[name], given, found.capacity)
            for name in order
            for given in drafts[name].inputs
        ),
        {worker.name: worker.finished(order) for worker in found.workers.values() if worker.nodes},
        found.limits.recovery,
        found.limits.sessions,
        found.limits.max_lag_s,
    )
