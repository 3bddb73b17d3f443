"""Whole snapshots out of the parts that workers send: kept by the session's owner."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mmstream.graph import Graph
from mmstream.recovery.saving import Part


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A session at one point of its media: a part for each worker."""

    number: int
    parts: Mapping[str, Part]

    @property
    def positions(self) -> dict[str, int]:
        """Source -> number of its packets that are in the snapshot."""
        return {name: position for part in self.parts.values() for name, position in part.positions.items()}


@dataclass
class Book:
    """The snapshots of one session: the last whole one, and those under way. Not thread-safe."""

    graph: Graph
    session: str
    epoch: int = 0
    last: Snapshot | None = None
    _parts: dict[int, dict[str, Part]] = field(default_factory=dict)  # number -> worker -> part
    _newest: dict[str, int] = field(default_factory=dict)  # worker -> number of its newest part in this epoch
    _void: bool = False  # a state cannot be saved

    def add(self, part: Part, drained: frozenset[str]) -> Snapshot | None:
        """Take a part; gives the snapshot that it completes. ``drained``: workers that have nothing more to give."""
        if part.epoch != self.epoch or (self.last is not None and part.number <= self.last.number):
            return None
        if self._void or part.void:
            self._void, self._parts = True, {}
            return None
        self._newest[part.worker] = max(part.number, self._newest.get(part.worker, 0))
        self._parts.setdefault(part.number, {})[part.worker] = part
        return self.complete(drained)

    def complete(self, drained: frozenset[str]) -> Snapshot | None:
        """The newest snapshot of which only parts of workers are missing that were ``drained`` before it."""
        for number in sorted(self._parts, reverse=True):
            parts = self._parts[number]
            missing = self.graph.workers.keys() - parts.keys()
            if missing <= {worker for worker in drained if self._newest.get(worker, 0) < number}:
                over = {worker: self._over(worker, number) for worker in missing}
                self.last = Snapshot(number, {**parts, **over})
                self._parts = {other: given for other, given in self._parts.items() if other > number}
                return self.last
        return None

    def put_back(self, epoch: int) -> None:
        """The session goes on from ``last``, in a new epoch: what was under way is void."""
        self.epoch = epoch
        self._parts, self._newest, self._void = {}, {}, False

    def _over(self, worker: str, number: int) -> Part:
        """The part of a worker in which the session has ended."""
        nodes = frozenset(self.graph.workers[worker].nodes)
        return Part(worker, self.session, self.epoch, number, {}, {}, nodes)
