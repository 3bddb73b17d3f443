"""Small graphs of ``stages`` and one session through them: an edge and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from mmstream.benchmarks.stages import Arrivals, Numbered, Passage, Stamp
from mmstream.core import MmstreamError
from mmstream.executors import Executor
from mmstream.graph import Edge, Graph, Node, WorkerSpec
from mmstream.media import AudioChunk

CAPACITY = 100  # packets, of every edge and of the queue they are compared with
SESSION_TIMEOUT_S = 300.0


def chained(folder: Path) -> Graph:
    """Source, stamp and arrival in one worker: the hop is from stamp to arrival."""
    return _graph(folder, {"one": ("source", "stamp", "arrival")})


def apart(folder: Path) -> Graph:
    """Source and arrival in two workers: the hop is the edge between them."""
    return _graph(folder, {"near": ("source",), "far": ("arrival",)})


def _graph(folder: Path, workers: Mapping[str, tuple[str, ...]]) -> Graph:
    here = "mmstream.benchmarks.stages"
    known = {
        "source": Node("source", f"{here}:Numbered", Numbered),
        "stamp": Node("stamp", f"{here}:Stamp", Stamp),
        "arrival": Node("arrival", f"{here}:Arrivals", Arrivals, {"folder": str(folder)}),
    }
    names = [name for members in workers.values() for name in members]
    edges = tuple(Edge(source, target, (AudioChunk,), CAPACITY, "block") for source, target in pairwise(names))
    specs = {name: WorkerSpec(name, members) for name, members in workers.items()}
    return Graph("<benchmark>", {name: known[name] for name in names}, edges, specs)


def pass_through(executor: Executor, folder: Path, session: str, source: Mapping[str, Any]) -> Passage:
    """One session of a started executor, with the ``source``'s arguments, and when its packets passed.

    Raises:
        MmstreamError: the session failed or did not end.
    """
    executor.open(session, {"source": source})
    result = executor.wait(SESSION_TIMEOUT_S)
    if result is None:
        raise MmstreamError(f"benchmark session {session!r} did not end within {SESSION_TIMEOUT_S:.0f} s")
    if result.error is not None:
        raise result.error
    return Passage.load(folder, session)
