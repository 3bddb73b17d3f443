"""Cached corpora: the sound and mouth crops of a manifest, ready to be read in any order.

A corpus is a folder: ``audio.i16`` (16 kHz, mono, all clips in a row), ``crops.u8`` (25 Hz, CROP x CROP each),
``quality.f32`` (one per crop, 0 where no face was found) and ``index.jsonl``, one line per clip. Arrays are memory
mapped, so a corpus may be larger than memory.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmstream.core import MmstreamError

SAMPLE_RATE = 16_000  # Hz
SAMPLES_PER_STEP = 640
CROP = 64  # pixels of a side


@dataclass(frozen=True, slots=True)
class TimedWord:
    text: str
    start: float  # seconds
    end: float


@dataclass(frozen=True, slots=True)
class Clip:
    """One utterance of a corpus."""

    text: str  # normalised
    words: tuple[TimedWord, ...]  # empty where the manifest gives no times
    audio_at: int  # first sample
    samples: int
    video_at: int  # first crop
    crops: int  # 0: no video


class Corpus:
    """The clips of one manifest."""

    def __init__(self, folder: Path) -> None:
        """Open the cache in ``folder``.

        Raises:
            MmstreamError: there is none, or it is not whole.
        """
        self.folder = folder
        try:
            lines = (folder / "index.jsonl").read_text(encoding="utf-8").splitlines()
        except OSError as fault:
            raise MmstreamError(f"{folder} is no corpus cache: {fault.strerror}: {fault.filename}") from fault
        self.clips = [_clip(line) for line in lines]
        self._audio = _mapped(folder / "audio.i16", np.int16)
        self._crops = _mapped(folder / "crops.u8", np.uint8).reshape(-1, CROP, CROP)
        self._quality = _mapped(folder / "quality.f32", np.float32)
        if self.clips and self.clips[-1].audio_at + self.clips[-1].samples > len(self._audio):
            raise MmstreamError(f"{folder} is cut short: delete it, and it is made again")

    def __len__(self) -> int:
        return len(self.clips)

    @property
    def has_video(self) -> bool:
        return len(self._crops) > 0

    def sound(self, clip: Clip) -> NDArray[np.float32]:
        """(sample,), in -1..1."""
        part = self._audio[clip.audio_at : clip.audio_at + clip.samples]
        return part.astype(np.float32) / np.float32(32768)

    def video(self, clip: Clip) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Crops (step, CROP, CROP) and their quality (step,)."""
        part = slice(clip.video_at, clip.video_at + clip.crops)
        return np.array(self._crops[part]), np.array(self._quality[part])


def _clip(line: str) -> Clip:
    entry = json.loads(line)
    words = tuple(TimedWord(*word) for word in entry.pop("words"))
    return Clip(words=words, **entry)


def _mapped(path: Path, kind: type[np.generic]) -> NDArray[np.generic]:
    if not path.stat().st_size:
        return np.zeros(0, kind)
    return np.memmap(path, kind, mode="r")
