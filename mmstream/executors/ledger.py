"""Which sessions are open, in which replicas, and how they ended: the same book for every executor."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mmstream.core import MmstreamError
from mmstream.graph import WorkerSpec
from mmstream.lane import LaneReport
from mmstream.worker import Outcome

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
        self._buried: set[Replica] = set()
        self._changed = threading.Condition()

    def pin(self, session: str) -> dict[str, Replica]:
        """Choose a replica of every worker for a new session: worker name -> replica.

        Raises:
            MmstreamError: a session of this name is open, or every replica of a worker is lost.
        """
        with self._changed:
            if session in self._entries:
                raise MmstreamError(f"session {session!r} is already open")
            load = [replica for entry in self._entries.values() for replica in entry.replicas.values()]
            replicas = {}
            for name, spec in self._workers.items():
                living = [(name, number) for number in range(spec.replicas) if (name, number) not in self._buried]
                if not living:
                    raise MmstreamError(f"no replica of worker {name!r} is left to run session {session!r}")
                replicas[name] = min(living, key=load.count)
            self._entries[session] = _Entry(replicas)
            return replicas

    def bury(self, replica: Replica) -> None:
        """Pin nothing more to a replica that is lost."""
        with self._changed:
            self._buried.add(replica)

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
            if entry is None:
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
                self.report(Outcome(session, worker, error, ()))

    def wait(self, timeout_s: float | None) -> Result | None:
        """The next session that has ended everywhere; None after ``timeout_s``, or when none is open."""
        with self._changed:
            self._changed.wait_for(lambda: self._results or not self._entries, timeout_s)
            return self._results.popleft() if self._results else None
