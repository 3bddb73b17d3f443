"""What a source gave since the last snapshot, for a replay."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

from mmstream.core import Packet
from mmstream.graph import Edge
from mmstream.lane import is_weightless
from mmstream.media import Gap, Medium, passes


@dataclass(frozen=True, slots=True)
class Entry:
    """One packet of a source and the edges that it went down."""

    edges: tuple[Edge, ...]
    packet: Packet[Any]


class Tape:
    """A source's packets, numbered from 0. Keeps at most ``longest_s`` of media: older media becomes a gap.

    Not thread-safe: its feed locks.
    """

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._entries: deque[Entry] = deque()
        self._first = 0  # number of the first entry
        self._lost: list[Entry] = []  # gaps, one for each medium, in place of what was too old to keep

    @property
    def end(self) -> int:
        """The number that the next packet gets."""
        return self._first + len(self._entries)

    def add(self, edges: tuple[Edge, ...], packet: Packet[Any]) -> None:
        self._entries.append(Entry(edges, packet))
        while packet.end - self._entries[0].packet.end > self._longest_s:
            self._lose(self._entries.popleft())
            self._first += 1

    def trim(self, position: int) -> None:
        """Nothing before ``position`` is asked for again."""
        if position >= self._first:
            self._lost = []
        while self._first < position and self._entries:
            self._entries.popleft()
            self._first += 1

    def since(self, position: int) -> list[Entry]:
        """The packets from number ``position`` on; begins with gaps where some of them are no longer kept."""
        kept = [entry for number, entry in enumerate(self._entries, start=self._first) if number >= position]
        return [*self._lost, *kept] if position < self._first else kept

    def seconds_since(self, position: int) -> float:
        """The media seconds of what ``since`` gives."""
        ends = [entry.packet.end for entry in self.since(position) if not is_weightless(entry.packet)]
        return ends[-1] - ends[0] if ends else 0.0

    def _lose(self, entry: Entry) -> None:
        if is_weightless(entry.packet):
            self._lost.append(entry)
            return
        medium: Medium = getattr(entry.packet.data, "medium", "audio")
        gap = entry.packet.derive(Gap(medium, f"only {self._longest_s:g} s are kept for a replay"))
        for number, before in enumerate(self._lost):
            if before.packet.data == gap.data:
                self._lost[number] = Entry(before.edges, gap.derive(gap.data, start=before.packet.start))
                return
        edges = tuple(edge for edge in entry.edges if passes(gap.data, edge.carries))
        self._lost.append(Entry(edges, gap))
