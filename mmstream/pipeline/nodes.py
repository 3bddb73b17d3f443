"""The entries under ``nodes``, each by itself: operator, arguments, the names after ``from``."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mmstream.core import Source
from mmstream.graph import Node, Overflow
from mmstream.pipeline.arguments import Parameters, check_arguments
from mmstream.pipeline.classes import Kind, UnusableError, find
from mmstream.pipeline.lines import Keys
from mmstream.pipeline.problems import shown
from mmstream.pipeline.report import Report
from mmstream.spelling import did_you_mean

NODE_KEYS = ("use", "with", "from", "optional", "max_skew_ms")
EDGE_KEYS = ("capacity", "overflow")
OVERFLOWS: tuple[Overflow, ...] = typing.get_args(Overflow)
EXAMPLE = "{use: operators.audio:Resample, from: microphone}"


@dataclass
class Input:
    """One name after ``from``: an edge, before its other end is known."""

    source: str
    keys: Keys
    capacity: int | None = None
    overflow: Overflow | None = None


@dataclass
class Draft:
    """A node as far as the file makes sense; ``kind`` is None where it does not say which operator."""

    name: str
    use: str = ""
    kind: Kind | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    inputs: list[Input] = field(default_factory=list)
    optional: bool = False
    max_skew_s: float | None = None

    @property
    def keys(self) -> Keys:
        return ("nodes", self.name)

    @property
    def is_source(self) -> bool:
        return self.kind is not None and issubclass(self.kind, Source)

    @property
    def title(self) -> str:
        """The node as messages call it."""
        return f"{self.name!r} ({self.kind.__name__})" if self.kind is not None else repr(self.name)

    @property
    def emits(self) -> tuple[type, ...]:
        return self.kind.emits if self.kind is not None else ()

    @property
    def accepts(self) -> tuple[type, ...]:
        return () if self.kind is None or issubclass(self.kind, Source) else self.kind.accepts

    def finished(self, line: int) -> Node:
        """The node of the graph; for a draft without problems."""
        assert self.kind is not None
        return Node(self.name, self.use, self.kind, self.arguments, self.optional, self.max_skew_s, line)


def read_nodes(report: Report, allow: Sequence[str]) -> dict[str, Draft]:
    """Every node that has a name, with what is wrong inside it reported."""
    content = report.document.content
    if "nodes" not in content:
        report.add((), "there are no nodes: a pipeline file holds them under 'nodes:'")
        return {}
    entries = report.named(content["nodes"], ("nodes",), "nodes", f"{{resample: {EXAMPLE}}}")
    if content["nodes"] == {}:
        report.add(("nodes",), "there are no nodes")
    return {name: _read_node(report, name, entry, allow) for name, entry in entries.items()}


def _read_node(report: Report, name: str, entry: Any, allow: Sequence[str]) -> Draft:
    draft = Draft(name)
    if isinstance(entry, dict):
        draft.use, draft.kind = _read_use(report, draft, entry, allow)
        entry = _misplaced_arguments(report, draft, entry)
    entry = report.mapping(entry, draft.keys, f"node {name!r}", NODE_KEYS, EXAMPLE)
    if draft.kind is not None:
        draft.arguments = _read_arguments(report, draft, draft.kind, entry.get("with"))
    if entry.get("from") is not None:
        draft.inputs = _read_inputs(report, draft, entry["from"])
    if "optional" in entry:
        draft.optional = report.flag(entry["optional"], (*draft.keys, "optional"), "'optional'")
        if draft.optional and draft.kind is not None and not draft.is_source:
            report.add((*draft.keys, "optional"), f"only a source may be optional; {draft.title} is none")
    if "max_skew_ms" in entry:
        skew_ms = report.number(entry["max_skew_ms"], (*draft.keys, "max_skew_ms"), "'max_skew_ms'")
        draft.max_skew_s = None if skew_ms is None else skew_ms / 1000
        if draft.is_source:
            report.add((*draft.keys, "max_skew_ms"), f"{draft.title} is a source: it has no inputs that could skew")
    return draft


def _read_use(report: Report, draft: Draft, entry: dict[str, Any], allow: Sequence[str]) -> tuple[str, Kind | None]:
    use = entry.get("use")
    keys = (*draft.keys, "use")
    if "use" not in entry:
        report.add(draft.keys, f"node {draft.name!r} does not say which operator it is: use: MODULE:Class")
    elif not isinstance(use, str):
        report.add(keys, f"'use' must name an operator, such as operators.audio:Resample, not {shown(use)}")
    else:
        try:
            return use, find(use, allow)
        except UnusableError as fault:
            report.add(keys, str(fault))
    return "", None


def _misplaced_arguments(report: Report, draft: Draft, entry: dict[str, Any]) -> dict[str, Any]:
    """Arguments that stand beside ``with`` rather than under it are told so, and left out."""
    names = Parameters(draft.kind).by_name if draft.kind is not None else {}
    misplaced = [key for key in entry if key in names and key not in NODE_KEYS]
    for key in misplaced:
        report.add((*draft.keys, key), f"{key!r} is an argument of {draft.title}: write it under 'with'")
    kept = {key: value for key, value in entry.items() if key not in misplaced}
    if misplaced and isinstance(kept.get("with", {}), dict):
        kept["with"] = {**kept.get("with", {}), **{key: entry[key] for key in misplaced}}
    return kept


def _read_arguments(report: Report, draft: Draft, kind: Kind, given: Any) -> dict[str, Any]:
    keys = (*draft.keys, "with")
    if given is None:
        given = {}
    if not isinstance(given, dict):
        report.add(
            keys, f"'with' must be a mapping from the arguments of {kind.__name__} to values, not {shown(given)}"
        )
        return {}
    texts = {name: text for name in given if (text := report.document.texts.get((*keys, name))) is not None}
    arguments, problems = check_arguments(kind, given, texts)
    for name, message in problems:
        report.add(draft.keys if name is None else (*keys, name), message)
    return arguments


def _read_inputs(report: Report, draft: Draft, value: Any) -> list[Input]:
    keys = (*draft.keys, "from")
    if not isinstance(value, dict):
        return [Input(name, place) for name, place in report.names(value, keys, f"'from' of {draft.name!r}")]
    inputs = []
    for source, options in value.items():
        place = (*keys, source)
        example = "{capacity: 50, overflow: drop_oldest}"
        known = report.mapping(
            {} if options is None else options, place, f"the edge from {source!r}", EDGE_KEYS, example
        )
        given = Input(source, place)
        if "capacity" in known:
            given.capacity = report.integer(known["capacity"], (*place, "capacity"), "'capacity' (packets)", 1)
        if "overflow" in known:
            overflow = report.choice(known["overflow"], (*place, "overflow"), "'overflow'", OVERFLOWS)
            given.overflow = next((one for one in OVERFLOWS if one == overflow), None)
        inputs.append(given)
    return inputs


def unknown_node(name: str, names: Sequence[str]) -> str:
    """The complaint about a name that no node has."""
    return f"there is no node {shown(name)}{did_you_mean(name, names, 'there are')}"
