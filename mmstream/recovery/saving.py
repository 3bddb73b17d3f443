"""A worker's part of a session's snapshot: put together node by node as the barrier passes them."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from mmstream.core import Packet
from mmstream.recovery.cut import Recorded

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Saved:
    """One node at the moment of the barrier."""

    state: bytes  # pickled
    packets: Mapping[str, tuple[Packet[Any], ...]] = field(default_factory=dict)  # by lane: not yet in the state
    ended: frozenset[str] = frozenset()  # lanes that had ended


@dataclass(frozen=True, slots=True)
class Part:
    """One worker's share of a snapshot. Plain data, sent to the session's owner and to the worker that goes on."""

    worker: str
    session: str
    epoch: int
    number: int
    nodes: Mapping[str, Saved]
    positions: Mapping[str, int]  # source -> number of its packets before the barrier
    ended: frozenset[str]  # nodes that had nothing more to give
    void: bool = False  # a state cannot be saved: no snapshot of this epoch becomes whole from here on


class Saving:
    """Collects one session's parts in one worker. Snapshots may overlap; one that a later one overtakes is dropped."""

    def __init__(self, worker: str, session: str, epoch: int, nodes: Collection[str], sources: Collection[str]) -> None:
        self._place = (worker, session, epoch)
        self._nodes = frozenset(nodes)
        self._sources = frozenset(sources)
        self._states: dict[int, dict[str, bytes]] = {}
        self._saved: dict[int, dict[str, Saved]] = {}
        self._positions: dict[int, dict[str, int]] = {}
        self._passed: dict[str, int] = {}  # node -> newest barrier that has come to it
        self._impossible = False  # a state cannot be pickled: no snapshot becomes whole any more

    def source(self, number: int, node: str, position: int, ended: Collection[str]) -> Part | None:
        """The source ``node`` has sent the barrier."""
        if self._impossible:
            return None
        self._positions.setdefault(number, {})[node] = position
        return self.whole(ended)

    def node(self, number: int, node: str, state: Any, waits: bool, ended: Collection[str]) -> Part | None:
        """The barrier has come to ``node``; ``waits`` for what lies on its lanes, if it has several."""
        if self._impossible or number < max(self._saved, default=0):
            return None
        self._passed[node] = number
        try:
            pickled = pickle.dumps(state, protocol=pickle.HIGHEST_PROTOCOL)
        except Exception as error:  # noqa: BLE001 - whatever a state raises when it is pickled
            self._impossible = True
            log.warning("node %r cannot be saved, so a lost worker means a replay from the beginning: %s", node, error)
            return Part(*self._place, number, {}, {}, frozenset(), void=True)
        if waits:
            self._states.setdefault(number, {})[node] = pickled
            return None
        self._saved.setdefault(number, {})[node] = Saved(pickled)
        return self.whole(ended)

    def recorded(self, node: str, recorded: Recorded, ended: Collection[str]) -> Part | None:
        """What lay on the lanes of ``node``, whose state was saved before."""
        pickled = self._states.get(recorded.number, {}).pop(node, None)
        if pickled is None:
            return None
        saved = Saved(pickled, recorded.packets, recorded.ended)
        self._saved.setdefault(recorded.number, {})[node] = saved
        return self.whole(ended)

    def whole(self, ended: Collection[str]) -> Part | None:
        """The newest snapshot of which nothing is missing any more, or None.

        A node that ended behind the barrier must have been saved at it: what it gave in between is not in the snapshot.
        """
        if self._impossible:
            return None
        for number in sorted(self._saved.keys() | self._positions.keys(), reverse=True):
            saved, positions = self._saved.get(number, {}), self._positions.get(number, {})
            over = {node for node in ended if self._passed.get(node, 0) < number}
            if self._nodes - saved.keys() <= over and positions.keys() == self._sources:
                for book in (self._states, self._saved, self._positions):
                    for old in [other for other in book if other <= number]:
                        del book[old]
                return Part(*self._place, number, saved, positions, self._nodes - saved.keys())
        return None
