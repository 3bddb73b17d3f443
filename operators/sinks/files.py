"""What the sinks that write one file per session share: its name, its claim, and its whole appearance."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, ClassVar, TypeVar

from mmstream.atomic import AtomicFile
from mmstream.core import MmstreamError, Packet, Sink
from mmstream.media import Caption, Gap, Translation
from mmstream.translation.languages import checked
from operators.sinks.media_order import MediaOrder
from operators.sinks.utterances import InOneLanguage, Utterance


@dataclass
class FileState:
    """One session's file. It holds an open file and so cannot be pickled; sinks stay in the user's process."""

    session: str
    file: AtomicFile
    utterances: InOneLanguage[Any] = field(default_factory=InOneLanguage)
    order: MediaOrder = field(default_factory=MediaOrder)  # of translations


State = TypeVar("State", bound=FileState)


class FileSink(Sink[State]):
    """One text file per session, written as utterances end and put in place when the stream does.

    ``{session}`` in ``path`` stands for the name of the session, which may itself hold folders. The file holds what
    was said, or with ``language`` (BCP 47) its translation into that; take it from both nodes, the one that gives
    captions and the one that translates, for lost media to be in it too.
    """

    accepts: ClassVar[tuple[type, ...]] = (Caption, Translation, Gap)
    any_order = True  # captions in the order of their one edge, and see ``MediaOrder``

    def __init__(self, path: str, language: str | None = None) -> None:
        unknown = [name for name in re.findall(r"\{([^{}]*)\}", path) if name != "session"]
        if unknown:
            raise ValueError(f"path {path!r}: '{{{unknown[0]}}}' is unknown; the legal placeholder is {{session}}")
        if not path or path.endswith("/"):
            raise ValueError(f"path {path!r} names no file; write for example 'out/{{session}}.srt'")
        self.path = path
        self.language = None if language is None else checked(language)
        self._claims: dict[Path, str] = {}  # file -> the session that writes it or wrote it

    def path_for(self, session: str) -> Path:
        """The file of ``session``."""
        if "{session}" in self.path and (PurePath(session).is_absolute() or ".." in PurePath(session).parts):
            raise MmstreamError(f"session {session!r} cannot name a file: it leads out of the folder of {self.path}")
        return Path(self.path.replace("{session}", session)).expanduser()

    def open(self, session: str) -> State:
        path = self.path_for(session)
        other = self._claims.get(path)
        if other is not None and other != session:
            raise MmstreamError(
                f"{path}: sessions {other!r} and {session!r} would both write it; put {{session}} into the path"
            )
        state = self.begin(session, AtomicFile(path))
        self._claims[path] = session
        return state

    def process(self, packet: Packet[Any], state: State) -> Iterable[Packet[Any]]:
        if isinstance(packet.data, Gap):
            if self.language is None:
                self.write_gap(packet, state)
            else:
                state.order.note_lost(packet)
        elif self._is_mine(packet.data):
            if not state.utterances.repeats(packet.data):
                self.watch(packet, state)
                self._write_over(state.utterances.take(packet), state)
        elif isinstance(packet.data, Caption):
            state.order.note_said(packet)
        self._write_due(state.order.due(), state)
        return ()

    def flush(self, state: State) -> Iterable[Packet[Any]]:
        self._write_over(state.utterances.rest(), state)
        self._write_due(state.order.rest(), state)
        self.write_rest(state)
        state.file.commit()
        return ()

    def _is_mine(self, text: Utterance) -> bool:
        if isinstance(text, Caption):
            return self.language is None
        return self.language == text.language

    def _write_over(self, utterances: Iterable[Packet[Any]], state: State) -> None:
        """Write utterances that are over; translated ones when their turn has come."""
        for utterance in utterances:
            if self.language is None:
                self.write_utterance(utterance, state)
            else:
                state.order.add(utterance)

    def _write_due(self, due: Iterable[Packet[Any]], state: State) -> None:
        for packet in due:
            if isinstance(packet.data, Gap):
                self.write_gap(packet, state)
            else:
                self.write_utterance(packet, state)

    def discard(self, state: State) -> None:
        state.file.discard()
        self._claims.pop(state.file.path, None)

    @abstractmethod
    def begin(self, session: str, file: AtomicFile) -> State:
        """The memory of a new session, with what stands at the head of the file written."""

    @abstractmethod
    def write_utterance(self, packet: Packet[Any], state: State) -> None:
        """Write an utterance that is over, a ``Caption`` or a ``Translation``. It may have no words."""

    def watch(self, packet: Packet[Any], state: State) -> None:
        """Called with every caption, or translation, of the file's language, before ``write_utterance``."""
        return

    def write_gap(self, packet: Packet[Gap], state: State) -> None:
        """Write that media was lost."""
        return

    def write_rest(self, state: State) -> None:
        """Write what was held back until the end of the stream."""
        return
