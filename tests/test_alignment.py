"""A microphone and a camera on one clock, however they started and drift."""

from __future__ import annotations

import numpy as np
import pytest

from mmstream.alignment import Follower, MediaClock, aligned
from mmstream.core import Packet, Source
from mmstream.graph import Node
from mmstream.media import AudioChunk, VideoFrame

FRAME = VideoFrame(np.zeros((1, 1, 3), np.uint8))
SOUND = AudioChunk(np.zeros((1, 1), np.float32), 16_000)


class Mic(Source):
    emits = (AudioChunk,)
    live = True

    def packets(self, session):
        yield from ()


class Cam(Mic):
    emits = (VideoFrame,)


class File(Mic):
    live = False


def sound(start, captured_at):
    return Packet("s", start, start + 0.05, SOUND, captured_at)


def frame(start, captured_at):
    return Packet("s", start, start + 0.04, FRAME, captured_at)


def test_a_camera_that_started_later_is_moved_to_where_the_microphone_stood():
    clock = MediaClock()
    camera = Follower(clock)
    assert camera.place(frame(0.0, captured_at=99.0)) is None  # the microphone has not begun
    clock.keep(sound(0.0, captured_at=100.05))
    placed = camera.place(frame(1.2, captured_at=101.04))
    assert (placed.start, placed.end) == (pytest.approx(1.0), pytest.approx(1.04))
    assert placed.captured_at == 101.04


def test_frames_from_before_the_microphone_began_are_left_out():
    clock = MediaClock()
    camera = Follower(clock)
    clock.keep(sound(0.0, captured_at=100.05))
    assert camera.place(frame(0.0, captured_at=99.9)) is None


@pytest.mark.parametrize("drift", [0.001, -0.001])
def test_clocks_that_drift_by_a_tenth_of_a_percent_stay_within_a_frame_for_an_hour(drift):
    """The microphone's samples come a little too fast or too slowly; both capture times jitter."""
    clock, camera = MediaClock(), None
    camera = Follower(clock)
    jitter = np.random.default_rng(0).normal(0, 0.003, (2, 36_000))
    worst, last = 0.0, 0.0
    for k in range(36_000):  # ten of each a second
        wall = 0.1 * (k + 1)
        clock.keep(Packet("s", 0.0, wall * (1 + drift), SOUND, 1000 + wall + jitter[0, k]))
        placed = camera.place(Packet("s", wall - 0.04, wall, FRAME, 1000 + wall + jitter[1, k]))
        assert placed.start >= last
        last = placed.end
        worst = max(worst, abs(placed.end - wall * (1 + drift)))
    assert worst < 0.04


def test_the_required_live_source_keeps_the_time_and_files_are_left_alone():
    def node(name, kind, optional=False):
        return Node(name, f"tests:{kind.__name__}", kind, optional=optional)

    assert aligned([node("camera", Cam, optional=True)]) == {}
    assert aligned([node("file", File), node("mic", Mic)]) == {}
    placing = aligned([node("camera", Cam, optional=True), node("mic", Mic), node("file", File)])
    assert set(placing) == {"camera", "mic"}
    assert placing["camera"](frame(0.0, 100.0)) is None
    assert placing["mic"](sound(7.0, 100.0)).start == 7.0
    assert placing["camera"](frame(0.0, 101.0)).end == pytest.approx(8.05)
