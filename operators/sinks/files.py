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
from mmstream.media import Caption, Gap
from operators.sinks.utterances import Utterances


@dataclass
class FileState:
    """One session's file. It holds an open file and so cannot be pickled; sinks stay in the user's process."""

    session: str
    file: AtomicFile
    utterances: Utterances = field(default_factory=Utterances)


State = TypeVar("State", bound=FileState)


class FileSink(Sink[State]):
    """One text file per session, written as utterances end and put in place when the stream does.

    ``{session}`` in ``path`` stands for the name of the session, which may itself hold folders.
    """

    accepts: ClassVar[tuple[type, ...]] = (Caption, Gap)

    def __init__(self, path: str) -> None:
        unknown = [name for name in re.findall(r"\{([^{}]*)\}", path) if name != "session"]
        if unknown:
            raise ValueError(f"path {path!r}: '{{{unknown[0]}}}' is unknown; the legal placeholder is {{session}}")
        if not path or path.endswith("/"):
            raise ValueError(f"path {path!r} names no file; write for example 'out/{{session}}.srt'")
        self.path = path
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
            self.write_gap(packet, state)
        elif not state.utterances.repeats(packet.data):
            self.watch(packet, state)
            for utterance in state.utterances.take(packet):
                self.write_utterance(utterance, state)
        return ()

    def flush(self, state: State) -> Iterable[Packet[Any]]:
        for utterance in state.utterances.rest():
            self.write_utterance(utterance, state)
        self.write_rest(state)
        state.file.commit()
        return ()

    def discard(self, state: State) -> None:
        state.file.discard()
        self._claims.pop(state.file.path, None)

    @abstractmethod
    def begin(self, session: str, file: AtomicFile) -> State:
        """The memory of a new session, with what stands at the head of the file written."""

    @abstractmethod
    def write_utterance(self, packet: Packet[Caption], state: State) -> None:
        """Write an utterance that is over. It may have no words."""

    def watch(self, packet: Packet[Caption], state: State) -> None:
        """Called with every caption, before ``write_utterance``."""
        return

    def write_gap(self, packet: Packet[Gap], state: State) -> None:
        """Write that media was lost."""
        return

    def write_rest(self, state: State) -> None:
        """Write what was held back until the end of the stream."""
        return
