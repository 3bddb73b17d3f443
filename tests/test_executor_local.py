"""A graph in threads: several workers, backpressure between them, and an orderly end."""

import threading
import time

import pytest

from mmstream.core import MmstreamError
from mmstream.executors import local, make
from mmstream.executors.local import LocalExecutor
from mmstream.outcome import OperatorError
from mmstream.worker import Worker
from tests import toys
from tests.conftest import WAIT_S
from tests.toys import graph, node, numbers


@pytest.fixture
def kept():
    return {}


@pytest.fixture
def start():
    running = []

    def begin(made):
        executor = make("local", made)
        running.append(executor)
        executor.start()
        return executor

    yield begin
    for executor in running:
        executor.close()


def three_workers(kept, capacity=4, replicas=None, **add):
    nodes = [
        node("tone", toys.Tone, count=20),
        node("add", toys.Add, **add),
        node("spy", toys.Spy),
        node("keep", toys.Keep, kept=kept),
    ]
    edges = [("tone", "add"), ("add", "spy"), ("spy", "keep")]
    workers = {"edge": ["tone", "add"], "middle": ["spy"], "driver": ["keep"]}
    return graph(nodes, edges, workers, capacity=capacity, replicas=replicas)


def results(executor, count):
    found = [executor.wait(WAIT_S) for _ in range(count)]
    return {result.session: result for result in found}


EXPECTED = [number * (number + 1) / 2 for number in range(20)] + [-1]


@pytest.mark.parametrize("capacity", [1, 4])
def test_several_workers_and_sessions(start, kept, capacity):
    executor = start(three_workers(kept, capacity, replicas={"middle": 2}))
    for session in "abcd":
        executor.open(session)
    ended = results(executor, 4)
    assert {result.error for result in ended.values()} == {None}
    assert [numbers(kept[session]) for session in "abcd"] == [EXPECTED] * 4
    assert sorted(lane.edge for lane in ended["a"].lanes) == ["add->spy", "spy->keep", "tone->add"]
    assert all(lane.peak <= capacity for result in ended.values() for lane in result.lanes)
    assert executor.wait(0.0) is None


def test_a_slow_end_holds_back_the_beginning(start, kept):
    gate = threading.Event()
    given = []

    class Counted(toys.Tone):
        def packets(self, session):
            for packet in super().packets(session):
                given.append(packet)
                yield packet

    made = three_workers(kept, capacity=2)
    made.nodes["keep"].arguments["gate"] = gate
    made.nodes["tone"] = node("tone", Counted, count=100)
    executor = start(made)
    executor.open("s")
    deadline = time.monotonic() + WAIT_S
    # three lanes of two, one packet in the hands of the last worker, one of the source
    while len(given) < 8 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert executor.wait(0.05) is None
    assert len(given) == 8
    gate.set()
    result = executor.wait(WAIT_S)
    assert result.error is None
    assert len(kept["s"]) == 101
    assert {lane.peak for lane in result.lanes} == {2}


def test_a_fault_ends_its_session_in_every_worker(start, kept):
    diary = []
    made = three_workers(kept)
    made.nodes["spy"] = node("spy", toys.Spy, diary=diary, fail_in="process", victim="bad", fail_from=0.5)
    executor = start(made)
    for session in ("bad", "good"):
        executor.open(session)
    ended = results(executor, 2)
    error = ended["bad"].error
    assert isinstance(error, OperatorError)
    assert (error.node, error.session, error.media_time) == ("spy", "bad", 0.5)
    assert ended["good"].error is None
    assert list(kept) == ["good"]
    assert [session for call, session, _ in diary if call == "discard"] == ["bad"]


@pytest.mark.parametrize("victim", ["add", "spy", "keep"])
def test_a_fault_before_every_worker_knows_the_session_ends_it_all_the_same(start, kept, victim, monkeypatch):
    class NoMemory(toys.Spy):
        def open(self, session):
            raise MemoryError("no room for a state")

    def open_states_at_once(worker, session, **opening):
        opened = threading.Event()
        open_worker(worker, session, **opening)
        worker.inbox.call(opened.set)
        assert opened.wait(WAIT_S)

    open_worker = Worker.open
    monkeypatch.setattr(Worker, "open", open_states_at_once)
    made = three_workers(kept)
    made.nodes[victim] = node(victim, NoMemory)
    made.nodes["tone"].arguments.update(endless=True)
    executor = start(made)
    executor.open("s")
    assert executor.wait(WAIT_S).error.node == victim


@pytest.mark.usefixtures("no_thread_left")
def test_a_worker_that_cannot_be_built_is_the_error_of_start(kept):
    made = three_workers(kept)
    made.nodes["spy"] = node("spy", toys.Spy, fail_in="constructor")
    executor = LocalExecutor(made)
    with pytest.raises(OperatorError) as caught:
        executor.start()
    assert str(caught.value) == "node 'spy' (tests.toys:Spy): ZeroDivisionError: a toy fault"


def test_stop_drains_and_flushes(start, kept):
    made = three_workers(kept)
    made.nodes["tone"].arguments["endless"] = True
    executor = start(made)
    executor.open("s")
    executor.stop("s")
    assert executor.wait(WAIT_S).error is None
    values = numbers(kept["s"])
    assert values == [number * (number + 1) / 2 for number in range(len(values) - 1)] + [-1]


def test_abort_ends_at_once_and_leaves_nothing(start, kept):
    gate = threading.Event()
    made = three_workers(kept, capacity=1)
    made.nodes["tone"].arguments["endless"] = True
    made.nodes["spy"].arguments["gate"] = gate
    executor = start(made)
    executor.open("s")
    executor.abort("s")
    gate.set()
    result = executor.wait(WAIT_S)
    assert str(result.error) == "session 's' was aborted"
    assert not kept
    executor.open("s")
    executor.stop("s")
    assert executor.wait(WAIT_S).error is None
    assert "s" in kept


@pytest.mark.usefixtures("no_thread_left")
def test_close_aborts_what_is_open_and_leaves_no_thread(kept):
    made = three_workers(kept)
    made.nodes["tone"].arguments["endless"] = True
    executor = LocalExecutor(made)
    executor.start()
    for session in "abc":
        executor.open(session)
    executor.close()
    assert all(result.error for result in results(executor, 3).values())
    assert executor.wait(None) is None
    assert not kept


def test_close_does_not_wait_for_ever_for_a_worker_that_hangs(kept, monkeypatch):
    monkeypatch.setattr(local, "JOIN_TIMEOUT_S", 0.05)
    hanging, gate = threading.Event(), threading.Event()

    class Hang(toys.Spy):
        def process(self, packet, state):
            hanging.set()
            return super().process(packet, state)

    made = three_workers(kept)
    made.nodes["spy"] = node("spy", Hang, gate=gate)
    executor = LocalExecutor(made)
    executor.start()
    executor.open("s")
    assert hanging.wait(WAIT_S)
    executor.close()
    result = executor.wait(WAIT_S)
    gate.set()
    assert result.session == "s"
    assert result.error is not None


def test_arguments_of_a_session_go_over_those_of_the_file(start, kept):
    executor = start(three_workers(kept))
    executor.open("s", {"tone": {"count": 3}})
    assert executor.wait(WAIT_S).error is None
    assert numbers(kept["s"]) == [0, 1, 3, -1]


def test_two_sessions_of_one_name_are_refused(start, kept):
    executor = start(three_workers(kept))
    executor.open("s", {"tone": {"endless": True}})
    with pytest.raises(MmstreamError, match="already open"):
        executor.open("s")
    executor.stop("s")
    assert executor.wait(WAIT_S).error is None


def test_how_far_a_session_has_come(start, kept):
    executor = start(three_workers(kept))
    assert executor.reached("s") == 0.0
    executor.open("s", {"tone": {"endless": True}})
    deadline = time.monotonic() + WAIT_S
    while executor.reached("s") < 0.3 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert executor.reached("s") >= 0.3
    executor.stop("s")
    assert executor.wait(WAIT_S).error is None
