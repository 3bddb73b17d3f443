"""Faces for tests: drawn ones whose lips do as they are told, real ones from the recordings, and packets of both."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import merge
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mmstream.benchmarks.drawn_face import draw_face
from mmstream.core import Packet
from mmstream.media import AudioChunk, Face, Faces, Gap, Mouth, VideoFrame
from mmstream.testing import run_operator
from operators.sources import MediaFile
from operators.video import FaceTrack, MouthCrop
from tests import sounds
from tests.media_samples import require_data

Pictures = NDArray[np.uint8]  # (frame, height, width, 3)
Course = NDArray[np.float64]  # (frame,), 0..1

RATE = sounds.RATE
SYLLABLE_S = 0.25


@dataclass(frozen=True)
class Clip:
    """Pictures and the sound that belongs to them, both from media second 0."""

    pictures: Pictures
    sound: NDArray[np.float32]  # (time,)
    rate: int  # Hz of the sound
    fps: float = 25.0

    def packets(self, size: int = 1600) -> list[Packet[Any]]:
        """Sound in chunks of ``size`` samples and pictures, as a file gives them."""
        return together(frames(self.pictures, self.fps), sounds.packets(self.sound, self.rate, size=size))


def frames(pictures: Iterable[NDArray[np.uint8]], fps: float = 25.0, start: float = 0.0) -> list[Packet[VideoFrame]]:
    """Pictures as packets; captured at 100 + end."""
    times = ((picture, start + k / fps, start + (k + 1) / fps) for k, picture in enumerate(pictures))
    return [Packet("test", begin, end, VideoFrame(picture), 100 + end) for picture, begin, end in times]


def together(*streams: Iterable[Packet[Any]]) -> list[Packet[Any]]:
    """Streams merged by start, as a node with several inputs gets them."""
    return list(merge(*streams, key=lambda packet: packet.start))


@functools.cache
def recorded(name: str) -> Clip:
    """A clip of the GRID corpus by its path below shared/data/grid."""
    packets = list(MediaFile(str(require_data(f"grid/{name}")), streams="both").packets("test"))
    pictures = [packet.data.pixels for packet in packets if isinstance(packet.data, VideoFrame)]
    chunks = [packet.data for packet in packets if isinstance(packet.data, AudioChunk)]
    sound = np.concatenate([chunk.samples.mean(axis=1) for chunk in chunks])
    return Clip(np.stack(pictures), sound, chunks[0].sample_rate)


def beside(left: Pictures, right: Pictures) -> Pictures:
    """Two films of the same height as one, as long as the shorter one."""
    count = min(len(left), len(right))
    return np.concatenate([left[:count], right[:count]], axis=2)


def syllables(seconds: float, seed: int, spoken: Sequence[tuple[float, float]], fps: float = 25.0) -> Course:
    """How loud speech is at each frame: syllables of different strength in the ``spoken`` spans, in seconds."""
    generator = np.random.default_rng(seed)
    strengths = generator.uniform(0.3, 1.0, round(seconds / SYLLABLE_S) + 1)
    times = np.arange(round(seconds * fps)) / fps
    swing = 0.5 - 0.5 * np.cos(2 * np.pi * times / SYLLABLE_S)
    talks = np.any([(times >= begin) & (times < end) for begin, end in spoken], axis=0) if spoken else False
    return strengths[(times / SYLLABLE_S).astype(int)] * swing * talks


def voice(course: Course, fps: float = 25.0, seed: int = 0) -> NDArray[np.float32]:
    """Noise as loud as ``course`` says, (time,) at RATE, over the noise of a room."""
    times = np.arange(round(len(course) / fps * RATE)) / RATE
    level = 0.2 * np.interp(times, np.arange(len(course)) / fps, course) + 0.001
    return (np.random.default_rng(seed).standard_normal(len(times)) * level).astype(np.float32)


def drawn(course: Course, seed: int = 0, **where: Any) -> Pictures:
    """A drawn face whose mouth is as open as ``course`` says, frame by frame."""
    return np.stack([draw_face(opening, seed=1000 * seed + k, **where) for k, opening in enumerate(course)])


def faces_of(packets: Iterable[Packet[Any]], operator: FaceTrack | None = None) -> list[Packet[Any]]:
    """What ``FaceTrack`` gives: Faces and gaps."""
    return run_operator(operator or FaceTrack(), packets)


def mouths_of(packets: Iterable[Packet[Any]], operator: FaceTrack | None = None) -> list[Packet[Any]]:
    """What ``FaceTrack`` and ``MouthCrop`` give: mouths and gaps."""
    return run_operator(MouthCrop(), faces_of(packets, operator))


def same(one: Sequence[Packet[Any]], other: Sequence[Packet[Any]]) -> bool:
    """Whether two runs gave the same, to the bit."""
    return [_plain(packet) for packet in one] == [_plain(packet) for packet in other]


def _plain(packet: Packet[Any]) -> tuple[Any, ...]:
    data = packet.data
    if isinstance(data, (Mouth, Faces)):
        rest: tuple[Any, ...] = data.faces if isinstance(data, Faces) else (data.quality, data.speaking)
        data = (data.pixels.shape, data.pixels.tobytes(), rest)
    return packet.start, packet.end, packet.captured_at, data


def middle(face: Face) -> tuple[float, float]:
    """Of its box, x and y in pixels."""
    left, top, width, height = face.box
    return left + width / 2, top + height / 2


def reasons(packets: Iterable[Packet[Any]]) -> list[str]:
    """Of the gaps."""
    return [packet.data.reason for packet in packets if isinstance(packet.data, Gap)]


def turned(pictures: Pictures, degrees: float) -> Pictures:
    """Turned about the middle, on a ground of the first pixel: a detector of upright faces sees none."""
    height, width = pictures.shape[1:3]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    ground = [int(level) for level in pictures[0, 0, 0]]
    return np.stack([cv2.warpAffine(one, matrix, (width, height), borderValue=ground) for one in pictures])
