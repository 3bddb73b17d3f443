"""Whole snapshots out of the parts of several workers."""

import pytest

from mmstream.recovery.book import Book
from mmstream.recovery.saving import Part, Saved
from tests import toys
from tests.toys import graph, node

NONE = frozenset()


@pytest.fixture
def book():
    nodes = [node("tone", toys.Tone), node("add", toys.Add), node("write", toys.Write, path="-")]
    edges = [("tone", "add"), ("add", "write")]
    return Book(graph(nodes, edges, {"ear": ["tone"], "main": ["add"], "driver": ["write"]}), "s")


def part(worker, number, epoch=0, positions=None, void=False):
    nodes = {"ear": {}, "main": {"add": Saved(b"1")}, "driver": {"write": Saved(b"2")}}[worker]
    return Part(worker, "s", epoch, number, nodes, positions or {}, NONE, void)


def test_a_snapshot_is_whole_with_the_part_of_every_worker(book):
    assert book.add(part("main", 1), NONE) is None
    assert book.add(part("driver", 1), NONE) is None
    whole = book.add(part("ear", 1, positions={"tone": 12}), NONE)
    assert whole is book.last
    assert (whole.number, whole.positions) == (1, {"tone": 12})
    assert whole.parts.keys() == {"ear", "main", "driver"}
    assert book.complete(NONE) is None  # it is told once


def test_parts_that_come_out_of_order_make_the_newest_whole_snapshot(book):
    for number in (2, 1):
        book.add(part("ear", number), NONE)
        book.add(part("main", number), NONE)
    assert book.add(part("driver", 2), NONE).number == 2
    for worker in ("ear", "main", "driver"):
        assert book.add(part(worker, 1), NONE) is None
    assert book.last.number == 2
    for worker in ("ear", "main"):
        assert book.add(part(worker, 3), NONE) is None
    assert book.add(part("driver", 3), NONE).number == 3


def test_a_worker_that_has_nothing_more_to_give_is_not_waited_for(book):
    book.add(part("main", 1), NONE)
    assert book.add(part("driver", 1), NONE) is None
    whole = book.complete(frozenset({"ear"}))
    assert whole.number == 1
    assert whole.parts["ear"] == Part("ear", "s", 0, 1, {}, {}, frozenset({"tone"}))
    book.add(part("main", 2), frozenset({"ear"}))
    assert book.add(part("driver", 2), frozenset({"ear"})).number == 2


def test_a_worker_that_gave_a_later_part_before_it_ended_had_not_ended_then(book):
    book.add(part("ear", 2), NONE)
    book.add(part("main", 1), NONE)
    assert book.add(part("driver", 1), frozenset({"ear"})) is None


def test_what_was_under_way_is_void_once_the_session_is_put_back(book):
    for worker in ("ear", "main", "driver"):
        book.add(part(worker, 1), NONE)
    book.add(part("ear", 2), NONE)
    book.add(part("main", 2), NONE)
    book.put_back(1)
    assert book.last.number == 1
    assert book.add(part("driver", 2), NONE) is None
    for worker in ("ear", "main"):
        assert book.add(part(worker, 3, epoch=1), NONE) is None
    assert book.add(part("driver", 3, epoch=0), NONE) is None
    assert book.add(part("driver", 3, epoch=1), NONE).number == 3


def test_a_part_that_cannot_be_saved_voids_the_snapshots_of_its_epoch(book):
    for worker in ("ear", "main", "driver"):
        book.add(part(worker, 1), NONE)
    assert book.add(part("main", 2, void=True), NONE) is None
    book.add(part("ear", 2), NONE)
    assert book.add(part("driver", 2), frozenset({"main"})) is None  # it ended behind the barrier
    assert book.last.number == 1
    book.put_back(1)
    for worker in ("ear", "main"):
        assert book.add(part(worker, 3, epoch=1), NONE) is None
    assert book.add(part("driver", 3, epoch=1), NONE).number == 3
