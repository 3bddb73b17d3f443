"""Sessions that are open: which are let in, which have been idle for too long, and what is told of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from mmstream.clock import SYSTEM_CLOCK, Clock
from mmstream.core import MmstreamError
from mmstream.graph import SessionLimits

State = Literal["running", "recovering", "draining"]


@dataclass(frozen=True, slots=True)
class SessionRow:
    """One open session, as its executor knows it."""

    session: str
    state: State
    replicas: Mapping[str, int]  # worker -> number of the replica that it is pinned to
    reached_s: float  # media seconds
    lag_s: float  # how far what comes out is behind what was captured
    dropped: int  # packets, lost to full queues or given up
    recoveries: int
    replayed_s: float  # media seconds, over all recoveries
    since: float  # wall-clock seconds at which it was opened


class SessionRefused(MmstreamError):  # noqa: N818 - what happened is a refusal, not a mistake
    """A session that is not let in; it may be once another has ended."""


def admit(session: str, open_sessions: int, limits: SessionLimits) -> None:
    """Let one more session in.

    Raises:
        SessionRefused: as many are open as may be.
    """
    if limits.most is not None and open_sessions >= limits.most:
        raise SessionRefused(
            f"session {session!r} is refused: {open_sessions} are open, and the limit is {limits.most}; "
            "raise it with 'sessions: {limit: N}' in the pipeline file"
        )


class Expiry:
    """Which sessions have been idle for longer than ``limits.idle_s``. For one thread."""

    def __init__(self, limits: SessionLimits, clock: Clock = SYSTEM_CLOCK) -> None:
        self._idle_s = limits.idle_s
        self._clock = clock
        self._seen: dict[str, tuple[float, float]] = {}  # session -> media seconds, wall seconds of their last change

    def idle(self, reached: Mapping[str, float]) -> tuple[str, ...]:
        """Those that have not come on for too long. ``reached`` holds every open session and its media seconds.

        A session is told again and again until it is left out. One that goes back, for a replay, has come on.
        """
        if self._idle_s is None:
            return ()
        now = self._clock.now()
        for session in self._seen.keys() - reached.keys():
            del self._seen[session]
        for session, media_s in reached.items():
            if session not in self._seen or self._seen[session][0] != media_s:
                self._seen[session] = media_s, now
        return tuple(session for session, (_, since) in self._seen.items() if now - since > self._idle_s)
