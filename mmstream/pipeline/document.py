"""A pipeline file as read: plain values that commands may edit before they are checked, and the line of each."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmstream.core import MmstreamError
from mmstream.pipeline.lines import MAX_BYTES, Keys, NotYamlError, Plain, parse, scalar
from mmstream.pipeline.problems import PipelineError, Problem, shown
from mmstream.pipeline.variables import replacing
from mmstream.spelling import did_you_mean

DRIVER = "driver"  # the worker that is the user's own process
TOP_SETTINGS = ("capacity", "max_lag_ms")

_SETTING = re.compile(r"(?:(?P<node>[^.=]+)\.)?(?P<name>[^.=]+)=(?P<value>.*)", re.DOTALL)


@dataclass
class Document:
    """The values of a pipeline file. Faults found while reading wait in ``problems`` until ``check``."""

    path: str  # for messages
    content: dict[str, Any] = field(default_factory=dict)
    lines: dict[Keys, int] = field(default_factory=dict)
    texts: dict[Keys, str] = field(default_factory=dict)  # a value that came from outside, as it was written there
    origins: dict[Keys, str] = field(default_factory=dict)  # the command-line option that a value came from
    problems: list[Problem] = field(default_factory=list)

    @property
    def nodes(self) -> Mapping[str, Any]:
        """The entries under ``nodes``, unchecked; none where the file holds no mapping there."""
        nodes = self.content.get("nodes")
        return nodes if isinstance(nodes, dict) else {}

    def problem(self, keys: Keys, message: str) -> Problem:
        """A problem with what stands at ``keys``, placed at the nearest place that has a line or an origin."""
        for length in range(len(keys), -1, -1):
            place = keys[:length]
            if place in self.origins:
                return Problem(self.origins[place], 0, message)
            if place in self.lines:
                return Problem(self.path, self.lines[place], message)
        return Problem(self.path, 0, message)

    def set(self, setting: str) -> None:
        """Take one ``--set``: ``node.argument=value``, or a value of ``TOP_SETTINGS``; the value is read as YAML.

        What is wrong with it is reported with everything else, by ``check``.
        """
        origin = f"--set {setting}"
        found = _SETTING.fullmatch(setting)
        if found is None or (found["node"] is None and found["name"] not in TOP_SETTINGS):
            message = "write node.argument=value, capacity=value or max_lag_ms=value, such as --set mic.device=1"
            self.problems.append(Problem(origin, 0, message))
            return
        value, text = _setting_value(found["value"])
        if found["node"] is None:
            self._place((found["name"],), value, text, origin)
            return
        name = found["node"]
        entry = self.nodes.get(name)
        if not isinstance(entry, dict):
            message = f"there is no node {name!r}{did_you_mean(name, self.nodes, 'there are')}"
            self.problems.append(Problem(origin, 0, message))
            return
        if not isinstance(entry.get("with"), dict):
            entry["with"] = {}
        self._place(("nodes", name, "with", found["name"]), value, text, origin)

    def _place(self, keys: Keys, value: Any, text: str | None, origin: str | None) -> None:
        """Put a value at ``keys``, where all but the last exist, and forget what was known of the old one."""
        holder: Any = self.content
        for key in keys[:-1]:
            holder = holder[key]
        self._forget(keys)
        holder[keys[-1]] = value
        if text is not None:
            self.texts[keys] = text
        if origin is not None:
            self.origins[keys] = origin

    def _forget(self, keys: Keys) -> None:
        for known in (self.lines, self.texts, self.origins):
            for place in [place for place in known if place[: len(keys)] == keys]:
                del known[place]

    # Editing: what commands do to a file of theirs or the user's. Nothing is checked here.

    def replace_node(
        self, name: str, *, use: str, arguments: Mapping[str, Any] | None = None, origin: str | None = None
    ) -> None:
        """Put another operator in a node's place; its edges, worker and line stay. ``origin`` is blamed for faults.

        Raises:
            MmstreamError: there is no such node.
        """
        entry = self._entry(name)
        line = self.lines.get(("nodes", name))
        kept = {key: value for key, value in entry.items() if key not in ("use", "with")}
        for key in ("use", "with"):
            self._forget(("nodes", name, key))
        self.content["nodes"][name] = {"use": use, "with": dict(arguments or {}), **kept}
        if origin is not None:
            self.origins["nodes", name, "use"] = self.origins["nodes", name, "with"] = origin
        elif line is not None:
            self.lines["nodes", name, "use"] = self.lines["nodes", name, "with"] = line

    def set_arguments(self, name: str, arguments: Mapping[str, Any], origin: str | None = None) -> None:
        """Give some of a node's arguments other values.

        Raises:
            MmstreamError: there is no such node.
        """
        entry = self._entry(name)
        if not isinstance(entry.get("with"), dict):
            entry["with"] = {}
        for argument, value in arguments.items():
            self._place(("nodes", name, "with", argument), value, None, origin)

    def add_node(
        self,
        name: str,
        *,
        use: str,
        arguments: Mapping[str, Any] | None = None,
        inputs: Sequence[str] = (),
        max_skew_ms: float | None = None,
        origin: str | None = None,
    ) -> None:
        """Add a node at the end.

        Raises:
            MmstreamError: a node of this name exists.
        """
        if name in self.nodes:
            raise MmstreamError(f"{self.path}: there is a node {name!r} already")
        entry: dict[str, Any] = {"use": use, "with": dict(arguments or {})}
        if inputs:
            entry["from"] = list(inputs)
        if max_skew_ms is not None:
            entry["max_skew_ms"] = max_skew_ms
        if not isinstance(self.content.get("nodes"), dict):
            self.content["nodes"] = {}
        self._place(("nodes", name), entry, None, origin)

    def remove_node(self, name: str) -> None:
        """Remove a node, the edges from it, and its place in a worker (an emptied worker goes too).

        Raises:
            MmstreamError: there is no such node.
        """
        self._entry(name)
        self._forget(("nodes", name))
        del self.content["nodes"][name]
        for other, entry in self.nodes.items():
            if isinstance(entry, dict) and "from" in entry:
                self._remove_name(entry, "from", name, ("nodes", other, "from"))
        self.free_node(name)

    def add_worker(self, name: str, nodes: Sequence[str], *, batch: int) -> None:
        """Give nodes a worker of their own, under this name or one like it; a call takes up to ``batch`` packets."""
        if not isinstance(self.content.get("workers"), dict):
            self.content["workers"] = {}
        workers, number, free = self.content["workers"], 2, name
        while free in workers:
            free, number = f"{name}_{number}", number + 1
        workers[free] = {"nodes": list(nodes), "batch": {"max_size": batch}}

    def free_node(self, name: str) -> None:
        """Take a node out of its worker, so that it runs where its operator does by itself."""
        workers = self.content.get("workers")
        if isinstance(workers, dict):
            for worker, spec in list(workers.items()):
                if isinstance(spec, dict) and "nodes" in spec:
                    self._remove_name(spec, "nodes", name, ("workers", worker, "nodes"))
                    if "nodes" not in spec:
                        _remove_worker(workers, worker)

    def _remove_name(self, holder: dict[str, Any], key: str, name: str, keys: Keys) -> None:
        """Take ``name`` out of a name, list or mapping of names; out goes the key once nothing is left."""
        names = holder[key]
        if isinstance(names, dict):
            names.pop(name, None)
        elif isinstance(names, list) and name in names:
            holder[key] = [other for other in names if other != name]
            for place in [place for place in self.lines if place[: len(keys)] == keys and len(place) > len(keys)]:
                del self.lines[place]
        if not holder[key] or holder[key] == name:
            del holder[key]

    def block_everywhere(self) -> None:
        """Forget every ``overflow`` of the file: for files as sources, which can wait, so that nothing is dropped."""
        for entry in self.nodes.values():
            inputs = entry.get("from") if isinstance(entry, dict) else None
            for options in inputs.values() if isinstance(inputs, dict) else ():
                if isinstance(options, dict):
                    options.pop("overflow", None)

    def _entry(self, name: str) -> dict[str, Any]:
        entry = self.nodes.get(name)
        if not isinstance(entry, dict):
            missing = did_you_mean(name, self.nodes, "there are")
            raise MmstreamError(f"{self.path}: there is no node {name!r}{missing}")
        return entry


def _remove_worker(workers: dict[str, Any], name: str) -> None:
    """Remove a worker; what was near it is near what it was near itself. The user's process remains in any case."""
    gone = workers.pop(name)
    for spec in workers.values():
        if name != DRIVER and isinstance(spec, dict) and spec.get("near") == name:
            del spec["near"]
            if "near" in gone:
                spec["near"] = gone["near"]


def _setting_value(text: str) -> tuple[Any, str]:
    """A ``--set`` value read as YAML, and its text; what is not YAML is text."""
    faults: list[str] = []

    def complain(line: int, message: str) -> None:
        faults.append(message)

    try:
        value = parse(text, complain)
        plain = Plain(lambda one: (scalar(str(one.content)) if one.plain else str(one.content), None), complain)
        meaning = None if value is None else plain.values(value)
    except NotYamlError:
        return text, text
    return (text if faults else meaning), text


def read(path: Path, environment: Mapping[str, str] = os.environ) -> Document:
    """Read a pipeline file; its variables come from ``environment``.

    Raises:
        PipelineError: there is no such file, or it is not a mapping in YAML, or too large.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError as fault:
        raise PipelineError([Problem(str(path), 0, "there is no such file")]) from fault
    except IsADirectoryError as fault:
        raise PipelineError([Problem(str(path), 0, "this is a folder, not a pipeline file")]) from fault
    except (OSError, ValueError) as fault:  # ValueError: a NUL in the name
        raise PipelineError([Problem(str(path), 0, f"cannot be read: {fault}")]) from fault
    if len(raw) > MAX_BYTES:
        message = f"larger than {MAX_BYTES >> 20} MiB: this is no pipeline file"
        raise PipelineError([Problem(str(path), 0, message)])
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        line = raw.count(b"\n", 0, fault.start) + 1
        raise PipelineError([Problem(str(path), line, f"not UTF-8: byte {raw[fault.start]:#04x}")]) from fault
    return read_text(text, str(path), environment)


def read_text(text: str, path: str = "<text>", environment: Mapping[str, str] = os.environ) -> Document:
    """Read the text of a pipeline file; ``path`` is its name in messages.

    Raises:
        PipelineError: the text is not a mapping in YAML, or too large.
    """
    document = Document(path)

    def complain(line: int, message: str) -> None:
        document.problems.append(Problem(path, line, message))

    plain = Plain(replacing(environment, complain), complain, document.lines, document.texts)
    try:
        value = parse(text, complain)
        content = {} if value is None else plain.values(value)
    except NotYamlError as fault:
        raise PipelineError([*document.problems, Problem(path, fault.line, fault.message)]) from fault
    if content is None:
        content = {}
    if not isinstance(content, dict):
        message = f"a pipeline file is a mapping that begins with 'nodes:', not {shown(content)}"
        raise PipelineError([*document.problems, document.problem((), message)])
    document.content = content
    return document
