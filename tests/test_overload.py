"""A live session that falls behind gives up media in order, says so, and is back under its bound; no other does."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.benchmarks.overload import Course, measure_overload
from mmstream.core import Barrier, End, Packet, Watermark
from mmstream.executors.outbox import Outbox
from mmstream.graph import Edge
from mmstream.lane import Lane
from mmstream.media import AudioChunk, Caption, FusedFeatures, Gap, Hypothesis, Translation, VideoFrame, VisualFeatures
from mmstream.overload import HOLD_S, LagBound, Shedding, is_live
from mmstream.pipeline import check, read_text
from mmstream.testing import ManualClock

BOUND_S = 10.0
SOUND = AudioChunk(np.zeros((1, 1), np.float32), 16000)
PICTURE = VideoFrame(np.zeros((1, 1, 3), np.uint8))
PARTIAL = Hypothesis((), final=False)
FINAL = Hypothesis((), final=True)
GERMAN = Translation(0, (), (), False, "de")


@pytest.fixture
def clock():
    return ManualClock(1_000.0)


@pytest.fixture
def one(clock):
    return lane(clock)


def lane(clock, overflow="block", capacity=1000, excused=False):
    edge = Edge("mic", "mel", (AudioChunk, VideoFrame), capacity, overflow)
    return Lane(edge, "s", Shedding(LagBound(BOUND_S, clock, excused_s=60.0), excused=excused))


def old(age_s, start, data=SOUND, now=1_000.0):
    """A second of media from ``start`` on, captured ``age_s`` before ``now``."""
    return Packet("s", float(start), start + 1.0, data, now - age_s)


def control(at, data):
    return Packet("s", float(at), float(at), data, 0.0)


def emptied(one):
    """All that its reader gets now."""
    out = []
    while True:
        one.shed()
        if one.head is None:
            return out
        out.append(one.take())


def shape(packets):
    packets = list(packets)
    kinds = {AudioChunk: "audio", VideoFrame: "video", Watermark: "mark"}
    names = [f"no {one.data.medium}" if isinstance(one.data, Gap) else kinds[type(one.data)] for one in packets]
    return [(name, int(one.start), int(one.end)) for name, one in zip(names, packets, strict=True)]


def starts(packets):
    return [int(one.start) for one in packets]


# What goes, and when


@pytest.mark.parametrize(
    ("data", "age_s", "reason"),
    [
        (PICTURE, 6.0, None),
        (PICTURE, 6.1, "late_video"),
        (VisualFeatures(None, None, 25.0), 6.0, None),
        (VisualFeatures(None, None, 25.0), 6.1, "late_video"),
        (SOUND, 10.0, None),
        (SOUND, 10.1, "late_audio"),
        (FusedFeatures(None, None, 25.0), 10.1, "late_audio"),
        (PARTIAL, 1000.0, None),  # no newer one waits
        (FINAL, 1000.0, None),
        (Gap("audio", "the device overflowed"), 1000.0, None),
        (Barrier(1), 1000.0, None),
        (End(), 1000.0, None),
        ("a payload of somebody's own", 1000.0, None),
    ],
)
def test_each_payload_has_its_share_of_the_bound(one, data, age_s, reason):
    one.put(old(age_s, 0, data))
    one.put(control(1, End()))
    first = emptied(one)[0]
    assert one.report.reasons == ({} if reason is None else {reason: 1})
    assert one.report.dropped == (reason is not None)
    assert (first.data == data) is (reason is None)


def test_a_lane_without_a_bound_keeps_what_is_late():
    one = Lane(Edge("mic", "mel", (AudioChunk,), 8, "block"), "s")
    for second in range(3):
        one.put(old(1e6, second))
    assert starts(emptied(one)) == [0, 1, 2]


@pytest.mark.parametrize(("age_s", "kept"), [(2.4, [0, 1, 2]), (2.6, [2])])
def test_a_partial_result_goes_where_a_newer_one_waits(one, age_s, kept):
    for number in range(3):
        one.put(old(age_s, number, PARTIAL))
    assert starts(emptied(one)) == kept
    assert one.dropped == 3 - len(kept)


@pytest.mark.parametrize(
    ("results", "kept"),
    [
        ([PARTIAL, FINAL, PARTIAL], [1, 2]),
        ([PARTIAL, Gap("audio", "lost"), PARTIAL], [0, 1, 2]),  # what was said before the gap
        ([Caption(0, (), (), False), Caption(0, (), (), True)], [1]),
        ([Caption(0, (), (), False), Caption(1, (), (), False)], [0, 1]),  # the last of its utterance
        ([Caption(0, (), (), True), Caption(0, (), (), True)], [0, 1]),
        ([PARTIAL, Watermark(), PARTIAL], [1, 2]),
        ([GERMAN, GERMAN], [1]),
        ([GERMAN, replace(GERMAN, language="fr"), replace(GERMAN, final=True)], [1, 2]),  # of each language apart
        ([GERMAN, Caption(0, (), (), False), Caption(0, (), (), True), replace(GERMAN, final=True)], [2, 3]),
        ([GERMAN, replace(GERMAN, index=1)], [0, 1]),
        ([replace(GERMAN, final=True), replace(GERMAN, final=True)], [0, 1]),
        ([GERMAN, Gap("audio", "lost"), GERMAN], [0, 1, 2]),
    ],
)
def test_no_result_goes_that_says_more_than_the_next(one, results, kept):
    for number, result in enumerate(results):
        one.put(old(100.0, number, result))
    assert starts(emptied(one)) == kept


def test_every_other_picture_goes_and_leaves_no_gap(one):
    for second in range(6):
        one.put(old(4.1, second, PICTURE))
    assert shape(emptied(one)) == [("video", 0, 1), ("video", 2, 3), ("video", 4, 5)]
    assert one.report.reasons == {"frame_rate": 3}
    for second in range(6, 8):
        one.put(old(3.9, second, PICTURE))
    assert starts(emptied(one)) == [6, 7]


def test_video_features_are_not_thinned(one):
    for second in range(4):
        one.put(old(5.0, second, VisualFeatures(None, None, 25.0)))
    assert len(emptied(one)) == 4


def test_video_stays_away_until_it_is_young_again(one):
    for second, age_s in enumerate([6.1, 5.0, 3.1, 3.0, 5.0]):
        one.put(old(age_s, second, PICTURE))
    assert shape(emptied(one)) == [("no video", 0, 3), ("video", 3, 4), ("video", 4, 5)]


def test_video_goes_before_audio(one):
    for second in range(4):
        one.put(old(9.0, second, SOUND))
        one.put(old(9.0, second, PICTURE))
    out = emptied(one)
    assert [start for start, packet in zip(starts(out), out, strict=True) if packet.data is SOUND] == [0, 1, 2, 3]
    assert one.report.reasons == {"late_video": 4}


def test_audio_goes_in_one_stretch_down_to_half_the_bound(one):
    for second in range(12):
        one.put(old(10.3 - second, second))
    out = emptied(one)
    assert shape(out)[:2] == [("no audio", 0, 6), ("audio", 6, 7)]
    assert out[0].data.reason == "10.3 s behind, more than 10 s"
    assert starts(out[1:]) == [6, 7, 8, 9, 10, 11]
    assert one.report.reasons == {"late_audio": 6}


def test_both_media_of_a_lane_lose_one_gap_each_in_order(one):
    for second in range(4):
        one.put(old(11.0, second, PICTURE))
        one.put(old(11.0, second, SOUND))
    one.put(old(1.0, 4, SOUND))
    assert shape(emptied(one)) == [("no video", 0, 4), ("no audio", 0, 4), ("audio", 4, 5)]


def test_what_waits_at_the_head_goes_once_it_is_late_and_not_for_the_frame_rate(clock, one):
    one.put(old(5.0, 0, PICTURE))
    for _ in range(4):
        assert one.shed() == 0
    clock.advance(1.1)
    assert one.shed() == 1
    one.put(old(-1.1, 1, SOUND))
    assert shape(emptied(one)) == [("no video", 0, 1), ("audio", 1, 2)]


# How a loss is told


def test_a_stretch_goes_on_while_the_lane_is_refilled(clock, one):
    for second in range(5):
        one.put(old(20.0, second))
        assert one.shed() == 1
        assert one.head is None
        assert one.holds
    one.put(old(1.0, 5))
    assert shape(emptied(one)) == [("no audio", 0, 5), ("audio", 5, 6)]


def test_a_loss_is_told_when_nothing_follows_it(clock, one):
    one.put(old(20.0, 0))
    assert emptied(one) == []
    clock.advance(HOLD_S)
    assert shape(emptied(one)) == [("no audio", 0, 1)]
    assert not one.holds


@pytest.mark.parametrize("data", [End(), Barrier(1), Gap("audio", "the device overflowed"), FINAL])
def test_a_loss_is_told_before_what_never_goes(one, data):
    one.put(old(20.0, 0))
    one.put(control(1, data))
    assert [type(packet.data) for packet in emptied(one)] == [Gap, type(data)]


def test_no_watermark_overtakes_a_loss(one):
    one.put(old(20.0, 0))
    one.put(control(1, Watermark()))
    one.shed()
    assert one.head is None
    assert one.watermark == -float("inf")
    one.put(old(20.0, 1))
    one.put(control(2, Watermark()))
    one.put(old(0.0, 2))
    assert shape(emptied(one)) == [("no audio", 0, 2), ("mark", 2, 2), ("audio", 2, 3)]


def test_a_full_lane_loses_by_its_policy_besides(clock):
    one = lane(clock, "drop_oldest", capacity=2)
    for second in range(5):
        one.put(old(20.0 - second, second))
    one.put(control(5, End()))
    out = emptied(one)[:-1]
    assert shape(out) == [("no audio", 0, 3), ("no audio", 3, 5)]
    assert [packet.data.reason for packet in out] == [
        "mic->mel was full (2 packets)",
        "17.0 s behind, more than 10 s",
    ]
    assert one.report.reasons == {"full": 3, "late_audio": 2}


def test_room_comes_with_what_is_given_up(clock):
    one = lane(clock, capacity=2)
    one.put(old(20.0, 0))
    one.put(old(20.0, 1))
    assert not one.accepts_more
    assert one.shed() == 2
    assert one.room == 2


# After a recovery


def test_a_session_that_was_put_back_may_be_late_until_it_has_caught_up(clock):
    one = lane(clock, excused=True)
    for second, age_s in enumerate([30.0, 29.0, 5.1, 5.0, 10.1, 4.0]):
        one.put(old(age_s, second))
    assert shape(emptied(one)) == [
        ("audio", 0, 1),
        ("audio", 1, 2),
        ("audio", 2, 3),
        ("audio", 3, 4),
        ("no audio", 4, 5),
        ("audio", 5, 6),
    ]


def test_a_session_that_never_catches_up_is_not_excused_for_ever(clock):
    one = lane(clock, excused=True)
    one.put(old(30.0, 0))
    assert starts(emptied(one)) == [0]
    clock.advance(60.0)
    one.put(old(30.0, 1))
    assert emptied(one) == []
    assert one.dropped == 1


# The bound holds, whatever happens


@settings(deadline=None, max_examples=60)
@given(
    costs=st.lists(st.sampled_from([0.05, 0.25, 0.75, 3.0, 12.0]), min_size=1, max_size=50),
    video=st.booleans(),
    capacity=st.integers(1, 60),
)
def test_lag_is_bounded_and_every_lost_second_is_in_a_gap(costs, video, capacity):
    """A reader that takes ``costs`` seconds for each packet of 250 ms, behind a source that waits for room."""
    clock = ManualClock(0.0)
    one = lane(clock, capacity=capacity)
    bound_s = BOUND_S * (0.6 if video else 1.0)
    given, taken, told, marks = 0, 0, 0.0, [0.0]

    def took(packet):
        nonlocal taken, told
        marks.append(packet.start)
        if isinstance(packet.data, Gap):
            told += packet.end - packet.start
        else:
            taken += not isinstance(packet.data, End)

    for cost_s in costs:
        while one.accepts_more and (given + 1) / 4 <= clock.now():
            data = VisualFeatures(None, None, 25.0) if video else SOUND
            one.put(Packet("s", given / 4, (given + 1) / 4, data, (given + 1) / 4))
            given += 1
        one.shed()
        if one.head is None:
            clock.advance(0.25)
            continue
        packet = one.take()
        took(packet)
        if not isinstance(packet.data, Gap):
            assert clock.now() - packet.captured_at <= bound_s
            clock.advance(cost_s)
    one.put(control(given / 4, End()))
    for packet in emptied(one):
        took(packet)
    assert marks == sorted(marks)
    assert taken / 4 + told == given / 4
    assert one.dropped == given - taken


# On the way to another process


def sending(clock, **opening):
    one = Outbox(bound=LagBound(BOUND_S, clock))
    one.open("s", **opening)
    return one


EDGE = Edge("mic", "mel", (AudioChunk, VideoFrame), 4, "block")


def test_what_is_late_is_not_sent(clock):
    one = sending(clock)
    for second, age_s in enumerate([20.0, 20.0, 1.0, 1.0]):
        one.put(EDGE, old(age_s, second))
    batch, _ = one.take(0.0)
    assert shape(packet for *_, packet in batch) == [("no audio", 0, 2), ("audio", 2, 3), ("audio", 3, 4)]


def test_a_sender_goes_on_when_what_it_queued_is_given_up(clock):
    heard = []
    one = Outbox(lambda: heard.append(one.accepts("mic->mel", "s")), LagBound(BOUND_S, clock))
    one.open("s")
    for second in range(4):
        one.put(EDGE, old(20.0, second))
    assert not one.accepts("mic->mel", "s")
    assert one.take(0.0) == ([], None)
    assert heard == [True]
    clock.advance(HOLD_S)
    batch, _ = one.take()  # does not wait for another packet
    assert shape(packet for *_, packet in batch) == [("no audio", 0, 4)]


@pytest.mark.parametrize("last", [old(1.0, 2), control(2, End())], ids=["open lane", "ended lane"])
def test_what_was_not_sent_is_counted(clock, last):
    one = sending(clock)
    one.put(EDGE, old(20.0, 0))
    one.put(EDGE, old(20.0, 1))
    one.put(EDGE, last)
    one.take(0.0)
    (report,) = one.close_session("s", deliver=True)
    assert (report.edge, report.dropped, report.reasons) == ("mic->mel", 2, {"late_audio": 2})


@pytest.mark.parametrize("opening", [{"live": False}, {"epoch": 1}], ids=["not live", "put back"])
def test_a_session_may_be_excused_on_the_way(clock, opening):
    one = sending(clock, **opening)
    one.put(EDGE, old(20.0, 0), opening.get("epoch", 0))
    batch, _ = one.take(0.0)
    assert shape(packet for *_, packet in batch) == [("audio", 0, 1)]


# Which sessions


def graph(source, arguments="{}"):
    text = f"""
capacity: 8
nodes:
  source: {{use: operators.sources:{source}, with: {arguments}}}
  told: {{use: mmstream.benchmarks.overload:Told, from: source}}
"""
    return check(read_text(text, "<test>"), allow=["mmstream.benchmarks.overload"])


def test_only_media_at_the_pace_of_the_clock_can_be_too_late():
    assert is_live(graph("Microphone"))
    paced, fast = (graph("MediaFile", f"{{path: a.wav, pace: {pace}}}") for pace in ("realtime", "fast"))
    assert is_live(paced)
    assert not is_live(fast)
    assert is_live(fast, {"source": {"pace": "realtime"}})
    assert not is_live(paced, {"source": {"pace": "fast"}})


def test_a_graph_says_whether_there_is_a_bound(clock):
    made = graph("Microphone")
    assert LagBound.of(made, clock) == LagBound(5.0, clock, 60.0)
    assert LagBound.of(replace(made, max_lag_s=None), clock) is None


# A real run


def test_after_an_overload_the_lag_is_back_under_the_bound():
    course = Course(warm_s=0.5, overload_s=3.0, after_s=2.0, bound_s=1.0)
    report = measure_overload(1, course, lambda line: None)
    figures = {figure.name: figure for figure in report.figures}
    assert all(figure.met is not False for figure in report.figures), report.as_json()
    assert figures["media given up"].median > 0.5
    assert figures["lost and not in a gap"].median == 0
