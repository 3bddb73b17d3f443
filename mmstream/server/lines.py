"""Media of clients that has to be decoded, on its way to the source of their session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmstream.clock import Clock
from mmstream.core import Packet
from operators.sources import MediaFile
from operators.sources.container import Streams

CHUNK_MS = 500  # of a file at full speed: fewer packets cost less


class FileLine:
    """A file that a client has sent."""

    def __init__(self, path: Path) -> None:
        self.missing: frozenset[type] = frozenset()
        self._path = path
        self._file: MediaFile | None = None

    def packets(self, session: str, clock: Clock, streams: Streams) -> Iterator[Packet[Any]]:
        self._file = MediaFile(str(self._path), streams, chunk_ms=CHUNK_MS)
        self._file.clock = clock
        for packet in self._file.packets(session):
            self.missing = self._file.missing
            yield packet

    def end(self) -> None:
        if self._file is not None:
            self._file.stop()
