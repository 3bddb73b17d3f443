"""Changing how the nodes of a pipeline file hang together, by what flows between them rather than by their names."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmstream.core import Before, Source
from mmstream.media import Gap, VideoFrame
from mmstream.pipeline import Document
from mmstream.pipeline.classes import Kind, find


class Wiring:
    """The nodes of a document, each with its class. Every class has been found before: see ``pipeline.roles``."""

    def __init__(self, document: Document, allow: Sequence[str]) -> None:
        self._document, self._allow = document, tuple(allow)

    def kind(self, name: str) -> Kind:
        return find(self._document.nodes[name]["use"], self._allow)

    def inputs(self, name: str) -> list[str]:
        return inputs_of(self._document.nodes[name])

    def parameters(self, name: str) -> set[str]:
        """The arguments that a node takes."""
        return set(inspect.signature(self.kind(name)).parameters)

    def cameras(self) -> list[str]:
        """Sources that give nothing but pictures."""
        return [
            name for name in self._document.nodes if self.kind(name).emits == (VideoFrame,) and self._is_source(name)
        ]

    def upstream(self, name: str) -> Iterator[str]:
        """The nodes that ``name`` is fed by, nearest first."""
        ahead, met = self.inputs(name), {name}
        while ahead:
            near = ahead.pop(0)
            if near not in met and near in self._document.nodes:
                met.add(near)
                yield near
                ahead += self.inputs(near)

    def nearest(self, name: str, payload: type) -> str | None:
        """The node upstream of ``name`` that gives ``payload``."""
        return next((near for near in self.upstream(name) if payload in self.kind(near).emits), None)

    def gives_pictures(self, source: str) -> bool:
        """Whether a node takes pictures from this source."""
        return any(
            VideoFrame in self._given(source, name) for name in self._document.nodes if source in self.inputs(name)
        )

    def put_before(self, name: str, before: Before, arguments: Mapping[str, Any]) -> None:
        """Feed ``name`` from the last of the nodes ``before``, which take what they name from what fed it until now.

        A node is left out where nothing gives what it takes; what then feeds nobody goes too. ``arguments`` reach
        those nodes that have a parameter of the name.
        """
        wanted = {one for node in before.values() for one in node.takes if isinstance(one, type)}
        feeds = {payload: self.nearest(name, payload) for payload in wanted}
        called: dict[str, str] = {}
        for title, node in before.items():
            sources = [feeds[one] if isinstance(one, type) else called.get(one) for one in node.takes]
            there = [source for source in sources if source is not None]
            if there:
                called[title] = self._unused(title)
                known = inspect.signature(find(node.use, self._allow)).parameters
                given = {key: value for key, value in arguments.items() if key in known}
                self._document.add_node(
                    called[title], use=node.use, arguments=given, inputs=there, max_skew_ms=node.max_skew_ms
                )
        self._document.content["nodes"][name]["from"] = called[list(before)[-1]]
        self.prune(name)

    def cut(self, source: str) -> None:
        """Remove a source of pictures and everything made of them alone."""
        gone = {source}
        for name in self._document.nodes:
            given = [kind for kind in self.kind(name).emits if kind is not Gap]
            pictures = bool(given) and all(getattr(kind, "medium", "") == "video" for kind in given)
            if pictures and source in self.upstream(name):
                gone.add(name)
        for name in gone:
            self._document.remove_node(name)

    def take_over(self, old: str, new: str) -> None:
        """Remove the source ``old``; what took from it takes from ``new``, and from it alone whatever that gives."""
        takers = [name for name in self._document.nodes if old in self.inputs(name)]
        for name in takers:
            others = [one for one in self.inputs(name) if one not in (old, new)]
            kept = [one for one in others if not self._given(one, name) <= self._given(new, name)]
            self._document.content["nodes"][name]["from"] = [new, *kept]
        self._document.remove_node(old)

    def prune(self, kept: str) -> None:
        """Remove nodes whose output nobody takes, but for sinks, sources and ``kept``."""
        while True:
            taken = {one for name in self._document.nodes for one in self.inputs(name)}
            idle = [
                name
                for name in self._document.nodes
                if name not in taken | {kept} and self.kind(name).emits and not self._is_source(name)
            ]
            if not idle:
                return
            for name in idle:
                self._document.remove_node(name)

    def _given(self, source: str, target: str) -> set[type]:
        """The payloads that one node would take from another."""
        kind = self.kind(target)
        return set() if issubclass(kind, Source) else set(self.kind(source).emits) & set(kind.accepts)

    def _is_source(self, name: str) -> bool:
        return issubclass(self.kind(name), Source)

    def _unused(self, title: str) -> str:
        name, number = title, 2
        while name in self._document.nodes:
            name, number = f"{title}_{number}", number + 1
        return name


def inputs_of(entry: Mapping[str, Any]) -> list[str]:
    """The names in a node's ``from``, in any of its forms."""
    given = entry.get("from") or []
    return [given] if isinstance(given, str) else [str(name) for name in given]
