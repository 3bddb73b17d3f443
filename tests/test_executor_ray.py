"""A graph in Ray actors: faults, killed and frozen workers, loss, and an orderly end."""

import os
import sys
import time
from dataclasses import replace
from itertools import pairwise
from types import ModuleType

import numpy as np
import pytest
import ray

from mmstream.core import MmstreamError
from mmstream.executors.ray import RayExecutor
from mmstream.graph import Recovery
from mmstream.outcome import OperatorError
from tests import process_toys, toys
from tests.toys import graph, node

WAIT_S = 30.0
POISON = "its packet at 0.300 s has cost two replicas of 'main'"
LONG = Recovery(replay_s=600.0)  # the endless tone gives ten media seconds a second, and a replay wants them all

pytestmark = pytest.mark.usefixtures("ray_cluster")


@pytest.fixture
def start():
    running = []

    def begin(made):
        executor = RayExecutor(made)
        running.append(executor)
        executor.start()
        return executor

    yield begin
    for executor in running:
        executor.close()


@pytest.fixture
def marks(tmp_path_factory):
    """Where actors leave files named after their processes."""
    return tmp_path_factory.mktemp("marks")


def pipeline(tmp_path, middle, source=None, capacity=8, **options):
    """source | middle -> write, in three workers, the last one in this process."""
    nodes = [source or node("tone", toys.Tone, count=20), middle, write(tmp_path)]
    names = [one.name for one in nodes]
    edges = list(pairwise(names))
    return graph(nodes, edges, {"ear": names[:1], "main": names[1:2], "driver": ["write"]}, capacity, **options)


def write(tmp_path, kind=toys.Write, **arguments):
    return node("write", kind, path=str(tmp_path / "{session}.txt"), **arguments)


def results(executor, count):
    ended = [executor.wait(WAIT_S) for _ in range(count)]
    return {result.session: result.error for result in ended}


def lines(tmp_path, session):
    return (tmp_path / f"{session}.txt").read_text().splitlines()


def sums(count):
    """What ``Write`` writes of ``Add`` over that many toy chunks."""
    written = [f"{n / 10:.2f} {(n + 1) / 10:.2f} [[{float(total)}]]" for n, total in enumerate(np.cumsum(range(count)))]
    return [*written, f"{count / 10:.2f} {count / 10:.2f} [[-1.0]]"]


def has_ended(pid):
    """Whether a process is gone, within a few seconds."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)
    return False


def test_a_fault_arrives_with_node_session_and_media_time(start, tmp_path):
    executor = start(pipeline(tmp_path, node("add", toys.Add, fail_at=12)))
    executor.open("bad")
    executor.open("good", {"tone": {"count": 10}})
    executor.open("broken", {"tone": {"fail_at": 5}})
    ended = results(executor, 3)
    assert isinstance(ended["bad"], OperatorError)
    assert str(ended["bad"]) == "node 'add' (tests.toys:Add), session 'bad', at 1.200 s: ZeroDivisionError: a toy fault"
    assert str(ended["broken"]) == "node 'tone' (tests.toys:Tone), session 'broken', at 0.500 s: the toy source broke"
    assert ended["good"] is None
    assert [path.name for path in tmp_path.iterdir()] == ["good.txt"]
    assert lines(tmp_path, "good") == sums(10)
    executor.open("bad", {"tone": {"count": 5}})  # the name is free again
    assert results(executor, 1) == {"bad": None}
    assert lines(tmp_path, "bad") == sums(5)


def test_a_fault_in_a_sink_ends_the_session_in_every_actor(start, tmp_path):
    made = pipeline(tmp_path, node("add", toys.Add), source=node("tone", toys.Tone, endless=True))
    made.nodes["write"] = node("write", toys.Keep, kept={}, fail=True)
    executor = start(made)
    executor.open("s")
    error = results(executor, 1)["s"]
    assert (error.node, error.cause) == ("write", "OSError: no space left on the toy device")


def test_a_worker_that_cannot_be_built_is_the_error_of_start(tmp_path, marks):
    made = pipeline(tmp_path, node("spy", toys.Spy, fail_in="constructor"), capacity=1)
    made.nodes["tone"] = node("tone", toys.Tone, count=1)
    nodes = [*made.nodes.values(), node("mark", process_toys.Mark, folder=str(marks))]
    edges = [("tone", "spy"), ("spy", "mark"), ("mark", "write")]
    made = graph(nodes, edges, {"main": ["tone", "mark"], "bad": ["spy"], "driver": ["write"]})
    with pytest.raises(OperatorError) as caught:
        RayExecutor(made).start()
    assert str(caught.value) == "node 'spy' (tests.toys:Spy): ZeroDivisionError: a toy fault"
    for pid in marks.iterdir():
        assert has_ended(int(pid.name))


def test_a_module_that_workers_do_not_have_is_named(tmp_path, monkeypatch):
    module = ModuleType("only_here")
    module.Mine = type("Mine", (toys.Add,), {"__module__": "only_here"})
    monkeypatch.setitem(sys.modules, "only_here", module)
    with pytest.raises(MmstreamError, match="died: ModuleNotFoundError: No module named 'only_here'"):
        RayExecutor(pipeline(tmp_path, node("mine", module.Mine))).start()


def test_more_replicas_than_there_is_room_for_are_one_clear_error(tmp_path):
    made = pipeline(tmp_path, node("add", toys.Add), resources={"main": {"CPU": 2}}, replicas={"main": 2})
    with pytest.raises(MmstreamError, match=r"2 replicas of worker 'main' ask for \{CPU: 2\} each, and .* for 1 \("):
        RayExecutor(made).start()


@pytest.mark.usefixtures("no_thread_left")
def test_what_no_node_has_is_one_clear_error(tmp_path):
    made = pipeline(tmp_path, node("add", toys.Add), resources={"main": {"GPU": 3, "quantum": 1}})
    with pytest.raises(
        MmstreamError, match=r"worker 'main' asks for \{GPU: 3, quantum: 1\}, which no node has \(.*CPU: 2"
    ):
        RayExecutor(made).start()
    assert ray.is_initialized()  # it was not this executor that started it


def test_a_packet_that_kills_two_replicas_ends_its_session_and_no_other(start, tmp_path, marks):
    made = pipeline(tmp_path, node("doom", process_toys.Doom, folder=str(marks)), replicas={"main": 2})
    executor = start(replace(made, recovery=LONG))
    executor.open("fine", {"tone": {"endless": True}})
    executor.open("doomed", {"tone": {"endless": True}})
    assert str(results(executor, 1)["doomed"]) == POISON
    executor.open("later", {"tone": {"count": 7}})
    assert results(executor, 1) == {"later": None}
    assert lines(tmp_path, "later") == sums(7)
    executor.stop("fine")
    assert results(executor, 1) == {"fine": None}
    assert lines(tmp_path, "fine") == sums(len(lines(tmp_path, "fine")) - 1)


def test_a_frozen_worker_is_killed_and_its_sessions_go_on(start, tmp_path, marks):
    made = pipeline(tmp_path, node("doom", process_toys.Doom, folder=str(marks), way="freeze"), replicas={"main": 2})
    executor = start(replace(made, recovery=replace(LONG, deadline_s=2.0)))
    executor.open("doomed", {"tone": {"endless": True}})
    executor.open("fine", {"tone": {"endless": True}})
    assert str(results(executor, 1)["doomed"]) == POISON
    executor.stop("fine")
    assert results(executor, 1) == {"fine": None}
    assert lines(tmp_path, "fine") == sums(len(lines(tmp_path, "fine")) - 1)
    pids = [int(file.name) for file in marks.iterdir()]
    assert sum(map(has_ended, pids)) >= 2  # Ray takes 5 s over a process that does not listen


def test_a_worker_that_another_cannot_reach_counts_as_lost(start, tmp_path, marks, caplog):
    """This process would wait for a second longer than the worker before the frozen one."""
    nodes = [
        node("tone", toys.Tone, endless=True),
        node("add", toys.Add),
        node("doom", process_toys.Doom, folder=str(marks), way="freeze"),
        write(tmp_path),
    ]
    edges = list(pairwise(one.name for one in nodes))
    made = graph(nodes, edges, {"ear": ["tone", "add"], "main": ["doom"], "driver": ["write"]})
    executor = start(replace(made, recovery=Recovery(deadline_s=2.0)))
    executor.open("doomed")
    begun = time.monotonic()
    assert str(results(executor, 1)["doomed"]) == POISON
    executor.close()
    assert time.monotonic() - begun < 25
    assert "worker 'main' (replica 0) did not answer within 2 s" in caplog.text


@pytest.mark.parametrize("place", ["driver", "ear"])
def test_loss_is_bounded_in_time_and_marked(start, tmp_path, place):
    """A live source gives four times what the operator takes: with everything queued the lag would grow to 1.5 s."""
    nodes = [
        node("tone", toys.Tone, count=200, pause_s=0.0025),
        node("add", toys.Add, pause_s=0.01),
        write(tmp_path, process_toys.WriteLag),
    ]
    workers = {"ear": [], "main": ["add"], "driver": ["write"]}
    workers[place].append("tone")
    workers = {name: members for name, members in workers.items() if members}
    made = graph(nodes, [("tone", "add"), ("add", "write")], workers, capacity=4, lossy=[("tone", "add")])
    executor = start(made)
    executor.open("s")
    result = executor.wait(WAIT_S)
    assert result.error is None
    written = [line.split(maxsplit=3) for line in lines(tmp_path, "s")]
    stretches = [(round(float(start) * 10), round(float(end) * 10), what) for _, start, end, what in written]
    media = [stretch for stretch in stretches if stretch[2] != "[[-1.0]]"]  # what flush gives
    assert media[0][0] == 0
    assert media[-1][1] == 200
    assert all(earlier[1] == later[0] for earlier, later in pairwise(media))  # nothing is missing
    gaps = [stretch for stretch in media if stretch[2].startswith("gap")]
    assert gaps
    assert all(what == "gap tone->add was full (4 packets)" for _, _, what in gaps)
    lags = [float(lag) for lag, _, _, what in written if what.startswith("[") and what != "[[-1.0]]"]
    assert max(lags) < 1.0


def test_stop_drains_and_abort_leaves_nothing(start, tmp_path):
    executor = start(pipeline(tmp_path, node("add", toys.Add), source=node("tone", toys.Tone, endless=True)))
    executor.open("stopped")
    executor.open("aborted")
    executor.stop("stopped")
    executor.abort("aborted")
    ended = results(executor, 2)
    assert ended["stopped"] is None
    assert str(ended["aborted"]) == "session 'aborted' was aborted"
    assert [path.name for path in tmp_path.iterdir()] == ["stopped.txt"]
    written = lines(tmp_path, "stopped")
    assert written == sums(len(written) - 1)


@pytest.mark.usefixtures("no_thread_left")
def test_close_leaves_no_actor_and_no_thread(tmp_path, marks):
    made = pipeline(tmp_path, node("mark", process_toys.Mark, folder=str(marks)), replicas={"main": 2})
    executor = RayExecutor(made)
    executor.start()
    for session in "ab":
        executor.open(session, {"tone": {"endless": True}})
    executor.close()
    assert all(results(executor, 2).values())
    assert executor.wait(None) is None
    files = list(marks.iterdir())
    assert len(files) == 2
    for file in files:
        assert has_ended(int(file.name))
        assert file.read_text() == "discarded\nclosed\n"
    assert ray.is_initialized()


def test_many_large_packets_arrive_whole_and_in_order(start, tmp_path):
    executor = start(
        pipeline(tmp_path, node("whole", process_toys.Whole), node("tone", toys.Tone, count=1000, samples=75_000))
    )
    executor.open("s")
    assert results(executor, 1) == {"s": None}
    assert lines(tmp_path, "s") == [
        f"{n / 10:.2f} {(n + 1) / 10:.2f} [[{float(n)}, 75000.0, 1.0]]" for n in range(1000)
    ]


@pytest.mark.parametrize("place", ["ear", "driver"])
def test_a_payload_that_cannot_be_sent_ends_its_session_only(start, tmp_path, place):
    nodes = [node("tone", toys.Tone), node("odd", process_toys.Unsendable), node("add", toys.Add), write(tmp_path)]
    workers = {"ear": ["tone"], "main": ["add"], "driver": ["write"]}
    workers[place].append("odd")
    executor = start(graph(nodes, [("tone", "odd"), ("odd", "add"), ("add", "write")], workers))
    for session in ("odd", "good", "odder"):
        executor.open(session)
    ended = results(executor, 3)
    for session in ("odd", "odder"):
        assert str(ended[session]).startswith("odd->add: a packet cannot be sent: Could not serialize")
    assert ended["good"] is None
    assert lines(tmp_path, "good") == sums(10)
    assert [path.name for path in tmp_path.iterdir()] == ["good.txt"]


def test_many_sessions_share_the_links(start, tmp_path):
    executor = start(pipeline(tmp_path, node("add", toys.Add), capacity=2, replicas={"main": 2}))
    sessions = [f"s{number}" for number in range(30)]
    for session in sessions:
        executor.open(session)
    assert results(executor, 30) == dict.fromkeys(sessions)
    assert all(lines(tmp_path, session) == sums(20) for session in sessions)
