"""The same graph in threads and in Ray actors writes the same bytes, and neither ever holds more than its capacity."""

import pytest

from mmstream.executors import make
from mmstream.graph import Batch
from tests import toys
from tests.toys import graph, node

WAIT_S = 60.0

pytestmark = pytest.mark.usefixtures("ray_cluster")


def write(name="write", **arguments):
    return node(name, toys.Write, path=f"FOLDER/{name}-{{session}}.txt", **arguments)


def chain():
    nodes = [node("tone", toys.Tone, count=50), node("add", toys.Add), write()]
    return graph(nodes, [("tone", "add"), ("add", "write")], {"main": ["tone", "add"], "driver": ["write"]})


def two_workers_in_a_row():
    nodes = [node("tone", toys.Tone, count=50), node("add", toys.Add), node("again", toys.Add), write()]
    edges = [("tone", "add"), ("add", "again"), ("again", "write")]
    return graph(nodes, edges, {"first": ["tone", "add"], "second": ["again"], "driver": ["write"]}, capacity=3)


def source_and_sink_at_the_user():
    nodes = [node("tone", toys.Tone, count=50), node("add", toys.Add), write()]
    return graph(nodes, [("tone", "add"), ("add", "write")], {"driver": ["tone", "write"], "main": ["add"]}, capacity=2)


def fan_out():
    nodes = [
        node("tone", toys.Tone, count=50),
        node("add", toys.Add),
        node("again", toys.Add),
        write("one"),
        write("two"),
    ]
    edges = [("tone", "add"), ("tone", "again"), ("add", "one"), ("again", "two"), ("add", "two")]
    return graph(nodes, edges, {"first": ["tone", "add"], "second": ["again"], "driver": ["one", "two"]}, capacity=4)


def fan_in_across_workers():
    nodes = [
        node("tone", toys.Tone, count=60),
        node("pictures", toys.Pictures, count=150),
        node("pair", toys.Pair),
        write(),
    ]
    edges = [("tone", "pair"), ("pictures", "pair"), ("pair", "write")]
    workers = {"ear": ["tone"], "eye": ["pictures"], "fuse": ["pair"], "driver": ["write"]}
    return graph(nodes, edges, workers, capacity=4)


def fan_in_of_a_branch_that_holds_back():
    nodes = [
        node("tone", toys.Tone, count=60),
        node("hold", toys.HoldBack, count=3),
        node("pictures", toys.Pictures, count=150),
        node("pair", toys.Pair),
        write(),
    ]
    edges = [("tone", "hold"), ("hold", "pair"), ("pictures", "pair"), ("pair", "write")]
    workers = {"ear": ["tone", "hold"], "eye": ["pictures"], "fuse": ["pair"], "driver": ["write"]}
    return graph(nodes, edges, workers, capacity=5)


def fan_in_at_the_sink():
    """Both lanes of one join come out of one actor, each in turns of its own."""
    nodes = [node("tone", toys.Tone, count=200), node("add", toys.Add), node("hold", toys.HoldBack, count=3), write()]
    edges = [("tone", "add"), ("add", "write"), ("add", "hold"), ("hold", "write")]
    return graph(nodes, edges, {"main": ["tone", "add", "hold"], "driver": ["write"]}, capacity=5)


def replicas():
    nodes = [node("tone", toys.Tone, count=40), node("add", toys.Add), node("again", toys.Add), write()]
    edges = [("tone", "add"), ("add", "again"), ("again", "write")]
    workers = {"first": ["tone", "add"], "second": ["again"], "driver": ["write"]}
    return graph(nodes, edges, workers, capacity=4, replicas={"first": 2, "second": 2})


def slow_sink(capacity=2):
    nodes = [node("tone", toys.Tone, count=60), node("add", toys.Add), write(pause_s=0.003)]
    edges = [("tone", "add"), ("add", "write")]
    return graph(nodes, edges, {"ear": ["tone"], "main": ["add"], "driver": ["write"]}, capacity=capacity)


def capacity_of_one():
    return slow_sink(capacity=1)


def shared_calls():
    nodes = [node("tone", toys.Tone, count=40), node("shared", toys.AddShared), node("add", toys.Add), write()]
    edges = [("tone", "shared"), ("shared", "add"), ("add", "write")]
    workers = {"ear": ["tone"], "main": ["shared", "add"], "driver": ["write"]}
    return graph(nodes, edges, workers, batch=Batch(1, 0.0))


def gaps():
    nodes = [toys.gapped(), node("add", toys.Add), node("again", toys.Add), write()]
    edges = [("source", "add"), ("add", "again"), ("again", "write")]
    return graph(nodes, edges, {"first": ["source", "add"], "second": ["again"], "driver": ["write"]}, capacity=1)


GRAPHS = [
    chain,
    two_workers_in_a_row,
    source_and_sink_at_the_user,
    fan_out,
    fan_in_across_workers,
    fan_in_of_a_branch_that_holds_back,
    fan_in_at_the_sink,
    replicas,
    slow_sink,
    capacity_of_one,
    shared_calls,
    gaps,
]


BURST = 3  # packets that one packet gives at most, here: they may exceed the capacity, since a worker never waits


def run(name, made, folder, sessions):
    """The files that an executor writes, by name."""
    folder.mkdir()
    for each in made.nodes.values():
        if "path" in each.arguments:
            each.arguments["path"] = each.arguments["path"].replace("FOLDER", str(folder))
    executor = make(name, made)
    executor.start()
    try:
        for session in sessions:
            executor.open(session)
        results = [executor.wait(WAIT_S) for _ in sessions]
    finally:
        executor.close()
    assert [result.error for result in results] == [None] * len(sessions)
    assert sorted(result.session for result in results) == sorted(sessions)
    lanes = [lane for result in results for lane in result.lanes]
    assert len(lanes) == len(sessions) * sum(edge.target in queued(made) for edge in made.edges)
    assert all(0 < lane.peak <= lane.capacity + BURST and lane.dropped == 0 for lane in lanes)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def queued(made):
    """Nodes with lanes: those that are not called by the one node before them."""
    from mmstream.layout import Layout

    return {name for spec in made.workers.values() for name in Layout(made, spec).queued}


@pytest.mark.parametrize("make_graph", GRAPHS, ids=lambda make_graph: make_graph.__name__)
def test_both_executors_write_the_same_bytes(tmp_path, caplog, make_graph):
    sessions = ["a", "b", "c"]
    local = run("local", make_graph(), tmp_path / "local", sessions)
    on_ray = run("ray", make_graph(), tmp_path / "ray", sessions)
    assert len(local) >= len(sessions)
    assert all(local.values())
    assert on_ray == local
    assert len({local[name] for name in local if name.startswith("write-")}) <= 1  # all sessions say the same
    assert "going on" not in caplog.text  # no join gave up waiting
