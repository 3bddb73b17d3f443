"""What a pipeline file says of a cluster: replicas, standby, places; what holds for every session."""

from __future__ import annotations

import pytest

from mmstream.graph import Recovery, Scale, SessionLimits
from mmstream.pipeline import draw
from tests.pipeline_texts import CHAIN, graph_of, problem_of, problems_of

# Workers.


@pytest.mark.parametrize(
    ("workers", "said"),
    [
        ("{a: {nodes: [mel], replicas: {}}}", "'replicas' does not say how many there may be: max"),
        ("{a: {nodes: [mel], replicas: [1]}}", "'replicas' must be an integer of at least 1, not [1]"),
        ("{a: {nodes: [mel], replicas: {max: 0, sessions: 1}}}", "'max' (replicas) must be an integer of at least 1"),
        ("{a: {nodes: [mel], replicas: {min: 0, max: 2, sessions: 1}}}", "'min' (replicas) must be an integer of"),
        ("{a: {nodes: [mel], replicas: {min: 3, max: 2, sessions: 1}}}", "'max' (2) must be at least 'min' (3)"),
        ("{a: {nodes: [mel], replicas: {max: 2}}}", "'replicas' does not say what calls for more of them: sessions"),
        ("{a: {nodes: [mel], replicas: {max: 2, queue_ms: 0}}}", "'queue_ms' must be a number above 0, not 0"),
        ("{a: {nodes: [mel], replicas: {max: 2, sesions: 4}}}", "'replicas' has no 'sesions'; did you mean 'sessions'"),
        ("{a: {nodes: [mel], standby: -1}}", "'standby' (replicas) must be an integer of at least 0, not -1"),
        ("{a: {nodes: [mel], standbys: 1}}", "worker 'a' has no 'standbys'; did you mean 'standby'?"),
        ("{a: {nodes: [mel], limit: 0}}", "'limit' (sessions of a replica) must be an integer of at least 1, not 0"),
        (
            "{a: {nodes: [mel], limit: 4, replicas: {max: 2, sessions: 8}}}",
            "'limit' (4) must be at least 'sessions' of 'replicas' (8)",
        ),
        ("{a: {nodes: [mel], near: a}}", "worker 'a' cannot be near itself"),
        ("{a: {nodes: [mel], near: mian}}", "there is no worker 'mian'; did you mean 'main'?"),
        ("{a: {nodes: [mel], near: 5}}", "'near' must be the name of a worker, not 5"),
        (
            "{a: {nodes: [mel], near: b}, b: {nodes: [decode], near: c}, c: {nodes: [commit], near: a}}",
            "a circle of 'near': a -> b -> c -> a",
        ),
        ("{driver: {near: main}}", "worker 'driver' is the user's own process: it takes no 'near'"),
        ("{driver: {standby: 1}}", "worker 'driver' is the user's own process: it takes no 'standby'"),
        ("{driver: {limit: 1}}", "worker 'driver' is the user's own process: it takes no 'limit'"),
    ],
)
def test_wrong_workers(workers, said):
    assert any(problem.startswith(f"8: {said}") for problem in problems_of(f"{CHAIN}workers: {workers}\n"))


def test_a_circle_of_near_is_told_once_and_what_leads_into_it_is_not():
    circle = "{a: {nodes: [mel], near: b}, b: {nodes: [decode], near: c}, c: {nodes: [commit], near: b}}"
    assert problem_of(f"{CHAIN}workers: {circle}\n") == "8: a circle of 'near': b -> c -> b"


def test_workers_on_a_cluster():
    text = """\
workers:
  edge: {nodes: [mel], near: driver, standby: 1, limit: 32}
  gpu: {nodes: [decode], near: edge, replicas: {min: 2, max: 5, sessions: 8, queue_ms: 200}, limit: 8}
  main: {replicas: {max: 3, queue_ms: 50.5}}
"""
    workers = graph_of(CHAIN + text).workers
    edge, gpu, main = (workers[name] for name in ("edge", "gpu", "main"))
    assert (edge.replicas, edge.scale, edge.standby, edge.limit, edge.near) == (1, None, 1, 32, "driver")
    assert (gpu.replicas, gpu.scale, gpu.limit, gpu.near) == (2, Scale(5, 8, 0.2), 8, "edge")
    assert (main.replicas, main.scale, main.standby, main.near) == (1, Scale(3, None, 0.0505), 0, None)


def test_a_drawing_shows_replicas_standby_limits_and_places():
    text = """\
workers:
  edge: {nodes: [mel], near: driver, standby: 1}
  gpu: {nodes: [decode], near: edge, replicas: {max: 4, sessions: 8, queue_ms: 200}, limit: 16, resources: {GPU: 1}}
"""
    lines = draw(graph_of(CHAIN + text)).splitlines()
    assert "edge    mel  (1 on standby, near driver)" in lines
    scale = "1 to 4 replicas, more above 8 sessions each or 200 ms of waiting"
    assert f"gpu     decode  ({scale}, up to 16 sessions a replica, near edge, GPU 1)" in lines


# What holds for every session.


def test_limits_left_out_are_those_of_the_graph():
    graph = graph_of(CHAIN)
    assert (graph.sessions, graph.recovery, graph.max_lag_s) == (SessionLimits(None, None), Recovery(2, 60, 10, 60), 5)


def test_limits_given():
    text = "sessions: {limit: 64, idle_s: 300}\nrecovery: {snapshot_s: 0.5, hung_s: 90}\nmax_lag_ms: 2500\n"
    graph = graph_of(CHAIN + text)
    assert (graph.sessions, graph.max_lag_s) == (SessionLimits(64, 300), 2.5)
    assert graph.recovery == Recovery(0.5, 60, 10, 90)
    unbounded = graph_of(CHAIN + "sessions: {limit: null, idle_s: null}\nmax_lag_ms: null\n")
    assert (unbounded.sessions, unbounded.max_lag_s) == (SessionLimits(None, None), None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sessions: 8", "'sessions' must be a mapping such as {limit: 64, idle_s: 300}, not 8"),
        ("sessions:", "'sessions' must be a mapping such as {limit: 64, idle_s: 300}, not null"),
        ("sessions: {limits: 8}", "'sessions' has no 'limits'; did you mean 'limit'?"),
        ("sessions: {limit: 0}", "'limit' (sessions open at a time) must be an integer of at least 1, not 0"),
        ("sessions: {idle_s: 0}", "'idle_s' must be a number above 0, not 0"),
        ("recovery: off", "'recovery' must be a mapping such as {snapshot_s: 2, replay_s: 60}, not 'off'"),
        ("recovery: {snapshots_s: 2}", "'recovery' has no 'snapshots_s'; did you mean 'snapshot_s'?"),
        ("recovery: {snapshot_s: 0}", "'snapshot_s' must be a number above 0, not 0"),
        ("recovery: {deadline_s: null}", "'deadline_s' must be a number above 0, not null"),
        ("recovery: {hung_s: .inf}", "'hung_s' must be a number above 0, not inf"),
        ("recovery: {replay_s: 1}", "'replay_s' (1) must be at least 'snapshot_s' (2): a source keeps what came"),
        ("recovery: {snapshot_s: 61}", "'replay_s' (60) must be at least 'snapshot_s' (61): a source keeps"),
        ("max_lag_ms: 0", "'max_lag_ms' must be a number above 0, not 0"),
        ("max_lag_ms: 5 s", "'max_lag_ms' must be a number above 0, not '5 s'"),
        ("max_lag: 5", "a pipeline file has no 'max_lag'; did you mean 'max_lag_ms'?"),
        ("session: {limit: 8}", "a pipeline file has no 'session'; did you mean 'sessions'?"),
    ],
)
def test_wrong_limits(text, said):
    assert problem_of(f"{CHAIN}{text}\n").startswith(f"8: {said}")
