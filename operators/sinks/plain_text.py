"""Plain text."""

from __future__ import annotations

from typing import Any

from mmstream.atomic import AtomicFile
from mmstream.core import Packet
from mmstream.media import Gap
from operators.sinks.files import FileSink, FileState
from operators.sinks.utterances import describe_gap


class PlainText(FileSink[FileState]):
    """A text file with one utterance per line; with ``gaps``, lost media as a line in brackets."""

    def __init__(self, path: str, gaps: bool = False, language: str | None = None) -> None:
        super().__init__(path, language)
        self.gaps = gaps

    def begin(self, session: str, file: AtomicFile) -> FileState:
        return FileState(session, file)

    def write_utterance(self, packet: Packet[Any], state: FileState) -> None:
        text = " ".join(packet.data.text.split())
        if text:
            state.file.write(text + "\n")

    def write_gap(self, packet: Packet[Gap], state: FileState) -> None:
        if self.gaps:
            state.file.write(f"[{describe_gap(packet)}]\n")
