"""Faces in a stream of pictures, each followed over time, the one that speaks first."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mmstream.core import Operator, Packet
from mmstream.media import AudioChunk, Face, Faces, Gap, VideoFrame
from operators.video.hearing import Hearing
from operators.video.lips import WINDOW_S, Lips, agreement
from operators.video.pictures import FROZEN_S, Grey, Stillness, load_cv2
from operators.video.tracking import FaceTracker, Track, Tracking, crop_mouth

PICTURE_SIDE = 480  # pixels of the shorter side, to which larger pictures are scaled down
LEAST_SIDE = 24  # pixels: a smaller picture holds no face that could be found
LIPS_SIDE = 32  # pixels of the crop whose motion is looked at

# Tuned on pairs of faces of ../shared/data/grid/train.jsonl.
LEVEL_S = 1.0  # over which motion counts by itself
LEVEL_WEIGHT = 0.1  # of it against motion that goes with the sound
SILENT_LEVEL_WEIGHT = 0.5  # and where no sound is known
SIZE_WEIGHT = 0.002  # of the width of the face, as a share of the widest one's
MARGIN = 0.003  # by which another face must beat the one that leads,
MARGIN_S = 0.15  # for this long

SPEAKING_S = 0.4  # of motion that ``speaking`` is made of
STILL, MOVING = 0.02, 0.055  # lip motion of a silent and of a speaking face
APART, TOGETHER = -0.1, 0.3  # correlation of motion and sound of somebody else's voice and of the own one


@dataclass
class Lead:
    """Which face is first."""

    track: int | None = None  # its number; None: no face
    rival: int | None = None  # the face that has been ahead of it
    since: float = 0.0  # and from when, media seconds


@dataclass
class FaceTrackState:
    """One session; bounded by WINDOW_S of lips for each face in sight and KEEP_S of loudness."""

    tracking: Tracking = field(default_factory=Tracking)
    stillness: Stillness = field(default_factory=Stillness)
    hearing: Hearing = field(default_factory=Hearing)
    lips: dict[int, Lips] = field(default_factory=dict)  # by track
    lead: Lead = field(default_factory=Lead)


class FaceTrack(Operator[FaceTrackState]):
    """The faces of each picture, with its time; the face that speaks first, then the others by size.

    A face is searched for every ``detect_every_ms`` of media and followed in between; it keeps its number for as long
    as it stays in sight, and is given up once it was not found again for ``forget_ms``. Where sound comes in
    too, the face whose lips have moved with it over the last two seconds goes first; else the one whose lips move
    most. Another face takes the lead only once it has been ahead for a moment. Sound is used up to the beginning of
    the picture, so neither its chunks nor anything later changes what comes out. Where a picture has not changed for
    0.3 s, its faces have a quality of 0: it says nothing about now. Pictures of more than 480 lines come out smaller.

    Errors: ValueError for an argument out of range; MmstreamError where OpenCV is missing.
    """

    accepts: ClassVar[tuple[type, ...]] = (VideoFrame, AudioChunk, Gap)
    emits: ClassVar[tuple[type, ...]] = (Faces,)

    def __init__(self, detect_every_ms: int = 200, forget_ms: int = 1000) -> None:
        if not 0 <= detect_every_ms <= 2000:
            raise ValueError(f"detect_every_ms is 0 (every picture) to 2000, not {detect_every_ms}")
        if not detect_every_ms <= forget_ms <= 10_000:
            raise ValueError(f"forget_ms is detect_every_ms ({detect_every_ms}) to 10000, not {forget_ms}")
        self._cv2 = load_cv2()
        self._tracker = FaceTracker(detect_every_ms / 1000, forget_ms / 1000)

    def open(self, session: str) -> FaceTrackState:
        return FaceTrackState()

    def process(self, packet: Packet[Any], state: FaceTrackState) -> Iterator[Packet[Any]]:
        if isinstance(packet.data, AudioChunk):
            state.hearing.hear(packet)
        elif isinstance(packet.data, VideoFrame):
            yield packet.derive(self._look(packet.data.pixels, packet.start, state))
        elif packet.data.medium == "video":
            yield packet

    def _look(self, pixels: NDArray[np.uint8], at: float, state: FaceTrackState) -> Faces:
        grey = self._grey(pixels)
        frozen = state.stillness.lasts_s(grey, at, self._cv2) > FROZEN_S
        if min(grey.shape) < LEAST_SIDE:
            return Faces(grey, ())
        if frozen:
            tracks, speaking = state.tracking.tracks, {}
        else:
            tracks = self._tracker.update(grey, at, state.tracking)
            speaking = self._watch_lips(grey, tracks, at, state)
        faces = [
            Face(
                track.name,
                (float(track.box[0]), float(track.box[1]), float(track.box[2]), float(track.box[3])),
                quality=0.0 if frozen else float(track.quality),
                speaking=speaking.get(track.name, 0.0),
            )
            for track in tracks
        ]
        return Faces(grey, tuple(sorted(faces, key=lambda face: face.track != state.lead.track)))

    def _grey(self, pixels: NDArray[np.uint8]) -> Grey:
        """(height, width), at most PICTURE_SIDE on the shorter side."""
        grey: Grey = self._cv2.cvtColor(pixels, self._cv2.COLOR_RGB2GRAY)
        scale = PICTURE_SIDE / max(1, min(grey.shape))
        if scale >= 1:
            return grey
        size = (round(grey.shape[1] * scale), round(grey.shape[0] * scale))
        smaller: Grey = self._cv2.resize(grey, size, interpolation=self._cv2.INTER_AREA)
        return smaller

    def _watch_lips(self, grey: Grey, tracks: list[Track], at: float, state: FaceTrackState) -> dict[int, float]:
        """How far each face speaks, 0..1, by track; sets which one leads."""
        state.lips = {track.name: state.lips.get(track.name) or Lips() for track in tracks}
        ends, loudness = state.hearing.before(at)
        heard = bool(len(ends)) and ends[-1] > at - WINDOW_S
        scores, speaking = {}, {}
        widest = max((float(track.box[2]) for track in tracks), default=1.0)
        for track in tracks:
            lips = state.lips[track.name]
            lips.see(crop_mouth(grey, track.box, LIPS_SIDE), at)
            together, correlation = agreement(lips, ends, loudness, at) if heard else (0.0, TOGETHER)
            weight = LEVEL_WEIGHT if heard else SILENT_LEVEL_WEIGHT
            size = float(track.box[2]) / widest
            scores[track.name] = together + weight * (lips.level(at, LEVEL_S) or 0.0) + SIZE_WEIGHT * size
            moving = _between(STILL, MOVING, lips.level(at, SPEAKING_S) or 0.0)
            speaking[track.name] = moving * _between(APART, TOGETHER, correlation)
        _choose(state.lead, scores, at)
        return speaking


def _choose(lead: Lead, scores: dict[int, float], at: float) -> None:
    """Let the face with the best score lead, once it has been the best by MARGIN for MARGIN_S."""
    if not scores:
        lead.track = lead.rival = None
        return
    best = max(scores, key=lambda name: scores[name])  # of equal ones the first, which is the largest
    if lead.track not in scores:
        lead.track, lead.rival = best, None
    elif scores[best] <= scores[lead.track] + MARGIN:
        lead.rival = None
    elif lead.rival != best:
        lead.rival, lead.since = best, at
    elif at - lead.since >= MARGIN_S:
        lead.track, lead.rival = best, None


def _between(low: float, high: float, value: float) -> float:
    """Where ``value`` lies between ``low`` and ``high``, 0..1."""
    return min(1.0, max(0.0, (value - low) / (high - low)))
