"""Nothing is lost silently: what is put into a lane comes out in order, or a gap says where it was."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmstream.core import End, Packet, Watermark
from mmstream.graph import Edge
from mmstream.lane import Lane, promise
from mmstream.media import AudioChunk, Gap, Hypothesis, VideoFrame

DEVICE = "the device overflowed"


def lane(capacity, overflow):
    return Lane(Edge("mic", "mel", (AudioChunk, VideoFrame), capacity, overflow), "s")


def packet(start, end, data):
    return Packet("s", float(start), float(end), data, 100.0 + end)


def audio(second):
    return packet(second, second + 1, AudioChunk(np.zeros((1, 1), np.float32), 16000))


def video(second):
    return packet(second, second + 1, VideoFrame(np.zeros((1, 1, 3), np.uint8)))


def take_all(one):
    return [one.take() for _ in range(len(one))]


def shape(packets):
    """Packets as (kind, start, end), for comparison."""
    kinds = {AudioChunk: "audio", VideoFrame: "video", End: "end", Watermark: "mark"}
    return [(kinds.get(type(one.data)) or f"no {one.data.medium}", int(one.start), int(one.end)) for one in packets]


def test_a_lane_that_blocks_says_when_it_is_full():
    one = lane(2, "block")
    one.put(audio(0))
    assert one.accepts_more
    one.put(audio(1))
    assert not one.accepts_more
    one.take()
    assert one.accepts_more
    assert one.report.peak == 2


def test_drop_oldest_keeps_the_newest_and_marks_the_loss():
    one = lane(2, "drop_oldest")
    for second in range(5):
        one.put(audio(second))
    out = take_all(one)
    assert shape(out) == [("no audio", 0, 3), ("audio", 3, 4), ("audio", 4, 5)]
    assert out[0].data.reason == "mic->mel was full (2 packets)"
    assert one.dropped == 3


def test_drop_newest_keeps_the_oldest_and_marks_the_loss():
    one = lane(2, "drop_newest")
    for second in range(5):
        one.put(audio(second))
    assert shape(take_all(one)) == [("audio", 0, 1), ("audio", 1, 2), ("no audio", 2, 5)]
    assert one.dropped == 3


def test_a_loss_behind_another_gap_is_marked_behind_it():
    one = lane(1, "drop_oldest")
    one.put(packet(0, 1, Gap("audio", DEVICE)))
    one.put(audio(1))
    one.put(audio(2))
    out = take_all(one)
    assert shape(out) == [("no audio", 0, 1), ("no audio", 1, 2), ("audio", 2, 3)]
    assert out[0].data.reason == DEVICE


def test_losses_with_something_between_them_are_two_gaps():
    one = lane(1, "drop_newest")
    one.put(audio(0))
    one.put(audio(1))
    one.take()
    one.put(audio(2))
    one.put(audio(3))
    assert shape(take_all(one)) == [("no audio", 1, 2), ("audio", 2, 3), ("no audio", 3, 4)]


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
def test_mixed_media_lose_one_gap_each(overflow):
    one = lane(2, overflow)
    for second in range(50):
        one.put(audio(second))
        one.put(video(second))
    assert len(one) == 4  # gaps take no room, so they must not pile up
    lost = {gap for gap in shape(take_all(one)) if gap[0].startswith("no")}
    first, last = (0, 49) if overflow == "drop_oldest" else (1, 50)
    assert lost == {("no audio", first, last), ("no video", first, last)}


def test_a_shown_text_that_is_lost_leaves_a_gap_over_all_of_it():
    one = lane(1, "drop_oldest")
    for start, end in [(0, 5), (1, 3), (2, 4)]:
        one.put(packet(start, end, Hypothesis((), final=False)))
    assert shape(take_all(one)[:1]) == [("no audio", 0, 5)]


def test_watermarks_in_a_row_do_not_pile_up():
    one = lane(1, "block")
    one.put(audio(0))
    for second in range(1, 1000):
        one.put(packet(second, second, Watermark()))
    assert shape(take_all(one)) == [("audio", 0, 1), ("mark", 999, 999)]


@pytest.mark.parametrize("overflow", ["block", "drop_oldest", "drop_newest"])
def test_the_end_is_never_lost(overflow):
    one = lane(1, overflow)
    one.put(audio(0))
    one.put(packet(1, 1, End()))
    assert shape(take_all(one)) == [("audio", 0, 1), ("end", 1, 1)]


def test_the_watermark_moves_with_what_is_taken():
    one = Lane(Edge("mic", "mel", (AudioChunk,), 4, "block"), "s")
    one.put(audio(0))
    one.put(packet(1, 3, Hypothesis((), final=False)))
    one.put(packet(2, 2, Watermark()))
    one.put(packet(2, 2, End()))
    assert one.watermark == -float("inf")
    marks = []
    while len(one):
        one.take()
        marks.append(one.watermark)
    assert marks == [1.0, 1.0, 2.0, float("inf")]  # a text may be shown again from the same start
    assert one.newest == 3.0


def test_promises():
    sound = Edge("mic", "fuse", (AudioChunk,), 8, "block")
    both = Edge("file", "fuse", (AudioChunk, VideoFrame), 8, "block")
    assert promise(audio(3), sound) == 4.0
    assert promise(audio(3), both) == 3.0  # pictures of the same second may follow
    assert promise(packet(3, 9, Hypothesis((), final=True)), sound) == 3.0
    assert promise(packet(3, 9, Gap("audio", DEVICE)), sound) == 3.0
    assert promise(packet(3, 3, End()), both) == float("inf")


ACTIONS = st.lists(st.sampled_from(["audio", "audio", "audio", "gap", "mark", "take"]), max_size=60)


@given(actions=ACTIONS, capacity=st.integers(1, 4), overflow=st.sampled_from(["block", "drop_oldest", "drop_newest"]))
def test_what_is_put_comes_out_in_order_or_is_covered_by_a_gap(actions, capacity, overflow):
    one = lane(capacity, overflow)
    put, taken, waiting, peak, now = [], [], 0, 0, 0
    for action in actions:
        if action == "take":
            if len(one):
                taken.append(one.take())
                waiting -= isinstance(taken[-1].data, AudioChunk)
            continue
        if action == "mark":
            one.put(packet(now, now, Watermark()))
            continue
        if action == "gap":
            one.put(packet(now, now + 1, Gap("audio", DEVICE)))
        elif one.accepts_more:
            one.put(audio(now))
            put.append(now)
            waiting = min(waiting + 1, capacity)
            peak = max(peak, waiting)
        else:
            continue
        now += 1
        assert one.room == capacity - waiting
    one.put(packet(now, now, End()))
    taken += take_all(one)

    assert isinstance(taken[-1].data, End)
    assert sum(isinstance(out.data, End) for out in taken) == 1
    media = [out for out in taken if isinstance(out.data, (AudioChunk, Gap))]
    assert [out.start for out in media] == sorted(out.start for out in media)
    arrived = {int(out.start) for out in media if isinstance(out.data, AudioChunk)}
    losses = [
        (int(out.start), int(out.end))
        for out in media
        if out.data != Gap("audio", DEVICE) and int(out.start) not in arrived
    ]
    missing = set(put) - arrived
    covered = {second for start, end in losses for second in range(start, end)}
    assert missing <= covered
    assert not covered & arrived
    assert all(start in missing and end - 1 in missing for start, end in losses)
    assert one.dropped == len(missing)
    assert one.peak == peak
    assert not (missing and overflow == "block")


@given(st.integers(1, 4), st.integers(1, 30), st.sampled_from(["drop_oldest", "drop_newest"]))
def test_one_overflow_is_one_gap(capacity, count, overflow):
    one = lane(capacity, overflow)
    for second in range(count):
        one.put(audio(second))
    assert sum(isinstance(out.data, Gap) for out in take_all(one)) == (count > capacity)
