"""What is to be done for open sessions now and then: snapshots, expiry, more or fewer replicas."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from math import ceil

from mmstream.core import MmstreamError
from mmstream.executors.ledger import Ledger, Replica
from mmstream.executors.pool import Pool
from mmstream.executors.spread import Live
from mmstream.graph import Graph, Scale
from mmstream.sessions import Expiry

log = logging.getLogger(__name__)

TICK_S = 0.05
SCALE_EVERY_S = 1.0
PATIENCE = 5.0  # snapshot intervals after which one that is not whole is given up
SPARE_FOR_S = 30.0  # a replica that was not needed for so long is given back


class Keeper:
    """One thread beside the executor. ``mark`` begins snapshots, ``expire`` ends a session that has been idle."""

    def __init__(
        self,
        graph: Graph,
        ledger: Ledger,
        pool: Pool,
        lives: Mapping[str, Live],
        mark: Callable[[Mapping[str, int]], None],
        reached: Callable[[str], float],
        expire: Callable[[str], None],
        queue_s: Callable[[Replica], float],
    ) -> None:
        self._graph = graph
        self._ledger = ledger
        self._pool = pool
        self._lives = lives
        self._mark = mark
        self._reached = reached
        self._expire = expire
        self._queue_s = queue_s
        self._expiry = Expiry(graph.sessions)
        self._begun: dict[str, int] = {}  # session -> epoch in which its last snapshot was begun
        self._spare_since: dict[str, float] = {}  # worker -> monotonic seconds since which it has a replica too many
        self._scaling: set[str] = set()  # workers that get a replica now
        self._stopping = threading.Event()
        self.thread = threading.Thread(target=self._run, name="mmstream-keeper", daemon=True)

    def close(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        scaled_at = 0.0
        while not self._stopping.wait(TICK_S):
            now = time.monotonic()
            self._begin_snapshots(now)
            if now - scaled_at >= SCALE_EVERY_S:
                scaled_at = now
                self._begun = {name: epoch for name, epoch in self._begun.items() if name in self._lives}
                for session in self._expiry.idle({name: self._reached(name) for name in tuple(self._lives)}):
                    self._expire(session)
                for name, spec in self._pool.specs.items():
                    if spec.scale is not None and name not in self._scaling:
                        self._scale(name, spec.replicas, spec.scale, now)

    def _begin_snapshots(self, now: float) -> None:
        marks = {}
        for live in tuple(self._lives.values()):
            if self._is_due(live, now):
                live.marked_at = now
                live.number += 1
                self._begun[live.name] = live.book.epoch
                marks[live.name] = live.number
        if marks:
            self._mark(marks)

    def _is_due(self, live: Live, now: float) -> bool:
        """Whether a session is to be saved.

        A snapshot that is not whole yet is waited for: where a join's lanes are far apart, each would overtake the one
        before, and none become whole. That of a session that was put back meanwhile is void.
        """
        last = live.book.last
        whole = live.number == (last.number if last is not None else 0)
        waits = not whole and self._begun.get(live.name) == live.book.epoch
        interval_s = self._graph.recovery.snapshot_s * (PATIENCE if waits else 1.0)
        return not live.recovering and now - live.marked_at >= interval_s

    def _scale(self, worker: str, least: int, scale: Scale, now: float) -> None:
        """One replica more where sessions or queues call for it; one less where it has long been idle."""
        replicas = self._ledger.replicas(worker)
        wanted = least
        if scale.sessions is not None:
            wanted = max(wanted, ceil(sum(map(self._ledger.load, replicas)) / scale.sessions))
        if scale.queue_s is not None and any(self._queue_s(replica) > scale.queue_s for replica in replicas):
            wanted = max(wanted, len(replicas) + 1)
        if min(wanted, scale.most) > len(replicas):
            self._spare_since.pop(worker, None)
            self._scaling.add(worker)
            threading.Thread(target=self._add, args=(worker,), name="mmstream-scale", daemon=True).start()
            return
        idle = [replica for replica in replicas if not self._ledger.load(replica)]
        if wanted >= len(replicas) or not idle:
            self._spare_since.pop(worker, None)
        elif now - self._spare_since.setdefault(worker, now) >= SPARE_FOR_S:
            del self._spare_since[worker]
            log.info("worker %r: a replica is given back", worker)
            self._pool.release(idle[-1])

    def _add(self, worker: str) -> None:
        try:
            self._pool.add(worker)
            log.info("worker %r: one replica more", worker)
        except MmstreamError as error:
            log.warning("worker %r: no further replica: %s", worker, error)
        finally:
            self._scaling.discard(worker)
