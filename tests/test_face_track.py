"""FaceTrack: where faces are, who speaks, and what becomes of faces in bad pictures."""

from __future__ import annotations

import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmstream.core import Packet
from mmstream.media import Faces, Gap
from operators.video import FaceTrack
from tests import sounds
from tests.faces import (
    RATE,
    Clip,
    Pictures,
    beside,
    drawn,
    faces_of,
    frames,
    middle,
    recorded,
    same,
    syllables,
    together,
    turned,
    voice,
)
from tests.media_samples import require_data


def told(packets: list[Packet[Faces]], after: float = 0.0) -> list[Faces]:
    """The faces of all pictures that begin at media second ``after`` or later."""
    return [packet.data for packet in packets if isinstance(packet.data, Faces) and packet.start >= after]


def tracks(packets: list[Packet[Faces]]) -> set[int]:
    return {face.track for faces in told(packets) for face in faces.faces}


@pytest.fixture(scope="module")
def talker() -> Clip:
    """A drawn face that speaks for 4 s, with its voice."""
    course = syllables(4.0, seed=1, spoken=[(0.3, 1.9), (2.4, 3.6)])
    return Clip(drawn(course), voice(course), RATE)


@pytest.fixture(scope="module")
def silent() -> Pictures:
    return drawn(np.zeros(100), seed=2)


def first_is(pictures: Pictures, sound: np.ndarray, right: bool, after: float = 1.0) -> float:
    """The share of pictures in which the face of that side is first, of two films side by side."""
    given = told(faces_of(Clip(pictures, sound, RATE).packets()), after)
    half = pictures.shape[2] / 2
    return float(np.mean([bool(one.faces) and (middle(one.faces[0])[0] > half) == right for one in given]))


# One face.


def test_a_face_is_found_at_once_and_stays_where_it_is(talker: Clip) -> None:
    found = faces_of(talker.packets())
    assert len(found) == len(talker.pictures)
    assert tracks(found) == {1}
    for packet in found:
        (face,) = packet.data.faces
        assert middle(face) == pytest.approx((180, 132), abs=6)
        assert face.box[2] == pytest.approx(146, abs=8)
        assert packet.data.pixels.shape == (288, 360)
    steps = [np.hypot(*np.subtract(middle(a.faces[0]), middle(b.faces[0]))) for a, b in pairwise(told(found))]
    assert max(steps) < 2, "a detection moves the box a little, never by a jump"
    assert told(found)[-1].faces[0].quality > 0.95


def test_packets_keep_time_and_capture_time(talker: Clip) -> None:
    found = faces_of(talker.packets())
    assert [(p.start, p.end, p.captured_at) for p in found] == [
        (p.start, p.end, p.captured_at) for p in frames(talker.pictures)
    ]


def test_a_face_is_followed_as_it_moves() -> None:
    pictures = np.stack([drawn(np.zeros(1), seed=k, at=(110 + 2.5 * k, 140))[0] for k in range(50)])
    found = faces_of(frames(pictures))
    assert tracks(found) == {1}
    for k, faces in enumerate(told(found)):
        assert middle(faces.faces[0])[0] == pytest.approx(110 + 2.5 * k, abs=8)


def test_a_face_that_leaves_is_given_up_and_gets_another_number_when_it_returns(silent: Pictures) -> None:
    empty = np.full_like(silent[:50], 95) + np.random.default_rng(0).integers(0, 5, silent[:50].shape, np.uint8)
    found = faces_of(frames(np.concatenate([silent[:25], empty, silent[25:50]])))
    alone = [len(faces.faces) for faces in told(found)]
    assert alone[:25] == [1] * 25
    assert alone[50:75] == [0] * 25, "gone after a second at the latest"
    assert alone[80:] == [1] * 20
    assert tracks(found) == {1, 2}
    qualities = [faces.faces[0].quality for faces in told(found)[25:50] if faces.faces]
    assert qualities == sorted(qualities, reverse=True)
    assert qualities[-1] < 0.3


def test_a_face_turned_out_of_the_detectors_sight_loses_quality_and_is_given_up(silent: Pictures) -> None:
    away = turned(silent[25:75], 70)
    found = told(faces_of(frames(np.concatenate([silent[:25], away]))))
    assert found[24].faces[0].quality > 0.9
    qualities = [faces.faces[0].quality if faces.faces else 0.0 for faces in found[30:]]
    assert max(qualities[15:20]) < 0.5
    assert qualities[-1] == 0.0


def test_there_is_no_face_in_black_or_tiny_pictures() -> None:
    for shape in ((10, 288, 360, 3), (10, 8, 8, 3), (10, 1, 1, 3), (10, 30, 400, 3)):
        assert all(faces.faces == () for faces in told(faces_of(frames(np.zeros(shape, np.uint8)))))


def test_a_frozen_picture_has_no_quality(silent: Pictures) -> None:
    frozen = np.repeat(silent[24:25], 25, axis=0)
    found = told(faces_of(frames(np.concatenate([silent[:25], frozen, silent[25:50]]))))
    qualities = [faces.faces[0].quality for faces in found]
    assert min(qualities[:31]) >= 0.5, "300 ms are allowed: some cameras are slow"
    assert qualities[33:50] == [0.0] * 17
    assert min(qualities[50:]) > 0.5
    assert {faces.faces[0].track for faces in found} == {1}, "it was still there afterwards"
    assert all(face.speaking == 0 for faces in found[33:50] for face in faces.faces)


@pytest.mark.parametrize("fps", [5, 12, 60])
def test_any_frame_rate_will_do(fps: int) -> None:
    course = syllables(3.0, seed=1, spoken=[(0.3, 2.6)], fps=fps)
    found = told(faces_of(Clip(drawn(course), voice(course, fps), RATE, fps).packets()))
    assert len(found) == 3 * fps
    assert {len(faces.faces) for faces in found} == {1}
    assert tracks(faces_of(frames(drawn(course[:fps]), fps))) == {1}
    assert all(faces.faces[0].quality > 0.9 for faces in found[fps:])
    assert max(faces.faces[0].speaking for faces in found[fps:]) > 0.3


def test_portrait_and_large_pictures(silent: Pictures) -> None:
    upright = np.ascontiguousarray(silent[:5, :, 60:300])
    (first, *_) = told(faces_of(frames(upright)))
    assert first.pixels.shape == (288, 240)
    assert middle(first.faces[0]) == pytest.approx((120, 132), abs=6)
    large = silent[:5].repeat(4, axis=1).repeat(4, axis=2)  # 1152 x 1440
    (first, *_) = told(faces_of(frames(large)))
    assert first.pixels.shape == (480, 600), "scaled down to 480 lines, and the box with it"
    assert middle(first.faces[0]) == pytest.approx((300, 220), abs=10)


def test_another_size_of_the_same_view_keeps_the_face_and_another_view_finds_it_again(silent: Pictures) -> None:
    half = np.ascontiguousarray(silent[25:50, ::2, ::2])
    cut = np.ascontiguousarray(silent[50:75, :, 60:300])
    found = faces_of([*frames(silent[:25]), *frames(half, start=1.0), *frames(cut, start=2.0)])
    assert [len(faces.faces) for faces in told(found)] == [1] * 75
    assert [faces.faces[0].track for faces in told(found)] == [1] * 50 + [2] * 25
    assert middle(told(found)[30].faces[0]) == pytest.approx((90, 66), abs=4)
    assert middle(told(found)[60].faces[0]) == pytest.approx((120, 132), abs=6)


# Several faces, and who speaks.


@pytest.mark.parametrize("right", [False, True])
def test_the_face_whose_lips_go_with_the_sound_is_first(talker: Clip, right: bool) -> None:
    other = drawn(syllables(4.0, seed=5, spoken=[(0.0, 0.4), (1.8, 2.5), (3.5, 4.0)]), seed=3)
    pair = (other, talker.pictures) if right else (talker.pictures, other)
    assert first_is(beside(*pair), talker.sound, right) >= 0.9


@pytest.mark.parametrize("right", [False, True])
def test_without_sound_the_face_whose_lips_move_is_first(talker: Clip, silent: Pictures, right: bool) -> None:
    pair = (silent, talker.pictures) if right else (talker.pictures, silent)
    assert first_is(beside(*pair), np.zeros(0, np.float32), right) >= 0.9


def test_of_two_silent_faces_the_larger_one_is_first() -> None:
    small, large = drawn(np.zeros(25), seed=1, height=90), drawn(np.zeros(25), seed=2, height=160)
    assert first_is(beside(small, large), np.zeros(0, np.float32), right=True, after=0.0) == 1.0


def test_the_lead_changes_with_the_speaker_and_does_not_flip(talker: Clip) -> None:
    quiet = drawn(np.zeros(100), seed=8)
    course = syllables(4.0, seed=6, spoken=[(0.2, 3.8)])
    left = np.concatenate([talker.pictures, quiet])
    right = np.concatenate([quiet, drawn(course, seed=4)])
    sound = np.concatenate([talker.sound, voice(course)])
    found = told(faces_of(Clip(beside(left, right), sound, RATE).packets()))
    first = [middle(faces.faces[0])[0] > 360 for faces in found]
    assert not any(first[25:100])
    assert all(first[150:]), "within two seconds"
    assert sum(a != b for a, b in pairwise(first[25:])) == 1


def test_a_turn_of_the_head_is_no_speech() -> None:
    places = [(180 + 8 * np.sin(k / 5), 140 + 6 * np.sin(k / 3.5)) for k in range(75)]
    nods = np.stack([drawn(np.zeros(1), seed=k, at=place)[0] for k, place in enumerate(places)])
    course = syllables(3.0, seed=1, spoken=[(0.2, 2.8)])
    found = told(faces_of(Clip(nods, voice(course), RATE).packets()), after=1.0)
    talks = told(faces_of(Clip(drawn(course), voice(course), RATE).packets()), after=1.0)
    assert np.mean([faces.faces[0].speaking for faces in found]) < 0.1
    assert np.mean([faces.faces[0].speaking for faces in talks]) > 0.3


@pytest.mark.parametrize(
    ("speaker", "other"),
    [("s2", "s26"), ("s26", "s11"), ("s11", "s4")],
)
def test_of_two_recorded_people_the_one_who_speaks_is_first(speaker: str, other: str) -> None:
    def clip(name: str) -> Clip:
        folder = require_data("grid/dev_unseen")
        return recorded(str(min(folder.glob(f"{name}/*.mp4")).relative_to(folder.parent)))

    one, two = clip(speaker), clip(other)
    later = np.roll(two.pictures, 37, axis=0)  # both would talk at the same moment of their clips
    given = told(faces_of(Clip(beside(later, one.pictures), one.sound, one.rate).packets()), after=1.0)
    right = [bool(faces.faces) and middle(faces.faces[0])[0] > later.shape[2] for faces in given]
    assert np.mean(right) >= 0.9
    assert {len(faces.faces) for faces in given} == {2}


# Causality, chunks, gaps, memory.


def test_nothing_later_changes_what_came_out(talker: Clip) -> None:
    packets = together(frames(beside(talker.pictures, talker.pictures[::-1])), sounds.packets(talker.sound))
    whole = faces_of(packets)
    for cut in (1, 33, 80):
        assert same(faces_of(packets[:cut]), whole[: len(faces_of(packets[:cut]))])


@given(sizes=st.lists(st.integers(1, 9000), max_size=40))
@settings(deadline=None, max_examples=4)
def test_the_chunks_of_the_sound_do_not_matter(sizes: list[int]) -> None:
    course = syllables(1.2, seed=1, spoken=[(0.1, 1.1)])
    pictures, sound = frames(drawn(course)), voice(course)
    whole = faces_of(together(pictures, sounds.packets(sound, size=len(sound))))
    assert same(faces_of(together(pictures, sounds.packets(sound, sizes=sizes))), whole)
    assert same(faces_of(together(sounds.packets(sound, sizes=sizes), pictures)), whole), "nor which comes first"


def test_the_state_can_be_pickled_half_way(talker: Clip) -> None:
    packets = talker.packets()[:80]
    assert same(sounds.through_pickle(FaceTrack(), packets), faces_of(packets))


def test_a_hole_in_the_sound_passes_and_one_in_the_pictures_is_told(talker: Clip) -> None:
    packets = talker.packets()
    kept = [packet for packet in packets if not 1.0 <= packet.start < 2.0]
    holes = [Packet("test", 1.0, 2.0, Gap(medium, "lost"), 102.0) for medium in ("audio", "video")]
    found = faces_of(together(kept, holes))
    assert [packet.data.reason for packet in found if isinstance(packet.data, Gap)] == ["lost"]
    assert [len(faces.faces) for faces in told(found)] == [1] * 75
    assert tracks(found) == {1}
    assert len(told(faces_of(together(packets, holes[:1])))) == 100, "sound alone was lost"


def test_single_lost_pictures_do_not_stop_the_following(silent: Pictures) -> None:
    given = frames(silent)
    lossy = [p if k % 3 else p.derive(Gap("video", "lost")) for k, p in enumerate(given)]
    found = faces_of(lossy)
    assert len(found) == 100
    assert tracks(found) == {1}


def test_sound_of_any_kind_is_heard(silent: Pictures) -> None:
    for rate, channels in ((8000, 1), (44_100, 2), (48_000, 6), (11_025, 1), (7, 1)):
        sound = np.zeros((round(0.4 * rate), channels), np.float32)
        found = faces_of(together(frames(silent[:10]), sounds.packets(sound, rate, size=max(1, rate // 9))))
        assert len(told(found)) == 10


def test_memory_does_not_grow(silent: Pictures) -> None:
    operator = FaceTrack()
    state = operator.open("test")
    sizes = []
    for k in range(10):
        start = 2.0 * k
        sound = sounds.packets(np.zeros(32_000, np.float32), start=start)
        for packet in together(frames(silent[k : k + 10], fps=5, start=start), sound):
            list(operator.process(packet, state))
        sizes.append(len(pickle.dumps(state)))
    assert max(sizes[3:]) < 1.1 * sizes[3]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"detect_every_ms": -1}, r"detect_every_ms is 0 \(every picture\) to 2000, not -1"),
        ({"detect_every_ms": 2001}, "detect_every_ms is 0"),
        ({"forget_ms": 100}, r"forget_ms is detect_every_ms \(200\) to 10000, not 100"),
        ({"forget_ms": 10_001}, "forget_ms is"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FaceTrack(**arguments)
