"""The payloads that packets carry. A new payload needs a reason: these few serve every operator.

``contiguous`` says that packets of this payload follow one another without overlap, so that one packet's end is
a promise about the next one's start; a text payload is shown again and again from the same start.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

Medium = Literal["audio", "video"]

UNSPACED_LANGUAGES = frozenset({"ja", "zh", "yue", "th", "lo", "my"})


@dataclass(frozen=True, slots=True, eq=False)
class AudioChunk:
    """Samples of one stretch of sound."""

    medium: ClassVar[Medium] = "audio"
    contiguous: ClassVar[bool] = True

    samples: NDArray[np.float32]  # (time, channel), in -1..1
    sample_rate: int  # Hz

    def __reduce__(self) -> tuple[Any, ...]:
        return AudioChunk, (self.samples, self.sample_rate)


@dataclass(frozen=True, slots=True, eq=False)
class Speech:
    """Samples inside one utterance, found by voice activity detection: mono, one utterance after another."""

    medium: ClassVar[Medium] = "audio"
    contiguous: ClassVar[bool] = True

    samples: NDArray[np.float32]  # (time,), in -1..1; may be empty when ``last``
    sample_rate: int  # Hz
    last: bool  # the utterance ends with this packet
    on_camera: float | None = None  # 0..1: how surely the person on camera says it; None: nobody looked


@dataclass(frozen=True, slots=True, eq=False)
class VideoFrame:
    """One picture."""

    medium: ClassVar[Medium] = "video"
    contiguous: ClassVar[bool] = True

    pixels: NDArray[np.uint8]  # (height, width, 3), RGB, upright


@dataclass(frozen=True, slots=True)
class Face:
    """One face of a picture, followed over time."""

    track: int  # the same number for the same face, as long as it stays in sight
    box: tuple[float, float, float, float]  # left, top, width, height in pixels, smoothed over past frames
    quality: float  # 0..1: how sure it is that a face is there and can be seen well
    speaking: float  # 0..1: how far its lips move with the voice, or move at all where no sound is known


@dataclass(frozen=True, slots=True, eq=False)
class Faces:
    """One picture and the faces in it, the one that speaks first."""

    medium: ClassVar[Medium] = "video"
    contiguous: ClassVar[bool] = True

    pixels: NDArray[np.uint8]  # (height, width), grey, upright
    faces: tuple[Face, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Mouth:
    """The mouth of the face that speaks."""

    medium: ClassVar[Medium] = "video"
    contiguous: ClassVar[bool] = True

    pixels: NDArray[np.uint8]  # (size, size), grey
    quality: float  # 0..1, of the face
    speaking: float  # 0..1, of the face


Box = tuple[float, float, float, float]  # left, top, width, height in pixels


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen in one picture, for people to look at: no pixels, so it costs nothing to send."""

    medium: ClassVar[Medium] = "video"
    contiguous: ClassVar[bool] = False

    width: int  # pixels of the picture that the boxes are in
    height: int
    face: Box | None  # of the face that speaks; None: no face
    mouth: Box | None
    quality: float  # 0..1: how sure it is that the face is there and can be seen well
    speaking: float  # 0..1: how far its lips move with the voice


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """A run of feature vectors of sound, one per step."""

    contiguous: ClassVar[bool] = True

    values: NDArray[np.float32]  # (time, feature)
    rate_hz: float  # steps per second


@dataclass(frozen=True, slots=True, eq=False)
class VisualFeatures:
    """A run of feature vectors of pictures, one per step."""

    medium: ClassVar[Medium] = "video"
    contiguous: ClassVar[bool] = True

    values: NDArray[np.float32]  # (time, feature)
    trust: NDArray[np.float32]  # (time,), 0..1: how far each step can be trusted; 0 where nothing was seen
    rate_hz: float  # steps per second


@dataclass(frozen=True, slots=True, eq=False)
class FusedFeatures:
    """A run of feature vectors of sound and pictures together, one per step."""

    contiguous: ClassVar[bool] = True

    values: NDArray[np.float32]  # (time, feature)
    video: NDArray[np.float32]  # (time,), 0..1: how far video contributed
    rate_hz: float  # steps per second


@dataclass(frozen=True, slots=True)
class Word:
    """One recognised word."""

    text: str
    start: float  # media seconds
    end: float  # media seconds
    confidence: float | None = None  # 0..1; None where the recogniser gives none
    video: float = 0.0  # 0..1: how far video contributed


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What a decoder believes the utterance holds so far; each one replaces the one before it."""

    contiguous: ClassVar[bool] = False

    words: tuple[Word, ...]
    final: bool  # the utterance has ended; the next hypothesis belongs to the next utterance
    language: str | None = None  # BCP-47

    def __reduce__(self) -> tuple[Any, ...]:
        return Hypothesis, (self.words, self.final, self.language)


@dataclass(frozen=True, slots=True)
class Caption:
    """An utterance as shown: ``stable`` words never change, ``unstable`` ones may; ``final`` ends the utterance.

    (session, ``index``) names the utterance; a later caption with the same index replaces the earlier one and
    begins with all its stable words.
    """

    contiguous: ClassVar[bool] = False

    index: int
    stable: tuple[Word, ...]
    unstable: tuple[Word, ...]
    final: bool
    language: str | None = None  # BCP-47

    @property
    def words(self) -> tuple[Word, ...]:
        return self.stable + self.unstable

    @property
    def text(self) -> str:
        return join_words(self.words, self.language)


@dataclass(frozen=True, slots=True)
class Translation:
    """An utterance in another language, shown like a caption: ``stable`` words never change, ``unstable`` ones may.

    (session, ``language``, ``index``) names it; ``index`` is that of the caption that it translates. A later one of
    the same name replaces the earlier one and begins with all its stable words. A word's times, confidence and video
    share are those of the words that it translates; times never go back.
    """

    contiguous: ClassVar[bool] = False

    index: int
    stable: tuple[Word, ...]
    unstable: tuple[Word, ...]
    final: bool
    language: str  # BCP-47, of the translation

    @property
    def words(self) -> tuple[Word, ...]:
        return self.stable + self.unstable

    @property
    def text(self) -> str:
        return join_words(self.words, self.language)


def join_words(words: Iterable[Word], language: str | None = None) -> str:
    """The words as running text; languages written without spaces get none."""
    return ("" if language in UNSPACED_LANGUAGES else " ").join(word.text for word in words)


@dataclass(frozen=True, slots=True)
class Gap:
    """Media that was lost between the packet's ``start`` and ``end``. It travels every edge of its medium."""

    medium: Medium
    reason: str  # one line, for people


def passes(payload: Any, carries: tuple[type, ...]) -> bool:
    """Whether an edge that carries payloads of the types ``carries`` takes ``payload``.

    A gap goes wherever its medium goes, and into everything that is made of it.
    """
    if isinstance(payload, carries):
        return True
    if not isinstance(payload, Gap):
        return False
    media = {getattr(kind, "medium", None) for kind in carries}
    return payload.medium in media or None in media
