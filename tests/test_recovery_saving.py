"""A worker's part of a snapshot: whole once every node was saved or had ended before the barrier."""

import logging
import pickle
import threading

from mmstream.core import Packet
from mmstream.recovery.cut import Recorded
from mmstream.recovery.saving import Part, Saved, Saving
from tests.toys import chunk


def saving(nodes, sources=()):
    return Saving("main", "s", 3, nodes, sources)


def test_a_part_is_whole_with_its_last_node_and_source():
    made = saving(["a", "b"], ["x", "y"])
    assert made.node(1, "a", [1], False, ()) is None
    assert made.source(1, "x", 10, ()) is None
    assert made.node(1, "b", {"words": 2}, False, ()) is None
    part = made.source(1, "y", 20, ())
    assert (part.worker, part.session, part.epoch, part.number) == ("main", "s", 3, 1)
    assert {name: pickle.loads(saved.state) for name, saved in part.nodes.items()} == {"a": [1], "b": {"words": 2}}
    assert part.positions == {"x": 10, "y": 20}
    assert part.ended == frozenset()
    assert not part.void
    assert made.whole(()) is None  # it is handed in once


def test_a_state_is_saved_as_it_was_at_the_barrier():
    made = saving(["a", "b"])
    state = [1]
    assert made.node(1, "a", state, False, ()) is None
    state.append(2)
    part = made.node(1, "b", None, False, ())
    assert pickle.loads(part.nodes["a"].state) == [1]


def test_a_join_is_whole_with_what_lay_on_its_lanes():
    made = saving(["join"])
    assert made.node(1, "join", [1], True, ()) is None
    assert made.whole(()) is None
    packets = {"b->join": (Packet("s", 0.0, 1.0, chunk(1), 0.0),)}
    part = made.recorded("join", Recorded(1, packets, frozenset({"c->join"})), ())
    assert part.nodes == {"join": Saved(pickle.dumps([1], protocol=5), packets, frozenset({"c->join"}))}
    assert made.recorded("join", Recorded(1, packets, frozenset()), ()) is None


def test_a_node_that_had_ended_completes_a_part():
    made = saving(["a", "over"], ["x"])
    assert made.source(1, "x", 5, ()) is None
    assert made.node(1, "a", 1, False, ()) is None
    part = made.whole({"over", "x"})
    assert part.ended == {"over"}
    assert part.nodes.keys() == {"a"}


def test_a_node_that_ended_behind_the_barrier_does_not_count_as_ended_before_it():
    made = saving(["join", "b"])
    assert made.node(1, "join", 1, True, ()) is None
    assert made.node(1, "b", 1, False, ()) is None
    assert made.whole({"join"}) is None  # nobody knows what lay on its lanes
    made = saving(["a", "b", "c"])
    assert made.node(1, "b", 1, False, ()) is None
    assert made.node(1, "c", 1, False, ()) is None
    assert made.node(2, "a", 1, False, ()) is None  # the first barrier was overtaken on the way to it
    assert made.whole({"a"}) is None


def test_a_later_snapshot_overtakes_an_earlier_one():
    made = saving(["a", "b"])
    assert made.node(1, "a", 1, False, ()) is None
    assert made.node(2, "a", 2, False, ()) is None
    part = made.node(2, "b", 2, False, ())
    assert part.number == 2
    assert made.node(1, "b", 1, False, ()) is None
    assert made.whole({"a", "b"}) is None  # nothing of the first is left
    assert made.node(3, "a", 3, False, ()) is None
    assert made.node(3, "b", 3, False, ()).number == 3


def test_an_earlier_snapshot_may_become_whole_while_a_later_one_is_under_way():
    made = saving(["a"], ["x"])
    assert made.node(1, "a", 1, False, ()) is None
    assert made.source(2, "x", 9, ()) is None
    assert made.source(1, "x", 5, ()).positions == {"x": 5}
    assert made.node(2, "a", 2, False, ()).positions == {"x": 9}


def test_a_state_that_cannot_be_saved_voids_every_snapshot_and_is_told_once(caplog):
    made = saving(["good", "bad"], ["x"])
    with caplog.at_level(logging.WARNING):
        assert made.node(1, "good", 1, False, ()) is None
        assert made.node(1, "bad", threading.Lock(), False, ()) == Part(
            "main", "s", 3, 1, {}, {}, frozenset(), void=True
        )
        assert made.source(1, "x", 1, ()) is None
        for number in (2, 3):
            assert made.node(number, "good", 1, False, ()) is None
            assert made.node(number, "bad", threading.Lock(), False, ()) is None
            assert made.source(number, "x", 1, ()) is None
        assert made.whole({"bad", "good"}) is None
    (record,) = caplog.records
    assert record.getMessage().startswith("node 'bad' cannot be saved, so a lost worker means a replay")


def test_a_worker_of_sources_alone_is_whole_with_their_positions():
    made = saving([], ["x"])
    assert made.source(4, "x", 7, ()) == Part("main", "s", 3, 4, {}, {"x": 7}, frozenset())
