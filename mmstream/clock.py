"""Wall-clock time, injected: the runtime never calls ``time`` itself, so tests run without sleeping."""

from __future__ import annotations

import threading
import time
from typing import Protocol


class Clock(Protocol):
    """What the runtime asks of time. Thread-safe."""

    def now(self) -> float:
        """Wall-clock seconds since the epoch; never runs backwards within one process."""

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        """Wait until ``seconds`` have passed or ``stop`` is set; True when ``stop`` is set."""


class SystemClock:
    """The machine's clock: the epoch read once, then the monotonic clock, so no step of NTP shows in a latency."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def now(self) -> float:
        return time.monotonic() + self._offset

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        return stop.wait(max(0.0, seconds))


SYSTEM_CLOCK = SystemClock()
