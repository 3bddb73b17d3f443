"""Batches of training, each a function of its number alone: training resumes to the step, on any number of loaders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmstream.nets.heads import BLANK
from mmstream.nets.visual import SIZE
from mmstream.nets.vocabulary import Vocabulary
from mmstream.training import sight, sound
from mmstream.training.corpus import CROP, SAMPLE_RATE, SAMPLES_PER_STEP, Clip, Corpus

STEP_S = SAMPLES_PER_STEP / SAMPLE_RATE
EARLIEST_S = 0.12  # of a word that must have been heard before it may come out
IGNORED = -100  # a step without an alignment target


class Batch(NamedTuple):
    """Sequences padded to one length. See ``mmstream.nets`` for shapes."""

    mel: Tensor
    crops: Tensor | None  # uint8
    trust: Tensor
    lengths: Tensor  # steps
    targets: Tensor  # (batch, token), padded with 0
    target_lengths: Tensor
    alignment: Tensor  # (batch, step): class of the word under way, or IGNORED
    snr: Tensor  # (batch,): dB / 10, NaN where unknown or nothing is heard
    matched: Tensor  # (batch,): 1: video belongs to the sound; 0: it does not; NaN: one of them is missing
    allowed: Tensor | None = None  # (batch, step, token): whether CTC may give the token there; None: anywhere


@dataclass(frozen=True, slots=True)
class MixConfig:
    """How a corpus is served."""

    seconds: float = 60.0  # of media in a batch
    join: int = 3  # up to so many clips follow one another in a sequence
    longest_s: float = 17.0
    audio_only: float = 0.2  # chance of each modality; the rest is both
    video_only: float = 0.3
    mismatched: float = 0.08  # chance that video of another clip comes with a sequence that is heard
    empty: float = 0.02  # chance of a sequence without a voice
    late_s: float = 0.24  # a word whose times are known may come out so long after its end, and not before its middle
    sound: sound.SoundConfig = field(default_factory=sound.SoundConfig)
    sight: sight.SightConfig = field(default_factory=sight.SightConfig)


class Window(NamedTuple):
    """When the tokens of a word may come out: steps ``first`` up to, and not with, ``last``."""

    text: str
    first: int
    last: int


class Example(NamedTuple):
    """One training sequence before batching."""

    mel: Tensor
    crops: NDArray[np.uint8] | None
    trust: NDArray[np.float32]
    text: str
    alignment: NDArray[np.int64]
    snr: float
    matched: float
    windows: tuple[Window, ...] = ()  # one a word; empty: it may come out at any time


class Feeder:
    """Batches of one corpus."""

    def __init__(
        self, corpus: Corpus, config: MixConfig, vocabulary: Vocabulary, *, classes: dict[str, int],
        noises: sound.Noises, faces: Sequence[Corpus], seed: int,
    ) -> None:  # fmt: skip
        """``classes``: words with an alignment class; ``faces``: where video of somebody else comes from."""
        self._corpus, self._config, self._vocabulary = corpus, config, vocabulary
        self._classes, self._noises, self._seed = classes, noises, seed
        self._faces = [(one, clip) for one in faces for clip in one.clips if clip.crops]
        self._plans: list[list[list[list[Clip]]]] = []  # by lap: batches of sequences of clips

    def batch(self, step: int, part: int = 0, parts: int = 1) -> Batch | None:
        """Every ``parts``-th sequence of batch ``step``, from ``part`` on; None where that is none.

        Each sequence is a function of ``step`` and its place, so the parts together are the batch, however many.
        """
        examples = [
            self._sequence(clips, np.random.default_rng([self._seed, 11, step, k]))
            for k, clips in enumerate(self.planned(step))
            if k % parts == part
        ]
        return collate(examples, self._vocabulary) if examples else None

    def planned(self, step: int) -> list[list[Clip]]:
        """The clips of batch ``step``, as they are joined to sequences."""
        lap = 0
        while True:
            if lap == len(self._plans):
                self._plans.append(self._plan(lap))
            if step < len(self._plans[lap]):
                return self._plans[lap][step]
            step -= len(self._plans[lap])
            lap += 1

    def _plan(self, lap: int) -> list[list[list[Clip]]]:
        """Every clip once, joined at random, in batches of sequences of about the same length, shuffled."""
        rng = np.random.default_rng([self._seed, 7, lap])
        left = [self._corpus.clips[k] for k in rng.permutation(len(self._corpus))]
        sequences: list[tuple[float, list[Clip]]] = []
        while left:
            joined, seconds = [left.pop()], 0.0
            for _ in range(int(rng.integers(0, self._config.join))):
                seconds = sum(clip.samples for clip in joined) / SAMPLE_RATE
                if left and seconds + left[-1].samples / SAMPLE_RATE <= self._config.longest_s:
                    joined.append(left.pop())
            seconds = sum(clip.samples for clip in joined) / SAMPLE_RATE
            sequences.append((seconds * rng.uniform(0.95, 1.05), joined))
        sequences.sort(key=lambda one: one[0])
        batches: list[list[list[Clip]]] = [[]]
        for seconds, joined in sequences:
            if batches[-1] and (len(batches[-1]) + 1) * seconds > self._config.seconds:
                batches.append([])
            batches[-1].append(joined)
        return [batches[k] for k in rng.permutation(len(batches))]

    def _sequence(self, clips: Sequence[Clip], rng: np.random.Generator) -> Example:
        config = self._config
        rate = float(np.exp(rng.uniform(*np.log(config.sound.rate))))
        if rng.random() < config.empty:
            return self._empty(rng)
        waves, crops, quality, text, times = [], [], [], [], []
        at = 0.0
        for clip in clips:
            wave = sound.at_rate(self._corpus.sound(clip), rate)
            steps = len(wave) // SAMPLES_PER_STEP
            waves.append(wave[: steps * SAMPLES_PER_STEP])
            if clip.crops:
                pictures, trust = sight.at_rate(*self._corpus.video(clip), rate, steps)
                crops.append(pictures)
                quality.append(trust)
            text.append(clip.text)
            times += [(word.text, at + word.start / rate, at + word.end / rate) for word in clip.words]
            at += steps * STEP_S
        wave = np.concatenate(waves)
        alignment = self._aligned(times, len(wave) // SAMPLES_PER_STEP)
        video = (np.concatenate(crops), np.concatenate(quality)) if crops else None
        example = self._finished(wave, video, " ".join(text), alignment, rng)
        timed = len(times) == len(example.text.split())
        return example._replace(windows=tuple(self._window(*word) for word in times)) if timed else example

    def _finished(
        self, wave: sound.Sound, video: tuple[sight.Crops, sight.Quality] | None, text: str,
        alignment: NDArray[np.int64], rng: np.random.Generator,
    ) -> Example:  # fmt: skip
        config = self._config
        steps = len(wave) // SAMPLES_PER_STEP
        draw = rng.random()
        heard = video is None or draw >= config.video_only
        seen = video is not None and draw < 1 - config.audio_only
        matched = 1.0 if heard and seen else float("nan")
        if heard and self._faces and rng.random() < config.mismatched:
            video, seen, matched = self._somebody(steps, rng), True, 0.0
        snr = float("nan")
        if heard:
            snr = 30.0
            if rng.random() < config.sound.noise_chance:
                low = 0.0 if matched == 0.0 else config.sound.snr_db[0]
                snr = float(rng.uniform(low, config.sound.snr_db[1]))
                wave = sound.add_noise(wave, self._noises.draw(len(wave), rng), snr)
            mel = sound.augmented_mel(log_mel(wave)[: steps * 4], config.sound, rng)
        else:
            mel = torch.zeros(steps * 4, 80)
        trust = np.zeros((steps, 2), np.float32)
        trust[:, 0] = heard
        crops = None
        if seen and video is not None:
            pictures, quality = sight.lossy(*video, config.sight, rng)
            crops, trust[:, 1] = sight.looked_at(pictures, config.sight, rng), quality
        return Example(mel, crops, trust, text, alignment, snr / 10, matched)

    def _empty(self, rng: np.random.Generator) -> Example:
        """Nobody speaks: no token may come out."""
        steps = int(rng.integers(50, 150))
        length = steps * SAMPLES_PER_STEP
        level = np.float32(10 ** rng.uniform(-4, -0.5))
        wave = self._noises.background(length, rng)
        wave = wave / (np.abs(wave).max() + 1e-6) * level
        mel = sound.augmented_mel(log_mel(wave)[: steps * 4], self._config.sound, rng)
        trust = np.zeros((steps, 2), np.float32)
        trust[:, 0] = 1
        return Example(mel, None, trust, "", np.zeros(steps, np.int64), float("nan"), float("nan"))

    def _somebody(self, steps: int, rng: np.random.Generator) -> tuple[sight.Crops, sight.Quality]:
        """Video of somebody who says something else."""
        crops = np.zeros((0, CROP, CROP), np.uint8)
        quality = np.zeros(0, np.float32)
        while len(crops) < steps:
            corpus, clip = self._faces[rng.integers(len(self._faces))]
            more, trust = corpus.video(clip)
            crops, quality = np.concatenate([crops, more]), np.concatenate([quality, trust])
        return crops[:steps], quality[:steps]

    def _window(self, text: str, start: float, end: float) -> Window:
        """Free to choose, CTC says a word when it likes: at once, as a guess, or at the end of the sentence."""
        first = int((start + min(EARLIEST_S, (end - start) / 2)) / STEP_S)
        return Window(text, first, max(first + 2, int((end + self._config.late_s) / STEP_S) + 1))

    def _aligned(self, times: list[tuple[str, float, float]], steps: int) -> NDArray[np.int64]:
        """Class 0: nobody speaks; k: the word of class k is under way."""
        if not times or not self._classes:
            return np.full(steps, IGNORED, np.int64)
        classes = np.zeros(steps, np.int64)
        middles = (np.arange(steps) + 0.5) * STEP_S
        for text, start, end in times:
            classes[(middles >= start) & (middles < end)] = self._classes.get(text, IGNORED)
        return classes


def collate(sequences: Sequence[Example], vocabulary: Vocabulary) -> Batch:
    """Pad to the longest."""
    steps = max(len(one.trust) for one in sequences)
    tokens = [vocabulary.encode(one.text) for one in sequences]
    longest = max(1, *(len(one) for one in tokens))
    count = len(sequences)
    mel = torch.zeros(count, steps * 4, 80)
    trust = torch.zeros(count, steps, 2)
    alignment = torch.full((count, steps), IGNORED)
    targets = torch.zeros(count, longest, dtype=torch.long)
    crops = None
    if any(one.crops is not None for one in sequences):
        crops = torch.zeros(count, steps, SIZE, SIZE, dtype=torch.uint8)
    for k, one in enumerate(sequences):
        length = len(one.trust)
        mel[k, : len(one.mel)] = one.mel
        trust[k, :length] = torch.from_numpy(one.trust)
        alignment[k, :length] = torch.from_numpy(one.alignment)
        targets[k, : len(tokens[k])] = torch.tensor(tokens[k], dtype=torch.long)
        if crops is not None and one.crops is not None:
            crops[k, :length] = torch.from_numpy(one.crops)
    allowed = _allowed(sequences, vocabulary, steps) if any(one.windows for one in sequences) else None
    return Batch(
        mel, crops, trust, torch.tensor([len(one.trust) for one in sequences]), targets,
        torch.tensor([len(one) for one in tokens]), alignment,
        torch.tensor([one.snr for one in sequences]), torch.tensor([one.matched for one in sequences]),
        allowed,
    )  # fmt: skip


def _allowed(sequences: Sequence[Example], vocabulary: Vocabulary, steps: int) -> Tensor:
    """(batch, step, token): blank anywhere; tokens of words whose times are known, in their windows."""
    allowed = torch.ones(len(sequences), steps, len(vocabulary), dtype=torch.bool)
    for k, one in enumerate(sequences):
        if one.windows:
            allowed[k, :, BLANK + 1 :] = False
        for word in one.windows:
            allowed[k, word.first : word.last, vocabulary.encode(word.text)] = True
    return allowed


_TRANSFORM: list[Any] = []


def log_mel(wave: NDArray[np.float32]) -> Tensor:
    """(sample,) -> (frame, 80), as ``operators.audio:LogMel`` gives it, with the sound's end padded by silence."""
    if not _TRANSFORM:
        import torchaudio

        _TRANSFORM.append(
            torchaudio.transforms.MelSpectrogram(
                sample_rate=SAMPLE_RATE, n_fft=400, win_length=400, hop_length=160, n_mels=80, center=False
            )
        )
    padded = torch.nn.functional.pad(torch.from_numpy(wave), (0, 400 - 160))
    mel: Tensor = _TRANSFORM[0](padded).T.clamp(min=1e-6).log()
    return mel
