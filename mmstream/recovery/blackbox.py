"""What a worker was at when it was killed: written where it outlives the process, for whoever asks why."""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path

SIZE = 16_384  # bytes


class BlackBox:
    """A file in memory that the kernel keeps when the process is gone. One thread writes, at 1 us a note."""

    def __init__(self, name: str) -> None:
        self.path = box_path(name)
        with self.path.open("w+b") as file:
            os.ftruncate(file.fileno(), SIZE)
            self._map = mmap.mmap(file.fileno(), SIZE)

    def note(self, *packets: tuple[str, float]) -> None:
        """The (session, media second of its packet) that an operator is about to work on."""
        text = "\n".join(f"{start!r} {session}" for session, start in packets).encode()[: SIZE - 1]
        self._map[: len(text) + 1] = text + b"\0"

    def clear(self) -> None:
        """No operator is at work."""
        self._map[0:1] = b"\0"

    def close(self) -> None:
        """Nobody needs to ask: the worker ended well."""
        self._map.close()
        self.path.unlink(missing_ok=True)


def box_path(name: str) -> Path:
    return Path(tempfile.gettempdir()) / f"mmstream-{name}.box"


def read(name: str) -> list[tuple[str, float]]:
    """What the worker whose box has this name was at, on this machine; takes the box away. Nothing where none is."""
    path = box_path(name)
    try:
        content = path.read_bytes()
    except OSError:
        return []
    path.unlink(missing_ok=True)
    found = []
    for line in content.partition(b"\0")[0].decode(errors="replace").splitlines():
        start, _, session = line.partition(" ")
        found.append((session, float(start)))
    return found
