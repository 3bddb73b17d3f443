"""Two inputs come out of an inbox in one order of media time, and what bounds the waiting for it."""

import time
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from mmstream import inbox as inbox_module
from mmstream import join as join_module
from mmstream.core import Barrier, End, Sink, Watermark
from mmstream.inbox import Inbox
from mmstream.join import Inlet
from mmstream.overload import HOLD_S, LagBound
from mmstream.testing import ManualClock
from tests.conftest import WAIT_S
from tests.lanes import audio, control, edge, node, ready, shape, two_inputs, video


@st.composite
def lanes(draw):
    """Packets of one lane in media order, with true watermarks between them; quarters of seconds, so ties occur."""
    made, now = [], 0.0
    for step in draw(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 4), st.booleans()), max_size=12)):
        pause, length, mark = step
        now += pause / 4
        if mark:
            made.append((now, now, Watermark()))
        made.append((now, now + length / 4, None))
        now += length / 4
    return [*made, (now, now, End())]


@given(lanes(), lanes(), st.randoms(use_true_random=False))
def test_two_inputs_come_out_in_one_order_whatever_order_they_arrive_in(heard, seen, random):
    one = two_inputs(capacity=100)
    waiting = {"ear->fuse": list(heard), "eye->fuse": list(seen)}
    out = []
    while any(waiting.values()):
        name = random.choice([name for name, rest in waiting.items() if rest])
        start, end, data = waiting[name].pop(0)
        packet = (
            (audio(start, end=end) if name == "ear->fuse" else video(start, end))
            if data is None
            else control(data, start)
        )
        one.put(name, packet)
        if random.random() < 0.5:
            out += ready(one)
    out += ready(one)

    media = [item for item in out if not isinstance(item.packet.data, (Watermark, End))]
    expected = [("audio", start) for start, _, data in heard if data is None]
    expected += [("video", start) for start, _, data in seen if data is None]
    assert shape(media) == sorted(expected, key=lambda one: (one[1], one[0]))
    assert shape(out)[-1][0] == "end"
    assert [kind for kind, _ in shape(out)].count("end") == 1
    for number, item in enumerate(out):  # every watermark is true
        assert all(later.packet.start >= item.reached for later in out[number + 1 :] if later in media)


def test_a_packet_waits_until_the_other_input_has_passed_it():
    one = two_inputs()
    one.put("ear->fuse", audio(5))
    assert ready(one) == []
    one.put("eye->fuse", video(3))  # up to 4
    assert shape(ready(one)) == [("video", 3)]
    one.put("eye->fuse", video(4))  # up to 5
    assert shape(ready(one)) == [("video", 4), ("audio", 5)]


def test_at_the_same_start_the_first_edge_goes_first():
    one = two_inputs()
    one.put("ear->fuse", audio(4))
    one.put("eye->fuse", video(5))
    assert shape(ready(one)) == [("audio", 4)]
    one.put("ear->fuse", audio(5))
    assert shape(ready(one)) == [("audio", 5), ("video", 5)]


def test_watermarks_let_packets_go_and_are_passed_on():
    one = two_inputs()
    one.put("ear->fuse", audio(0))
    one.put("eye->fuse", control(Watermark(), 0.5))
    assert shape(ready(one)) == [("audio", 0)]
    one.put("eye->fuse", control(Watermark(), 0.75))
    assert shape(ready(one)) == [("mark", 0.75)]
    one.put("eye->fuse", control(Watermark(), 3.0))
    assert shape(ready(one)) == [("mark", 1.0)]  # as far as both have come


def test_the_end_comes_once_after_every_input_has_ended():
    one = two_inputs()
    one.put("ear->fuse", audio(0))
    one.put("eye->fuse", control(End()))
    assert shape(ready(one)) == [("audio", 0)]
    one.put("ear->fuse", control(End(), 1.0))
    assert shape(ready(one)) == [("end", 1.0)]
    assert ready(one) == []


def test_an_input_that_ends_no_longer_holds_the_watermark():
    one = two_inputs()
    one.put("ear->fuse", audio(0))
    one.put("eye->fuse", control(Watermark(), 9.0))
    assert shape(ready(one)) == [("audio", 0)]
    one.put("ear->fuse", control(End(), 1.0))
    assert shape(ready(one)) == [("mark", 9.0)]
    one.put("eye->fuse", control(Watermark(), 12.0))
    assert shape(ready(one)) == [("mark", 12.0)]


def test_max_skew_bounds_what_is_held():
    one = two_inputs(capacity=100, max_skew_s=3.0)
    one.put("eye->fuse", video(0))
    one.put("ear->fuse", audio(0))
    assert shape(ready(one)) == [("audio", 0), ("video", 0)]
    for second in range(1, 4):
        one.put("ear->fuse", audio(second))
    assert shape(ready(one)) == [("audio", 1)]  # the picture has come as far as 1; 4 is 3 ahead
    one.put("ear->fuse", audio(4))
    assert shape(ready(one)) == [("audio", 2), ("audio", 3), ("audio", 4)]


def test_max_skew_holds_for_an_input_that_has_yet_to_begin():
    one = two_inputs(capacity=100, max_skew_s=3.0)
    for second in range(100, 103):
        one.put("ear->fuse", audio(second))
    assert ready(one) == []
    one.put("eye->fuse", video(100))
    assert shape(ready(one)) == [("audio", 100), ("video", 100), ("audio", 101)]


def test_live_lanes_do_not_wait_once_full():
    one = two_inputs(capacity=2, overflow="drop_oldest")
    one.put("ear->fuse", audio(0))
    assert ready(one) == []
    one.put("ear->fuse", audio(1))
    assert shape(ready(one)) == [("audio", 0)]


def test_a_full_lane_waits_for_a_silent_one_and_then_goes_on(monkeypatch, caplog):
    monkeypatch.setattr(join_module, "STALL_S", 0.2)
    one = two_inputs(capacity=2)
    one.put("ear->fuse", audio(0))
    one.put("ear->fuse", audio(1))
    begun = time.monotonic()
    assert one.take().packet.start == 0
    assert time.monotonic() - begun >= 0.2
    assert [record.getMessage() for record in caplog.records] == [
        "session s: ear->fuse is full and waits for eye->fuse; going on. A larger capacity would keep them in step"
    ]
    begun = time.monotonic()
    for second in range(2, 50):  # the silent one is not waited for again with every packet
        one.put("ear->fuse", audio(second))
        assert one.take().packet.start == second - 1
    assert time.monotonic() - begun < 2.0
    assert len(caplog.records) == 1


def test_an_input_that_is_heard_again_is_waited_for_again(monkeypatch, caplog):
    monkeypatch.setattr(join_module, "STALL_S", 0.1)
    one = two_inputs(capacity=2)
    one.put("ear->fuse", audio(0))
    one.put("ear->fuse", audio(1))
    assert one.take().packet.start == 0
    one.put("eye->fuse", video(0, 0.5))
    assert shape(ready(one)) == [("video", 0)]
    one.put("ear->fuse", audio(2))
    assert ready(one) == []  # full, and waiting anew
    assert one.take().packet.start == 1
    assert len(caplog.records) == 2


def test_an_input_that_comes_on_slowly_is_waited_for(monkeypatch, caplog):
    now = [0.0]
    for module in (inbox_module, join_module):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    one = two_inputs(capacity=2)
    one.put("ear->fuse", audio(10))
    one.put("ear->fuse", audio(11))
    for second in range(1, 10):
        now[0] += join_module.STALL_S * 0.9
        one.put("eye->fuse", control(Watermark(), float(second)))
        assert ready(one) == []
    assert not caplog.records
    now[0] += join_module.STALL_S
    one.put("eye->fuse", control(Watermark(), 9.0))
    assert shape(ready(one)) == [("audio", 10)]


def test_a_stalled_join_is_not_forgotten_while_others_are_busy(monkeypatch):
    monkeypatch.setattr(join_module, "STALL_S", 0.1)
    one = two_inputs(capacity=2)
    one.open("busy")
    one.put("ear->fuse", audio(0))
    one.put("ear->fuse", audio(1))
    one.put("eye->fuse", control(End(), session="busy"))
    deadline = time.monotonic() + WAIT_S
    served = []
    while "s" not in served and time.monotonic() < deadline:
        one.put("ear->fuse", audio(float(len(served)), "busy"))
        served.append(one.take().packet.session)
    assert served[-1] == "s"


def late_inputs(clock, capacity=8):
    """Two inputs whose packets are captured at second 0, with a bound of 10 s."""
    one = Inbox([Inlet(node(), (edge("ear", capacity=capacity), edge("eye")))], bound=LagBound(10.0, clock))
    one.open("s")
    return one


def test_video_that_is_given_up_leaves_the_sound_alone():
    clock = ManualClock(0.0)
    one = late_inputs(clock)
    for second in range(3):
        one.put("ear->fuse", audio(second))
        one.put("eye->fuse", video(second))
    clock.advance(7.0)
    for name in ("ear->fuse", "eye->fuse"):
        one.put(name, control(End(), 3.0))
    media = [entry for entry in shape(ready(one)) if entry[0] != "mark"]
    assert media == [("audio", 0), ("gap", 0), ("audio", 1), ("audio", 2), ("end", 3.0)]


def test_a_full_lane_goes_on_once_the_loss_of_the_other_is_told():
    clock = ManualClock(0.0)
    one = late_inputs(clock, capacity=1)
    one.put("ear->fuse", audio(5))
    one.put("eye->fuse", video(6))
    clock.advance(7.0)
    assert ready(one) == []
    clock.advance(HOLD_S)
    begun = time.monotonic()
    assert one.take().packet.start == 5
    assert time.monotonic() - begun < join_module.STALL_S / 2


def test_a_loss_belongs_to_the_snapshot_that_it_came_before():
    clock = ManualClock(0.0)
    one = late_inputs(clock)
    one.put("ear->fuse", audio(0))
    one.put("ear->fuse", control(Barrier(1), 0.0))
    one.put("eye->fuse", control(Watermark(), 9.0))
    clock.advance(11.0)
    kinds = [type(item.packet.data).__name__ for item in ready(one)]
    assert kinds == ["Gap", "Barrier"]


def test_a_sink_that_takes_its_inputs_in_any_order_waits_for_none():
    class AnyOrder(Sink):
        any_order = True

    ordered, free = two_inputs(capacity=100), two_inputs(capacity=100, kind=AnyOrder)
    for one in (ordered, free):
        one.put("eye->fuse", video(0.0, 0.1))
        one.put("eye->fuse", video(0.1, 0.2))
    assert shape(ready(ordered)) == []
    assert shape(ready(free)) == [("video", 0.0), ("video", 0.1)]
    free.put("ear->fuse", audio(0.0, end=0.05))
    assert shape(ready(free)) == [("audio", 0.0)]
