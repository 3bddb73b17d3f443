"""Voice activity detection: sound -> utterances, by silero-vad's ONNX model."""

from __future__ import annotations

import importlib.util
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mmstream.core import MmstreamError, Operator, Packet
from mmstream.media import AudioChunk, Speech
from operators.audio.timeline import Timeline

SAMPLE_RATE = 16_000  # Hz
WINDOW = 512  # samples that the model judges at once: 32 ms
CONTEXT = 64  # samples before the window that it wants to see again
WINDOW_MS = 1000 * WINDOW / SAMPLE_RATE
HYSTERESIS = 0.15  # speech turns quiet below threshold - HYSTERESIS; in between it stays what it was
MAX_DIP = 3  # quiet windows that an onset survives
SEARCH_SHARE = 0.25  # the last share of max_segment_s, in which a cut is looked for

Window = NDArray[np.float32]  # (WINDOW,)


@dataclass
class Onset:
    """What may become an utterance, in windows."""

    speech: int = 0  # windows of speech; 0: nothing is beginning
    quiet: int = 0  # windows since the last one of speech
    length: int = 0  # windows since the first one of speech


@dataclass
class Utterance:
    """The utterance that is being given, in windows."""

    length: int = 0
    quiet: int = 0  # windows since speech was last heard
    energy: float = 0.0  # mean square, summed over the windows


@dataclass
class VadState:
    """One session. ``held`` is bounded by the pre-roll and the longest onset, so nothing grows with the stream."""

    last_packet: Packet[None] | None = None
    timeline: Timeline | None = None  # counts the samples judged
    pending: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))  # less than a window
    context: NDArray[np.float32] = field(default_factory=lambda: np.zeros(CONTEXT, np.float32))
    memory: NDArray[np.float32] = field(default_factory=lambda: np.zeros((2, 1, 128), np.float32))  # the network's
    held: deque[Window] = field(default_factory=deque)  # the last windows judged and not given
    onset: Onset = field(default_factory=Onset)
    utterance: Utterance | None = None


class Vad(Operator[VadState]):
    """Utterances, given as they are spoken: silence does not come out, and no word is clipped.

    An utterance opens after ``min_speech_ms`` of speech (a click is shorter) and then begins ``pre_roll_ms`` before
    that speech. It ends, with ``last``, after ``hangover_ms`` without speech. One that gets longer than
    ``max_segment_s`` is cut and goes on as the next one: over the last quarter of that length the bar for a cut
    rises until the least speech-like window (probability of speech times loudness) falls below it.

    Errors: ValueError for an argument out of range; MmstreamError where the model is not installed, and for sound
    that is not mono at 16 kHz.
    """

    accepts: ClassVar[tuple[type, ...]] = (AudioChunk,)
    emits: ClassVar[tuple[type, ...]] = (Speech,)

    def __init__(
        self,
        threshold: float = 0.5,
        pre_roll_ms: float = 300.0,
        hangover_ms: float = 500.0,
        min_speech_ms: float = 96.0,
        max_segment_s: float = 20.0,
    ) -> None:
        if not HYSTERESIS < threshold < 1:
            raise ValueError(f"threshold is a probability between {HYSTERESIS} and 1, not {threshold}")
        if not 0 <= pre_roll_ms <= 5000:
            raise ValueError(f"pre_roll_ms is 0 to 5000, not {pre_roll_ms}")
        if not WINDOW_MS <= hangover_ms <= 5000:
            raise ValueError(f"hangover_ms is {WINDOW_MS:.0f} to 5000, not {hangover_ms}")
        if not 0 <= min_speech_ms <= 1000:
            raise ValueError(f"min_speech_ms is 0 to 1000, not {min_speech_ms}")
        if not 1 <= max_segment_s <= 300:
            raise ValueError(f"max_segment_s is 1 to 300, not {max_segment_s}")
        self.threshold = threshold
        self.pre_roll = math.ceil(pre_roll_ms / WINDOW_MS)  # this and the next three in windows
        self.hangover = math.ceil(hangover_ms / WINDOW_MS)
        self.min_speech = max(1, math.ceil(min_speech_ms / WINDOW_MS))
        self.max_length = math.ceil(1000 * max_segment_s / WINDOW_MS)
        self._model = _load_model()

    def open(self, session: str) -> VadState:
        return VadState()

    def process(self, packet: Packet[AudioChunk], state: VadState) -> Iterator[Packet[Speech]]:
        chunk = packet.data
        if chunk.sample_rate != SAMPLE_RATE or chunk.samples.shape[1] != 1:
            raise MmstreamError(
                f"Vad takes mono sound at {SAMPLE_RATE} Hz, not {chunk.samples.shape[1]} channel(s) at "
                f"{chunk.sample_rate} Hz: put operators.audio:Resample before it"
            )
        if state.timeline is not None and state.timeline.broken_by(packet.start - len(state.pending) / SAMPLE_RATE):
            yield from self.flush(state)
        timeline = state.timeline = state.timeline or Timeline(packet.start, SAMPLE_RATE)
        state.last_packet = packet.derive(None)
        samples = np.concatenate([state.pending, chunk.samples[:, 0]])
        whole = len(samples) - len(samples) % WINDOW
        state.pending = samples[whole:]
        given: list[Window] = []
        heard = samples[:whole].reshape(-1, WINDOW)
        for window, probability in zip(heard, self._judge(heard, state), strict=True):
            timeline.count += WINDOW
            windows, last = self._follow(window, probability, state)
            given += windows
            if last:
                yield _speech(given, packet, timeline, last=True)
                given = []
        if given:
            yield _speech(given, packet, timeline, last=False)

    def flush(self, state: VadState) -> Iterator[Packet[Speech]]:
        """Close the utterance that is open, with the part of a window that was not judged."""
        if state.utterance is not None and state.timeline is not None and state.last_packet is not None:
            state.timeline.count += len(state.pending)
            yield _speech([state.pending], state.last_packet, state.timeline, last=True)
        state.__dict__.update(VadState().__dict__)

    def watermark(self, state: VadState, reached: float) -> float:
        """What is held may still come out, as the pre-roll of an utterance."""
        if state.timeline is None:
            return reached
        return min(reached, state.timeline.at(state.timeline.count - WINDOW * len(state.held)))

    def _follow(self, window: Window, probability: float, state: VadState) -> tuple[list[Window], bool]:
        """What is given on hearing ``window``, and whether the utterance ends with it."""
        utterance = state.utterance
        if utterance is None:
            state.held.append(window)
            if not self._begins(probability, state.onset):
                while len(state.held) > self.pre_roll + state.onset.length:
                    state.held.popleft()
                return [], False
            windows = list(state.held)
            state.held.clear()
            state.onset = Onset()
            state.utterance = Utterance(len(windows), 0, sum(map(_mean_square, windows)))
            return windows, False
        last = self._ends(probability, window, utterance)
        if last:
            state.utterance = None
        return [window], last

    def _begins(self, probability: float, onset: Onset) -> bool:
        """Whether enough speech has been heard, counting over short dips."""
        if probability >= self.threshold:
            onset.speech += 1
            onset.quiet = 0
        elif onset.speech and (onset.quiet or probability < self.threshold - HYSTERESIS):
            onset.quiet += 1
        onset.length += 1 if onset.speech else 0
        if onset.quiet > MAX_DIP:
            onset.speech = onset.quiet = onset.length = 0
        return onset.speech >= self.min_speech

    def _ends(self, probability: float, window: Window, utterance: Utterance) -> bool:
        """Whether the utterance ends with ``window``: by quiet, or because it gets too long."""
        utterance.length += 1
        utterance.energy += (energy := _mean_square(window))
        if probability >= self.threshold:
            utterance.quiet = 0
        elif utterance.quiet or probability < self.threshold - HYSTERESIS:
            utterance.quiet += 1
        if utterance.quiet >= self.hangover:
            return True
        search = SEARCH_SHARE * self.max_length
        bar = 1 - (self.max_length - utterance.length) / search
        if bar <= 0:
            return False
        loudness = math.sqrt(energy * utterance.length / utterance.energy) if utterance.energy else 0.0
        return probability * min(1.0, loudness) <= bar

    def _judge(self, windows: NDArray[np.float32], state: VadState) -> list[float]:
        """The probability of speech in each of ``windows`` (window, sample), in one call: that costs half."""
        if not len(windows):
            return []
        before = np.concatenate([state.context[None], windows[:-1, -CONTEXT:]])
        heard = np.concatenate([before, windows], axis=1)  # (window, CONTEXT + WINDOW)
        probabilities, hidden, cell = self._model.run(
            ["speech_probs", "hn", "cn"], {"input": heard, "h": state.memory[:1], "c": state.memory[1:]}
        )
        state.memory = np.concatenate([hidden, cell])
        state.context = windows[-1, -CONTEXT:]
        found: list[float] = probabilities.tolist()
        return found


def _mean_square(window: Window) -> float:
    return float(np.dot(window, window)) / len(window)


def _speech(windows: list[Window], packet: Packet[Any], timeline: Timeline, last: bool) -> Packet[Speech]:
    """``windows`` as the sound that ends where ``timeline`` stands."""
    samples = np.concatenate(windows)
    speech = Speech(samples, SAMPLE_RATE, last)
    return packet.derive(speech, timeline.at(timeline.count - len(samples)), timeline.end)


def _load_model() -> Any:
    """The model out of silero-vad's wheel, without importing the package: that would import torch (3 s)."""
    try:
        import onnxruntime
    except ImportError as fault:
        raise MmstreamError("onnxruntime is missing: pip install onnxruntime") from fault
    package = importlib.util.find_spec("silero_vad")
    if package is None or package.origin is None:
        raise MmstreamError("the voice activity model is missing: pip install silero-vad")
    path = Path(package.origin).parent / "data" / "silero_vad_16k_sequence.onnx"
    if not path.is_file():
        raise MmstreamError(f"{path} is missing: pip install --upgrade --force-reinstall 'silero-vad>=6.2.2'")
    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads = options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
