"""A session into every worker that it is pinned to: opened everywhere first, and only then let flow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmstream.executors.departures import Departures, Pins
from mmstream.executors.ledger import Replica
from mmstream.executors.pool import Pool
from mmstream.executors.ray_host import Opening, Start
from mmstream.executors.ray_link import LinkError, ask
from mmstream.graph import Graph
from mmstream.overload import is_live
from mmstream.record import Arguments
from mmstream.recovery.book import Book
from mmstream.worker import Worker


@dataclass(eq=False)
class Live:
    """What the driver remembers of an open session."""

    name: str
    arguments: Arguments
    since: float  # wall-clock seconds
    book: Book
    number: int = 0  # of the last snapshot that was begun
    marked_at: float = 0.0  # monotonic seconds
    recoveries: int = 0
    replayed_s: float = 0.0  # media seconds
    sources: tuple[Replica, ...] = ()  # the actors in which its sources run
    started: bool = False  # its sources have been started
    recovering: bool = False
    draining: bool = False
    suspect: float | None = None  # media second of the packet that a lost worker was at


@dataclass(frozen=True, slots=True)
class Move:
    """A session to be opened, or put back."""

    live: Live
    epoch: int
    pins: Pins
    over: frozenset[str] = field(default_factory=frozenset)  # workers in which it has nothing more to do


class Spreader:
    """Opens sessions. ``lost`` hears of an actor that did not answer."""

    def __init__(
        self,
        graph: Graph,
        driver: Worker | None,
        departures: Departures,
        pool: Pool,
        lost: Callable[[Replica, LinkError], None],
    ) -> None:
        self._graph = graph
        self._feeding = {graph.worker_of(name).name for name, node in graph.nodes.items() if node.is_source}
        self._nodes = {name: spec.nodes for name, spec in graph.workers.items()}
        self._driver = driver
        self._departures = departures
        self._pool = pool
        self._lost = lost
        self._deadline_s = max(graph.recovery.deadline_s, graph.recovery.hung_s)

    def spread(self, moves: Sequence[Move]) -> None:
        """Open sessions in all of their workers, and then start their sources.

        An actor that is lost meanwhile is told to ``lost``: its sessions will be put back once more.
        """
        openings: defaultdict[Replica, list[Opening]] = defaultdict(list)
        starts: defaultdict[Replica, list[Start]] = defaultdict(list)
        for move in moves:
            self._open_here(move, openings, starts)
        self._ask_all({replica: self._call(replica, "open", given) for replica, given in openings.items()})
        self._ask_all({replica: self._call(replica, "start_sessions", given) for replica, given in starts.items()})
        for move in moves:
            if self._driver is not None:
                first = not move.live.started
                self._driver.start(move.live.name, move.live.arguments, move.epoch, first=first)
            move.live.started = True

    def _open_here(
        self,
        move: Move,
        openings: defaultdict[Replica, list[Opening]],
        starts: defaultdict[Replica, list[Start]],
    ) -> None:
        """Open a session in this process, and note down what its actors are to do."""
        live = move.live
        peers = {replica: self._pool.actor(replica) for replica in move.pins.values()}
        actors = {replica: actor for replica, actor in peers.items() if actor is not None}
        parts = live.book.last.parts if live.book.last is not None else {}
        alone = live.suspect is not None
        paced = is_live(self._graph, live.arguments)
        self._departures.open(live.name, move.epoch, move.pins, actors, live=paced)
        live.sources = tuple(pin for worker, pin in move.pins.items() if worker in self._feeding and pin in actors)
        for worker, replica in move.pins.items():
            if worker in move.over:
                continue
            part = parts.get(worker)
            if replica in actors:
                openings[replica].append(Opening(live.name, move.epoch, move.pins, actors, part, alone, paced))
                mine = {name: live.arguments[name] for name in self._nodes[worker] if name in live.arguments}
                starts[replica].append(Start(live.name, move.epoch, mine, not live.started))
            elif self._driver is not None and worker == self._driver.spec.name:
                self._driver.open(live.name, move.epoch, part, live=paced)

    def _call(self, replica: Replica, method: str, given: Any) -> Any:
        actor = self._pool.actor(replica)
        return None if actor is None else getattr(actor, method).remote(given)

    def _ask_all(self, references: dict[Replica, Any]) -> None:
        for replica, reference in references.items():
            if reference is None:
                continue
            try:
                ask(reference, replica, self._deadline_s)
            except LinkError as error:
                self._lost(replica, error)
