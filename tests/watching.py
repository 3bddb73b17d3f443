"""A recogniser that says how much it heard and saw, so that a test sees what a condition did to its media."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np

from mmstream.benchmarks.drawn_face import draw_face
from mmstream.core import Before, NodeBefore, Operator, Packet
from mmstream.media import AudioChunk, Features, Gap, Hypothesis, Mouth, Word

CLIP_S = 1.6
FPS = 25


@dataclass
class Tally:
    """One session."""

    session: str
    sounds: list[Any] = field(default_factory=list)
    first_mouth: float | None = None  # media seconds
    mouths: int = 0


class Watch(Operator[Tally]):
    """One vector at the end: samples, their level in dB, mouths, and the media millisecond of the first of them."""

    accepts: ClassVar[tuple[type, ...]] = (AudioChunk, Mouth, Gap)
    emits: ClassVar[tuple[type, ...]] = (Features,)

    def open(self, session: str) -> Tally:
        return Tally(session)

    def process(self, packet: Packet[Any], state: Tally) -> Iterator[Packet[Any]]:
        if isinstance(packet.data, AudioChunk):
            state.sounds.append(packet.data.samples)
        elif isinstance(packet.data, Mouth):
            state.mouths += 1
            state.first_mouth = packet.start if state.first_mouth is None else state.first_mouth
        yield from ()

    def flush(self, state: Tally) -> Iterator[Packet[Any]]:
        sound = np.concatenate(state.sounds) if state.sounds else np.zeros((0, 1))
        level_db = 10 * np.log10(np.mean(np.square(sound))) if sound.size else -99
        first = -1 if state.first_mouth is None else 1000 * state.first_mouth
        values = np.array([[len(sound), level_db, state.mouths, first]], np.float32)
        yield Packet(state.session, 0.0, CLIP_S, Features(values, 1.0), 0.0)


class Say(Operator[None]):
    """The vector of ``Watch`` in four words; video's share in them is that of the frames whose mouth was seen."""

    accepts: ClassVar[tuple[type, ...]] = (Features,)
    emits: ClassVar[tuple[type, ...]] = (Hypothesis,)
    commit: ClassVar[dict[str, object]] = {"policy": "final"}
    before: ClassVar[Before] = {"watch": NodeBefore("tests.watching:Watch", (AudioChunk, Mouth))}

    def open(self, session: str) -> None: ...

    def process(self, packet: Packet[Any], state: None) -> Iterator[Packet[Any]]:
        share = float(packet.data.values[0, 2]) / (CLIP_S * FPS)
        texts = [f"{value:.0f}" for value in packet.data.values[0]]
        words = (Word(text, 0.1 * k, 0.1 * k + 0.1, None, share) for k, text in enumerate(texts))
        yield packet.derive(Hypothesis(tuple(words), final=True))


@dataclass(frozen=True)
class Watcher:
    """What the registry would say of it."""

    name: str = "watcher"
    use: str = "tests.watching:Say"
    arguments: Any = field(default_factory=dict)
    path: Path | None = None
    commit: Any = field(default_factory=dict)
    media: tuple[str, ...] = ("audio", "video")
    before: Any = field(default_factory=lambda: Say.before)

    def arguments_for(self, *, watched: bool) -> dict[str, Any]:
        return {}


def film(path: Path, seed: int = 0) -> Path:
    """A drawn face whose lips move, with a tone."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("h264", rate=FPS)
        video.width, video.height, video.pix_fmt = 360, 288, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for k in range(round(CLIP_S * FPS)):
            frame = av.VideoFrame.from_ndarray(draw_face(0.5 + 0.5 * np.sin(k), seed=100 * seed + k), format="rgb24")
            container.mux(video.encode(frame))
        times = np.arange(round(CLIP_S * 16_000)) / 16_000
        samples = (3000 * np.sin(2 * np.pi * 300 * times)).astype(np.int16)
        sound = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        sound.sample_rate = 16_000
        container.mux(audio.encode(sound))
        for stream in (video, audio):
            container.mux(stream.encode(None))
    return path
