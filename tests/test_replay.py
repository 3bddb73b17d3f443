"""Packets from memory as sources, and the sink that puts them there."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from mmstream.drive import run_to_end, running
from mmstream.media import AudioChunk, Features, Gap, Mouth, VideoFrame
from mmstream.testing import ManualClock
from operators.sources.replay import Record, Replay, ReplayAudio, ReplayMouths, ReplayVideo
from tests.toys import Add, Keep, Pair, Pictures, Tone, graph, node, numbers


def recorded(source: Any, session: str = "first") -> list[Any]:
    return list(source.packets(session))


def test_fast_is_the_same_media_now_under_another_name() -> None:
    before = recorded(Tone(count=3))
    source = Replay(before)
    source.clock = clock = ManualClock(500.0)
    after = recorded(source, "second")
    assert [(one.session, one.captured_at) for one in after] == [("second", 500.0)] * 3
    assert clock.now() == 500.0
    assert [(one.start, one.end) for one in after] == [(one.start, one.end) for one in before]
    assert all(one.data is other.data for one, other in zip(after, before, strict=True))


def test_in_real_time_each_packet_comes_at_its_end() -> None:
    source = Replay(recorded(Tone(count=3)), pace="realtime")
    source.clock = clock = ManualClock(500.0)
    came = [(packet.captured_at, clock.now()) for packet in source.packets("s")]
    assert [captured for captured, _ in came] == pytest.approx([500.1, 500.2, 500.3])
    assert [now for _, now in came] == pytest.approx([500.1, 500.2, 500.3])


def test_sources_with_one_origin_keep_step_however_late_one_begins() -> None:
    sound, sight = recorded(Tone(count=2)), recorded(Pictures(count=5))
    captured = []
    for packets, begins in ((sound, 500.0), (sight, 500.9)):
        source = Replay(packets, pace="realtime", origin=501.0)
        source.clock = ManualClock(begins)
        captured.append([packet.captured_at for packet in source.packets("s")])
    assert captured[0] == pytest.approx([501.1, 501.2])
    assert captured[1] == pytest.approx([501.04, 501.08, 501.12, 501.16, 501.2])


@pytest.mark.parametrize("pace", ["fast", "realtime"])
def test_it_ends_when_stopped(pace: Any) -> None:
    source = Replay(recorded(Tone(count=100)), pace)
    source.clock = ManualClock()
    given = []
    for packet in source.packets("s"):
        given.append(packet)
        if len(given) == 3:
            source.stop()
    assert len(given) == 3


def test_packets_may_be_made_on_the_way_and_again_for_each_session() -> None:
    class Endless:
        def __iter__(self) -> Any:
            return Tone(endless=True, pause_s=1e-6).packets("x")

    source = Replay(Endless())
    for session in ("one", "two"):
        assert next(source.packets(session)).session == session


def test_arguments() -> None:
    assert recorded(Replay()) == []
    with pytest.raises(ValueError, match="pace must be realtime or fast, not 'slow'"):
        Replay(pace="slow")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="packets must be an iterable"):
        Replay(3)
    assert [kind.emits for kind in (ReplayAudio, ReplayVideo, ReplayMouths)] == [(AudioChunk,), (VideoFrame,), (Mouth,)]


def test_what_a_graph_gives_is_recorded_once_and_played_into_another() -> None:
    kept: dict[str, list[Any]] = {}
    front = graph(
        [node("tone", Tone, count=4), node("record", Record, kept=kept)],
        [("tone", "record")],
        {"main": ["tone", "record"]},
    )
    with running("local", front) as executor:
        assert run_to_end(executor, "clip").error is None
    summed: dict[str, list[Any]] = {}
    nodes = [node("replay", ReplayAudio), node("add", Add), node("keep", Keep, kept=summed)]
    back = graph(nodes, [("replay", "add"), ("add", "keep")], {"main": ["replay", "add", "keep"]})
    with running("local", back) as executor:
        for session, packets in (("all", kept["clip"]), ("half", kept["clip"][:2]), ("none", [])):
            assert run_to_end(executor, session, {"replay": {"packets": packets}}).error is None
    assert {session: numbers(packets) for session, packets in summed.items()} == {
        "all": [0.0, 1.0, 3.0, 6.0, -1.0],
        "half": [0.0, 1.0, -1.0],
        "none": [-1.0],
    }


def test_two_media_from_memory_are_joined_in_media_order() -> None:
    kept: dict[str, list[Any]] = {}
    nodes = [node("sound", ReplayAudio), node("sight", ReplayVideo), node("pair", Pair), node("keep", Keep, kept=kept)]
    edges = [("sound", "pair"), ("sight", "pair"), ("pair", "keep")]
    played = {"sound": {"packets": recorded(Tone(count=4))}, "sight": {"packets": recorded(Pictures(count=10))}}
    with running("local", graph(nodes, edges, {"main": [one.name for one in nodes]})) as executor:
        for _ in range(2):
            assert run_to_end(executor, "s", played).error is None
            given = kept.pop("s")
            assert all(isinstance(packet.data, Features) for packet in given)
            starts = [packet.start for packet in given]
            assert starts == sorted(starts)
            assert len(starts) == 14


def test_the_record_holds_gaps_too_and_only_sessions_that_ended_well() -> None:
    kept: dict[str, list[Any]] = {}
    record = Record(kept)
    packet = recorded(Tone(count=1))[0]
    gone = dataclasses.replace(packet, data=Gap("audio", "lost"))
    whole, broken = record.open("whole"), record.open("broken")
    for state in (whole, broken):
        assert [*record.process(packet, state), *record.process(gone, state)] == []
    record.discard(broken)
    assert list(record.flush(whole)) == []
    assert kept == {"whole": [packet, gone]}
