"""Video lost and out of time on purpose, with lists at both ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mmstream.core import Packet
from mmstream.media import Gap, Mouth, VideoFrame
from mmstream.testing import run_operator
from operators.video.loss import DropFrames, Shift

FPS = 25
FRAME = VideoFrame(np.zeros((2, 2, 3), np.uint8))
MOUTH = Mouth(np.zeros((4, 4), np.uint8), 1.0, 1.0)


def film(seconds: float = 3.0, data: Any = FRAME, session: str = "s") -> list[Packet[Any]]:
    count = round(seconds * FPS)
    return [Packet(session, k / FPS, (k + 1) / FPS, data, 100 + (k + 1) / FPS) for k in range(count)]


def lost(operator: DropFrames, packets: list[Packet[Any]], session: str = "s") -> np.ndarray:
    """Which of ``packets`` came out as gaps; nothing else about them may have changed."""
    given = run_operator(operator, packets, session)
    assert [(one.start, one.end, one.captured_at) for one in given] == [
        (one.start, one.end, one.captured_at) for one in packets
    ]
    gaps = np.array([isinstance(one.data, Gap) for one in given])
    for one, before in zip(given, packets, strict=True):
        assert one.data is before.data or (one.data.medium == "video" and "on purpose" in one.data.reason)
    return gaps


def test_single_frames_are_lost_as_often_as_asked() -> None:
    for fraction in (0.25, 0.5, 0.75):
        gaps = lost(DropFrames(fraction), film(120.0))
        assert gaps.mean() == pytest.approx(fraction, abs=0.03)  # 3,000 frames: a standard deviation is 0.009
        flips = np.count_nonzero(np.diff(gaps.astype(int))) / (len(gaps) - 1)
        assert flips == pytest.approx(2 * fraction * (1 - fraction), abs=0.05)  # one frame says nothing of the next


def test_a_burst_is_one_stretch_of_the_clip() -> None:
    begins = set()
    for session in "abcdefgh":
        gaps = lost(DropFrames(0.5, "burst", length_s=3.0), film(session=session), session)
        assert gaps.sum() in (37, 38)  # of 75
        assert np.count_nonzero(np.diff(gaps.astype(int))) <= 2
        begins.add(int(gaps.argmax()))
    assert len(begins) > 4
    assert not lost(DropFrames(0.5, "burst", length_s=3.0), film(9.0))[75:].any()


def test_all_loses_the_whole_stream_of_so_many_sessions() -> None:
    sessions = [str(number) for number in range(200)]
    share = []
    for session in sessions:
        gaps = lost(DropFrames(0.3, "all"), film(0.4, session=session), session)
        assert gaps.all() or not gaps.any()
        share.append(gaps.all())
    assert np.mean(share) == pytest.approx(0.3, abs=0.1)


@pytest.mark.parametrize("kind", ["random", "burst", "all"])
def test_nothing_and_everything(kind: Any) -> None:
    assert not lost(DropFrames(0.0, kind, length_s=3.0), film()).any()
    assert lost(DropFrames(1.0, kind, length_s=3.0), film(3.2)).all()


@pytest.mark.parametrize("kind", ["random", "burst"])
def test_frames_and_mouths_are_lost_alike_wherever_the_stream_is_taken_up(kind: Any) -> None:
    operator = DropFrames(0.5, kind, seed=3, length_s=3.0)
    gaps = lost(operator, film())
    assert np.array_equal(gaps, lost(operator, film(data=MOUTH)))
    assert np.array_equal(gaps[20:], lost(operator, film()[20:]))
    assert not np.array_equal(gaps, lost(DropFrames(0.5, kind, seed=4, length_s=3.0), film()))
    assert not np.array_equal(gaps, lost(operator, film(session="t"), "t"))


def test_what_is_lost_at_a_small_fraction_is_lost_at_a_larger_one() -> None:
    few, many = (lost(DropFrames(fraction), film(20.0)) for fraction in (0.25, 0.5))
    assert not (few & ~many).any()


def test_a_gap_that_was_there_stays_as_it_is() -> None:
    gone = Packet("s", 0.0, 1.0, Gap("video", "no face"), 101.0)
    assert run_operator(DropFrames(1.0), [gone], "s") == [gone]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"fraction": 1.5}, "fraction is 0 to 1, not 1.5"),
        ({"fraction": float("nan")}, "fraction is 0 to 1"),
        ({"fraction": 0.5, "kind": "some"}, "kind is one of random, burst, all, not 'some'"),
        ({"fraction": 0.5, "seed": -1}, "seed is 0 or more"),
        ({"fraction": 0.5, "kind": "burst"}, "a burst needs length_s"),
        ({"fraction": 0.5, "kind": "burst", "length_s": 0.0}, "a burst needs length_s"),
    ],
)
def test_arguments_that_mean_nothing(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DropFrames(**arguments)


def times(packets: list[Packet[Any]]) -> list[tuple[float, float]]:
    return [(round(one.start, 3), round(one.end, 3)) for one in packets]


def test_late_video_begins_later_and_ends_with_the_clip() -> None:
    given = run_operator(Shift(100.0, until_s=0.4), film(0.4), "s")
    assert times(given) == [(round(0.1 + k / FPS, 3), round(0.14 + k / FPS, 3)) for k in range(8)]
    assert given[0].captured_at == pytest.approx(100.14)
    assert len(run_operator(Shift(100.0), film(0.4), "s")) == 10


def test_early_video_loses_what_would_come_before_the_beginning() -> None:
    given = run_operator(Shift(-100.0, until_s=0.4), film(0.4), "s")
    assert times(given)[:3] == [(0.0, 0.02), (0.02, 0.06), (0.06, 0.1)]
    assert len(given) == 8


def test_gaps_shift_too_and_so_does_the_watermark() -> None:
    gone = Packet("s", 0.5, 1.0, Gap("video", "no face"), 101.0)
    (given,) = run_operator(Shift(-200.0), [gone], "s")
    assert times([given]) == [(0.3, 0.8)]
    assert given.data == gone.data
    assert Shift(-200.0).watermark(None, 1.0) == pytest.approx(0.8)
    with pytest.raises(ValueError, match="until_s is above 0"):
        Shift(0.0, until_s=0.0)
