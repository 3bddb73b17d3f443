"""The audio-visual recogniser's encoder and decoder: fused steps in, words out, each of them final at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mmstream.core import Before, NodeBefore, Packet
from mmstream.lockstep import Lockstep, Work, take_over
from mmstream.media import AudioChunk, FusedFeatures, Gap, Hypothesis, Mouth, Word
from mmstream.nets import STEP_S
from mmstream.nets.stacking import Answer, Ask, Row, begun, stepped

LEAD_S, CHARACTER_S = 0.11, 0.017  # how long before its token a piece began, with so much more for each character
LONGEST = 16  # characters of the longest piece
KEPT_STEPS = 50  # steps before a token that its word may have begun
LEAST_SHARE = 0.1  # of video, in a word of the person on camera

Given = Work[Ask, Answer, list[Packet[Any]]]


@dataclass
class Piece:
    """One token of the word under way."""

    text: str  # with the space after the word, where the piece is its last
    step: int  # of the stream
    confidence: float  # 0..1


@dataclass
class AvsrState:
    """One session."""

    net: Row | None = None  # the encoder's memory
    origin: float = 0.0  # media second of step 0
    steps: NDArray[np.float32] | None = None  # fused, of the chunk that is not complete
    shares: list[float] = field(default_factory=list)  # of video, by step since ``forgotten``
    forgotten: int = 0
    decoded: int = 0  # steps that went through the encoder
    before: int = 0  # CTC token of the last step
    pieces: list[Piece] = field(default_factory=list)
    words: list[Word] = field(default_factory=list)  # of the utterance under way
    heard: int = 0  # the step of the last token
    last: Packet[FusedFeatures] | None = None


class Avsr(Lockstep[AvsrState, Ask, Answer]):
    """Chunks of fused steps through the streaming encoder, CTC's best token of each, tokens to words.

    Nothing computed later changes a token, so every word is final as soon as its last token is there; an
    utterance ends after ``pause_ms`` without a token, or after ``longest_s``. A word's ``video`` is the mean share
    of video over its steps; ``only_on_camera`` leaves out words in which video had almost none.

    ``model``: ``avsr``, or a folder that ``mmstream export`` has written.
    """

    accepts: ClassVar[tuple[type, ...]] = (FusedFeatures, Gap)
    emits: ClassVar[tuple[type, ...]] = (Hypothesis,)
    commit: ClassVar[Mapping[str, Any]] = {"policy": "hold_n", "n": 0, "hold_words": 0}
    before: ClassVar[Before] = {  # what it needs in front of it, from sound and mouths on
        "mel": NodeBefore("operators.audio:LogMel", (AudioChunk,)),
        "heard": NodeBefore("operators.encoders:AudioEncoder", ("mel",)),
        "seen": NodeBefore("operators.encoders:VideoEncoder", (Mouth,)),
        "fuse": NodeBefore("operators.fusion:Fuse", ("heard", "seen"), max_skew_ms=300),
    }

    def __init__(
        self, model: str = "avsr", pause_ms: float = 800.0, longest_s: float = 20.0, only_on_camera: bool = False
    ) -> None:
        from mmstream.weights import recogniser

        if pause_ms < STEP_S * 1000:
            raise ValueError(f"pause_ms is {STEP_S * 1000:.0f} or more, not {pause_ms}")
        if longest_s <= 0:
            raise ValueError(f"longest_s is above 0, not {longest_s}")
        self._net = recogniser(model)
        self.pause_steps, self.longest_s = round(pause_ms / 1000 / STEP_S), longest_s
        self.least_share = LEAST_SHARE if only_on_camera else 0.0
        self._late_s = self._net.config.emission_delay_s

    def open(self, session: str) -> AvsrState:
        return AvsrState()

    def work(self, packet: Packet[Any], state: AvsrState) -> Given:
        given: list[Packet[Any]] = []
        if isinstance(packet.data, Gap):
            if packet.data.medium == "audio":
                given += yield from self.rest(state)
                take_over(state, self.open(packet.session))
            return [*given, packet]
        if state.steps is None:
            state.origin, state.steps = packet.start, packet.data.values[:0]
        state.last = packet
        steps = np.concatenate([state.steps, packet.data.values])
        state.shares += packet.data.video.tolist()
        chunk = self._net.encoder.chunk
        while len(steps) >= chunk:
            given += yield from self._decode(steps[:chunk], packet, state)
            steps = steps[chunk:]
        state.steps = steps
        return given

    def rest(self, state: AvsrState) -> Given:
        if state.last is None or state.steps is None:
            return []
        given: list[Packet[Any]] = []
        if len(state.steps):
            given += yield from self._decode(state.steps, state.last, state)
        self._end_word(state)
        if state.words:
            given.append(self._hypothesis(state.last, state, final=True))
        return given

    def answer(self, asked: Sequence[Ask]) -> Sequence[Answer]:
        return stepped(self._best, asked)

    def watermark(self, state: AvsrState, reached: float) -> float:
        if state.steps is None:
            return reached
        next_piece = self._begins(state.decoded, LONGEST, state)
        first = state.words[0].start if state.words else next_piece
        return min(reached, first, *(self._begins(one.step, len(one.text), state) for one in state.pieces[:1]))

    def _best(self, steps: Any, memory: Any) -> tuple[Any, Any]:
        """CTC's best token of each step and its log-probability; both (batch, step)."""
        encoded, memory = self._net.encoder.step(steps, memory)
        scores, tokens = self._net.ctc(encoded).max(-1)
        return (tokens, scores), memory

    def _decode(self, steps: NDArray[np.float32], packet: Packet[FusedFeatures], state: AvsrState) -> Given:
        """One chunk through the encoder; a hypothesis where it brought a word, or ended the utterance."""
        (tokens, scores), state.net = yield Ask((steps,), state.net or begun(self._net.encoder.start))
        given: list[Packet[Any]] = []
        count = len(state.words)
        for token, score in zip(tokens.tolist(), scores.tolist(), strict=True):
            self._hear(token, math.exp(score), state)
            state.decoded += 1
            pause = state.decoded - state.heard >= self.pause_steps
            if state.words and not state.pieces and (pause or self._too_long(state)):
                given.append(self._hypothesis(packet, state, final=True))
                state.words, count = [], 0
        if len(state.words) > count:
            given.append(self._hypothesis(packet, state, final=False))
        self._forget(state)
        return given

    def _hear(self, token: int, score: float, state: AvsrState) -> None:
        """One step's best token."""
        repeated, state.before = token == state.before, token
        if not token or repeated:
            if state.pieces and state.decoded - state.heard >= self.pause_steps // 2:
                self._end_word(state)  # the space was not heard, the silence is
            return
        state.heard = state.decoded
        text = self._net.vocabulary.texts[token]
        state.pieces.append(Piece(text, state.decoded, score))
        if text.endswith(" "):
            self._end_word(state)

    def _end_word(self, state: AvsrState) -> None:
        """The pieces under way are a word."""
        pieces, state.pieces = state.pieces, []
        text = "".join(piece.text for piece in pieces).strip()
        if not text:
            return
        begins = self._begins(pieces[0].step, len(pieces[0].text), state)
        start = max(state.words[-1].end if state.words else state.origin, begins)
        end = max(start + STEP_S, state.origin + (pieces[-1].step + 1) * STEP_S - self._late_s)
        first, last = (round((time - state.origin) / STEP_S) - state.forgotten for time in (start, end))
        shares = state.shares[max(0, first) : max(last, first + 1)]
        share = float(np.mean(shares)) if shares else 0.0
        if share < self.least_share:
            return
        confidence = float(np.exp(np.mean(np.log([max(piece.confidence, 1e-6) for piece in pieces]))))
        state.words.append(Word(text, start, end, confidence, share))

    def _begins(self, step: int, characters: int, state: AvsrState) -> float:
        """The media second at which the piece of a token begins: the token comes when it has been heard."""
        return state.origin + (step + 1) * STEP_S - LEAD_S - CHARACTER_S * characters

    def _too_long(self, state: AvsrState) -> bool:
        return state.words[-1].end - state.words[0].start >= self.longest_s

    def _hypothesis(self, packet: Packet[FusedFeatures], state: AvsrState, final: bool) -> Packet[Hypothesis]:
        words = tuple(state.words)
        return packet.derive(Hypothesis(words, final, language="en"), words[0].start, words[-1].end)

    def _forget(self, state: AvsrState) -> None:
        """Shares of video from before any word that may still come are needed no longer."""
        first = state.pieces[0].step if state.pieces else state.decoded
        surplus = first - KEPT_STEPS - state.forgotten
        if surplus > 0:
            del state.shares[:surplus]
            state.forgotten += surplus
