"""A recogniser that hears numbers: cheap, the same on every machine, and the same however its sound comes in pieces."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from mmstream.core import Operator, Packet
from mmstream.media import AudioChunk, Hypothesis, Word

WORD_S = 0.25
WORDS = 4  # of an utterance
RATE = 16_000
WORD_SAMPLES = round(WORD_S * RATE)

PIPELINE = """
capacity: 64
nodes:
  source: {use: operators.sources:Microphone}
  resample: {use: operators.audio:Resample, from: source}
  decode: {use: tests.stub:Numbers, from: resample}
  commit: {use: operators.policies:Commit, with: {policy: hold_n, n: 1}, from: decode}
  terminal: {use: operators.sinks:Terminal, from: commit}
"""


@dataclass
class Heard:
    """The utterance under way."""

    samples: list[int] = field(default_factory=list)  # the first of each word
    origin: float | None = None  # media second of the first sample
    count: int = 0  # samples of this stretch
    words: list[Word] = field(default_factory=list)
    last: Packet[None] | None = None


class Numbers(Operator[Heard]):
    """Each ``WORD_S`` of sound is a word, the number of its first sample; ``WORDS`` of them are an utterance."""

    accepts: ClassVar[tuple[type, ...]] = (AudioChunk,)
    emits: ClassVar[tuple[type, ...]] = (Hypothesis,)
    commit: ClassVar[dict[str, object]] = {"policy": "hold_n", "n": 1}

    def open(self, session: str) -> Heard:
        return Heard()

    def process(self, packet: Packet[AudioChunk], state: Heard) -> Iterator[Packet[Hypothesis]]:
        samples = packet.data.samples[:, 0]
        if state.origin is None:
            state.origin = packet.start
        state.last = packet.derive(None)
        for first in range(-state.count % WORD_SAMPLES, len(samples), WORD_SAMPLES):
            state.samples.append(round(float(samples[first]) * 32768))
        state.count += len(samples)
        while len(state.samples) and state.count >= self._heard(state) + WORD_SAMPLES:
            start = state.origin + self._heard(state) / RATE
            state.words.append(Word(str(state.samples.pop(0)), start, start + WORD_S, 0.9))
            final = len(state.words) == WORDS
            yield packet.derive(Hypothesis(tuple(state.words), final, "en"), state.words[0].start, start + WORD_S)
            if final:
                state.words.clear()

    def flush(self, state: Heard) -> Iterator[Packet[Hypothesis]]:
        if state.words and state.last is not None:
            start, end = state.words[0].start, state.words[-1].end
            yield state.last.derive(Hypothesis(tuple(state.words), True, "en"), start, end)
            state.words.clear()

    def _heard(self, state: Heard) -> int:
        """Samples of the words that are whole."""
        begun = -(-state.count // WORD_SAMPLES)  # words that have begun
        return (begun - len(state.samples)) * WORD_SAMPLES


def spoken(first: int, last: int) -> bytes:
    """PCM at ``RATE`` in which the numbers from ``first`` to ``last - 1`` are heard."""
    numbers = np.arange(first, last, dtype="<i2")
    return np.repeat(numbers, WORD_SAMPLES).tobytes()
