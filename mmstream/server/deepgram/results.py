"""Captions as Deepgram's messages: stable words go out as final pieces, each word once; the rest as interim ones."""

from __future__ import annotations

import datetime
import string
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import mmstream
from mmstream.core import Packet
from mmstream.media import UNSPACED_LANGUAGES, Caption, Gap, Word
from operators.sinks.utterances import Utterances

PUNCTUATION = string.punctuation + "…“”‘’«»„¡¿。，、！？：；"  # noqa: RUF001
CHANNEL = [0, 1]  # this one, of so many: channels are mixed

Message = dict[str, Any]


@dataclass(frozen=True)
class Piece:
    """A stretch of the transcript. Final ones follow one another without overlap or holes."""

    words: tuple[Word, ...]
    start: float  # media seconds
    end: float  # media seconds
    is_final: bool
    speech_final: bool  # the utterance ends with it
    language: str | None


@dataclass(frozen=True)
class Beginning:
    """An utterance begins."""

    start: float  # media seconds, of its first word


@dataclass
class Pieces:
    """Cuts the captions of one session into pieces."""

    interim: bool  # whether words that may still change are given
    reached_s: float = 0.0  # up to here, in media seconds, all is final
    last_word_end: float = 0.0  # media seconds, of those that are final
    _begun: bool = False  # the beginning of the utterance under way is told
    _given: int = 0  # words of the utterance under way that were final
    _shown: tuple[str, ...] = ()  # words of the last interim piece
    _utterances: Utterances = field(default_factory=Utterances)

    def take(self, packet: Packet[Caption]) -> Iterator[Piece | Beginning]:
        """What a caption gives: nothing where it says nothing new."""
        if self._utterances.repeats(packet.data):
            return
        for over in self._utterances.take(packet):
            yield from self._begin(over)
            yield self._end(over)
        if not packet.data.final:
            yield from self._begin(packet)
            yield from self._go_on(packet)

    def rest(self) -> Iterator[Piece]:
        """The utterance that is open where the session ends: its words stay as they are."""
        for over in self._utterances.rest():
            yield self._end(over)

    def nothing(self) -> Piece:
        """A final piece without words: all up to here was said before."""
        return Piece((), self.reached_s, self.reached_s, is_final=True, speech_final=True, language=None)

    def _begin(self, packet: Packet[Caption]) -> Iterator[Beginning]:
        if packet.data.words and not self._begun:
            self._begun = True
            yield Beginning(packet.data.words[0].start)

    def _go_on(self, packet: Packet[Caption]) -> Iterator[Piece]:
        caption = packet.data
        certain = caption.stable[self._given :]
        if certain:
            self._given += len(certain)
            self._shown = ()
            yield self._piece(certain, certain[-1].end, True, False, caption.language)
        texts = tuple(word.text for word in caption.unstable)
        if self.interim and texts != self._shown:
            self._shown = texts
            yield self._piece(caption.unstable, packet.end, False, False, caption.language)

    def _end(self, over: Packet[Caption]) -> Piece:
        words = over.data.words[self._given :]
        self._given, self._shown, self._begun = 0, (), False
        return self._piece(words, words[-1].end if words else over.end, True, True, over.data.language)

    def _piece(
        self, words: tuple[Word, ...], end: float, is_final: bool, speech_final: bool, language: str | None
    ) -> Piece:
        start, end = self.reached_s, max(self.reached_s, end)
        if is_final:
            self.reached_s = end
            self.last_word_end = words[-1].end if words else self.last_word_end
        return Piece(words, start, end, is_final, speech_final, language)


@dataclass
class Messages:
    """The messages of one connection. ``punctuated``: words as the recogniser writes them."""

    model: str
    punctuated: bool
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    created: str = field(default_factory=lambda: datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"))
    lost: list[Message] = field(default_factory=list)  # media, since the last results

    @property
    def model_uuid(self) -> str:
        """The same for the same model, everywhere."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"mmstream:{self.model}"))

    @property
    def model_info(self) -> Message:
        return {"name": self.model, "version": mmstream.__version__, "arch": "mmstream"}

    def note_lost(self, packet: Packet[Gap]) -> None:
        """The next results tell of it: Deepgram has no message for lost media."""
        self.lost.append(
            {
                "start": round(packet.start, 3),
                "end": round(packet.end, 3),
                "medium": packet.data.medium,
                "reason": packet.data.reason,
            }
        )

    def results(self, piece: Piece, *, from_finalize: bool = False) -> Message:
        message: Message = {
            "type": "Results",
            "channel_index": CHANNEL,
            "duration": round(piece.end - piece.start, 3),
            "start": round(piece.start, 3),
            "is_final": piece.is_final,
            "speech_final": piece.speech_final,
            "from_finalize": from_finalize,
            "channel": {"alternatives": [self._alternative(piece)]},
            "metadata": {
                "request_id": self.request_id,
                "model_info": self.model_info,
                "model_uuid": self.model_uuid,
            },
        }
        if self.lost:
            message["gaps"], self.lost = self.lost, []
        return message

    def translation(self, piece: Piece) -> Message:
        """A piece in another language: like results, and their alternative, in one."""
        return {
            "start": round(piece.start, 3),
            "duration": round(piece.end - piece.start, 3),
            "is_final": piece.is_final,
            "speech_final": piece.speech_final,
            **self._alternative(piece),
        }

    def speech_started(self, beginning: Beginning) -> Message:
        return {"type": "SpeechStarted", "channel": CHANNEL, "timestamp": round(beginning.start, 3)}

    def utterance_end(self, last_word_end: float) -> Message:
        return {"type": "UtteranceEnd", "channel": CHANNEL, "last_word_end": round(last_word_end, 3)}

    def metadata(self, sha256: str, duration_s: float) -> Message:
        """The last message: what was received in all."""
        return {
            "type": "Metadata",
            "transaction_key": "deprecated",
            "request_id": self.request_id,
            "sha256": sha256,
            "created": self.created,
            "duration": round(duration_s, 3),
            "channels": 1,
            "models": [self.model_uuid],
            "model_info": {self.model_uuid: self.model_info},
        }

    def configure_failure(self, description: str) -> Message:
        code = "CONFIGURE_KEYTERMS_NOT_SUPPORTED"
        return {"type": "ConfigureFailure", "request_id": self.request_id, "code": code, "description": description}

    def _alternative(self, piece: Piece) -> Message:
        words = [self._word(word) for word in piece.words]
        separator = "" if piece.language in UNSPACED_LANGUAGES else " "
        key = "punctuated_word" if self.punctuated else "word"
        return {
            "transcript": separator.join(word[key] for word in words),
            "confidence": _mean([word["confidence"] for word in words]),
            "words": words,
        }

    def _word(self, word: Word) -> Message:
        said: Message = {
            "word": _bare(word.text),
            "start": round(word.start, 3),
            "end": round(word.end, 3),
            "confidence": 0.0 if word.confidence is None else round(word.confidence, 4),
            "video": round(word.video, 3),
        }
        if self.punctuated:
            said["punctuated_word"] = word.text
        return said


def error(variant: str, description: str, message: str = "") -> Message:
    return {"type": "Error", "variant": variant, "description": description, "message": message}


def _bare(text: str) -> str:
    """A word without capitals and punctuation; what is nothing but punctuation stays."""
    return text.strip(PUNCTUATION).lower() or text


def _mean(confidences: Sequence[float]) -> float:
    return round(sum(confidences) / len(confidences), 4) if confidences else 0.0
