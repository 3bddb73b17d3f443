"""JSON lines: every word with its times, for machines and for measuring."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from mmstream.atomic import AtomicFile
from mmstream.core import Packet
from mmstream.media import Gap, Word
from operators.sinks.files import FileSink, FileState
from operators.sinks.utterances import Utterance

WALL_CLOCK_KEYS = frozenset({"captured_at", "emitted_at", "committed_at"})


@dataclass
class Shown:
    """What one utterance has shown so far, by position of the word, and when."""

    texts: tuple[str, ...] = ()
    first_shown: list[dict[str, float]] = field(default_factory=list)  # position -> text -> wall seconds
    committed_at: list[float] = field(default_factory=list)  # position -> wall seconds, of the stable words
    revisions: int = 0  # words that were shown and that another text, or nothing, replaced

    def add(self, caption: Utterance, now: float) -> None:
        texts = tuple(word.text for word in caption.words)
        self.revisions += sum(
            position >= len(texts) or texts[position] != text for position, text in enumerate(self.texts)
        )
        for position, text in enumerate(texts):
            if position == len(self.first_shown):
                self.first_shown.append({})
            self.first_shown[position].setdefault(text, now)
        self.commit(len(texts) if caption.final else len(caption.stable), now)
        self.texts = texts

    def commit(self, words: int, now: float) -> None:
        """The first ``words`` words are stable from now on, where they were not before."""
        self.committed_at.extend([now] * (words - len(self.committed_at)))


@dataclass
class JsonLinesState(FileState):
    shown: dict[int, Shown] = field(default_factory=dict)  # by index of the utterance; those not yet written


class JsonLines(FileSink[JsonLinesState]):
    """A file with one JSON object per utterance, and one per stretch of lost media.

    An utterance: ``session``, ``index``, ``start``, ``end``, ``text``, ``language``, ``revisions`` (words that
    were shown and later changed) and ``words``. A word: ``word``, ``start``, ``end``, ``confidence``, ``video``
    (0..1, how far video contributed), ``captured_at`` (wall time at which its end was captured), ``emitted_at``
    (when its place first showed this text) and ``committed_at`` (from when on it was stable). Lost media:
    ``{"gap": {session, start, end, medium, reason}}``. All times are in seconds, rounded to milliseconds. A translation
    has the same lines; what it knows of a word, but for when it was shown, is what is known of the words it translates.

    Two runs of one graph over the same file give the same bytes, but for the values of ``WALL_CLOCK_KEYS``.
    """

    def begin(self, session: str, file: AtomicFile) -> JsonLinesState:
        return JsonLinesState(session, file)

    def watch(self, packet: Packet[Any], state: JsonLinesState) -> None:
        state.shown.setdefault(packet.data.index, Shown()).add(packet.data, self.clock.now())

    def write_utterance(self, packet: Packet[Any], state: JsonLinesState) -> None:
        caption, shown = packet.data, state.shown.pop(packet.data.index)
        words = caption.words
        if not words and not shown.revisions:
            return
        shown.commit(len(words), self.clock.now())  # for an utterance that never had its final caption
        line = {
            "session": state.session,
            "index": caption.index,
            "start": round(words[0].start if words else packet.start, 3),
            "end": round(words[-1].end if words else packet.end, 3),
            "text": caption.text,
            "language": caption.language,
            "revisions": shown.revisions,
            "words": [
                _word(word, packet, shown.first_shown[position][word.text], shown.committed_at[position])
                for position, word in enumerate(words)
            ],
        }
        _write_line(state.file, line)

    def write_gap(self, packet: Packet[Gap], state: JsonLinesState) -> None:
        gap = {
            "session": state.session,
            "start": round(packet.start, 3),
            "end": round(packet.end, 3),
            "medium": packet.data.medium,
            "reason": packet.data.reason,
        }
        _write_line(state.file, {"gap": gap})


def without_wall_clock(line: dict[str, Any]) -> dict[str, Any]:
    """A line of ``JsonLines`` less what differs from run to run."""
    if "words" not in line:
        return line
    words = [{key: value for key, value in word.items() if key not in WALL_CLOCK_KEYS} for word in line["words"]]
    return {**line, "words": words}


def _word(word: Word, packet: Packet[Any], emitted_at: float, committed_at: float) -> dict[str, Any]:
    return {
        "word": word.text,
        "start": round(word.start, 3),
        "end": round(word.end, 3),
        "confidence": None if word.confidence is None else round(word.confidence, 3),
        "video": round(word.video, 3),
        "captured_at": round(packet.captured_at - (packet.end - word.end), 3),
        "emitted_at": round(emitted_at, 3),
        "committed_at": round(committed_at, 3),
    }


def _write_line(file: AtomicFile, line: dict[str, Any]) -> None:
    file.write(json.dumps(line, ensure_ascii=False) + "\n")
