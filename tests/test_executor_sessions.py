"""Sessions in Ray actors that are killed, hang, fill up, are rolled or scaled: what is written is exact."""

import os
import signal
import socket
import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import ray

from mmstream.core import MmstreamError
from mmstream.executors import cluster, keeper
from mmstream.executors.keeper import PATIENCE, Keeper
from mmstream.executors.ledger import Ledger
from mmstream.executors.ray import RayExecutor
from mmstream.executors.rescue import Rescue
from mmstream.executors.spread import Live
from mmstream.graph import Recovery, Scale, SessionLimits, WorkerSpec
from mmstream.outcome import Outcome
from mmstream.recovery.book import Book
from mmstream.recovery.saving import Part
from mmstream.sessions import SessionRefused
from tests import process_toys, toys
from tests.toys import graph, node

WAIT_S = 60.0
OFTEN = Recovery(snapshot_s=0.1, replay_s=600.0)  # the endless tone gives ten media seconds a second


@pytest.fixture
def start(ray_cluster):
    running = []

    def begin(made, recovery=OFTEN, main=None, **changed):
        workers = dict(made.workers)
        if main is not None:
            workers["main"] = replace(workers["main"], **main)
        executor = RayExecutor(replace(made, workers=workers, recovery=recovery, **changed))
        running.append(executor)
        executor.start()
        return executor

    yield begin
    for executor in running:
        executor.close()


def pipeline(tmp_path, middle=None, source=None, place="driver"):
    """tone -> middle -> write; the middle in an actor, the source in ``place``."""
    nodes = [
        source or node("tone", toys.Tone, endless=True),
        middle or node("add", toys.Add),
        node("write", toys.Write, path=str(tmp_path / "{session}.txt")),
    ]
    names = [one.name for one in nodes]
    workers = {place: names[:1], "main": names[1:2]}
    workers["driver"] = [*workers.get("driver", []), "write"]
    return graph(nodes, list(pairwise(names)), workers)


def until(happens, what="nothing"):
    deadline = time.monotonic() + WAIT_S
    while not (found := happens()):
        assert time.monotonic() < deadline, what
        time.sleep(0.01)
    return found


def reaches(executor, session, media_s):
    until(lambda: executor.reached(session) >= media_s, f"{session} stands at {executor.reached(session)} s")


def row(executor, session):
    return {row.session: row for row in executor.table()}[session]


def kill(executor, worker="main"):
    """Kill -9 the one replica of a worker that has sessions: its pid."""
    (replica,) = [one for one in executor.members() if one[0] == worker and executor.sessions_on(one)]
    pid = executor.members()[replica].pid
    os.kill(pid, signal.SIGKILL)
    return pid


def ended(executor, count=1):
    results = [executor.wait(WAIT_S) for _ in range(count)]
    return {result.session: result.error for result in results}


def lines(tmp_path, session):
    return (tmp_path / f"{session}.txt").read_text().splitlines()


def sums(count):
    """What ``Write`` writes of ``Add`` over that many toy chunks."""
    written = [f"{n / 10:.2f} {(n + 1) / 10:.2f} [[{float(total)}]]" for n, total in enumerate(np.cumsum(range(count)))]
    return [*written, f"{count / 10:.2f} {count / 10:.2f} [[-1.0]]"]


def is_exact(tmp_path, session):
    written = lines(tmp_path, session)
    return len(written) > 1 and written == sums(len(written) - 1)


def test_a_killed_worker_is_replaced_and_its_sessions_go_on(start, tmp_path):
    executor = start(pipeline(tmp_path))
    for session in "ab":
        executor.open(session)
        reaches(executor, session, 1.0)
    before = row(executor, "a")
    assert (before.state, before.replicas, before.recoveries) == ("running", {"main": 0}, 0)
    kill(executor)
    until(lambda: row(executor, "a").state == "recovering")
    reached = executor.reached("a")
    until(lambda: row(executor, "a").state == row(executor, "b").state == "running")
    after = row(executor, "a")
    assert (after.replicas, after.recoveries, after.since) == ({"main": 1}, 1, before.since)
    reaches(executor, "a", reached + 1.0)
    for session in "ab":
        executor.stop(session)
    assert ended(executor, 2) == {"a": None, "b": None}
    assert executor.table() == ()
    assert is_exact(tmp_path, "a")
    assert is_exact(tmp_path, "b")


def test_a_standby_takes_the_place_of_a_killed_worker(start, tmp_path):
    executor = start(pipeline(tmp_path), main={"standby": 1})
    executor.open("s")
    reaches(executor, "s", 0.5)
    there = executor.members()
    assert there.keys() == {("main", 0), ("main", 1)}
    assert executor.sessions_on(("main", 1)) == ()
    kill(executor)
    until(lambda: row(executor, "s").replicas == {"main": 1})
    assert executor.members()["main", 1].pid == there["main", 1].pid
    reaches(executor, "s", executor.reached("s") + 0.5)
    until(lambda: ("main", 2) in executor.members())  # and there is a standby again
    assert executor.sessions_on(("main", 2)) == ()
    executor.stop("s")
    assert ended(executor) == {"s": None}
    assert is_exact(tmp_path, "s")


def test_a_killed_worker_takes_its_sources_with_it(start, tmp_path):
    """One that repeats is played again; what the snapshot holds of one that has ended is not all that it gave."""
    tone = node("tone", process_toys.Again)
    executor = start(pipeline(tmp_path, node("add", toys.Add, pause_s=0.02), tone, place="ear"))
    executor.open("again", {"tone": {"count": 90}})
    reaches(executor, "again", 0.5)
    kill(executor, "ear")
    assert ended(executor) == {"again": None}
    assert lines(tmp_path, "again") == sums(90)
    executor.open("ends", {"tone": {"count": 90}})
    reaches(executor, "ends", 1.0)
    kill(executor, "main")  # nobody takes what the source gives: it is at its end at once
    assert ended(executor) == {"ends": None}
    assert lines(tmp_path, "ends") == sums(90)
    executor.open("live", {"tone": {"count": 10_000, "live": True}})
    reaches(executor, "live", 0.5)
    kill(executor, "ear")
    (error,) = ended(executor).values()
    assert "node 'tone'" in str(error)
    assert str(error).endswith("it was lost with its worker, and what it gave cannot be had again")


def test_a_hung_operator_is_replaced(start, tmp_path):
    hang = node("hang", process_toys.Hang, told=str(tmp_path / "told"), at=20)
    tone = node("tone", toys.Tone, count=40)
    executor = start(pipeline(tmp_path, hang, tone), replace(OFTEN, hung_s=1.0), main={"standby": 1})
    executor.open("s")
    assert ended(executor) == {"s": None}
    assert (tmp_path / "told").exists()
    assert lines(tmp_path, "s") == sums(40)
    assert ("main", 0) not in executor.members()


def test_a_full_replica_refuses_and_takes_a_session_once_another_has_ended(start, tmp_path):
    executor = start(pipeline(tmp_path), main={"limit": 1})
    executor.open("a")
    refusal = "session 'b' is refused: worker 'main' has 1 replica\\(s\\) of 1 sessions, all of them full"
    with pytest.raises(SessionRefused, match=refusal):
        executor.open("b")
    assert [row.session for row in executor.table()] == ["a"]
    executor.stop("a")
    assert ended(executor) == {"a": None}
    executor.open("b")
    executor.stop("b")
    assert ended(executor) == {"b": None}


def here(tmp_path, source=None):
    """Everything in this process."""
    made = pipeline(tmp_path, source=source)
    return replace(made, workers={"driver": replace(made.workers["driver"], nodes=tuple(made.nodes))})


def test_no_more_sessions_are_let_in_than_may_be_open(start, tmp_path):
    executor = start(here(tmp_path), sessions=SessionLimits(most=2))
    for session in "ab":
        executor.open(session)
    with pytest.raises(SessionRefused, match="session 'c' is refused: 2 are open, and the limit is 2"):
        executor.open("c")
    executor.stop("a")
    assert row(executor, "a").state == "draining"
    assert ended(executor) == {"a": None}
    executor.open("c")
    assert {row.session: row.state for row in executor.table()} == {"b": "running", "c": "running"}


def test_an_idle_session_ends_with_all_that_it_gave(start, tmp_path):
    falls = node("tone", process_toys.Falls, count=7)
    executor = start(here(tmp_path, falls), sessions=SessionLimits(idle_s=0.5))
    executor.open("idle")
    executor.open("busy", {"tone": {"count": 10_000, "pause_s": 0.01}})
    assert ended(executor) == {"idle": None}
    assert lines(tmp_path, "idle") == sums(7)
    assert row(executor, "busy").state == "running"


def test_more_sessions_start_a_replica_that_is_given_back(start, tmp_path, monkeypatch):
    monkeypatch.setattr(keeper, "SCALE_EVERY_S", 0.1)
    monkeypatch.setattr(keeper, "SPARE_FOR_S", 0.3)
    executor = start(pipeline(tmp_path), main={"scale": Scale(most=2, sessions=2)})
    for session in "ab":
        executor.open(session)
    time.sleep(0.3)  # three looks: two sessions are no reason
    assert len(executor.members()) == 1
    executor.open("c")
    until(lambda: ("main", 1) in executor._ledger.replicas("main"))
    executor.open("d")
    assert executor.sessions_on(("main", 1)) == ("d",)
    executor.stop("d")
    assert ended(executor) == {"d": None}
    assert len(executor.members()) == 2  # three sessions still
    executor.stop("c")
    assert ended(executor) == {"c": None}
    until(lambda: executor.members().keys() == {("main", 0)})
    assert row(executor, "a").state == row(executor, "b").state == "running"
    assert is_exact(tmp_path, "c")
    assert is_exact(tmp_path, "d")


def test_a_roll_moves_running_sessions_to_new_replicas(start, tmp_path):
    executor = start(pipeline(tmp_path))
    for session in "ab":
        executor.open(session)
        reaches(executor, session, 0.5)
    executor.roll("main")
    assert executor.members().keys() == {("main", 1)}
    assert executor.sessions_on(("main", 1)) == ("a", "b")
    reaches(executor, "b", executor.reached("b") + 0.5)
    for session in "ab":
        executor.stop(session)
    assert ended(executor, 2) == {"a": None, "b": None}
    assert is_exact(tmp_path, "a")
    assert is_exact(tmp_path, "b")


def test_a_cluster_that_does_not_answer_is_one_clear_line_at_once(monkeypatch):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"  # bound, and nobody listens
        monkeypatch.setenv("RAY_ADDRESS", address)
        monkeypatch.setattr(ray, "is_initialized", lambda: False)
        begun = time.monotonic()
        with pytest.raises(MmstreamError) as caught:
            cluster.join()
    assert str(caught.value) == f"RAY_ADDRESS={address}: no cluster answers there: Connection refused"
    assert time.monotonic() - begun < cluster.PROBE_S


# The books that the executor keeps, without Ray.


def ledger(workers, given_up=None):
    made = Ledger(workers, (given_up if given_up is not None else {}).__setitem__)
    for name, spec in workers.items():
        for number in range(spec.replicas):
            made.bury((name, number))
    return made


@pytest.mark.parametrize("order", [["edge", "main", "far"], ["far", "main", "edge"]])
def test_a_session_is_pinned_near_the_worker_that_its_file_names(order):
    near = {"edge": None, "main": "edge", "far": "main"}
    made = ledger({name: WorkerSpec(name, (), near=near[name]) for name in order})
    for name in order:
        for number, machine in enumerate(["north", "south"]):
            made.enlist((name, number), machine)
    numbers = [{number for _, number in made.pin(session).values()} for session in "abcd"]
    assert numbers == [{0}, {1}, {0}, {1}]  # on one machine each, and the machines in turn


def test_a_worker_goes_elsewhere_where_there_is_none_near():
    made = ledger({"edge": WorkerSpec("edge", ()), "main": WorkerSpec("main", (), near="edge", limit=1)})
    made.enlist(("edge", 0), "north")
    made.enlist(("main", 0), "north")
    made.enlist(("main", 1), "south")
    assert [made.pin(session)["main"] for session in "ab"] == [("main", 0), ("main", 1)]
    with pytest.raises(SessionRefused, match="worker 'main' has 2 replica"):
        made.pin("c")


def two():
    made = ledger({"main": WorkerSpec("main", ()), "driver": WorkerSpec("driver", (), place="driver")})
    made.enlist(("main", 0), "here")
    made.enlist(("driver", 0), "here")
    made.pin("s")
    return made


def test_a_session_that_has_shown_everything_is_not_moved():
    made = two()
    made.report(Outcome("s", "driver", None, (), drained=True))
    made.bury(("main", 0))
    made.enlist(("main", 1), "here")
    assert made.repin("s", (), ends={"driver"}) is None
    assert made.drained("s") == {"driver"}  # it is not forgotten
    assert made.replica("s", "main") == ("main", 0)
    made.settle("s")
    assert made.wait(0).error is None


def test_a_session_that_cannot_be_moved_stays_in_the_book():
    made = two()
    made.bury(("main", 0))
    with pytest.raises(MmstreamError, match="no replica of worker 'main' is left to run session 's'"):
        made.repin("s", (), ends={"driver"})
    assert made.replica("s", "main") == ("main", 0)
    made.enlist(("main", 1), "here")
    assert made.repin("s", (), ends={"driver"}) == (1, {"driver": ("driver", 0), "main": ("main", 1)})


def life(tmp_path, made):
    return Live("s", {}, 0.0, Book(made, "s"))


class Helpers:
    """The pool and the spreader of a rescue: a replica is lost in the moment in which a session is to move there."""

    def __init__(self, made, book):
        self.specs = {"main": made.workers["main"]}
        self.book = book
        self.moves = []
        self.looks = 0

    def has_replica(self, worker):
        self.looks += 1
        if self.looks == 2:
            self.book.enlist((worker, 7), "here")
        return True

    def spread(self, moves):
        self.moves += moves


def test_a_replica_that_is_lost_while_a_session_moves_to_it_ends_nothing(tmp_path):
    made = pipeline(tmp_path)
    book = two()
    book.bury(("main", 0))
    live = life(tmp_path, made)
    helpers = Helpers(made, book)
    failed, recovered = [], []
    rescue = Rescue(
        made,
        book,
        helpers,
        helpers,
        {"s": live},
        lambda *fault: failed.append(fault),
        lambda live, seconds: recovered.append(live),
    )
    rescue.put_back(["s"], 0.0)
    assert failed == []
    assert [(move.epoch, move.pins["main"]) for move in helpers.moves] == [(1, ("main", 7))]
    assert recovered == [live]


def test_snapshots_of_a_session_do_not_overtake_one_another(tmp_path):
    made = replace(pipeline(tmp_path), recovery=Recovery(snapshot_s=2.0))
    live = life(tmp_path, made)
    marked = []
    tender = Keeper(made, two(), None, {"s": live}, lambda marks: marked.append(marks["s"]), None, None, None)

    def look(*times):
        marked.clear()
        for now in times:
            tender._begin_snapshots(now)
        return list(marked)

    def whole(number):
        for worker in made.workers:
            live.book.add(Part(worker, "s", live.book.epoch, number, {}, {}, frozenset()), frozenset())

    assert look(1.9, 2.0, 3.9) == [1]
    whole(1)
    assert look(3.9, 4.0) == [2]
    assert look(6.0, 8.0) == []  # the second is not whole
    assert look(4.0 + 2.0 * PATIENCE) == [3]  # given up
    whole(3)
    assert look(16.0) == [4]
    live.book.put_back(1)
    assert look(17.9, 18.0) == [5]  # the fourth is void
    live.recovering = True
    assert look(100.0) == []
