"""What tests of operators need: a manual clock, and operators and sources run over lists, without threads."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Any, TypeVar

from mmstream.chain import through
from mmstream.core import Operator, Packet

State = TypeVar("State")


class ManualClock:
    """A clock that moves only when told to, or as far as somebody waits. Thread-safe."""

    def __init__(self, start: float = 1_000.0) -> None:
        self._now = start
        self._lock = threading.Lock()

    def now(self) -> float:
        with self._lock:
            return self._now

    def advance(self, seconds: float) -> None:
        with self._lock:
            self._now += seconds

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        if not stop.is_set():
            self.advance(max(0.0, seconds))
        return stop.is_set()


def run_operator(operator: Operator[State], packets: Iterable[Packet[Any]], session: str = "test") -> list[Packet[Any]]:
    """Every packet that ``operator`` gives for ``packets`` and the end of the stream, as in a pipeline."""
    return list(through([operator], packets, session))
