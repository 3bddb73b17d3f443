"""``mmstream bench mouth``: face tracking and mouth crops on one core, against decoding the same video."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from mmstream.benchmarks.drawn_face import HEIGHT, WIDTH, draw_face
from mmstream.benchmarks.table import Figure, Report, percentile
from mmstream.core import MmstreamError, Packet
from mmstream.media import Mouth
from operators.sources import MediaFile
from operators.video import FaceTrack, MouthCrop
from operators.video.pictures import load_cv2

LEAST_PER_S = 100.0  # the target, for pictures up to that of the drawn face
DRAWN_S = 10.0
DRAWN_FPS = 25


@dataclass
class Passage:
    """What one round found."""

    frame_s: list[float] = field(default_factory=list)  # CPU seconds spent on each picture
    mouths: int = 0
    size: str = ""  # of the pictures


def measure_mouth(rounds: int, video: Path | None, seconds: float, say: Callable[[str], None]) -> Report:
    """Run ``FaceTrack`` and ``MouthCrop`` over up to ``seconds`` of a video, or of a drawn face that talks.

    Raises:
        MmstreamError: the video cannot be read.
    """
    cv2 = load_cv2()
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        with tempfile.TemporaryDirectory(prefix="mmstream-bench-") as folder:
            path = video or _draw(Path(folder) / "drawn.mp4")
            decoded, found = [], []
            for number in range(rounds):
                say(f"round {number + 1} of {rounds}")
                decoded.append(_decode(path, seconds))
                found.append(_find(path, seconds))
    finally:
        cv2.setNumThreads(threads)
    return _report(rounds, video, decoded, found, cv2.__version__)


def _report(
    rounds: int, video: Path | None, decoded: list[tuple[int, float]], found: list[Passage], opencv: str
) -> Report:
    frames = len(found[0].frame_s)
    per_s = tuple(len(one.frame_s) / sum(one.frame_s) for one in found)
    decoding_per_s = tuple(count / spent_s for count, spent_s in decoded)
    slowest = tuple(1000 * percentile(one.frame_s, 99) for one in found)
    width, height = map(int, found[0].size.split("x"))
    target = LEAST_PER_S if width * height <= WIDTH * HEIGHT else None
    figures = [
        Figure("faces and mouth, pictures per second of one core", "1/s", per_s, at_least=target),
        Figure("decoding alone, pictures per second of CPU time", "1/s", decoding_per_s),
        Figure("cost against decoding", "x", tuple(b / a for a, b in zip(per_s, decoding_per_s, strict=True))),
        Figure("slowest picture of a hundred", "ms", slowest),
    ]
    settings = {
        "video": "a drawn face" if video is None else str(video),
        "pictures": f"{frames} of {found[0].size}",
        "rounds": rounds,
        "opencv": opencv,
    }
    share = found[0].mouths / frames
    notes = ["CPU time, so that other programs do not count. Pictures come decoded; turning them grey is included."]
    if share < 0.5:
        notes.append(f"Only {share:.0%} of the pictures hold a mouth: a video with a face in it would say more.")
    return Report("mouth", "Finding the mouth", settings, figures, notes, {"mouth_share": round(share, 4)})


def _packets(path: Path, seconds: float) -> Iterator[Packet[Any]]:
    return MediaFile(str(path), streams="video", end_s=seconds).packets("bench")


def _decode(path: Path, seconds: float) -> tuple[int, float]:
    """How many pictures there are, and the CPU seconds of all threads that decoding them takes."""
    began = time.process_time()
    count = sum(1 for _ in _packets(path, seconds))
    return count, time.process_time() - began


def _find(path: Path, seconds: float) -> Passage:
    """Track and crop; CPU seconds of this thread only, as the decoder has its own."""
    track, crop = FaceTrack(), MouthCrop()
    state = track.open("bench")
    passage = Passage()
    for packet in _packets(path, seconds):
        began = time.thread_time()
        faces = list(track.process(packet, state))
        mouths = [given for one in faces for given in crop.process(one, None)] if faces else []
        passage.frame_s.append(time.thread_time() - began)
        passage.mouths += any(isinstance(given.data, Mouth) for given in mouths)
        passage.size = passage.size or f"{packet.data.pixels.shape[1]}x{packet.data.pixels.shape[0]}"
    if not passage.frame_s:
        raise MmstreamError(f"{path}: holds no picture to measure with")
    return passage


def _draw(path: Path) -> Path:
    """A video of a drawn face that talks and sways."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=DRAWN_FPS)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH, HEIGHT, "yuv420p", 1_000_000
        for k in range(round(DRAWN_S * DRAWN_FPS)):
            second = k / DRAWN_FPS
            opening = 0.5 + 0.5 * math.sin(2 * math.pi * 4 * second)
            sway = (WIDTH / 2 + 15 * math.sin(second), HEIGHT / 2)
            frame = av.VideoFrame.from_ndarray(draw_face(opening, k, sway), format="rgb24")
            frame.pts, frame.time_base = k, Fraction(1, DRAWN_FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
