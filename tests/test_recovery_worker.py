"""A session put back to a snapshot in its worker, or in another: what comes out is what an undisturbed run gives."""

import pickle
import queue
import threading
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.core import Barrier, End, MediaLost, Packet
from mmstream.executors.local import LocalExecutor
from mmstream.graph import Batch, Recovery
from mmstream.media import Features
from mmstream.recovery.saving import Part, Saved
from mmstream.worker import Worker
from tests import toys
from tests.conftest import WAIT_S
from tests.toys import Leash, chain, graph, node, numbers

COUNT = 12


class Kept:
    """A worker in a thread; ``parts`` gets its parts of snapshots, ``outcomes`` how sessions end."""

    def __init__(self, made, name="main"):
        self.outcomes = queue.Queue()
        self.parts = queue.Queue()
        self.delivered = []
        self.worker = Worker(made, made.workers[name], self, self.outcomes.put, saved=self.parts.put)
        self.worker.build()
        self.thread = threading.Thread(target=self.worker.run, name="worker under test", daemon=True)
        self.thread.start()

    def deliver(self, edge, packet, epoch, *, wait):
        self.delivered.append(packet)

    def has_room(self, edge, session):
        return True

    def settle(self):
        """Wait until nothing moves any more."""
        still = 0
        before = None
        while still < 3:
            done = threading.Event()
            self.worker.inbox.call(done.set)
            assert done.wait(WAIT_S)
            now = {edge: count for edge, (count, _) in self.worker.inbox.waiting().items()}
            still = still + 1 if now == before else 0
            before = now
            time.sleep(0.001)

    def part(self, number=1):
        part = self.parts.get(timeout=WAIT_S)
        assert part.number == number
        return part

    def open(self, session="s", epoch=0, part=None):
        self.worker.open(session, epoch, part)

    def start(self, session="s", epoch=0):
        self.worker.start(session, None, epoch, first=epoch == 0)

    def error(self):
        return self.outcomes.get(timeout=WAIT_S).error

    def close(self):
        self.worker.close()
        self.thread.join(WAIT_S)
        assert not self.thread.is_alive()


@pytest.fixture
def keep():
    running = []

    def begin(made, name="main"):
        running.append(Kept(made, name))
        return running[-1]

    yield begin
    for one in running:
        one.close()


def sound(leash, **options):
    return node("sound", toys.Leashed, leash=leash, count=COUNT, **options)


def sight(leash, **options):
    return node("sight", toys.Leashed, leash=leash, count=COUNT, pictures=True, **options)


def one_input(kept, leashes, *operators, repeats=False, **options):
    (leash,) = leashes
    return chain(kept, *operators, source=sound(leash, repeats=repeats), capacity=64, **options)


def plain(kept, leashes, repeats):
    return one_input(kept, leashes, node("add", toys.Add), node("again", toys.Add), repeats=repeats)


def batched(kept, leashes, repeats):
    return one_input(kept, leashes, node("shared", toys.AddShared), repeats=repeats, batch=Batch(4, 0.0))


def held(kept, leashes, repeats):
    return one_input(kept, leashes, node("hold", toys.HoldBack, count=7), node("add", toys.Add), repeats=repeats)


def fan_in(kept, leashes, repeats):
    one, other = leashes
    nodes = [
        sound(one, repeats=repeats),
        sight(other, repeats=repeats),
        node("add", toys.Add),
        node("pair", toys.Pair),
        node("keep", toys.Keep, kept=kept),
    ]
    edges = [("sound", "add"), ("add", "pair"), ("sight", "pair"), ("pair", "keep")]
    return graph(nodes, edges, {"main": [each.name for each in nodes]}, capacity=64)


GRAPHS = {"chain": (plain, 1), "batch": (batched, 1), "held back": (held, 1), "fan-in": (fan_in, 2)}


def values(packets):
    return [(round(one.start, 3), one.data.values.tolist()) for one in packets]


def features(packets):
    return values(one for one in packets if isinstance(one.data, Features))


def undisturbed(build, sources):
    kept = {}
    executor = LocalExecutor(build(kept, [Leash(COUNT) for _ in range(sources)], False))
    executor.start()
    executor.open("s")
    assert executor.wait(WAIT_S).error is None
    executor.close()
    return values(kept["s"])


@pytest.mark.parametrize("repeats", [False, True], ids=["tape", "repeats"])
@pytest.mark.parametrize("name", GRAPHS)
def test_a_session_that_is_put_back_goes_on_as_if_nothing_had_happened(name, repeats):
    build, sources = GRAPHS[name]
    expected = undisturbed(build, sources)
    points = st.tuples(*(st.tuples(*(st.integers(0, COUNT) for _ in range(3))).map(sorted) for _ in range(sources)))

    @settings(max_examples=40, deadline=None)
    @given(points, st.booleans(), st.booleans())
    def check(points, settled, taken):
        """From each source so much before the barrier, before the loss, and until the replay begins."""
        kept = {}
        leashes = [Leash() for _ in points]
        one = Kept(build(kept, leashes, repeats))
        try:
            one.open()
            one.start()
            for leash, (before, _, _) in zip(leashes, points, strict=True):
                leash.let(before, wait=True)
            if settled:
                one.settle()
            if taken:
                one.worker.mark("s", 1)
            for leash, (_, lost, _) in zip(leashes, points, strict=True):
                leash.let(lost, wait=True)
            one.settle()
            part = None if one.parts.empty() else one.part()
            if part is not None:
                one.worker.trim("s", 1, part.positions)
            ended = not one.outcomes.empty()
            if ended:  # nothing was left to put back
                assert one.error() is None
            else:
                one.open("s", 1, part)
                for leash, (_, _, late) in zip(leashes, points, strict=True):
                    leash.let(late)
                one.start("s", 1)
                for leash in leashes:
                    leash.let(COUNT)
                assert one.error() is None
            assert values(kept["s"]) == expected
            assert [leash.built for leash in leashes] == [1 + (repeats and not ended)] * len(leashes)
        finally:
            one.close()

    check()


@pytest.mark.parametrize("before", [0, 5, COUNT - 1])
def test_another_worker_goes_on_from_the_snapshot(keep, before):
    """What came out before the barrier and what another worker gives from the snapshot are the whole of it."""
    leash = Leash()
    nodes = [
        sound(leash, repeats=True),
        node("hold", toys.HoldBack, count=4),
        node("add", toys.Add),
        node("keep", toys.Keep, kept={}),
    ]
    edges = [("sound", "hold"), ("hold", "add"), ("add", "keep")]
    made = graph(nodes, edges, {"main": ["sound", "hold", "add"], "driver": ["keep"]}, capacity=64)
    whole, first, second = keep(made), keep(made), keep(made)
    first.open()
    first.start()
    leash.let(before, wait=True)
    first.worker.mark("s", 1)
    part = first.part()
    leash.let(before + 1)
    cut = [isinstance(packet.data, Barrier) for packet in first.delivered].index(True)
    second.open("s", 1, part)
    second.start("s", 1)
    leash.let(COUNT)
    whole.open()
    whole.start()
    assert second.error() is whole.error() is None
    media = [
        [one for one in taken if isinstance(one.data, Features)] for taken in (first.delivered[:cut], second.delivered)
    ]
    assert values(media[0] + media[1]) == values(one for one in whole.delivered if isinstance(one.data, Features))


def test_a_source_that_cannot_be_had_again_is_a_clear_error_elsewhere(keep, kept):
    one = keep(one_input(kept, [Leash(COUNT)]))
    one.open()
    one.worker.start("s", first=False)  # it has been started in a worker that is lost
    assert str(one.error()).endswith("it was lost with its worker, and what it gave cannot be had again")


def test_a_live_source_goes_on_while_the_session_is_put_back(keep, kept):
    """Three losses: one during a replay, one with the source ended meanwhile."""
    leash = Leash()
    one = keep(one_input(kept, [leash], node("add", toys.Add)))
    one.open()
    one.start()
    leash.let(4, wait=True)
    one.worker.mark("s", 1)
    part = one.part()
    leash.let(6, wait=True)
    one.open("s", 1, part)
    leash.let(8, wait=True)  # on the tape only
    one.start("s", 1)
    one.open("s", 2, part)
    one.start("s", 2)
    leash.let(9, wait=True)
    one.settle()
    one.worker.mark("s", 2)
    part = one.part(2)
    assert part.positions == {"sound": 9}
    one.worker.trim("s", 2, part.positions)
    one.open("s", 3, part)
    leash.let(COUNT)
    one.start("s", 3)
    assert one.error() is None
    assert numbers(kept["s"])[:-1] == [sum(range(number + 1)) for number in range(COUNT)]
    assert leash.built == 1


def test_a_barrier_that_is_asked_for_during_a_replay_comes_after_it(keep, kept):
    leash = Leash()
    one = keep(one_input(kept, [leash], node("add", toys.Add)))
    one.open()
    one.start()
    leash.let(6, wait=True)
    one.open("s", 1)
    one.worker.mark("s", 1)
    one.settle()
    assert one.parts.empty()
    one.start("s", 1)
    one.worker.mark("s", 2)
    assert one.part(2).positions == {"sound": 6}
    leash.let(COUNT)
    assert one.error() is None


@pytest.mark.parametrize("missing", [True, False], ids=["not there", "ended early"])
def test_an_optional_source_that_is_over_holds_up_no_snapshot(keep, missing):
    kept = {}
    one_leash, other = Leash(), Leash(COUNT)
    nodes = [
        sound(one_leash),
        sight(other, optional=True, missing=missing)
        if missing
        else node("sight", toys.Pictures, count=0, optional=True),
        node("pair", toys.Pair),
        node("keep", toys.Keep, kept=kept),
    ]
    edges = [("sound", "pair"), ("sight", "pair"), ("pair", "keep")]
    one = keep(graph(nodes, edges, {"main": [each.name for each in nodes]}, capacity=64))
    one.open()
    one.start()
    one_leash.let(5, wait=True)
    one.settle()
    one.worker.mark("s", 1)
    part = one.part()
    assert part.positions["sound"] == 5
    one_leash.let(7, wait=True)
    one.open("s", 1, part)
    one.start("s", 1)
    one_leash.let(COUNT)
    assert one.error() is None
    assert [start for start, _ in values(kept["s"])] == [number / 10 for number in range(COUNT)]


def test_a_source_that_is_still_being_opened_is_not_lost(keep, kept):
    leash = Leash(COUNT)
    leash.doors.clear()  # a microphone that takes its time
    one = keep(one_input(kept, [leash], node("add", toys.Add)))
    one.open()
    one.start()
    one.open("s", 1)
    one.start("s", 1)
    leash.doors.set()
    assert one.error() is None
    assert len(kept["s"]) == COUNT + 1
    assert leash.built == 1


def test_a_fault_of_a_source_is_told_when_its_session_has_been_put_back(keep, kept):
    leash = Leash(fault=ValueError("a toy fault"))
    one = keep(one_input(kept, [leash]))
    one.open()
    one.start()
    leash.let(3, wait=True)
    one.open("s", 1)
    leash.let(COUNT)
    leash.over.wait(WAIT_S)
    one.start("s", 1)
    assert "ValueError: a toy fault" in str(one.error())


def test_media_that_broke_off_while_the_session_was_put_back_still_comes_out(keep, kept):
    leash = Leash(fault=MediaLost("the device was unplugged"))
    one = keep(one_input(kept, [leash], node("add", toys.Add)))
    one.open()
    one.start()
    leash.let(3, wait=True)
    one.open("s", 1)
    leash.let(COUNT)
    leash.over.wait(WAIT_S)
    one.start("s", 1)
    assert "the device was unplugged" in str(one.error())
    assert len(kept["s"]) == COUNT + 1


def test_what_a_replay_no_longer_holds_is_a_gap(keep):
    leash = Leash()
    nodes = [sound(leash), node("spy", toys.Spy), node("keep", toys.Keep, kept={})]
    edges = [("sound", "spy"), ("spy", "keep")]
    made = graph(nodes, edges, {"main": ["sound", "spy"], "driver": ["keep"]}, capacity=64)
    one = keep(replace(made, recovery=Recovery(replay_s=0.45)))
    one.open()
    one.start()
    leash.let(10, wait=True)
    one.settle()
    one.delivered.clear()
    one.open("s", 1)
    one.start("s", 1)
    leash.let(COUNT)
    assert one.error() is None
    *media, end = one.delivered
    assert end.data == End()
    assert numbers(media) == [None, *range(5, COUNT)]
    assert (media[0].start, media[0].end) == (0.0, 0.5)


def test_sessions_in_one_worker_are_put_back_apart(keep, kept):
    leash = Leash()
    one = keep(one_input(kept, [leash], node("add", toys.Add)))
    for session in "ab":
        one.open(session)
        one.start(session)
    leash.let(5)
    one.settle()
    one.open("a", 1)
    one.start("a", 1)
    leash.let(COUNT)
    assert {one.error() for _ in range(2)} == {None}
    assert values(kept["a"]) == values(kept["b"])
    assert len(kept["a"]) == COUNT + 1


def test_what_a_snapshot_holds_of_the_lanes_comes_before_what_is_sent_anew(keep, kept):
    """The worker before this one may be quicker to start than this one."""
    nodes = [sound(Leash()), sight(Leash()), node("pair", toys.Pair), node("keep", toys.Keep, kept=kept)]
    edges = [("sound", "pair"), ("sight", "pair"), ("pair", "keep")]
    made = graph(nodes, edges, {"ear": ["sound", "sight"], "main": ["pair"], "driver": ["keep"]}, capacity=64)
    one = keep(made)
    early = Packet("s", 0.0, 0.1, toys.chunk(0), 0.0)
    saved = Saved(pickle.dumps(None), {"sound->pair": (early,)})
    one.open("s", 1, Part("main", "s", 0, 1, {"pair": saved}, {}, frozenset()))
    one.worker.inbox.push("sound->pair", Packet("s", 0.1, 0.2, toys.chunk(1), 0.0), 1)
    for edge in ("sound->pair", "sight->pair"):
        one.worker.inbox.push(edge, Packet("s", 0.2, 0.2, End(), 0.0), 1)
    one.settle()
    assert one.delivered == []  # nothing flows before the start
    one.start("s", 1)
    assert one.error() is None
    assert [start for start, _ in features(one.delivered)] == [0.0, 0.1]


def test_a_join_and_the_last_node_hand_in_their_part_before_they_end(keep):
    """Else the worker counts as one that had ended before the barrier, and what it gave behind it would be lost."""
    nodes = [sound(Leash()), sight(Leash()), node("pair", toys.Pair), node("keep", toys.Keep, kept={})]
    edges = [("sound", "pair"), ("sight", "pair"), ("pair", "keep")]
    made = graph(nodes, edges, {"ear": ["sound", "sight"], "main": ["pair"], "driver": ["keep"]}, capacity=64)
    one = keep(made)
    one.open()
    one.start()
    end = Packet("s", 0.1, 0.1, End(), 0.0)
    late = Packet("s", 0.0, 0.1, toys.chunk(0), 0.0)
    for edge, packet in [
        ("sound->pair", Packet("s", 0.0, 0.0, Barrier(1), 0.0)),
        ("sound->pair", end),
        ("sight->pair", late),
        ("sight->pair", end),
    ]:
        one.worker.inbox.push(edge, packet)
    assert one.error() is None
    part = one.part()
    assert part.nodes["pair"].packets == {"sight->pair": (late, end)}
    assert part.ended == frozenset()


def test_the_last_node_to_end_completes_a_part(keep):
    nodes = [sound(Leash()), node("add", toys.Add), sight(Leash()), node("other", toys.Pair)]
    nodes += [node("keep", toys.Keep, kept={}), node("too", toys.Keep, kept={})]
    edges = [("sound", "add"), ("sight", "other"), ("add", "keep"), ("other", "too")]
    workers = {"ear": ["sound", "sight"], "main": ["add", "other"], "driver": ["keep", "too"]}
    one = keep(graph(nodes, edges, workers, capacity=64))
    one.open()
    one.start()
    end = Packet("s", 0.1, 0.1, End(), 0.0)
    one.worker.inbox.push("sound->add", Packet("s", 0.0, 0.0, Barrier(1), 0.0))
    one.worker.inbox.push("sound->add", Packet("s", 0.0, 0.1, toys.chunk(1), 0.0))
    one.worker.inbox.push("sound->add", end)
    one.settle()
    one.worker.inbox.push("sight->other", end)
    assert one.error() is None
    part = one.part()
    assert (part.ended, part.nodes.keys()) == ({"other"}, {"add"})  # the source of the other ended before the barrier
