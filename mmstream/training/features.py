"""One media file -> its sound and mouth crops on the recogniser's clock, by the operators that run live."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmstream.chain import through
from mmstream.core import MmstreamError, Operator, Packet
from mmstream.media import AudioChunk, Mouth
from mmstream.pipeline.classes import find
from mmstream.training.corpus import CROP, SAMPLE_RATE, SAMPLES_PER_STEP

MEDIA_FILE = "operators.sources:MediaFile"
RESAMPLE = "operators.audio:Resample"
FACE_TRACK = "operators.video:FaceTrack"
MOUTH_CROP = "operators.video:MouthCrop"

CHUNK_MS = 500
SESSION = "clip"
STEP_S = SAMPLES_PER_STEP / SAMPLE_RATE
LONGEST_S = 60.0  # a clip is an utterance, not a talk: all of it is in memory at once


@dataclass(frozen=True, slots=True, eq=False)
class Clipped:
    """A clip as it is cached."""

    sound: NDArray[np.int16]  # (sample,), at SAMPLE_RATE; whole steps where there is video
    crops: NDArray[np.uint8]  # (step, CROP, CROP); no step without video
    quality: NDArray[np.float32]  # (step,), 0 where no mouth was found


def read_clip(path: str, *, video: bool) -> Clipped:
    """The clip at ``path``; media time 0 is its first sample and the start of its first step.

    Raises:
        MmstreamError: it cannot be read, has no sound, no picture although ``video``, or no face in any picture.
    """
    heard: list[Packet[Any]] = []
    pictures = _pictures(path, heard, "both" if video else "audio")
    faces = list(through([_operator(FACE_TRACK)] if video else [], pictures, SESSION))
    sound = _on_the_clock(through([_operator(RESAMPLE, sample_rate=SAMPLE_RATE)], heard, SESSION))
    if not len(sound):
        raise MmstreamError(f"{path}: has no sound")
    if not video:
        return Clipped(sound, np.zeros((0, CROP, CROP), np.uint8), np.zeros(0, np.float32))
    steps = max(1, round(max(len(sound) / SAMPLES_PER_STEP, max(packet.end for packet in faces) / STEP_S)))
    crops, quality = _mouths(faces, steps)
    if not quality.any():
        raise MmstreamError(f"{path}: no face is seen in it")
    whole = np.zeros(steps * SAMPLES_PER_STEP, np.int16)
    whole[: len(sound)] = sound[: len(whole)]
    return Clipped(whole, crops, quality)


def check_operators(*, video: bool) -> None:
    """See that the operators which reading needs are there.

    Raises:
        UnusableError: one is not.
    """
    for use in (MEDIA_FILE, RESAMPLE, *((FACE_TRACK, MOUTH_CROP) if video else ())):
        find(use)


def _pictures(path: str, heard: list[Packet[Any]], streams: str) -> Iterator[Packet[Any]]:
    """The frames of a file and the gaps between them, one by one; its sound goes to ``heard``."""
    media_file: Any = find(MEDIA_FILE)
    for packet in media_file(path=path, streams=streams, chunk_ms=CHUNK_MS).packets(SESSION):
        if packet.start > LONGEST_S:
            raise MmstreamError(f"{path}: is longer than {LONGEST_S:.0f} s: cut it into utterances")
        if isinstance(packet.data, AudioChunk):
            heard.append(packet)
        elif packet.data.medium == "video":
            yield packet


def _mouths(faces: Iterable[Packet[Any]], steps: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """For each step, the crop of the picture on show at its centre."""
    crops, quality = np.zeros((steps, CROP, CROP), np.uint8), np.zeros(steps, np.float32)
    centres = (np.arange(steps) + 0.5) * STEP_S
    for packet in through([_operator(MOUTH_CROP, size=CROP)], faces, SESSION):
        if not isinstance(packet.data, Mouth):
            continue
        shown = (centres >= packet.start - 1e-6) & (centres < packet.end - 1e-6)
        crops[shown], quality[shown] = packet.data.pixels, packet.data.quality
    return crops, quality


def _on_the_clock(packets: Iterable[Packet[Any]]) -> NDArray[np.int16]:
    """Mono sound from media time 0, silent where nothing came."""
    parts = [packet for packet in packets if isinstance(packet.data, AudioChunk)]
    places = [round(packet.start * SAMPLE_RATE) for packet in parts]
    ends = [at + len(packet.data.samples) for at, packet in zip(places, parts, strict=True)]
    sound = np.zeros(max(ends, default=0), np.int16)
    for at, packet in zip(places, parts, strict=True):
        samples = packet.data.samples[:, 0]
        sound[at : at + len(samples)] = np.clip(samples * 32768, -32768, 32767).astype(np.int16)
    return sound


@functools.cache
def _operator(use: str, **arguments: Any) -> Operator[Any]:
    """Built once in each process: a face detector takes longer to load than a clip to read."""
    return find(use)(**arguments)  # type: ignore[return-value]
