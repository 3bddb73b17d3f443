"""The latest sound of a client, kept for a server that comes back."""

from __future__ import annotations

import threading


class Tape:
    """The latest sound, in bytes from the beginning of all of it. Thread-safe."""

    def __init__(self, most: int) -> None:
        """``most``: bytes that are kept."""
        self.begin = self.end = 0  # positions of what is held
        self._most = most
        self._held = bytearray()
        self._lock = threading.Lock()

    def add(self, data: bytes) -> None:
        """Append sound; the oldest goes where there is too much."""
        with self._lock:
            self._held += data[-self._most :]
            self.end += len(data)
            del self._held[: max(0, len(self._held) - self._most)]
            self.begin = self.end - len(self._held)

    def add_silence(self, count: int) -> None:
        """Append so many zero bytes."""
        with self._lock:
            self.end += max(0, count - self._most)
        self.add(bytes(min(count, self._most)))

    def read(self, position: int, most: int) -> bytes | None:
        """What comes at ``position``; None where that is gone."""
        with self._lock:
            offset = position - self.begin
            return None if offset < 0 else bytes(self._held[offset : offset + most])
