"""Subtitle files: SubRip and WebVTT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pysubs2.formats.subrip import SubripFormat
from pysubs2.formats.webvtt import WebVTTFormat

from mmstream.atomic import AtomicFile
from mmstream.core import Packet
from mmstream.media import UNSPACED_LANGUAGES, Gap, Translation
from operators.sinks.cues import Cue, CueLimits, cut_into_cues, spread
from operators.sinks.files import FileSink, FileState

MIN_DURATION_S = 0.8  # what the eye needs to find a cue, however short it is


@dataclass
class SubtitleState(FileState):
    number: int = 0  # of the last cue written
    held: Cue | None = None  # until the next one tells how long it may stand


class Subtitles(FileSink[SubtitleState]):
    """One subtitle file per session. Cues never overlap and their times never go back.

    A cue holds at most ``max_lines`` lines of ``max_line_chars`` columns and ``max_duration_s``; it stands on in the
    silence that follows until it can be read at ``reading_speed_cps`` characters per second. Lost audio is shown as
    ``[audio lost]`` where ``gaps`` is set.
    """

    head: ClassVar[str]
    format: ClassVar[type[SubripFormat]]
    escapes: ClassVar[dict[int, str]]  # for ``str.translate``

    def __init__(
        self,
        path: str,
        max_line_chars: int = 42,
        max_lines: int = 2,
        max_duration_s: float = 7.0,
        reading_speed_cps: float = 17.0,
        gaps: bool = True,
        language: str | None = None,
    ) -> None:
        super().__init__(path, language)
        if max_line_chars < 2:
            raise ValueError(f"max_line_chars is {max_line_chars}; legal values: 2 and more, usual ones 32 to 42")
        if max_lines < 1:
            raise ValueError(f"max_lines is {max_lines}; legal values: 1 and more, usual ones 1 and 2")
        if max_duration_s < MIN_DURATION_S:
            raise ValueError(f"max_duration_s is {max_duration_s}; legal values: {MIN_DURATION_S} and more, usual: 7")
        if reading_speed_cps <= 0:
            raise ValueError(f"reading_speed_cps is {reading_speed_cps}; legal values: above 0, usual ones 12 to 20")
        self.limits = CueLimits(max_line_chars, max_lines, max_duration_s)
        self.reading_speed_cps = reading_speed_cps
        self.gaps = gaps

    def begin(self, session: str, file: AtomicFile) -> SubtitleState:
        file.write(self.head)
        return SubtitleState(session, file)

    def write_utterance(self, packet: Packet[Any], state: SubtitleState) -> None:
        separator = "" if packet.data.language in UNSPACED_LANGUAGES else " "
        words = packet.data.words
        if isinstance(packet.data, Translation):
            words = spread(words, self.reading_speed_cps)
        for cue in cut_into_cues(words, self.limits, separator):
            self._hold(cue, state)

    def write_gap(self, packet: Packet[Gap], state: SubtitleState) -> None:
        if self.gaps and packet.data.medium == "audio":
            start_ms, end_ms = (max(0, round(1000 * time)) for time in (packet.start, packet.end))
            self._hold(Cue(start_ms, end_ms, "[audio lost]"), state)

    def write_rest(self, state: SubtitleState) -> None:
        if state.held is not None:
            self._write(state.held, self._wanted_end_ms(state.held), state)
            state.held = None

    def _hold(self, cue: Cue, state: SubtitleState) -> None:
        """Write the cue held so far, which has to end where ``cue`` starts, and hold ``cue``."""
        held = state.held
        if held is not None:
            cue.start_ms = max(cue.start_ms, held.start_ms + 1)
            self._write(held, min(self._wanted_end_ms(held), cue.start_ms), state)
        state.held = cue

    def _wanted_end_ms(self, cue: Cue) -> int:
        """Where the cue would end, did nothing follow."""
        to_read_ms = round(1000 * max(MIN_DURATION_S, len(cue.text) / self.reading_speed_cps))
        longest_ms = round(1000 * self.limits.max_duration_s)
        return min(max(cue.end_ms, cue.start_ms + to_read_ms), cue.start_ms + longest_ms)

    def _write(self, cue: Cue, end_ms: int, state: SubtitleState) -> None:
        state.number += 1
        start, end = self.format.ms_to_timestamp(cue.start_ms), self.format.ms_to_timestamp(end_ms)
        text = cue.text.translate(self.escapes)
        state.file.write(f"{state.number}\n{start} --> {end}\n{text}\n\n")


class Srt(Subtitles):
    """A SubRip file per session; its arguments are those of ``Subtitles``."""

    head = ""
    format = SubripFormat
    escapes: ClassVar[dict[int, str]] = {}


class WebVtt(Subtitles):
    """A WebVTT file per session; its arguments are those of ``Subtitles``."""

    head = "WEBVTT\n\n"
    format = WebVTTFormat
    escapes: ClassVar[dict[int, str]] = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
