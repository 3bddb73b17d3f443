"""What a worker remembers of one session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mmstream.core import MmstreamError
from mmstream.feed import Feed
from mmstream.recovery.saving import Part, Saving
from mmstream.recovery.shown import Shown

Arguments = Mapping[str, Mapping[str, Any]]  # node -> constructor arguments over those of the file


@dataclass(eq=False)
class Record:
    """One session in one worker; another one takes its place when the session is put back to a snapshot."""

    name: str
    epoch: int = 0  # how often the session was put back
    states: dict[str, Any] = field(default_factory=dict)  # by operator
    feeds: list[Feed] = field(default_factory=list)
    running: set[str] = field(default_factory=set)  # nodes that have not ended
    told: dict[str, float] = field(default_factory=dict)  # node -> watermark last sent, media seconds
    lost: MmstreamError | None = None  # a source broke off; all before it still comes out
    reached: float = 0.0  # end of the last packet taken, media seconds
    lag_s: float = 0.0  # how long before it was taken the last packet was captured, wall-clock seconds
    alone: bool = False  # its packets share no call with other sessions: one of them may be what kills workers
    live: bool = True  # its media can be too late
    part: Part | None = None  # what it was put back to
    saving: Saving | None = None  # None: no snapshots are taken
    shown: dict[str, Shown] = field(default_factory=dict)  # by sink
