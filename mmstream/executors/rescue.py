"""Sessions off replicas that are lost, hung or to be given up, and back to their last snapshots elsewhere."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from mmstream.core import MmstreamError
from mmstream.executors.ledger import Ledger, Replica
from mmstream.executors.pool import Pool
from mmstream.executors.ray_link import LinkError
from mmstream.executors.spread import Live, Move, Spreader
from mmstream.graph import Graph

log = logging.getLogger(__name__)

CATCH_UP_S = 3.0  # wall-clock seconds that sessions are given before their replica is replaced


@dataclass(frozen=True, slots=True)
class Loss:
    """A replica that is gone."""

    replica: Replica
    error: LinkError
    at: list[tuple[str, float]]  # (session, media second) of the packets that it was working on
    since: float  # monotonic seconds


class Rescue:
    """One thread that puts sessions back, a loss at a time.

    A packet that was being worked on when two replicas were lost is taken to have killed them: its session ends.
    """

    def __init__(
        self,
        graph: Graph,
        ledger: Ledger,
        pool: Pool,
        spreader: Spreader,
        lives: Mapping[str, Live],
        fail: Callable[[str, MmstreamError], None],
        recovered: Callable[[Live, float], None],
    ) -> None:
        """``fail`` ends a session; ``recovered`` hears of one that goes on, and after how many wall-clock seconds."""
        self._graph = graph
        self._ledger = ledger
        self._pool = pool
        self._spreader = spreader
        self._lives = lives
        self._fail = fail
        self._recovered = recovered
        self._losses: queue.SimpleQueue[Loss | None] = queue.SimpleQueue()
        self._moving = threading.Lock()
        self.thread = threading.Thread(target=self._run, name="mmstream-rescue", daemon=True)

    def lost(self, loss: Loss) -> None:
        self._losses.put(loss)

    def close(self) -> None:
        self._losses.put(None)

    def _run(self) -> None:
        while (loss := self._losses.get()) is not None:
            log.warning("%s; its sessions go on elsewhere", loss.error)
            threading.Thread(target=self._replenish, args=(loss.replica[0],), daemon=True).start()
            sessions = self._ledger.sessions(loss.replica)
            self._suspect(sessions, loss)
            self.put_back(sessions, loss.since)

    def _replenish(self, worker: str) -> None:
        """Replace a lost replica, at once where no other is left; else once the sessions that moved have caught up."""
        if self._ledger.replicas(worker):
            time.sleep(CATCH_UP_S)  # loading models takes the very cores that they need now
        try:
            self._pool.replenish(worker)
        except MmstreamError as error:
            log.warning("worker %r: no replacement: %s", worker, error)

    def _suspect(self, sessions: Iterable[str], loss: Loss) -> None:
        """Remember which packets the replica was at; end a session whose packet has cost two."""
        at = dict(loss.at)
        for name in sessions:
            live = self._lives.get(name)
            if live is None or name not in at:
                continue
            if live.suspect == at[name]:
                worker = loss.replica[0]
                self._fail(name, MmstreamError(f"its packet at {at[name]:.3f} s has cost two replicas of {worker!r}"))
            live.suspect = at[name]

    def put_back(self, sessions: Iterable[str], since: float) -> None:
        """Open sessions again as their last snapshots have them, on replicas that are living."""
        with self._moving:
            moves = []
            for name in sessions:
                live = self._lives.get(name)
                move = self._move(live) if live is not None else None
                if move is not None:
                    moves.append(move)
            self._spreader.spread(moves)
            for move in moves:
                move.live.recoveries += 1
                move.live.recovering = False
                self._recovered(move.live, time.monotonic() - since)

    def _move(self, live: Live) -> Move | None:
        """Where a session goes; None for one that has ended, or has shown all that it had."""
        live.recovering = True
        over = self._over(live)
        placed = None
        while not (self._sinks() <= self._ledger.drained(live.name)):
            missing = [name for name in self._pool.specs if not self._pool.has_replica(name)]
            if missing:
                self._fail(live.name, MmstreamError(f"no replica of worker {missing[0]!r} is left"))
                return None
            try:
                placed = self._ledger.repin(live.name, over, self._sinks())
            except MmstreamError as error:  # the last replica of a worker was lost just now
                log.debug("session %s: %s", live.name, error)
                continue
            break
        if placed is not None:
            epoch, pins = placed
            live.book.put_back(epoch)
            return Move(live, epoch, pins, over)
        if self._sinks() <= self._ledger.drained(live.name):
            self._ledger.settle(live.name)
        else:  # it is being given up, and the lost replica will not say that it has done so
            self._fail(live.name, self._ledger.fault(live.name) or MmstreamError("it was given up"))
        return None

    def _over(self, live: Live) -> frozenset[str]:
        """The workers that had nothing more to give to a session when its last snapshot was taken, and have not now."""
        last = live.book.last
        if last is None:
            return frozenset()
        over = {name for name, spec in self._graph.workers.items() if last.parts[name].ended.issuperset(spec.nodes)}
        return self._ledger.drained(live.name) & over

    def _sinks(self) -> set[str]:
        """The workers that hold the graph's ends."""
        ends = {name for name in self._graph.nodes if not self._graph.outputs(name)}
        return {self._graph.worker_of(name).name for name in ends}
