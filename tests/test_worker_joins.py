"""Where packets of several sessions or of several inputs meet in a worker: batches and joins."""

import logging
import threading
from itertools import pairwise

import numpy as np
import pytest

from mmstream.core import Watermark
from mmstream.flow import WATERMARK_STEP_S
from mmstream.graph import Batch
from mmstream.media import Gap
from tests import toys
from tests.conftest import WAIT_S
from tests.toys import graph, node


def batched(kept, max_size=4, max_wait_s=0.0, **shared):
    nodes = [
        node("source", toys.Tone, count=6),
        node("shared", toys.AddShared, **shared),
        node("keep", toys.Keep, kept=kept),
    ]
    edges = [("source", "shared"), ("shared", "keep")]
    return graph(nodes, edges, {"main": [each.name for each in nodes]}, batch=Batch(max_size, max_wait_s))


def test_a_batch_holds_several_sessions_and_changes_no_result(run, kept):
    one = run(batched(kept, max_size=4, max_wait_s=0.02))
    hold = threading.Event()
    one.worker.inbox.call(lambda: hold.wait(WAIT_S))
    for number in range(6):
        one.session(f"s{number}", {"source": {"count": 6 + number}})
    hold.set()
    assert {one.outcome().error for _ in range(6)} == {None}
    sizes = set()
    for number in range(6):
        values = [packet.data.values[0] for packet in kept[f"s{number}"]]
        assert [total for total, _ in values] == list(np.cumsum(range(6 + number)))
        sizes |= {int(size) for _, size in values}
    assert max(sizes) == 4  # never more than max_size, and that was reached


def test_without_a_batch_of_its_worker_a_batch_operator_takes_one_at_a_time(run, kept):
    nodes = [node("source", toys.Tone, count=4), node("shared", toys.AddShared), node("keep", toys.Keep, kept=kept)]
    one = run(graph(nodes, [("source", "shared"), ("shared", "keep")], {"main": ["source", "shared", "keep"]}))
    one.session()
    assert one.outcome().error is None
    assert [packet.data.values[0].tolist() for packet in kept["s"]] == [[0, 1], [1, 1], [3, 1], [6, 1]]


def test_a_lone_session_waits_for_company_no_longer_than_max_wait(run, kept, monkeypatch):
    deadlines = []
    one = run(batched(kept, max_wait_s=0.03))
    take_more = one.worker.inbox.take_more

    def spied(node, sessions, deadline):
        deadlines.append(deadline)
        return take_more(node, sessions, deadline)

    monkeypatch.setattr(one.worker.inbox, "take_more", spied)
    one.session()
    assert one.outcome().error is None
    assert len(kept["s"]) == 6
    assert all(deadline is not None for deadline in deadlines)
    packets = kept["s"]
    assert [packet.data.values[0, 1] for packet in packets] == [1.0] * 6


class Broken(toys.AddShared):
    """Fails in a whole batch, or gives too few results."""

    def __init__(self, way):
        super().__init__()
        self.way = way

    def process_batch(self, packets, states):
        if self.way == "raise":
            raise ZeroDivisionError("a toy fault")
        return []


@pytest.mark.parametrize(
    ("way", "cause"),
    [("raise", "ZeroDivisionError: a toy fault"), ("short", "ValueError: process_batch gave 0 results for 1 packets")],
)
def test_a_fault_in_a_batch_is_the_error_of_its_sessions(run, kept, way, cause):
    made = batched(kept, max_size=1)
    made.nodes["shared"] = node("shared", Broken, way=way)
    one = run(made)
    one.session("a")
    one.session("b")
    for _ in range(2):
        outcome = one.outcome()
        assert (outcome.error.node, outcome.error.session, outcome.error.cause) == ("shared", outcome.session, cause)
    assert not kept


def test_gaps_and_ends_pass_through_a_batch_operator(run, kept):
    made = batched(kept, max_size=4, max_wait_s=0.02)
    made.nodes["source"] = toys.gapped()
    one = run(made)
    one.session("a")
    one.session("b")
    assert {one.outcome().error for _ in range(2)} == {None}
    for session in "ab":
        assert [None if isinstance(p.data, Gap) else float(p.data.values[0, 0]) for p in kept[session]] == [1, None, 5]


# Joins


def joined(kept, branch, audio=30, video=75, capacity=4, **pictures):
    """tone -> branch -> pair <- pictures, all in one worker, so that lanes lie between its own nodes."""
    nodes = [
        node("tone", toys.Tone, count=audio),
        node("pictures", toys.Pictures, count=video, **pictures),
        branch,
        node("pair", toys.Pair),
        node("keep", toys.Keep, kept=kept),
    ]
    edges = [("tone", branch.name), (branch.name, "pair"), ("pictures", "pair"), ("pair", "keep")]
    return graph(nodes, edges, {"main": [each.name for each in nodes]}, capacity=capacity)


@pytest.mark.parametrize("capacity", [1, 4])
def test_a_join_inside_a_worker_waits_for_a_slow_input(run, kept, caplog, capacity):
    one = run(joined(kept, node("spy", toys.Spy), audio=20, video=50, capacity=capacity, pause_s=0.002))
    one.session()
    outcome = one.outcome()
    assert outcome.error is None
    starts = [packet.start for packet in kept["s"]]
    assert len(starts) == 70
    assert starts == sorted(starts)
    assert all(lane.peak <= capacity for lane in outcome.lanes)
    assert "going on" not in caplog.text


def test_a_burst_larger_than_the_lane_before_a_join_comes_through(run, kept, caplog):
    one = run(joined(kept, node("hold", toys.HoldBack, count=15), audio=20, video=50, pause_s=0.002))
    one.session()
    assert one.outcome().error is None
    assert len(kept["s"]) == 70
    assert "going on" not in caplog.text


def test_a_silent_branch_does_not_stall_a_join(run, kept, caplog):
    """Nothing but watermarks comes out of the branch, for far longer than any lane holds."""
    one = run(joined(kept, node("mute", toys.Mute), audio=200, video=500))
    with caplog.at_level(logging.WARNING):
        one.session()
        assert one.outcome().error is None
    assert len(kept["s"]) == 501
    starts = [packet.start for packet in kept["s"]]
    assert starts == sorted(starts)
    assert "going on" not in caplog.text


def test_a_watermark_does_not_outrun_what_an_operator_holds(run, kept):
    one = run(joined(kept, node("hold", toys.HoldBack, count=3), audio=3, video=8))
    one.session()
    assert one.outcome().error is None
    assert [packet.start for packet in kept["s"]] == sorted(packet.start for packet in kept["s"])


def test_a_fault_in_watermark_ends_its_session_only(run, kept):
    class Lost(toys.Spy):
        def watermark(self, state, reached):
            if state == "bad":
                raise ZeroDivisionError("a toy fault")
            return reached

    one = run(joined(kept, node("lost", Lost)))
    one.session("bad")
    one.session("good")
    outcomes = {outcome.session: outcome.error for outcome in (one.outcome() for _ in range(2))}
    assert outcomes["bad"].node == "lost"
    assert outcomes["good"] is None


def test_a_gap_is_not_overtaken_in_a_batch(run, kept):
    made = batched(kept, max_size=4, max_wait_s=0.02)
    made.nodes["source"] = node("source", toys.Script, script=[])
    one = run(made)
    hold = threading.Event()
    one.worker.inbox.call(lambda: hold.wait(WAIT_S))
    one.session("first", {"source": {"script": [(0.0, 1.0, toys.chunk(1)), (1.0, 2.0, toys.chunk(2))]}})
    one.session("second", {"source": {"script": [(0.0, 1.0, toys.LOST), (1.0, 2.0, toys.chunk(3))]}})
    for thread in threading.enumerate():
        if thread.name == "mmstream-source":
            thread.join(WAIT_S)
    hold.set()
    assert {one.outcome().error for _ in range(2)} == {None}
    assert [packet.start for packet in kept["second"]] == [0.0, 1.0]


def test_watermarks_are_told_only_in_steps_worth_a_packet(run):
    script = [(step / 100, (step + 1) / 100, toys.chunk(step)) for step in range(100)]
    nodes = [
        node("source", toys.Script, script=script),
        node("other", toys.Pictures, count=1),
        node("spy", toys.Mute),
        node("pair", toys.Pair),
    ]
    edges = [("source", "spy"), ("spy", "pair"), ("other", "pair")]
    made = graph(nodes, edges, {"main": ["source", "spy"], "elsewhere": ["other", "pair"]})
    del made.workers["elsewhere"]
    one = run(made)
    one.session()
    assert one.outcome().error is None
    marks = [packet.start for packet in one.delivered if isinstance(packet.data, Watermark)]
    assert len(marks) >= 5
    assert all(later - earlier >= WATERMARK_STEP_S - 1e-9 for earlier, later in pairwise(marks))
