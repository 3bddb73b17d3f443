"""Streaming recognition with Whisper (faster-whisper): many languages, punctuation, translation into English.

The method is WhisperStreaming's (Macháček, Dabre, Bojar, arXiv 2307.14743): the utterance so far is decoded again
at every step; words that two decodes in a row agree on are frozen; the sound of frozen sentences is dropped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mmstream.core import MmstreamError, Packet
from mmstream.lockstep import Lockstep, Work
from mmstream.media import Hypothesis, Speech, Word, join_words
from operators.decoders.sight import Sight
from operators.decoders.whisper_model import SAMPLE_RATE, Device, Heard, Listen, Task, WhisperModel
from operators.policies import common_prefix, following, seam

MIN_SOUND_S = 0.1  # less holds no word
LEGAL_STEP_MS = (200, 60_000)
LEGAL_BUFFER_S = (5.0, 25.0)
HARD_LIMIT_S = 28.0  # of sound in one decode: the model hears 30 s
FORCED_KEEP_S = 5.0  # what stays of the sound where nothing was agreed on up to that limit
CONTEXT_WORDS = 40  # of what was said before the sound, given to the model as a prompt
SURE_LANGUAGE = 0.8  # probability from which a detected language is kept for the utterance
SURE_LANGUAGE_S = 5.0  # and the length of sound from which it is kept at any probability
SENTENCE_ENDS = (".", "?", "!", "…", "。", "？", "！", "।", "؟")  # noqa: RUF001

Given = Work[Listen, Heard, list[Packet[Any]]]


@dataclass
class Utterance:
    """The utterance under way."""

    start: float  # media seconds
    sound: NDArray[np.float32]  # (time,): what the next decode will hear, at most HARD_LIMIT_S
    dropped: int = 0  # samples of the utterance before ``sound``
    since: int = 0  # samples since the last step
    heard: bool = False  # the last decode covers all of ``sound``
    frozen: list[Word] = field(default_factory=list)  # agreed on
    gone: int = 0  # of these, the words whose sound is dropped
    rest: list[Word] = field(default_factory=list)  # what the last decode heard after them
    language: str | None = None  # as the last decode had it
    sure: bool = False  # of the language
    sight: Sight = field(default_factory=Sight)

    @property
    def sound_start(self) -> float:
        return self.start + self.dropped / SAMPLE_RATE

    @property
    def end(self) -> float:
        return self.sound_start + len(self.sound) / SAMPLE_RATE

    def drop_until(self, seconds: float) -> list[Word]:
        """Forget the sound before ``seconds`` of media; gives the frozen words that it held."""
        samples = min(len(self.sound), max(0, round((seconds - self.sound_start) * SAMPLE_RATE)))
        self.sound = self.sound[samples:]
        self.dropped += samples
        before = self.gone
        self.gone += sum(word.end < self.sound_start + 1 / SAMPLE_RATE for word in self.frozen[before:])
        return self.frozen[before : self.gone]


@dataclass
class WhisperState:
    """One session."""

    context: deque[Word] = field(default_factory=lambda: deque(maxlen=CONTEXT_WORDS))  # said before the sound
    utterance: Utterance | None = None
    last_packet: Packet[None] | None = None


class Whisper(Lockstep[WhisperState, Listen, Heard]):
    """Hypotheses of each utterance, one for every ``step_ms`` of it and a final one at its end.

    ``model``: a name such as whisper-base.en, or the folder of a model in CTranslate2's format; nothing is
    downloaded. ``language``: a code such as en; None detects it for each utterance. ``prompt`` and ``hotwords``: text
    that the model is to expect. Sound is dropped at the last frozen sentence once there are more than
    ``max_buffer_s`` of it, so a second of sound costs the same however long an utterance lasts. A live session that
    is more than ``shed_lag_s`` behind the clock gives up partial hypotheses, never final ones; None: it never does.
    A step longer than the utterances gives final hypotheses only. The ``video`` of a word is how far it was said on
    camera, where ``operators.video:OnCamera`` has looked.

    Errors: ValueError naming the legal values; MmstreamError where the model or faster-whisper is missing, and for
    speech that is not at 16 kHz.
    """

    accepts: ClassVar[tuple[type, ...]] = (Speech,)
    emits: ClassVar[tuple[type, ...]] = (Hypothesis,)
    commit: ClassVar[dict[str, object]] = {"policy": "local_agreement", "n": 2}  # suits its partial hypotheses
    watched: ClassVar[dict[str, object]] = {"shed_lag_s": 2.0}  # arguments for people who watch
    unwatched: ClassVar[dict[str, object]] = {"step_ms": LEGAL_STEP_MS[1]}  # and for files at full speed: finals only

    def __init__(
        self,
        model: str,
        language: str | None = None,
        task: Task = "transcribe",
        prompt: str | None = None,
        hotwords: str | None = None,
        beam_size: int = 5,
        compute_type: str = "default",
        device: Device = "auto",
        threads: int = 0,
        step_ms: int = 1000,
        max_buffer_s: float = 15.0,
        shed_lag_s: float | None = None,
    ) -> None:
        if task not in ("transcribe", "translate"):
            raise ValueError(f"task is 'transcribe' or 'translate', not {task!r}")
        if device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"device is 'auto', 'cpu' or 'cuda', not {device!r}")
        if not 1 <= beam_size <= 20:
            raise ValueError(f"beam_size is 1 to 20, not {beam_size}")
        if threads < 0:
            raise ValueError(f"threads is 0 (as many as there are cores, at most 4) or more, not {threads}")
        if not LEGAL_STEP_MS[0] <= step_ms <= LEGAL_STEP_MS[1]:
            raise ValueError(f"step_ms is {LEGAL_STEP_MS[0]} to {LEGAL_STEP_MS[1]}, not {step_ms}")
        if not LEGAL_BUFFER_S[0] <= max_buffer_s <= LEGAL_BUFFER_S[1]:
            raise ValueError(f"max_buffer_s is {LEGAL_BUFFER_S[0]} to {LEGAL_BUFFER_S[1]}, not {max_buffer_s}")
        if shed_lag_s is not None and shed_lag_s <= 0:
            raise ValueError(f"shed_lag_s is above 0, or null for never, not {shed_lag_s}")
        self.step = SAMPLE_RATE * step_ms // 1000  # samples
        self.max_buffer_s = max_buffer_s
        self.shed_lag_s = shed_lag_s
        self._model = WhisperModel(model, language, task, prompt, hotwords, beam_size, compute_type, device, threads)

    def open(self, session: str) -> WhisperState:
        return WhisperState()

    def work(self, packet: Packet[Speech], state: WhisperState) -> Given:
        given: list[Packet[Any]] = []
        speech = packet.data
        if speech.sample_rate != SAMPLE_RATE:
            raise MmstreamError(
                f"Whisper takes speech at {SAMPLE_RATE} Hz, not {speech.sample_rate} Hz: put operators.audio:Resample "
                "before operators.audio:Vad"
            )
        if state.utterance is None:
            state.utterance = Utterance(packet.start, np.zeros(0, np.float32))
        utterance = state.utterance
        state.last_packet = packet.derive(None)
        utterance.sight.add(packet)
        samples = speech.samples
        while len(samples):
            room = round(HARD_LIMIT_S * SAMPLE_RATE) - len(utterance.sound)
            taken = min(len(samples), self.step - utterance.since, room)
            utterance.sound = np.concatenate([utterance.sound, samples[:taken]])
            utterance.since += taken
            utterance.heard = False
            samples = samples[taken:]
            if utterance.since == self.step or taken == room:
                utterance.since = 0
                if taken == room or not self._is_late(packet, utterance):
                    yield from self._hear(utterance, state)
                    given.append(self._hypothesis(packet, utterance, final=False))
        if speech.last:
            given += yield from self.rest(state)
        return given

    def rest(self, state: WhisperState) -> Given:
        """End the utterance that is open."""
        utterance, state.utterance = state.utterance, None
        if utterance is None or state.last_packet is None:
            return []
        if not utterance.heard:
            yield from self._hear(utterance, state)
        state.context.extend([*utterance.frozen[utterance.gone :], *utterance.rest])
        return [self._hypothesis(state.last_packet, utterance, final=True)]

    def answer(self, asked: Sequence[Listen]) -> Sequence[Heard]:
        return self._model.hear(asked)

    def watermark(self, state: WhisperState, reached: float) -> float:
        """Every hypothesis begins where its utterance does."""
        return reached if state.utterance is None else min(reached, state.utterance.start)

    def _is_late(self, packet: Packet[Any], utterance: Utterance) -> bool:
        captured_at = packet.derive(None, end=utterance.end).captured_at
        return self.shed_lag_s is not None and self.clock.now() - captured_at > self.shed_lag_s

    def _hypothesis(self, packet: Packet[Any], utterance: Utterance, final: bool) -> Packet[Hypothesis]:
        language = "en" if self._model.task == "translate" else utterance.language
        words = (*utterance.frozen, *utterance.rest)
        return packet.derive(Hypothesis(words, final, language), utterance.start, utterance.end)

    def _hear(self, utterance: Utterance, state: WhisperState) -> Work[Listen, Heard, None]:
        """Decode the sound again; freeze what the last decode agrees on; drop sound where there is too much."""
        utterance.heard = True
        if len(utterance.sound) < MIN_SOUND_S * SAMPLE_RATE:
            return
        language = utterance.language if utterance.sure else self._model.language
        context = join_words(state.context, language)
        heard, utterance.language, probability = yield Listen(utterance.sound, language, context)
        if probability >= SURE_LANGUAGE or len(utterance.sound) >= SURE_LANGUAGE_S * SAMPLE_RATE:
            utterance.sure = True
        known = utterance.frozen[utterance.gone :]
        words = [_placed(word, utterance) for word in heard]
        words = following(utterance.frozen, words[seam(known, words) :])
        agreed = common_prefix([word.text for word in words], [word.text for word in utterance.rest])
        utterance.frozen += words[:agreed]
        utterance.rest = words[agreed:]
        if len(utterance.sound) > self.max_buffer_s * SAMPLE_RATE:
            self._shorten(utterance, state)

    def _shorten(self, utterance: Utterance, state: WhisperState) -> None:
        """Drop the sound up to the last frozen sentence, else up to the longest pause between frozen words.

        Where nothing is frozen in HARD_LIMIT_S of sound, its words are frozen as they are, but for the last 5 s.
        """
        known = utterance.frozen[utterance.gone :]
        ends = [word.end for word in known]
        starts = [word.start for word in known[1:]] + [utterance.rest[0].start if utterance.rest else utterance.end]
        sentences = [k for k, word in enumerate(known) if word.text.endswith(SENTENCE_ENDS)]
        if known:
            last = sentences[-1] if sentences else max(range(len(known)), key=lambda k: (starts[k] - ends[k], k))
            state.context.extend(utterance.drop_until(ends[last]))
        if len(utterance.sound) >= HARD_LIMIT_S * SAMPLE_RATE:
            limit = utterance.end - FORCED_KEEP_S
            settled = [word for word in utterance.rest if word.end <= limit]
            utterance.frozen += settled
            utterance.rest = utterance.rest[len(settled) :]
            state.context.extend(utterance.drop_until(limit))


def _placed(word: Word, utterance: Utterance) -> Word:
    """A word of the utterance's sound in media time, with how far it was said on camera."""
    start, end = word.start + utterance.sound_start, word.end + utterance.sound_start
    return Word(word.text, start, end, word.confidence, utterance.sight.share(start, end))
