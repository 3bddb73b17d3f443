"""The checked graph: what ``mmstream.pipeline`` makes of a pipeline file and executors run. Plain data, picklable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from mmstream.core import Operator, Place, Source

Overflow = Literal["block", "drop_oldest", "drop_newest"]


@dataclass(frozen=True)
class Edge:
    """A bounded connection; its queue exists where it crosses a thread or an actor, once per session."""

    source: str
    target: str
    carries: tuple[type, ...]  # payload classes: what the source emits and the target accepts
    capacity: int  # packets
    overflow: Overflow

    @property
    def name(self) -> str:
        return f"{self.source}->{self.target}"


@dataclass(frozen=True)
class Node:
    """One operator or source of the graph, not yet built."""

    name: str
    use: str  # "operators.audio:LogMel"
    kind: type[Operator[Any]] | type[Source]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    optional: bool = False  # a source that may be missing: the session goes on without it
    max_skew_s: float | None = None  # live, several inputs: how long one waits for another, media seconds; None: ever
    line: int = 0

    @property
    def is_source(self) -> bool:
        return issubclass(self.kind, Source)


@dataclass(frozen=True)
class Batch:
    """How a worker gathers packets of several sessions for a ``BatchOperator``."""

    max_size: int  # packets
    max_wait_s: float


@dataclass(frozen=True)
class Scale:
    """When a worker on Ray gets more replicas than ``replicas``, and when it gives them back."""

    most: int  # replicas
    sessions: int | None = None  # per replica: more of them call for another replica
    queue_s: float | None = None  # a packet that has waited for longer calls for another replica


@dataclass(frozen=True)
class WorkerSpec:
    """Nodes that share a thread (local) or an actor (Ray)."""

    name: str
    nodes: tuple[str, ...]
    place: Place = "worker"
    resources: Mapping[str, float] = field(default_factory=dict)  # Ray's names: CPU, GPU, memory, custom ones
    replicas: int = 1
    batch: Batch | None = None
    standby: int = 0  # further replicas that are loaded and wait for one to be lost
    scale: Scale | None = None
    limit: int | None = None  # sessions that a replica takes; None: any number
    near: str | None = None  # the worker on whose machine its replicas are to be


@dataclass(frozen=True)
class Recovery:
    """How a session outlives a lost worker on Ray: snapshots of its states, and a replay of what came since."""

    snapshot_s: float = 2.0  # wall-clock seconds between two snapshots of a session
    replay_s: float = 60.0  # media seconds that a live source keeps at most for a replay
    deadline_s: float = 10.0  # a worker that has not answered for so long is lost
    hung_s: float = 60.0  # an operator that has not returned for so long is hung, and its worker lost


@dataclass(frozen=True)
class SessionLimits:
    """Which sessions are let in, and for how long."""

    most: int | None = None  # open at a time; None: any number
    idle_s: float | None = None  # one whose sources have given nothing for so long is ended; None: never


@dataclass(frozen=True)
class Graph:
    """Nodes in topological order, edges, and the worker of every node. Checked: executors trust it."""

    path: str  # the file it came from, for messages
    nodes: Mapping[str, Node]
    edges: tuple[Edge, ...]
    workers: Mapping[str, WorkerSpec]
    recovery: Recovery = Recovery()
    sessions: SessionLimits = SessionLimits()
    max_lag_s: float | None = 5.0  # live: media that is later than this is given up, with a gap; None: never

    @property
    def live(self) -> bool:
        """Whether a source cannot be asked to wait. Only then does skew have a bound: files wait for each other, so
        that runs repeat exactly."""
        return any(issubclass(node.kind, Source) and node.kind.live for node in self.nodes.values())

    def inputs(self, node: str) -> tuple[Edge, ...]:
        return tuple(edge for edge in self.edges if edge.target == node)

    def outputs(self, node: str) -> tuple[Edge, ...]:
        return tuple(edge for edge in self.edges if edge.source == node)

    def replicated(self, replicas: int) -> Graph:
        """The same graph with that many replicas of every worker but the user's own process."""
        workers = {
            name: spec if spec.place == "driver" else replace(spec, replicas=replicas, scale=None)
            for name, spec in self.workers.items()
        }
        return replace(self, workers=workers)

    def worker_of(self, node: str) -> WorkerSpec:
        return next(worker for worker in self.workers.values() if node in worker.nodes)
