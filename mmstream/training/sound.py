"""What training does to sound: noise, voices, rate, room and loudness."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmstream.training.corpus import SAMPLE_RATE, Corpus

Sound = NDArray[np.float32]  # (sample,)


@dataclass(frozen=True, slots=True)
class SoundConfig:
    """Ranges are (low, high) of a uniform draw; a chance is per clip."""

    noise_chance: float = 0.7
    snr_db: tuple[float, float] = (-7.5, 20.0)
    babble_chance: float = 0.6  # of the noise: voices of the training corpora, mixed
    talkers: tuple[int, int] = (3, 16)
    rate: tuple[float, float] = (0.82, 1.22)  # speed and pitch together
    warp: tuple[float, float] = (0.88, 1.14)  # of the mel axis: the length of the vocal tract
    gain_db: tuple[float, float] = (-15.0, 10.0)
    tilt: float = 0.8  # most that a smooth filter adds or takes at an end of the spectrum, in nats of power
    time_masks: int = 2
    time_mask_s: float = 0.25
    mel_masks: int = 2
    mel_mask: int = 12  # bands


class Noises:
    """Draws of background sound: recorded noise, babble mixed from speech, and coloured noise."""

    def __init__(self, recorded: Sequence[Corpus], voices: Sequence[Corpus], config: SoundConfig) -> None:
        self._recorded = [(corpus, clip) for corpus in recorded for clip in corpus.clips]
        self._voices = [(corpus, clip) for corpus in voices for clip in corpus.clips]
        self._config = config

    def draw(self, length: int, rng: np.random.Generator) -> Sound:
        """(length,), not silent."""
        if self._voices and rng.random() < self._config.babble_chance:
            return self.babble(length, rng)
        return self.background(length, rng)

    def background(self, length: int, rng: np.random.Generator) -> Sound:
        """Noise without a voice."""
        if self._recorded and rng.random() < 0.6:
            corpus, clip = self._recorded[rng.integers(len(self._recorded))]
            return _cut(corpus.sound(clip), length, rng)
        return _coloured(length, rng)

    def babble(self, length: int, rng: np.random.Generator) -> Sound:
        mixed = np.zeros(length, np.float32)
        low, high = self._config.talkers
        for _ in range(int(rng.integers(low, high + 1))):
            corpus, clip = self._voices[rng.integers(len(self._voices))]
            voice = _cut(corpus.sound(clip), length, rng)
            mixed += voice / (_level(voice) + 1e-4) * np.float32(10 ** rng.uniform(-0.25, 0.25))
        return mixed


def add_noise(sound: Sound, noise: Sound, snr_db: float) -> Sound:
    """``sound`` with ``noise`` scaled so that, over the whole clip, the powers are ``snr_db`` apart."""
    scale = _level(sound) / max(_level(noise), 1e-6) * 10 ** (-snr_db / 20)
    mixed: Sound = sound + noise * np.float32(scale)
    return mixed


def at_rate(sound: Sound, rate: float) -> Sound:
    """Played ``rate`` times as fast, pitch and all, by linear interpolation."""
    places = np.arange(0, len(sound) - 1, rate)
    return np.asarray(np.interp(places, np.arange(len(sound)), sound), np.float32)


def augmented_mel(mel: Tensor, config: SoundConfig, rng: np.random.Generator) -> Tensor:
    """Log-mel (frame, band) with another vocal tract, another filter, another loudness, and parts masked."""
    bands = mel.shape[1]
    mel = _warped(mel, float(np.exp(rng.uniform(*np.log(config.warp)))))
    bend = np.interp(np.arange(bands), np.linspace(0, bands - 1, 4), rng.uniform(-config.tilt, config.tilt, 4))
    mel = mel + torch.from_numpy(bend.astype(np.float32)) + rng.uniform(*config.gain_db) * (np.log(10) / 10)
    mel = mel.clamp(min=np.log(1e-6))
    middle = float(mel.mean())
    for _ in range(config.time_masks):
        width = int(rng.integers(0, round(config.time_mask_s * 100) + 1))
        at = int(rng.integers(0, max(1, len(mel) - width)))
        mel[at : at + width] = middle
    for _ in range(config.mel_masks):
        width = int(rng.integers(0, config.mel_mask + 1))
        at = int(rng.integers(0, bands - width))
        mel[:, at : at + width] = middle
    return mel


def _warped(mel: Tensor, factor: float) -> Tensor:
    """The mel axis stretched by ``factor``, as a shorter or longer vocal tract does it."""
    bands = mel.shape[1]
    places = (torch.arange(bands) * factor).clamp(max=bands - 1)
    low = places.floor().long()
    high = (low + 1).clamp(max=bands - 1)
    part = places - low
    return mel[:, low] * (1 - part) + mel[:, high] * part


def _coloured(length: int, rng: np.random.Generator) -> Sound:
    """Noise whose power falls with the frequency to a power of 0 (white) to 2 (brown)."""
    spectrum = np.fft.rfft(rng.standard_normal(length))
    spectrum /= np.maximum(np.arange(len(spectrum)), 1 + 30 * length / SAMPLE_RATE) ** (rng.uniform(0, 2) / 2)
    noise = np.fft.irfft(spectrum, length)
    return np.asarray(noise / (np.sqrt(np.mean(noise**2)) + 1e-12) * 0.05, np.float32)


def _cut(sound: Sound, length: int, rng: np.random.Generator) -> Sound:
    """A stretch of ``sound``, from a random place and round again where it is shorter."""
    at = int(rng.integers(len(sound)))
    cut: Sound = np.take(sound, np.arange(at, at + length), mode="wrap")
    return cut


def _level(sound: Sound) -> float:
    return float(np.sqrt(np.mean(np.square(sound, dtype=np.float64))))
