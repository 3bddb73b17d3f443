"""A camera as a source."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from mmstream.core import Packet, Place, Source
from mmstream.media import Gap, VideoFrame
from operators.sources.errors import SourceError, SourceLost

STALL_S = 2.0  # a camera that gives no frame for so long counts as unplugged
RETRY_S = 0.05
LONG_FRAMES = 5  # a pause of more frames than this, and of LOST_S, is lost video
LOST_S = 0.2


class Camera(Source):
    """Frames of a capture device, one packet each. Media time runs by the device's own timestamps from the first frame.

    Where the device has none, it runs by the moment of the grab. A frame lasts as long as one at the nominal rate, or
    until the next one; a longer pause is a ``Gap``.
    """

    emits = (VideoFrame,)
    live = True
    runs_on: ClassVar[Place] = "driver"

    def __init__(
        self,
        device: int | str = 0,
        width: int | None = None,
        height: int | None = None,
        fps: float | None = None,
    ) -> None:
        """Film with ``device``: a number, or what OpenCV takes for a name (``/dev/video0``).

        ``width``, ``height`` (pixels) and ``fps`` are wishes: the camera takes the nearest that it can.
        """
        super().__init__()
        if isinstance(device, int) and device < 0:
            raise ValueError(f"device must be at least 0, not {device}")
        for name, value in (("width", width), ("height", height), ("fps", fps)):
            if value is not None and value <= 0:
                raise ValueError(f"{name} must be more than 0, not {value:g}")
        self.device: int | str = int(device) if isinstance(device, str) and device.isdecimal() else device
        self.width, self.height, self.fps = width, height, fps

    def __str__(self) -> str:
        return f"camera {self.device!r}"

    def packets(self, session: str) -> Iterator[Packet[VideoFrame | Gap]]:
        """Frames until ``stop``.

        Raises:
            SourceError: there is no such camera, or OpenCV is missing.
            SourceLost: it gave frames and stopped.
        """
        cv2 = _import_cv2()
        capture = self._open(cv2)
        fps = capture.get(cv2.CAP_PROP_FPS)
        frame_s = 1 / fps if 1 <= fps <= 1_000 else 0.04
        clock = _FrameClock(capture, cv2.CAP_PROP_POS_MSEC)
        end: float | None = None
        try:
            while self._grab(capture):
                captured_at = self.clock.now()
                start = clock.time(captured_at)
                found, pixels = capture.retrieve()
                if not found:
                    continue
                if end is not None and start - end > max(LOST_S, LONG_FRAMES * frame_s):
                    yield Packet(session, end, start, Gap("video", "the camera gave no frames"), captured_at)
                start = max(start, end or 0.0)
                end = start + frame_s
                frame = VideoFrame(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
                yield Packet(session, start, end, frame, captured_at)
        finally:
            capture.release()
        if end is None and not self.stopping.is_set():
            raise SourceError(f"camera {self.device!r} opens but gives no frame; is another program using it?")
        if not self.stopping.is_set():
            raise SourceLost(f"camera {self.device!r} stopped giving frames at {end:.2f} s; was it unplugged?")

    def _open(self, cv2: Any) -> Any:
        capture = cv2.VideoCapture(self.device)
        if not capture.isOpened():
            there = sorted(str(path) for path in Path("/dev").glob("video*"))
            known = f"; there are: {', '.join(there)}" if there else "; this machine has none under /dev"
            raise SourceError(f"no camera {self.device!r}{known if sys.platform.startswith('linux') else ''}")
        wishes = (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS)
        for wish, value in zip(wishes, (self.width, self.height, self.fps), strict=True):
            if value is not None:
                capture.set(wish, value)
        return capture

    def _grab(self, capture: Any) -> bool:
        """Wait for the next frame; False after ``stop``, or once the camera has given none for ``STALL_S``."""
        give_up_at = self.clock.now() + STALL_S
        while not self.stopping.is_set():
            if capture.grab():
                return True
            if self.clock.now() >= give_up_at or self.clock.wait(RETRY_S, self.stopping):
                break
        return False


class _FrameClock:
    """Media seconds of frames: by the device's timestamps where they advance, else by the moment of the grab."""

    def __init__(self, capture: Any, milliseconds: int) -> None:
        self._capture = capture
        self._milliseconds = milliseconds
        self._first: tuple[float, float] | None = None  # device seconds, wall-clock seconds
        self._ticks = False

    def time(self, now: float) -> float:
        stamp = self._capture.get(self._milliseconds) / 1000
        if self._first is None:
            self._first = (stamp, now)
        self._ticks = self._ticks or stamp > self._first[0]
        return max(0.0, stamp - self._first[0] if self._ticks else now - self._first[1])


def _import_cv2() -> Any:
    try:
        import cv2
    except ImportError as error:
        raise SourceError(
            f"OpenCV is missing ({error}); install it with: pip install 'opencv-python-headless<5'"
        ) from error
    return cv2
