"""Camera: OpenCV's real capture over a video file, and a scripted one for what a file never does."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mmstream.core import Packet
from mmstream.media import Gap, VideoFrame
from mmstream.testing import ManualClock
from operators.sources import Camera, SourceError, SourceLost
from tests.media_samples import ffmpeg


def collect(camera: Camera) -> tuple[list[Packet], str]:
    """All packets of a camera that is lost in the end, and what it says then."""
    packets, source = [], camera.packets("test")
    with pytest.raises(SourceLost) as caught:  # noqa: PT012 - what comes before the fault matters
        while True:
            packets.append(next(source))
    return packets, str(caught.value)


def test_films_in_rgb_with_the_times_of_the_device(tmp_path):
    path = tmp_path / "red.mp4"
    ffmpeg("-f", "lavfi", "-i", "color=red:size=64x48:rate=20:duration=1", "-pix_fmt", "yuv420p", path)
    camera = Camera(str(path))
    camera.clock = ManualClock()
    packets, message = collect(camera)
    assert message == f"camera '{path}' stopped giving frames at 1.00 s; was it unplugged?"
    assert [packet.start for packet in packets] == pytest.approx([number / 20 for number in range(20)])
    assert packets[-1].end == pytest.approx(1.0)
    assert packets[0].data.pixels.shape == (48, 64, 3)
    red, _, blue = packets[0].data.pixels.mean(axis=(0, 1))
    assert red > 200
    assert blue < 50


@pytest.mark.parametrize("device", [97, "97", "/dev/video97"])
def test_a_missing_camera_is_an_error(device):
    with pytest.raises(SourceError, match=f"no camera '?{str(device).replace('/', '.')}'?"):
        list(Camera(device).packets("test"))


class StagedCapture:
    """Stands in for cv2.VideoCapture. A step is (wall-clock seconds until then, device seconds), or None: no frame."""

    def __init__(self, clock: ManualClock, steps: list[tuple[float, float] | None]) -> None:
        self.clock, self.steps, self.stamp = clock, list(steps), 0.0
        self.wishes: dict[int, float] = {}
        self.released = False

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def set(self, wish: int, value: float) -> None:
        self.wishes[wish] = value

    def get(self, what: int) -> float:
        return {cv2.CAP_PROP_FPS: 25.0, cv2.CAP_PROP_POS_MSEC: self.stamp * 1000}[what]

    def grab(self) -> bool:
        step = self.steps.pop(0) if self.steps else None
        if step is None:
            return False
        self.clock.advance(step[0])
        self.stamp = step[1]
        return True

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, np.zeros((4, 4, 3), np.uint8)

    def release(self) -> None:
        self.released = True


@pytest.fixture
def staged(monkeypatch):
    """A function that makes a camera over the steps of a ``StagedCapture``."""

    def make(*steps, **options) -> tuple[Camera, StagedCapture]:
        camera = Camera(**options)
        camera.clock = clock = ManualClock(1_000.0)
        capture = StagedCapture(clock, steps)
        monkeypatch.setattr(cv2, "VideoCapture", lambda device: capture)
        return camera, capture

    return make


def test_a_camera_that_pauses_gives_a_gap_and_goes_on(staged):
    camera, capture = staged((0.04, 5.0), (0.04, 5.04), None, None, (0.04, 5.7), (0.04, 5.74))
    packets, _ = collect(camera)
    assert [type(packet.data) for packet in packets] == [VideoFrame, VideoFrame, Gap, VideoFrame, VideoFrame]
    assert (packets[2].start, packets[2].end) == pytest.approx((0.08, 0.7))
    assert packets[-1].end == pytest.approx(0.78)
    assert packets[0].captured_at == pytest.approx(1_000.04)
    assert capture.released


def test_a_camera_without_timestamps_goes_by_the_moment_of_the_grab(staged):
    camera, _ = staged((0.04, 0.0), (0.05, 0.0), (0.03, 0.0))
    packets, _ = collect(camera)
    assert [packet.start for packet in packets] == pytest.approx([0.0, 0.05, 0.09])
    assert all(packet.end >= packet.start for packet in packets)


def test_a_camera_that_never_gives_a_frame_is_an_error(staged):
    camera, _ = staged()
    with pytest.raises(SourceError, match="camera 0 opens but gives no frame") as caught:
        list(camera.packets("test"))
    assert not isinstance(caught.value, SourceLost)


def test_size_and_rate_are_asked_for(staged):
    camera, capture = staged((0.04, 0.0), width=640, height=480, fps=30.0)
    collect(camera)
    assert capture.wishes == {
        cv2.CAP_PROP_FRAME_WIDTH: 640,
        cv2.CAP_PROP_FRAME_HEIGHT: 480,
        cv2.CAP_PROP_FPS: 30.0,
    }


def test_stop_ends_it_without_a_fault(staged):
    camera, capture = staged(*[(0.04, number * 0.04) for number in range(1_000)])
    packets = []
    for packet in camera.packets("test"):
        packets.append(packet)
        if len(packets) == 5:
            camera.stop()
    assert len(packets) == 5
    assert capture.released


@pytest.mark.parametrize(
    ("options", "says"),
    [({"device": -1}, "device must be at least 0, not -1"), ({"width": 0}, "width must be more than 0, not 0")],
)
def test_arguments_are_checked(options, says):
    with pytest.raises(ValueError, match=says):
        Camera(**options)
