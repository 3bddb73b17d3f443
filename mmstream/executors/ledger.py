"""Which sessions are open, in which replicas, and how they ended: the same book for every executor."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from mmstream.core import MmstreamError
from mmstream.graph import WorkerSpec
from mmstream.lane import LaneReport
from mmstream.outcome import Outcome
from mmstream.sessions import SessionRefused

Replica = tuple[str, int]  # worker name, number


@dataclass(frozen=True, slots=True)
class Result:
    """How a session ended."""

    session: str
    error: MmstreamError | None
    lanes: tuple[LaneReport, ...]

    @property
    def dropped(self) -> int:
        """Packets lost to full queues."""
        return sum(lane.dropped for lane in self.lanes)


@dataclass(eq=False)
class _Entry:
    replicas: dict[str, Replica]
    epoch: int = 0
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    error: MmstreamError | None = None
    given_up: bool = False


class Ledger:
    """Pins sessions to the least loaded replica of each worker and gathers their outcomes. Thread-safe."""

    def __init__(self, workers: Mapping[str, WorkerSpec], give_up: Callable[[str, MmstreamError], None]) -> None:
        self._workers = workers
        self._give_up = give_up  # called once for a session that failed in one worker, to end it in the others
        self._entries: dict[str, _Entry] = {}
        self._results: deque[Result] = deque()
        self._living: dict[Replica, str] = {  # those that sessions may be pinned to, and the machines they are on
            (name, number): "" for name, spec in workers.items() for number in range(spec.replicas)
        }
        self._changed = threading.Condition()

    def pin(self, session: str) -> dict[str, Replica]:
        """Choose a replica of every worker for a new session: worker name -> replica.

        Raises:
            SessionRefused: every replica of a worker has as many sessions as it takes.
            MmstreamError: a session of this name is open, or every replica of a worker is lost.
        """
        with self._changed:
            if session in self._entries:
                raise MmstreamError(f"session {session!r} is already open")
            replicas: dict[str, Replica] = {}
            for name in nearest_first(self._workers):
                replicas[name] = self._choose(name, session, replicas)
            self._entries[session] = _Entry(replicas)
            return replicas

    def _choose(self, worker: str, session: str, pinned: Mapping[str, Replica], *, refuse: bool = True) -> Replica:
        """The least loaded replica, of those on the machine where ``near`` wants it if there are any."""
        spec = self._workers[worker]
        load = Counter(replica for entry in self._entries.values() for replica in entry.replicas.values())
        living = [replica for replica in self._living if replica[0] == worker]
        if not living:
            raise MmstreamError(f"no replica of worker {worker!r} is left to run session {session!r}")
        free = [replica for replica in living if spec.limit is None or load[replica] < spec.limit]
        if not free and refuse:
            raise SessionRefused(
                f"session {session!r} is refused: worker {worker!r} has {len(living)} replica(s) of {spec.limit} "
                "sessions, all of them full; raise its 'limit' or 'replicas' in the pipeline file"
            )
        machine = self._living.get(pinned[spec.near]) if spec.near is not None and spec.near in pinned else None
        near = [replica for replica in free or living if self._living[replica] == machine]
        return min(near or free or living, key=lambda replica: load[replica])

    def enlist(self, replica: Replica, machine: str) -> None:
        """Sessions may be pinned to ``replica``, which is on ``machine``."""
        with self._changed:
            self._living[replica] = machine
            self._changed.notify_all()

    def bury(self, replica: Replica) -> None:
        """Pin nothing more to a replica that is lost, or is to go."""
        with self._changed:
            self._living.pop(replica, None)

    def has_replica(self, worker: str, timeout_s: float) -> bool:
        """Whether a worker has a replica to pin sessions to, or gets one within ``timeout_s``."""
        with self._changed:
            return self._changed.wait_for(lambda: any(name == worker for name, _ in self._living), timeout_s)

    def repin(
        self, session: str, keep: Collection[str], ends: Collection[str]
    ) -> tuple[int, dict[str, Replica]] | None:
        """Move a session off replicas that are not living: its new epoch and replicas.

        None when it has ended, or has nothing more to give in the workers ``ends``, which hold the graph's ends. What
        it was told of workers other than ``keep`` is forgotten: they open the session once more.

        Raises:
            MmstreamError: no replica of a worker is left; nothing has changed.
        """
        with self._changed:
            entry = self._entries.get(session)
            if entry is None or entry.error is not None or set(ends) <= self.drained(session):
                return None
            replicas = {name: replica for name, replica in entry.replicas.items() if replica in self._living}
            for name in nearest_first(self._workers):
                if name not in replicas:
                    replicas[name] = self._choose(name, session, replicas, refuse=False)
            entry.replicas = replicas
            entry.epoch += 1
            entry.outcomes = {worker: outcome for worker, outcome in entry.outcomes.items() if worker in keep}
            return entry.epoch, dict(entry.replicas)

    def drained(self, session: str) -> frozenset[str]:
        """The workers in which an open session has given all that it had."""
        with self._changed:
            entry = self._entries.get(session)
            outcomes = entry.outcomes if entry else {}
            return frozenset(worker for worker, outcome in outcomes.items() if outcome.drained)

    def settle(self, session: str) -> None:
        """All of a session has been shown: no worker's word is waited for any more."""
        for worker in self._workers:
            if worker not in self.drained(session):
                self.report(Outcome(session, worker, None, (), drained=True, epoch=None))

    def load(self, replica: Replica) -> int:
        """How many sessions a replica has."""
        return len(self.sessions(replica))

    def replicas(self, worker: str) -> tuple[Replica, ...]:
        """The replicas of a worker that sessions may be pinned to."""
        with self._changed:
            return tuple(replica for replica in self._living if replica[0] == worker)

    def replica(self, session: str, worker: str) -> Replica | None:
        """Where a session lives; None once it has ended."""
        entry = self._entries.get(session)
        return entry.replicas[worker] if entry else None

    def sessions(self, replica: Replica | None = None) -> tuple[str, ...]:
        """The open sessions, or those of one replica."""
        with self._changed:
            return tuple(
                name for name, entry in self._entries.items() if replica is None or replica in entry.replicas.values()
            )

    def report(self, outcome: Outcome) -> None:
        """Take one worker's word that a session has ended there."""
        with self._changed:
            entry = self._entries.get(outcome.session)
            if entry is None or outcome.epoch not in (entry.epoch, None):
                return
            entry.outcomes[outcome.worker] = outcome
            entry.error = entry.error or outcome.error
            if len(entry.outcomes) == len(self._workers):
                del self._entries[outcome.session]
                lanes = tuple(lane for ended in entry.outcomes.values() for lane in ended.lanes)
                self._results.append(Result(outcome.session, entry.error, lanes))
                self._changed.notify_all()
                return
            failed = outcome.error is not None and not outcome.drained and not entry.given_up
            entry.given_up = entry.given_up or failed
        if failed and outcome.error is not None:
            self._give_up(outcome.session, outcome.error)

    def fault(self, session: str) -> MmstreamError | None:
        """Why an open session has failed, as far as it has been reported."""
        with self._changed:
            entry = self._entries.get(session)
            return entry.error if entry else None

    def end_all(self, error: MmstreamError) -> None:
        """End what is still open: no worker is left that would."""
        for session in self.sessions():
            for worker in self._workers:
                self.report(Outcome(session, worker, error, (), epoch=None))

    def wait(self, timeout_s: float | None) -> Result | None:
        """The next session that has ended everywhere; None after ``timeout_s``, or when none is open."""
        with self._changed:
            self._changed.wait_for(lambda: self._results or not self._entries, timeout_s)
            return self._results.popleft() if self._results else None


def nearest_first(workers: Mapping[str, WorkerSpec]) -> list[str]:
    """The names of workers, each after the one that it is to be near."""
    order: list[str] = []
    while len(order) < len(workers):
        placed = {None, *order}
        order += [
            name
            for name, spec in workers.items()
            if name not in placed and (spec.near in placed or spec.near not in workers)
        ]
    return order
