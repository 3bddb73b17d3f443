"""The queues in front of a worker: who waits, and who is served."""

import queue
import threading
import time
from dataclasses import replace

import pytest

from mmstream.core import End
from mmstream.inbox import STALL_POLL_S, Inbox, Item
from mmstream.join import Inlet
from mmstream.overload import HOLD_S, LagBound
from mmstream.testing import ManualClock
from tests.conftest import WAIT_S
from tests.lanes import audio, control, edge, node, one_input, ready, shape, video

SOON_S = 0.05  # long enough for a thread that does not wait to come through


class Putting(threading.Thread):
    """A thread that puts one packet and keeps the answer."""

    def __init__(self, one, edge_name, packet):
        super().__init__(daemon=True)
        self.answer = None
        self._put = lambda: one.put(edge_name, packet)
        self.start()

    def run(self):
        self.answer = self._put()

    def waits(self):
        self.join(SOON_S)
        return self.is_alive()

    def ended(self):
        self.join(WAIT_S)
        return not self.is_alive()


def test_a_busy_session_does_not_starve_another():
    one = one_input(capacity=100, sessions=("busy", "calm"))
    for second in range(100):
        one.put("ear->fuse", audio(second, "busy"))
    for second in range(3):
        one.put("ear->fuse", audio(second, "calm"))
    assert [one.take().packet.session for _ in range(6)] == ["busy", "calm"] * 3


def test_put_waits_for_room():
    one = one_input(capacity=1)
    assert one.put("ear->fuse", audio(0))
    second = Putting(one, "ear->fuse", audio(1))
    assert second.waits()
    assert one.take().packet.start == 0
    assert second.ended()
    assert second.answer is True
    assert one.take().packet.start == 1


@pytest.mark.parametrize(
    "release", [lambda one: one.close_session("s"), lambda one: one.close()], ids=["session", "all"]
)
def test_closing_releases_whoever_waits_to_put(release):
    one = one_input(capacity=1)
    one.put("ear->fuse", audio(0))
    second = Putting(one, "ear->fuse", audio(1))
    assert second.waits()
    release(one)
    assert second.ended()
    assert second.answer is False


def test_a_packet_of_a_closed_session_never_reaches_the_next_one_of_its_name():
    one = one_input(capacity=1)
    one.put("ear->fuse", audio(0))
    second = Putting(one, "ear->fuse", audio(1))
    assert second.waits()
    one.close_session("s")
    one.open("s")
    assert second.ended()
    assert second.answer is False
    assert ready(one) == []


def test_nothing_goes_to_a_session_that_is_not_open():
    one = one_input()
    assert one.put("ear->fuse", audio(0, "other")) is False
    assert one.room("ear->fuse", "other") is None
    assert one.room("ear->fuse", "s") == 8


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
def test_a_live_lane_never_makes_its_sender_wait(overflow):
    one = one_input(capacity=2, overflow=overflow)
    for second in range(5):
        assert one.put("ear->fuse", audio(second))
    assert one.room("ear->fuse", "s") == 2  # a sender elsewhere may always send
    lost = [("gap", 0), ("audio", 3), ("audio", 4)]
    kept = [("audio", 0), ("audio", 1), ("gap", 2)]
    assert shape(ready(one)) == (lost if overflow == "drop_oldest" else kept)
    (report,) = one.close_session("s")
    assert (report.edge, report.session, report.peak, report.dropped) == ("ear->fuse", "s", 2, 3)


def test_take_waits_for_a_packet_and_close_ends_it():
    one = one_input()
    taken = queue.Queue()
    taker = threading.Thread(target=lambda: [taken.put(item) for item in iter(one.take, None)], daemon=True)
    taker.start()
    one.put("ear->fuse", audio(7))
    assert taken.get(timeout=WAIT_S).packet.start == 7
    assert taker.is_alive()
    one.close()
    taker.join(WAIT_S)
    assert not taker.is_alive()


def test_calls_come_before_packets_and_survive_close():
    one = one_input()
    one.put("ear->fuse", audio(0))
    calls = [lambda: None, lambda: None]
    for call in calls:
        one.call(call)
    assert one.take() is calls[0]
    one.close()
    assert one.take() is calls[1]
    assert one.take() is None


# Batches


def test_take_more_gives_each_session_once():
    one = one_input(sessions=("a", "b", "c"))
    for session in "aabbc":
        one.put("ear->fuse", audio(0.0, session))
    taken = [one.take().packet.session]
    while (item := one.take_more("fuse", taken, None)) is not None:
        taken.append(item.packet.session)
    assert sorted(taken) == ["a", "b", "c"]


def test_take_more_waits_until_its_deadline():
    one = one_input()
    begun = time.monotonic()
    assert one.take_more("fuse", (), begun + 0.1) is None
    assert time.monotonic() - begun >= 0.1
    late = Putting(one, "ear->fuse", audio(0))
    assert isinstance(one.take_more("fuse", (), time.monotonic() + WAIT_S), Item)
    assert late.ended()


def test_take_more_gives_way_to_a_call():
    one = one_input()
    one.put("ear->fuse", audio(0))
    one.call(lambda: None)
    assert one.take_more("fuse", (), time.monotonic() + WAIT_S) is None


def test_take_more_is_released_by_close():
    one = one_input()
    threading.Timer(SOON_S, one.close).start()
    begun = time.monotonic()
    assert one.take_more("fuse", (), begun + WAIT_S) is None
    assert time.monotonic() - begun < WAIT_S / 2


# Lanes between two nodes of the worker


def chained():
    inner = edge("mel", capacity=2)
    made = Inbox(
        [Inlet(node("mel"), (edge("mic", "mel", capacity=4),), (inner.name,)), Inlet(node(), (inner, edge("eye")))]
    )
    made.open("s")
    return made


def test_a_node_is_not_served_while_a_lane_that_it_fills_is_full():
    one = chained()
    for second in range(3):
        one.put("mic->mel", audio(second))
    for _ in range(2):
        one.push("mel->fuse", one.take_for("mel", "s").packet)
    assert one.take_for("mel", "s") is None
    one.put("eye->fuse", video(0, 0.5))
    assert shape(ready(one)) == [("audio", 0), ("video", 0)]
    assert shape(ready(one, "mel")) == [("audio", 2)]


def test_a_burst_of_the_taking_thread_is_kept_whole():
    one = chained()
    for second in range(5):
        one.push("mel->fuse", audio(second))
    one.put("eye->fuse", control(End()))
    assert shape(ready(one)) == [("audio", second) for second in range(5)]
    assert one.room("mel->fuse", "s") == 2


# Room, for a sender elsewhere


class Asking(threading.Thread):
    def __init__(self, one, lanes, timeout_s=WAIT_S, obsolete=lambda: False):
        super().__init__(daemon=True)
        self._ask = lambda: one.wait_for_room(lanes, timeout_s, obsolete)
        self.start()

    def run(self):
        self._ask()

    waits = Putting.waits
    ended = Putting.ended


LANE = ("ear->fuse", "s", 0)


@pytest.mark.parametrize(
    "release", [Inbox.take, lambda one: one.close_session("s"), Inbox.close], ids=["take", "session", "all"]
)
def test_waiting_for_room_ends(release):
    one = one_input(capacity=1)
    one.put("ear->fuse", audio(0))
    asking = Asking(one, [LANE])
    assert asking.waits()
    release(one)
    assert asking.ended()


def test_a_sender_hears_of_room_once_it_is_worth_a_message():
    one = one_input(capacity=4)
    for second in range(4):
        one.put("ear->fuse", audio(second))
    asking = Asking(one, [LANE])
    one.take()
    assert asking.waits()
    one.take()
    assert asking.ended()
    assert Asking(one_input(capacity=4, overflow="drop_oldest"), [LANE]).ended()


def test_waiting_for_room_gives_up_in_time():
    one = one_input(capacity=1)
    one.put("ear->fuse", audio(0))
    assert Asking(one, [LANE], timeout_s=0.01).ended()
    assert one.rooms([LANE, ("ear->fuse", "gone", 0)]) == {LANE: 0, ("ear->fuse", "gone", 0): None}


def test_a_later_question_about_room_ends_the_one_before():
    one = one_input(capacity=1)
    one.put("ear->fuse", audio(0))
    asked = [1]
    first = Asking(one, [LANE], obsolete=lambda: asked[0] > 1)
    assert first.waits()
    asked[0] = 2
    second = Asking(one, [LANE], obsolete=lambda: asked[0] > 2)
    assert first.ended()
    assert second.waits()
    one.take()
    assert second.ended()


# Live sessions that are late


def bounded(clock, capacity=4, sessions=("s",), **opening):
    """An inbox whose packets, captured at second 0, are late from second 10 on."""
    made = Inbox([Inlet(node(), (edge("ear", capacity=capacity),))], bound=LagBound(10.0, clock))
    for session in sessions:
        made.open(session, **opening)
    return made


def test_a_sender_goes_on_when_what_fills_its_lane_is_given_up():
    clock = ManualClock(0.0)
    one = bounded(clock, capacity=1)
    heard = []
    one.on_room = lambda: heard.append(one.room("ear->fuse", "s"))
    one.put("ear->fuse", audio(0))
    clock.advance(11.0)
    second = Putting(one, "ear->fuse", audio(1))
    assert second.waits()
    taking = threading.Thread(target=one.take, daemon=True)
    taking.start()
    assert second.ended()
    assert second.answer is True
    assert heard[0] == 1  # a worker before this one hears of it, though nothing has come out
    one.put("ear->fuse", control(End(), 2.0))
    taking.join(WAIT_S)
    assert not taking.is_alive()


def test_a_loss_is_told_though_nothing_more_arrives():
    clock = ManualClock(0.0)
    one = bounded(clock)
    one.put("ear->fuse", audio(0))
    clock.advance(11.0)
    taken = queue.Queue()
    taker = threading.Thread(target=lambda: taken.put(one.take()), daemon=True)
    taker.start()
    with pytest.raises(queue.Empty):
        taken.get(timeout=SOON_S)
    clock.advance(HOLD_S)
    item = taken.get(timeout=WAIT_S)
    assert shape([item]) == [("gap", 0)]
    assert item.packet.end == 1
    assert STALL_POLL_S < HOLD_S  # it is looked for often enough
    (report,) = one.close_session("s")
    assert (report.dropped, report.reasons) == (1, {"late_audio": 1})


def test_a_session_that_is_not_live_is_never_late():
    clock = ManualClock(0.0)
    one = bounded(clock, live=False)
    one.put("ear->fuse", audio(0))
    clock.advance(1e6)
    assert shape(ready(one)) == [("audio", 0)]


def test_a_session_that_was_put_back_is_excused():
    clock = ManualClock(0.0)
    one = bounded(clock, epoch=1)
    clock.advance(11.0)
    one.push("ear->fuse", audio(0), epoch=1)
    assert shape(ready(one)) == [("audio", 0)]


def test_an_overloaded_session_takes_no_turn_from_the_others():
    """Every session gets its packets in the order and at the turn that it would without the late one."""
    turns = {}
    for late in (0, 50):
        clock = ManualClock(0.0)
        one = bounded(clock, capacity=100, sessions=("late", "a", "b"))
        for second in range(late):
            one.put("ear->fuse", audio(second, "late"))
        clock.advance(11.0)
        for second in range(3):
            for session in ("a", "b"):
                one.put("ear->fuse", replace(audio(second, session), captured_at=11.0))
        turns[late] = [one.take().packet.session for _ in range(6)]
    assert turns[50] == turns[0] == ["a", "b"] * 3


def test_a_full_lane_delays_the_others_by_one_packet_a_turn():
    one = one_input(capacity=64, sessions=("full", *"abcdefg"))
    for second in range(64):
        one.put("ear->fuse", audio(second, "full"))
    waited = []
    for second in range(10):
        for session in "abcdefg":
            one.put("ear->fuse", audio(second, session))
        served = [one.take().packet.session for _ in range(8)]
        waited += [served.index(session) for session in "abcdefg"]
        assert served.count("full") == 1
    assert max(waited) <= 7
