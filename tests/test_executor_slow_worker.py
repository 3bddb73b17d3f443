"""A worker that cannot keep up: what its queue loses is in the session table, and its age calls for replicas."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from mmstream.executors import Executor, keeper, make
from mmstream.executors.ray import RayExecutor
from mmstream.graph import Graph, Scale
from tests import process_toys, toys
from tests.toys import graph, node

WAIT_S = 60.0


def pipeline(folder: Path, pause_s: float, *, lossy: bool) -> Graph:
    """tone -> slow -> write: 100 chunks a second into a lane of 8 that loses the oldest, or makes the tone wait."""
    nodes = [
        node("tone", toys.Tone, endless=True),
        node("slow", process_toys.Slow, pause_s=pause_s),
        node("write", toys.Write, path=str(folder / "{session}.txt")),
    ]
    edges = [("tone", "slow"), ("slow", "write")]
    return graph(nodes, edges, {"driver": ["tone", "write"], "main": ["slow"]}, lossy=edges[:1] if lossy else ())


@contextmanager
def running(executor: Executor) -> Iterator[None]:
    try:
        executor.start()
        yield
    finally:
        executor.close()


def until(happens: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not happens():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("kind", ["local", "ray"])
def test_the_table_tells_of_losses_while_they_happen(ray_cluster: None, tmp_path: Path, kind: str) -> None:
    executor = make(kind, pipeline(tmp_path, pause_s=0.05, lossy=True))
    with running(executor):
        executor.open("a")
        until(lambda: executor.table()[0].dropped >= 8)
        told = executor.table()[0].dropped
        executor.stop("a")
        result = executor.wait(WAIT_S)
        assert result is not None
        assert result.error is None
        assert result.dropped >= told
        reasons = [lane.reasons for lane in result.lanes if lane.dropped]
        assert [sorted(counts) for counts in reasons] == [["full"]] * len(reasons)
        assert sum(counts["full"] for counts in reasons) == result.dropped
        executor.open("b")  # nothing of one session is counted for another
        assert [(row.session, row.dropped < told) for row in executor.table()] == [("b", True)]


def scaled(folder: Path, pause_s: float) -> RayExecutor:
    made = pipeline(folder, pause_s, lossy=False)
    main = replace(made.workers["main"], scale=Scale(most=2, queue_s=0.1))
    return RayExecutor(replace(made, workers={**made.workers, "main": main}))


def test_packets_that_wait_too_long_start_a_replica(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "SCALE_EVERY_S", 0.1)
    executor = scaled(tmp_path, pause_s=0.05)  # eight chunks in the queue: the oldest waits for 0.4 s
    with running(executor):
        executor.open("a")
        until(lambda: ("main", 1) in executor._ledger.replicas("main"))
        executor.open("b")
        assert executor.sessions_on(("main", 1)) == ("b",)


def test_a_queue_that_moves_starts_none(ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "SCALE_EVERY_S", 0.1)
    executor = scaled(tmp_path, pause_s=0.0)
    added = []
    monkeypatch.setattr(executor._keeper, "_add", added.append)
    with running(executor):
        executor.open("a", {"tone": {"pause_s": 0.05}})
        until(lambda: executor.reached("a") >= 2.0)
        executor.stop("a")
        assert executor.wait(WAIT_S) is not None
    assert not added
