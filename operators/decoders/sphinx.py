"""Streaming recognition with pocketsphinx: open-domain English, at once, without a download, of low accuracy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mmstream.core import MmstreamError, Operator, Packet
from mmstream.media import Hypothesis, Speech, Word
from operators.decoders.sight import Sight

SAMPLE_RATE = 16_000  # Hz
BYTES_PER_S = 2 * SAMPLE_RATE
FRAME_S = 0.01
FIRST_MEAN_BYTES = BYTES_PER_S * 6 // 10  # of a session's sound make the first estimate of its cepstral mean
MEAN_SEARCH = "mean"
MAX_IDLE = 2  # decoders kept for the next utterance; each holds 90 MB
FILLER = re.compile(r"[<\[+].*")  # <s>, <sil>, [NOISE], ++COUGH++
PRONUNCIATION = re.compile(r"\(\d+\)$")  # the(2)


@dataclass
class SphinxState:
    """One session. The decoder cannot be pickled and is brought back by decoding ``sound`` again."""

    mean: str | None = None  # cepstral mean at the start of the utterance; None: no sound yet
    start: float | None = None  # media seconds of the utterance; None: none is open
    sound: bytearray = field(default_factory=bytearray)  # of the utterance, 16-bit
    decoded: int = 0  # bytes of ``sound``
    sight: Sight = field(default_factory=Sight)  # of the utterance
    last_packet: Packet[None] | None = None
    decoder: Any = None  # pocketsphinx.Decoder

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "decoder": None}


class Sphinx(Operator[SphinxState]):
    """Hypotheses of each utterance, one for every ``hypothesis_every_ms`` of it and a final one at its end.

    Word times come from frames of 10 ms. Only final words carry a confidence (their posterior in the lattice). The
    ``video`` of a word is how far it was said on camera, where ``operators.video:OnCamera`` has looked.

    pocketsphinx subtracts a running mean from its features and by default starts from a constant, at the cost of
    several points of WER in the first ten seconds. Here the mean is first estimated from 0.6 s of the session's
    sound, follows it at every step, and is carried to the session's next utterance. Decoders are shared by sessions
    one utterance at a time and hold nothing back: the words depend on the session's sound alone.

    ``model``, ``dictionary``, ``language_model``: an acoustic model folder, a pronunciation dictionary and an n-gram
    file; None takes those of the package. Errors: ValueError for an argument out of range; MmstreamError where
    pocketsphinx or a file is missing, and for speech that is not at 16 kHz.
    """

    accepts: ClassVar[tuple[type, ...]] = (Speech,)
    emits: ClassVar[tuple[type, ...]] = (Hypothesis,)
    commit: ClassVar[dict[str, object]] = {"policy": "local_agreement", "n": 5, "hold_words": 3}

    def __init__(
        self,
        model: str | None = None,
        dictionary: str | None = None,
        language_model: str | None = None,
        hypothesis_every_ms: int = 200,
    ) -> None:
        if not 50 <= hypothesis_every_ms <= 5000:
            raise ValueError(f"hypothesis_every_ms is 50 to 5000, not {hypothesis_every_ms}")
        self.step = BYTES_PER_S * hypothesis_every_ms // 2000 * 2  # bytes; decoding in equal steps makes results repeat
        self._files = {"hmm": model, "dict": dictionary, "lm": language_model}
        for argument, path in (("model", model), ("dictionary", dictionary), ("language_model", language_model)):
            if path is not None and not Path(path).exists():
                raise MmstreamError(f"Sphinx: {argument}: no such file or folder: {path}")
        self._idle = [self._new_decoder()]

    def open(self, session: str) -> SphinxState:
        return SphinxState()

    def process(self, packet: Packet[Speech], state: SphinxState) -> Iterator[Packet[Hypothesis]]:
        speech = packet.data
        if speech.sample_rate != SAMPLE_RATE:
            raise MmstreamError(
                f"Sphinx takes speech at {SAMPLE_RATE} Hz, not {speech.sample_rate} Hz: put operators.audio:Resample "
                "before operators.audio:Vad"
            )
        if state.start is None:
            state.start = packet.start
        state.last_packet = packet.derive(None)
        state.sight.add(packet)
        state.sound += np.clip(np.rint(speech.samples * 32768), -32768, 32767).astype("<i2").tobytes()
        if state.mean is None and len(state.sound) >= FIRST_MEAN_BYTES:
            state.mean = self._first_mean(state)
        while state.mean is not None and len(state.sound) - state.decoded >= self.step:
            self._decode(state, state.decoded + self.step)
            yield self._hypothesis(state, state.start, packet, final=False)
        if speech.last:
            yield from self.flush(state)

    def flush(self, state: SphinxState) -> Iterator[Packet[Hypothesis]]:
        """End the utterance that is open."""
        if state.start is None or state.last_packet is None:
            return
        if not state.sound:
            nothing = Hypothesis((), final=True, language="en")
            yield state.last_packet.derive(nothing, state.start, state.start)
            state.start, state.sight = None, Sight()
            return
        if state.mean is None:
            state.mean = self._first_mean(state)
        self._decode(state, len(state.sound))
        state.decoder.end_utt()
        yield self._hypothesis(state, state.start, state.last_packet, final=True)
        mean = state.decoder.get_cmn(False)
        if len(self._idle) < MAX_IDLE:
            self._idle.append(state.decoder)
        state.__dict__.update(SphinxState(mean=mean).__dict__)

    def watermark(self, state: SphinxState, reached: float) -> float:
        """Every hypothesis begins where its utterance does."""
        return reached if state.start is None else min(reached, state.start)

    def _decode(self, state: SphinxState, until: int) -> None:
        """Decode ``sound`` up to the byte ``until``, in the steps that every run takes."""
        if state.decoder is None:
            state.decoder = self._idle.pop() if self._idle else self._new_decoder()
            _start(state.decoder, state.mean)
            state.decoded = 0  # after unpickling, from the start again
        while state.decoded < until:
            step = bytes(state.sound[state.decoded : min(until, state.decoded + self.step)])
            state.decoder.process_raw(step)
            state.decoder.get_cmn(True)  # moves the mean now; by itself it moves every 8 s
            state.decoded += len(step)

    def _hypothesis(self, state: SphinxState, start: float, packet: Packet[Any], final: bool) -> Packet[Hypothesis]:
        end = start + state.decoded / BYTES_PER_S
        words = []
        for segment in state.decoder.seg() or ():
            if not FILLER.fullmatch(segment.word):
                begins = start + segment.start_frame * FRAME_S
                ends = min(end, start + (segment.end_frame + 1) * FRAME_S)
                confidence = min(1.0, segment.prob) if final else None
                text = PRONUNCIATION.sub("", segment.word)
                words.append(Word(text, begins, ends, confidence, state.sight.share(begins, ends)))
        return packet.derive(Hypothesis(tuple(words), final, language="en"), start, end)

    def _first_mean(self, state: SphinxState) -> str:
        """The cepstral mean of the beginning of ``sound``, by a pass whose search costs next to nothing."""
        decoder = self._idle.pop() if self._idle else self._new_decoder()
        decoder.activate_search(MEAN_SEARCH)
        _start(decoder, None)
        decoder.process_raw(bytes(state.sound[:FIRST_MEAN_BYTES]), no_search=True, full_utt=True)
        mean: str = decoder.get_cmn(False)
        decoder.end_utt()
        if "nan" in mean:  # digital silence has no cepstrum
            decoder.reinit_feat()
            mean = decoder.get_cmn(False)
        decoder.activate_search()
        self._idle.append(decoder)
        return mean

    def _new_decoder(self) -> Any:
        try:
            import pocketsphinx
        except ImportError as fault:
            raise MmstreamError("pocketsphinx is missing: pip install pocketsphinx") from fault
        files = {name: path for name, path in self._files.items() if path is not None}
        try:
            decoder = pocketsphinx.Decoder(loglevel="FATAL", **files)
        except RuntimeError as fault:
            raise MmstreamError(f"Sphinx: pocketsphinx cannot load {files or 'its own model'}") from fault
        decoder.add_keyphrase(MEAN_SEARCH, "zero")
        return decoder


def _start(decoder: Any, mean: str | None) -> None:
    """Begin an utterance as a decoder that is new would: neither noise nor mean of the one before stays."""
    decoder.reinit_feat()
    if mean is not None:
        decoder.set_cmn(mean)
    decoder.start_utt()
