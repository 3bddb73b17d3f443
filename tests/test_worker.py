"""The loop around a worker's nodes: what each call gets, and who hears of a fault."""

import pickle
import threading

import pytest

from mmstream.core import MmstreamError
from mmstream.graph import Edge
from mmstream.media import AudioChunk, Gap, VideoFrame
from mmstream.outcome import OperatorError
from mmstream.worker import Worker
from tests import toys
from tests.toys import chain, graph, node, numbers


class NoPorts:
    def deliver(self, edge, packet, epoch, *, wait):
        raise AssertionError("nothing leaves this worker")

    def has_room(self, edge, session):
        return True


def test_a_chain_hands_each_packet_straight_through(run, diary, kept):
    spies = [node(name, toys.Spy, diary=diary) for name in ("first", "second")]
    one = run(chain(kept, *spies, source=node("source", toys.Tone, count=3)))
    diary.clear()
    one.session()
    assert one.outcome().error is None
    assert numbers(kept["s"]) == [0, 1, 2]
    # each packet passes both spies before the next one is taken
    times = [start for call, _, start in diary if call == "process"]
    assert times == [0.0, 0.0, 0.1, 0.1, 0.2, 0.2]
    assert [call for call, _, _ in diary if call != "process"] == ["open", "open", "flush", "flush"]


def test_everything_runs_on_the_thread_of_the_worker(run, kept):
    threads = set()

    class Where(toys.Spy):
        def note(self, call, session, start):
            threads.add((call, threading.current_thread().name))

    one = run(chain(kept, node("where", Where)))
    one.session("good")
    assert one.outcome().error is None
    one.session("good")
    assert one.outcome().error is None
    one.session("bad", {"source": {"endless": True}})
    one.worker.abort("bad", MmstreamError("enough"))
    one.outcome()
    one.close()
    threads.discard(("constructor", threading.current_thread().name))
    assert threads == {(call, "worker under test") for call in ("open", "process", "flush", "discard", "close")}


def test_flush_and_end_reach_every_branch(run, kept):
    other = {}
    nodes = [
        node("source", toys.Tone, count=4),
        node("add", toys.Add),
        node("left", toys.Keep, kept=kept),
        node("right", toys.Keep, kept=other),
    ]
    edges = [("source", "add"), ("add", "left"), ("add", "right")]
    one = run(graph(nodes, edges, {"main": [each.name for each in nodes]}))
    one.session()
    assert one.outcome().error is None
    assert numbers(kept["s"]) == numbers(other["s"]) == [0, 1, 3, 6, -1]


def test_what_leaves_the_worker_is_delivered(run):
    nodes = [node("source", toys.Tone, count=2), node("add", toys.Add), node("keep", toys.Keep, kept={})]
    made = graph(nodes, [("source", "add"), ("add", "keep")], {"main": ["source", "add"], "driver": ["keep"]})
    del made.workers["driver"]
    one = run(made)
    one.session()
    assert one.outcome().error is None
    assert [type(packet.data).__name__ for packet in one.delivered] == ["Features", "Features", "Features", "End"]


# Gaps


def test_a_gap_that_an_operator_does_not_take_makes_it_begin_anew(run, diary, kept):
    one = run(chain(kept, node("add", toys.Add), node("spy", toys.Spy, diary=diary), source=toys.gapped()))
    diary.clear()
    one.session()
    assert one.outcome().error is None
    assert numbers(kept["s"]) == [1, -1, None, 5, -1]  # flushed, passed on, a fresh sum
    assert [packet.data for packet in kept["s"] if isinstance(packet.data, Gap)] == [toys.LOST]
    calls = [call for call, _, _ in diary]
    assert calls == ["open", "process", "process", "flush", "open", "process", "process", "flush"]


def test_a_gap_that_an_operator_takes_is_its_own_matter(run, diary, kept):
    one = run(chain(kept, node("spy", toys.SpyOnGaps, diary=diary), source=toys.gapped()))
    diary.clear()
    one.session()
    assert one.outcome().error is None
    assert [call for call, _, _ in diary] == ["open", "process", "process", "process", "flush"]
    assert numbers(kept["s"]) == [1, None, 5]


def test_a_gap_goes_where_its_medium_goes(run, kept):
    seen = {}
    script = [(0.0, 1.0, toys.LOST), (1.0, 2.0, Gap("video", "the camera gave no frames")), (2.0, 3.0, toys.chunk(1))]
    nodes = [
        node("source", toys.Script, script=script),
        node("hear", toys.Keep, kept=kept),
        node("see", toys.Keep, kept=seen),
    ]
    made = graph(nodes, [("source", "hear"), ("source", "see")], {"main": ["source", "hear", "see"]})
    edges = (
        Edge("source", "hear", (AudioChunk,), 8, "block"),
        Edge("source", "see", (VideoFrame,), 8, "block"),
    )
    one = run(type(made)(made.path, made.nodes, edges, made.workers))
    one.session()
    assert one.outcome().error is None
    assert [packet.start for packet in kept["s"]] == [0.0, 2.0]
    assert [packet.start for packet in seen["s"]] == [1.0]


# Faults


def discards(diary):
    return [session for call, session, _ in diary if call == "discard"]


@pytest.mark.parametrize("call", ["open", "process", "flush"])
def test_a_fault_in_an_operator_ends_its_session_only(run, diary, kept, call):
    spy = node("spy", toys.Spy, diary=diary, fail_in=call, victim="bad", fail_from=0.2 if call == "process" else 0.0)
    before, after = node("before", toys.Spy, diary=[]), node("after", toys.Spy, diary=[])
    one = run(chain(kept, before, spy, after, source=node("source", toys.Tone, count=4)))
    for name in ("good", "bad", "fine"):
        one.session(name)
    outcomes = {outcome.session: outcome for outcome in (one.outcome() for _ in range(3))}
    error = outcomes["bad"].error
    assert isinstance(error, OperatorError)
    media_time = {"open": 0.0, "process": 0.2, "flush": 0.4}[call]
    assert (error.node, error.use, error.session) == ("spy", "tests.toys:Spy", "bad")
    assert error.media_time == pytest.approx(media_time)
    assert str(error) == (
        f"node 'spy' (tests.toys:Spy), session 'bad', at {media_time:.3f} s: ZeroDivisionError: a toy fault"
    )
    assert outcomes["good"].error is outcomes["fine"].error is None
    assert sorted(kept) == ["fine", "good"]
    assert discards(diary) == ([] if call == "open" else ["bad"])


def test_a_fault_in_a_constructor_is_the_error_of_build():
    made = chain({}, node("spy", toys.Spy, fail_in="constructor"))
    worker = Worker(made, made.workers["main"], NoPorts(), lambda outcome: None)
    with pytest.raises(OperatorError, match=r"node 'spy' \(tests.toys:Spy\).*ZeroDivisionError: a toy fault"):
        worker.build()


def test_a_fault_in_a_source_ends_its_session(run, kept):
    one = run(chain(kept, source=node("source", toys.Tone, fail_at=3)))
    one.session("bad")
    one.session("good", {"source": {"fail_at": None, "count": 3}})
    outcomes = {outcome.session: outcome for outcome in (one.outcome() for _ in range(2))}
    error = outcomes["bad"].error
    assert (error.node, error.session, error.cause) == ("source", "bad", "the toy source broke")
    assert error.media_time == pytest.approx(0.3)
    assert outcomes["good"].error is None
    assert list(kept) == ["good"]


def test_a_source_that_cannot_be_built_ends_its_session(run, kept):
    one = run(chain(kept, source=node("source", toys.Tone, missing=True)))
    one.session()
    error = one.outcome().error
    assert (error.node, error.media_time, error.cause) == ("source", 0.0, "the toy source is not there")
    one.session("odd", {"source": {"no_such": 1}})
    assert "TypeError" in one.outcome().error.cause


def test_a_fault_in_a_sink_ends_its_session(run, kept, diary):
    made = chain(kept, node("spy", toys.Spy, diary=diary))
    made.nodes["keep"].arguments["fail"] = True
    one = run(made)
    one.session()
    error = one.outcome().error
    assert (error.node, error.cause) == ("keep", "OSError: no space left on the toy device")
    assert discards(diary) == ["s"]


@pytest.mark.parametrize("where", ["source", "operator"])
def test_a_packet_of_another_session_is_a_fault(run, kept, where):
    class Stray(toys.Spy):
        def process(self, packet, state):
            yield type(packet)("lost", packet.start, packet.end, packet.data, 0.0)

    script = node("source", toys.Script, script=[(0.0, 1.0, toys.chunk(1))], lost=where == "source")
    one = run(chain(kept, node("spy", Stray if where == "operator" else toys.Spy), source=script))
    one.session()
    error = one.outcome().error
    assert error.node == ("spy" if where == "operator" else "source")
    assert error.cause == "ValueError: it gave a packet of session 'lost'"


def test_an_optional_source_that_is_missing_is_done_without(run, kept, caplog):
    nodes = [
        node("tone", toys.Tone, count=3),
        node("extra", toys.Tone, optional=True, missing=True),
        node("pair", toys.Pair),
        node("keep", toys.Keep, kept=kept),
    ]
    edges = [("tone", "pair"), ("extra", "pair"), ("pair", "keep")]
    one = run(graph(nodes, edges, {"main": [each.name for each in nodes]}, capacity=1))
    one.session()
    assert one.outcome().error is None
    assert len(kept["s"]) == 3
    assert "going on without 'extra': the toy source is not there" in caplog.text


def test_an_error_that_a_worker_reports_can_cross_processes():
    error = OperatorError("mel", "operators.audio:LogMel", "talk", 12.3456, "ValueError: too short")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == "node 'mel' (operators.audio:LogMel), session 'talk', at 12.346 s: ValueError: too short"
    assert vars(again) == vars(error)
    assert isinstance(again, MmstreamError)


def test_an_error_of_our_own_keeps_its_words():
    made = node("mel", toys.Add)
    error = OperatorError.of(made, "s", 1.0, MmstreamError("no such file"))
    assert error.cause == "no such file"
    assert OperatorError.of(made, "other", 2.0, error) is error


# States


class Ledgered(toys.Spy):
    """Gives every state a number and notes what is done with it."""

    def __init__(self, log, fail_in="", victim=""):
        self.log, self.count = log, 0
        super().__init__(fail_in=fail_in, victim=victim)

    def open(self, session):
        super().open(session)
        self.count += 1
        self.log.append((self, self.count, "open"))
        return (session, self.count)

    def process(self, packet, state):
        yield from super().process(packet, state[0])

    def flush(self, state):
        self.log.append((self, state[1], "flush"))
        yield from super().flush(state[0])

    def discard(self, state):
        self.log.append((self, state[1], "discard"))


@pytest.mark.parametrize("call", ["open", "process", "flush"])
@pytest.mark.parametrize("failing", ["one", "two", "three"])
@pytest.mark.parametrize("script", ["plain", "gapped"])
def test_every_state_is_flushed_or_discarded_once(run, kept, call, failing, script):
    log = []
    nodes = [
        node(name, Ledgered, log=log, fail_in=call if name == failing else "", victim="s")
        for name in ("one", "two", "three")
    ]
    one = run(chain(kept, *nodes, source=toys.gapped() if script == "gapped" else node("source", toys.Tone, count=3)))
    one.session()
    assert one.outcome().error is not None
    one.close()
    for state in {(operator, number) for operator, number, _ in log}:
        life = [what for operator, number, what in log if (operator, number) == state]
        assert life in (["open", "flush"], ["open", "discard"], ["open", "flush", "discard"])
    opened = [(operator, number) for operator, number, what in log if what == "open"]
    ended = {(operator, number) for operator, number, what in log if what != "open"}
    assert set(opened) == ended
    assert not kept


def test_a_fault_in_discard_harms_nobody_else(run, diary, kept, caplog):
    nodes = [
        node("first", toys.Spy, diary=diary, fail_in="discard", victim="bad"),
        node("second", toys.Spy, diary=diary),
    ]
    one = run(chain(kept, *nodes, source=node("source", toys.Tone, endless=True)))
    one.session("bad")
    one.worker.abort("bad", MmstreamError("enough"))
    assert str(one.outcome().error) == "enough"
    assert discards(diary) == ["bad", "bad"]
    assert "node 'first', while being given up: a toy fault" in caplog.text
    one.session("good", {"source": {"endless": False}})
    assert one.outcome().error is None
