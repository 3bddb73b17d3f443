"""Where a snapshot runs through the lanes of one node with several inputs: the algorithm of Chandy and Lamport."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from mmstream.core import Barrier, End, Packet, Watermark


@dataclass(frozen=True, slots=True)
class Recorded:
    """Control payload from a join to its worker: what lay between the barriers of its lanes.

    The node's state was saved at the first barrier. Packets that came after it on other lanes, but before the barriers
    of these, are not in that state, and their senders do not send them again: they belong to the snapshot.
    """

    number: int
    packets: Mapping[str, tuple[Packet[Any], ...]]  # by lane
    ended: frozenset[str]  # lanes that had ended before


class Cut:
    """Follows the barriers of one session through a join. No lane waits for another's barrier."""

    def __init__(self, lanes: Collection[str]) -> None:
        self._lanes = frozenset(lanes)
        self._flowing = set(lanes)  # have not ended
        self._number = 0  # of the snapshot under way
        self._ended: frozenset[str] = frozenset()  # lanes that had ended when it began
        self._recording: dict[str, list[Packet[Any]]] = {}  # lanes whose barrier is yet to come
        self._recorded: dict[str, tuple[Packet[Any], ...]] = {}

    def passed(self, lane: str, packet: Packet[Any]) -> list[Packet[Any]]:
        """``packet`` has left ``lane``: what the node's worker is to hear of a snapshot because of it."""
        if isinstance(packet.data, Barrier):
            return self._met(lane, packet)
        if lane in self._recording and not isinstance(packet.data, Watermark):
            self._recording[lane].append(packet)
        if not isinstance(packet.data, End):
            return []
        self._flowing.discard(lane)
        return self._close(lane, packet)

    def _met(self, lane: str, packet: Packet[Barrier]) -> list[Packet[Any]]:
        number = packet.data.number
        if number < self._number:  # of a snapshot that a later one has overtaken
            return []
        if number == self._number:
            return self._close(lane, packet)
        self._number = number
        self._ended = self._lanes - self._flowing
        self._recording = {other: [] for other in self._flowing if other != lane}
        self._recorded = {}
        return [packet, *self._finished(packet)]

    def _close(self, lane: str, packet: Packet[Any]) -> list[Packet[Any]]:
        if lane not in self._recording:
            return []
        self._recorded[lane] = tuple(self._recording.pop(lane))
        return self._finished(packet)

    def _finished(self, packet: Packet[Any]) -> list[Packet[Any]]:
        if self._recording:
            return []
        return [packet.derive(Recorded(self._number, self._recorded, self._ended))]
