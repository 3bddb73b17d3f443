"""What was heard in a file, as the bodies that transcription APIs answer with: json, text, srt, verbose_json, vtt."""

from __future__ import annotations

import math
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mmstream.core import Packet
from mmstream.media import UNSPACED_LANGUAGES, Caption, Gap, Translation, Word
from mmstream.server.languages import english_name
from operators.sinks import Srt, WebVtt
from operators.sinks.subtitles import Subtitles
from operators.sinks.utterances import Utterances

Format = Literal["json", "text", "srt", "verbose_json", "vtt"]
Granularity = Literal["word", "segment"]
Task = Literal["transcribe", "translate"]

CONTENT_TYPES: dict[Format, str] = {
    "json": "application/json",
    "text": "text/plain; charset=utf-8",
    "srt": "text/plain; charset=utf-8",
    "verbose_json": "application/json",
    "vtt": "text/vtt; charset=utf-8",
}
SUBTITLES: dict[str, type[Subtitles]] = {"srt": Srt, "vtt": WebVtt}
SEEK_HZ = 100  # Whisper's frames per second: ``seek`` of a segment counts them
SURELY_WRONG = 1e-6  # the least confidence of which a logarithm is taken


@dataclass
class Transcript:
    """The captions of one file, in order: each utterance once, as it ended, and lost media in its place.

    ``translations``: the same in other languages, by BCP-47 code.
    """

    packets: list[Packet[Any]] = field(default_factory=list)
    translations: dict[str, Transcript] = field(default_factory=dict)
    _texts: list[str] = field(default_factory=list)
    _utterances: Utterances = field(default_factory=Utterances)

    def add(self, packet: Packet[Any]) -> str:
        """Note a packet of the graph: a Caption, a Translation or a Gap.

        Gives the text that it adds to what was said, with what separates it.
        """
        if isinstance(packet.data, Gap):
            self.packets.append(packet)
            return ""
        if isinstance(packet.data, Translation):
            self.translated(packet.data.language).add(as_caption(packet))
            return ""
        if self._utterances.repeats(packet.data):
            return ""
        return self._keep(self._utterances.take(packet))

    def end(self) -> str:
        """Nothing more comes: what is still open counts as it stands. Gives the text that this adds."""
        for translation in self.translations.values():
            translation.end()
            translation.packets += [packet for packet in self.packets if isinstance(packet.data, Gap)]
            translation.packets.sort(key=lambda packet: packet.start)
        return self._keep(self._utterances.rest())

    def translated(self, language: str) -> Transcript:
        """What was said in another language: nothing, as long as nothing of it has come."""
        return self.translations.setdefault(language, Transcript())

    def _keep(self, over: Iterable[Packet[Caption]]) -> str:
        before = len(self._texts)
        for packet in over:
            if packet.data.words:
                separator = "" if not self._texts or packet.data.language in UNSPACED_LANGUAGES else " "
                self._texts.append(separator + packet.data.text)
                self.packets.append(packet)
        return "".join(self._texts[before:])

    @property
    def captions(self) -> Sequence[Packet[Caption]]:
        return [packet for packet in self.packets if isinstance(packet.data, Caption)]

    @property
    def words(self) -> Iterator[Word]:
        return (word for packet in self.captions for word in packet.data.words)

    @property
    def text(self) -> str:
        return "".join(self._texts)

    @property
    def language(self) -> str | None:
        """The language of most words; None where the recogniser named none."""
        said: dict[str, int] = {}
        for packet in self.captions:
            if packet.data.language is not None:
                said[packet.data.language] = said.get(packet.data.language, 0) + len(packet.data.words)
        return max(said, key=lambda language: said[language]) if said else None

    @property
    def reached_s(self) -> float:
        """Where the last of it ends, in media seconds."""
        return max((packet.end for packet in self.packets), default=0.0)


def simple(transcript: Transcript, duration_s: float) -> dict[str, Any]:
    """The body of ``json``."""
    translations = {language: {"text": translation.text} for language, translation in transcript.translations.items()}
    more = {"translations": translations} if translations else {}
    return {"text": transcript.text, **more, "usage": usage(duration_s)}


def verbose(
    transcript: Transcript, duration_s: float, language: str, task: Task, granularities: Sequence[Granularity]
) -> dict[str, Any]:
    """The body of ``verbose_json``: OpenAI's keys, and ours besides.

    Ours: ``confidence`` and ``video`` of a word (0..1), ``language_code``, ``gaps`` where media was lost, and
    ``translations``, whose segments have the ``id`` of those that they translate.
    ``language`` is the one that is named where the recogniser itself named none.
    """
    code = transcript.language or language
    body: dict[str, Any] = {
        "task": task,
        "language": english_name(code),
        "duration": round(duration_s, 3),
        "text": transcript.text,
        "language_code": code,
        "usage": usage(duration_s),
    }
    body |= _details(transcript, granularities, {})
    if transcript.translations:
        numbers = {packet.data.index: number for number, packet in enumerate(transcript.captions)}
        body["translations"] = {
            language: {"text": translation.text, **_details(translation, granularities, numbers)}
            for language, translation in transcript.translations.items()
        }
    gaps = [packet for packet in transcript.packets if isinstance(packet.data, Gap)]
    if gaps:
        body["gaps"] = [
            {
                "start": round(packet.start, 3),
                "end": round(packet.end, 3),
                "medium": packet.data.medium,
                "reason": packet.data.reason,
            }
            for packet in gaps
        ]
    return body


def usage(duration_s: float) -> dict[str, Any]:
    """What OpenAI bills by: seconds of sound, begun ones counted whole."""
    return {"type": "duration", "seconds": math.ceil(duration_s)}


def subtitles(transcript: Transcript, kind: Literal["srt", "vtt"]) -> str:
    """A subtitle file, by the sink that writes them. It touches the disk: call it in a thread."""
    with tempfile.TemporaryDirectory(prefix="mmstream-captions-") as folder:
        path = Path(folder) / f"captions.{kind}"
        sink = SUBTITLES[kind](str(path))
        state = sink.open("captions")
        for packet in transcript.packets:
            sink.process(packet, state)
        sink.flush(state)
        return path.read_text("utf-8")


def as_caption(packet: Packet[Translation]) -> Packet[Caption]:
    """A translation as what would have been said in its language."""
    told = packet.data
    return packet.derive(Caption(told.index, told.stable, told.unstable, told.final, told.language))


def _details(
    transcript: Transcript, granularities: Sequence[Granularity], numbers: Mapping[int, int]
) -> dict[str, Any]:
    """``numbers``: of segments by the index of their utterance; others are numbered as they come."""
    details: dict[str, Any] = {}
    if "word" in granularities:
        details["words"] = [_word(word) for word in transcript.words]
    if "segment" in granularities or not granularities:
        details["segments"] = [
            _segment(numbers.get(packet.data.index, number), packet.data)
            for number, packet in enumerate(transcript.captions)
        ]
    return details


def _word(word: Word) -> dict[str, Any]:
    return {
        "word": word.text,
        "start": round(word.start, 3),
        "end": round(word.end, 3),
        "confidence": None if word.confidence is None else round(word.confidence, 3),
        "video": round(word.video, 3),
    }


def _segment(number: int, caption: Caption) -> dict[str, Any]:
    """One utterance. What no recogniser here gives is 0 or empty: tokens, temperature, probability of no speech."""
    start = caption.words[0].start
    return {
        "id": number,
        "seek": round(SEEK_HZ * start),
        "start": round(start, 3),
        "end": round(caption.words[-1].end, 3),
        "text": caption.text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": _mean_log(caption.words),
        "compression_ratio": round(_compression(caption.text), 3),
        "no_speech_prob": 0.0,
    }


def _mean_log(words: Iterable[Word]) -> float:
    """The mean logarithm of the words' confidences; 0 where the recogniser gives none."""
    known = [math.log(max(SURELY_WRONG, word.confidence)) for word in words if word.confidence is not None]
    return round(sum(known) / len(known), 4) if known else 0.0


def _compression(text: str) -> float:
    """How far the text repeats itself: its bytes to those that zlib makes of them, as Whisper has it."""
    raw = text.encode()
    return len(raw) / len(zlib.compress(raw))
