"""OnCamera: speech marked by whether the lips on camera move, and how words come to know of it."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterable
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mmstream.benchmarks.drawn_face import draw_face
from mmstream.core import Packet
from mmstream.media import Gap, Mouth, Speech, Word
from mmstream.testing import run_operator
from operators.decoders import Sphinx, Whisper
from operators.decoders.sight import Sight
from operators.video import OnCamera
from operators.video.mouth_crop import FROZEN, NO_FACE
from operators.video.tracking import crop_mouth
from tests import sounds
from tests.faces import RATE, mouths_of, recorded, together
from tests.media_samples import require_data
from tests.tiny_whisper import build_tiny_whisper

Spans = Iterable[tuple[float, float]]
BOX = np.array([108.0, 58.0, 144.0, 144.0], np.float32)


@pytest.fixture(scope="module")
def looks() -> list[NDArray[np.uint8]]:
    """Crops of a mouth from closed to open, each with noise of its own."""
    drawn = [draw_face(k / 7, seed=k)[:, :, 0] for k in range(8)]
    return [crop_mouth(np.ascontiguousarray(grey), BOX, 64) for grey in drawn]


@pytest.fixture(scope="module")
def mouths(looks: list[NDArray[np.uint8]]) -> Callable[..., list[Packet[Mouth]]]:
    """Mouths of ``seconds`` at ``fps``, which talk within the given spans."""

    def make(seconds: float, talking: Spans, fps: float = 25.0, start: float = 0.0) -> list[Packet[Mouth]]:
        out = []
        for k in range(round(seconds * fps)):
            at = start + k / fps
            talks = any(begin <= at < end for begin, end in talking)
            opening = round(3.5 - 3.5 * np.cos(2 * np.pi * 4 * at)) if talks else k % 2
            mouth = Mouth(looks[opening] if talks else looks[0] + np.uint8(k % 2), 1.0, 0.0)
            out.append(Packet("test", at, start + (k + 1) / fps, mouth, 100 + at + 1 / fps))
        return out

    return make


def speech(start: float, end: float, step: float = 0.1) -> list[Packet[Speech]]:
    """An utterance in packets of ``step`` seconds; captured at 100 + end."""
    edges = [start + k * step for k in range(round((end - start) / step))] + [end]
    parts = []
    for begin, stop in pairwise(edges):
        samples = np.full(round((stop - begin) * RATE), begin, np.float32)
        parts.append(Packet("test", begin, stop, Speech(samples, RATE, stop == end), 100 + stop))
    return parts


def judged(*streams: Iterable[Packet[Any]], only: bool = False) -> list[Packet[Speech]]:
    return run_operator(OnCamera(only_on_camera=only), together(*streams))


def shares(packets: Iterable[Packet[Speech]], start: float, end: float) -> list[float | None]:
    """What the packets between two media seconds say."""
    return [packet.data.on_camera for packet in packets if start <= packet.start and packet.end <= end + 1e-6]


def utterances(packets: list[Packet[Speech]]) -> list[tuple[float, float]]:
    """Where each utterance begins and ends; every one must end and be without a hole."""
    found, begun = [], None
    for packet in packets:
        if begun is None:
            begun = reached = packet.start
        assert packet.start == pytest.approx(reached)
        reached = packet.end
        if packet.data.last:
            found.append((round(begun, 3), round(reached, 3)))
            begun = None
    assert begun is None, "an utterance had no end"
    return found


# Marks.


def test_speech_is_marked_by_what_the_lips_do(mouths: Callable) -> None:
    out = judged(mouths(6, [(1.0, 2.6)]), speech(1.0, 2.6), speech(4.0, 5.4))
    assert shares(out, 1.2, 2.4) == [1.0] * 12
    assert shares(out, 4.0, 5.4) == [0.0] * 14


def test_nothing_but_the_mark_changes(mouths: Callable) -> None:
    said = speech(1.0, 2.0)
    out = judged(mouths(3, [(1.0, 2.0)]), said)
    assert len(out) == len(said)
    for packet, before in zip(out, said, strict=True):
        assert (packet.start, packet.end, packet.captured_at) == (before.start, before.end, before.captured_at)
        assert packet.data.samples is before.data.samples
        assert packet.data.last == before.data.last


@pytest.mark.parametrize("fps", [5, 12, 30, 60])
def test_any_frame_rate_will_do(mouths: Callable, fps: int) -> None:
    """At 5 fps a picture lasts 200 ms, so its edges are that coarse."""
    out = judged(mouths(6, [(1.0, 3.0)], fps), speech(1.0, 3.0), speech(4.0, 5.6))
    assert np.mean(shares(out, 1.4, 2.7)) >= 0.9
    assert np.mean(shares(out, 4.2, 5.6)) <= 0.1


def test_pictures_shown_several_times_are_as_good_as_at_their_own_rate(mouths: Callable) -> None:
    """A camera of 10 fps in a film of 30."""
    seen = [
        packet.derive(packet.data, packet.start + k / 30, packet.start + (k + 1) / 30)
        for packet in mouths(6, [(1.0, 3.0)], fps=10)
        for k in range(3)
    ]
    out = judged(seen, speech(1.0, 3.0), speech(4.0, 5.6))
    assert np.mean(shares(out, 1.4, 2.7)) >= 0.9
    assert np.mean(shares(out, 4.2, 5.6)) <= 0.1


def test_without_a_camera_nobody_looked_and_nothing_waits() -> None:
    operator, said = OnCamera(), speech(0.0, 1.0)
    state = operator.open("test")
    for packet in said:
        (given,) = operator.process(packet, state)
        assert given.data.on_camera is None
    assert judged(said, only=True)[-1].data.last


@pytest.mark.parametrize(("reason", "share"), [(NO_FACE, 0.0), (FROZEN, None), ("too dark", None), ("lost", None)])
def test_an_empty_scene_says_no_and_a_bad_picture_says_nothing(reason: str, share: float | None) -> None:
    gaps = [Packet("test", k / 25, (k + 1) / 25, Gap("video", reason), 0.0) for k in range(75)]
    out = judged(gaps, speech(0.5, 2.0))
    assert shares(out, 0.5, 2.0) == [share] * 15
    assert len(judged(gaps, speech(0.5, 2.0), only=True)) == (0 if share == 0.0 else 15)


def test_what_is_seen_of_less_than_half_says_nothing(mouths: Callable) -> None:
    gap = Packet("test", 1.0, 1.7, Gap("video", "lost"), 0.0)
    given = [packet for packet in mouths(3, [(0.5, 2.5)]) if not 1.0 <= packet.start < 1.7]
    (packet,) = judged(given, [gap], speech(0.9, 1.9, step=1.0))
    assert packet.data.on_camera is None


def test_speech_waits_for_its_pictures_but_not_for_ever(mouths: Callable) -> None:
    operator = OnCamera()
    state = operator.open("test")
    seen = mouths(2, [(0.5, 2.0)])
    early = [packet for packet in seen if packet.end <= 1.0]
    assert not [out for packet in early for out in operator.process(packet, state)]
    first, *rest = speech(1.0, 4.0)
    assert list(operator.process(first, state)) == []
    assert operator.watermark(state, 1.1) == 1.0, "what waits is still to come"
    times = [(packet.end, out.start) for packet in seen[25:40] for out in operator.process(packet, state)]
    assert [start for _, start in times] == [1.0]
    assert 1.3 < times[0][0] < 1.4, "220 ms after its end"
    given = [(packet.end, out.start) for packet in rest for out in operator.process(packet, state)]
    waits = [arrived - start for arrived, start in given]
    assert len(given) > 20, "the camera has stopped"
    assert max(waits) <= 1.3


def test_a_hole_in_the_sound_lets_everything_go(mouths: Callable) -> None:
    lost = Packet("test", 1.5, 2.0, Gap("audio", "lost"), 102.0)
    out = judged(mouths(3, [(0.0, 3.0)]), speech(1.0, 1.5), [lost], speech(2.0, 2.5))
    assert [packet.data.reason for packet in out if isinstance(packet.data, Gap)] == ["lost"]
    assert len(out) == 11
    assert [packet.start for packet in out] == sorted(packet.start for packet in out)


def test_nothing_later_than_its_wait_changes_a_mark(mouths: Callable) -> None:
    packets = together(mouths(5, [(1.0, 2.6), (4.0, 4.5)]), speech(1.0, 2.6), speech(3.0, 4.8))
    whole = run_operator(OnCamera(only_on_camera=True), packets)
    operator = OnCamera(only_on_camera=True)
    state = operator.open("test")
    live = [out for packet in packets[:90] for out in operator.process(packet, state)]
    assert live
    assert _plain(live) == _plain(whole[: len(live)])
    assert _plain(sounds.through_pickle(OnCamera(only_on_camera=True), packets)) == _plain(whole)


def _plain(packets: Iterable[Packet[Speech]]) -> list[tuple[Any, ...]]:
    return [(p.start, p.end, p.captured_at, p.data.samples.tobytes(), p.data.last, p.data.on_camera) for p in packets]


# Only on camera.


def test_only_leaves_out_what_a_voice_off_camera_says(mouths: Callable) -> None:
    out = judged(mouths(9, [(0.9, 2.6), (6.9, 8.0)]), speech(1.0, 2.6), speech(4.0, 5.5), speech(7.0, 8.0), only=True)
    assert utterances(out) == [(1.0, 2.6), (7.0, 8.0)]


def test_a_voice_off_camera_that_goes_on_after_ours_is_cut_off_within_a_second(mouths: Callable) -> None:
    out = judged(mouths(9, [(0.9, 3.0), (7.0, 8.5)]), speech(1.0, 8.5), only=True)
    (first, second) = utterances(out)
    assert first[0] == 1.0
    assert 3.0 <= first[1] <= 4.4
    assert 5.8 <= second[0] <= 6.9, "what came just before the lips did comes too"
    assert second[1] == 8.5
    assert len(out[[packet.data.last for packet in out].index(True)].data.samples) == 0


def test_lips_that_come_after_the_first_sound_lose_no_word(mouths: Callable) -> None:
    out = judged(mouths(5, [(1.5, 4.0)]), speech(1.0, 4.0), only=True)
    assert utterances(out) == [(1.0, 4.0)]


@given(
    talking=st.lists(st.tuples(st.floats(0, 8), st.floats(0.2, 3)), max_size=3),
    lengths=st.lists(st.tuples(st.floats(0.1, 1.5), st.floats(0.1, 3)), min_size=1, max_size=4),
    blind=st.tuples(st.floats(0, 8), st.floats(0, 3)),
    only=st.booleans(),
)
@settings(deadline=None, max_examples=25)
def test_whatever_happens_utterances_stay_whole(
    mouths: Callable, talking: Spans, lengths: Spans, blind: tuple[float, float], only: bool
) -> None:
    said, at = [], 0.0
    for pause, length in lengths:
        said += speech(at + pause, at + pause + length, step=0.25)
        at += pause + length
    seen = mouths(10, [(begin, begin + length) for begin, length in talking], fps=10)
    seen = [p.derive(Gap("video", "lost")) if 0 <= p.start - blind[0] < blind[1] else p for p in seen]
    out = judged(seen, said, only=only)
    starts = [packet.start for packet in out]
    assert starts == sorted(starts)
    utterances(out)
    given = [packet for packet in out if len(packet.data.samples)]
    sounds_in = {packet.start: packet.data.samples.tobytes() for packet in said}
    assert all(sounds_in[packet.start] == packet.data.samples.tobytes() for packet in given)
    assert len({packet.start for packet in given}) == len(given), "nothing comes twice"
    if not only:
        assert len(given) == len([packet for packet in said if len(packet.data.samples)])


def test_memory_does_not_grow(mouths: Callable) -> None:
    operator = OnCamera(only_on_camera=True)
    state = operator.open("test")
    sizes = []
    for k in range(12):
        start = 10.0 * k
        said = speech(start + 1.0, start + 9.0, step=0.5)
        for packet in together(mouths(10, [(start + 2, start + 3)], 5, start), said):
            list(operator.process(packet, state))
        sizes.append(len(pickle.dumps(state)))
    assert max(sizes[5:]) < 1.1 * max(sizes[3:5])


# Recorded people.


def test_recorded_words_are_on_camera_and_those_over_a_silent_face_are_not() -> None:
    manifest = require_data("grid/dev_unseen.jsonl")
    items = [json.loads(line) for line in manifest.read_text().splitlines()]
    on, off = [], []
    for item in [next(its) for _, its in groupby(items, key=lambda item: item["speaker"])]:
        seen = [packet for packet in mouths_of(recorded(item["media"]).packets()) if isinstance(packet.data, Mouth)]
        begins, ends = item["words"][0]["start"], item["words"][-1]["end"]
        said = speech(begins, ends)
        before = [packet.data for packet in seen if packet.end < begins - 0.35]  # lips open before the sound comes
        after = [packet.data for packet in seen if packet.start > ends + 0.35]
        quiet = max(before, after, key=len)
        there_and_back = [*quiet, *quiet[-2:0:-1]]
        still = [packet.derive(there_and_back[k % len(there_and_back)]) for k, packet in enumerate(seen)]
        on.append(np.mean(shares(judged(seen, said), begins, ends)))
        off.append(np.mean(shares(judged(still, said), begins, ends)))
    assert np.mean(on) > 0.85
    assert np.mean(off) < 0.25
    assert np.median(off) < 0.05


# Words.


def test_sight_tells_the_share_of_any_time() -> None:
    sight = Sight()
    for start, end, share in ((0.0, 1.0, None), (1.0, 2.0, 1.0), (2.0, 3.0, 1.0), (3.0, 4.0, 0.5), (4.0, 5.0, 0.0)):
        sight.add(Packet("test", start, end, Speech(np.zeros(1, np.float32), RATE, False, share), 0.0))
    assert sight.share(0.0, 1.0) == 0.0
    assert sight.share(1.2, 2.9) == pytest.approx(1.0)
    assert sight.share(2.5, 3.5) == pytest.approx(0.75)
    assert sight.share(0.5, 1.5) == pytest.approx(0.5)
    assert sight.share(1.5, 1.5) == 1.0
    assert sight.share(4.5, 9.0) == 0.0
    assert len(sight.spans) == 2, "what is alike is one span"


def test_words_of_sphinx_carry_the_share_of_their_time_on_camera() -> None:
    clip = recorded(next(json.loads(line) for line in require_data("grid/dev_seen.jsonl").open())["media"])
    sound = np.interp(np.arange(0, len(clip.sound) / clip.rate, 1 / RATE), np.arange(len(clip.sound)) / clip.rate,
                      clip.sound).astype(np.float32)  # fmt: skip

    sphinx = Sphinx()

    def words(mark: Callable[[float], float | None]) -> tuple[Word, ...]:
        said = [Speech(part, RATE, k == 29, mark(k / 10)) for k, part in enumerate(np.array_split(sound, 30))]
        given = [Packet("test", k / 10, (k + 1) / 10, one, 0.0) for k, one in enumerate(said)]
        return run_operator(sphinx, given)[-1].data.words

    plain = words(lambda at: None)
    assert len(plain) >= 3
    assert {word.video for word in plain} == {0.0}
    half = words(lambda at: 1.0 if at < 1.5 else 0.0)
    assert [(word.text, word.start) for word in half] == [(word.text, word.start) for word in plain]
    for word in half:
        assert word.video == pytest.approx(np.clip((1.5 - word.start) / (word.end - word.start), 0, 1), abs=0.01)
    assert {word.video for word in half} >= {0.0, 1.0}


def test_words_of_whisper_carry_the_share_of_their_time_on_camera(tmp_path: Path) -> None:
    whisper = Whisper(model=str(build_tiny_whisper(tmp_path / "tiny")), language="en", beam_size=1, threads=1)
    hiss = np.split(sounds.hiss(3.0, 0.1), 6)
    said = [Speech(part, RATE, k == 5, None if k < 3 else 0.5) for k, part in enumerate(hiss)]
    given = [Packet("test", 20 + k / 2, 20.5 + k / 2, one, 0.0) for k, one in enumerate(said)]
    words = run_operator(whisper, given)[-1].data.words
    assert words
    for word in words:
        seen = 0.5 * max(0.0, word.end - max(word.start, 21.5)) / max(word.end - word.start, 1e-9)
        assert word.video == pytest.approx(seen if word.end > word.start else 0.5 * (word.start >= 21.5), abs=0.01)
    assert {word.video for word in words} >= {0.0, 0.5}
