"""The actors of a graph on Ray: started, replaced when they are lost, more of them when there is more to do."""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from mmstream.core import MmstreamError
from mmstream.executors.ledger import Ledger, Replica, nearest_first
from mmstream.executors.ray_host import CLOSE_TIMEOUT_S, Birth, Host
from mmstream.executors.ray_link import LinkError, ask
from mmstream.graph import Graph, WorkerSpec
from mmstream.observe.spans import Tracing
from mmstream.recovery import blackbox

log = logging.getLogger(__name__)

START_TIMEOUT_S = 300.0  # placing an actor and loading its models
CLERK_TIMEOUT_S = 2.0
POLL_S = 0.2  # between two looks whether a replica has come


@dataclass(frozen=True, slots=True)
class Member:
    """One actor that is there."""

    actor: Any
    box: str  # name of its black box
    node: str  # Ray's id of its machine
    pid: int


@dataclass(frozen=True, slots=True)
class Starting:
    """One actor that has been asked for."""

    actor: Any
    box: str
    standby: bool


class _Clerk:
    """Reads the black boxes of a machine other than the driver's."""

    def read(self, box: str) -> list[tuple[str, float]]:
        return blackbox.read(box)


class Pool:
    """Every replica and standby. ``born`` hears of each actor that is there and can be used."""

    def __init__(
        self, graph: Graph, ledger: Ledger, born: Callable[[Replica, Any], None], tracing: Tracing | None
    ) -> None:
        self._graph = graph
        self._ledger = ledger
        self._born = born
        self._tracing = tracing
        self._lock = threading.Lock()
        self._replenishing = threading.Lock()
        self._members: dict[Replica, Member] = {}
        self._starting: dict[Replica, Starting] = {}  # actors that have not answered yet
        self._owed = dict.fromkeys(graph.workers, 0)  # losses that ``replenish`` is yet to make good
        self._standbys: dict[str, list[Replica]] = {name: [] for name in graph.workers}
        self._count = dict.fromkeys(graph.workers, 0)  # replicas ever started
        self._clerks: dict[str, Any] = {}  # by machine
        self._here = ""
        self._closing = False
        self.specs = {name: spec for name, spec in graph.workers.items() if spec.place == "worker"}

    def start(self) -> None:
        """Start every replica and standby.

        Raises:
            MmstreamError: the first fault.
        """
        self._here = ray.get_runtime_context().get_node_id()
        self._ledger_driver()
        for spec in [self.specs[name] for name in nearest_first(self._graph.workers) if name in self.specs]:
            wanted = [False] * spec.replicas + [True] * spec.standby
            for replica in [self._place(spec, standby=standby) for standby in wanted]:
                self._await(replica)

    def _ledger_driver(self) -> None:
        for name, spec in self._graph.workers.items():
            if spec.place == "driver":
                self._ledger.enlist((name, 0), self._here)

    def add(self, worker: str, *, standby: bool = False) -> Replica:
        """One more actor, once it can be used.

        Raises:
            MmstreamError: it did not come, or cannot work.
        """
        replica = self._place(self.specs[worker], standby=standby)
        self._await(replica)
        return replica

    def has_replica(self, worker: str) -> bool:
        """Whether sessions can be pinned to a worker; waits for a replica that is on its way."""
        while not self._ledger.has_replica(worker, POLL_S):
            with self._lock:
                coming = self._owed[worker] or any(name == worker for name, _ in self._starting)
            if not coming:
                return self._ledger.has_replica(worker, 0.0)
        return True

    def actor(self, replica: Replica) -> Any | None:
        member = self._members.get(replica)
        return member.actor if member else None

    def members(self) -> dict[Replica, Member]:
        with self._lock:
            return dict(self._members)

    def lose(self, replica: Replica) -> list[tuple[str, float]] | None:
        """An actor is dead or hung: see that it is dead, and let a standby take its place.

        Gives the (session, media second) of the packets that it was at, or None if it had been lost before.
        """
        with self._lock:
            member = self._members.pop(replica, None)
            if member is None:
                return None
            if replica in self._standbys[replica[0]]:
                self._standbys[replica[0]].remove(replica)
            self._owed[replica[0]] += 1
        self._ledger.bury(replica)
        ray.kill(member.actor)
        self._promote(replica[0])
        return self._read_box(member)

    def release(self, replica: Replica) -> None:
        """End an actor that has no session any more."""
        with self._lock:
            member = self._members.pop(replica, None)
        self._ledger.bury(replica)
        if member is not None:
            ray.wait([member.actor.close.remote()], timeout=CLOSE_TIMEOUT_S)
            ray.kill(member.actor)

    def replenish(self, worker: str) -> None:
        """Make a loss good: start what is missing of a worker's replicas and standbys, and wait until it is there.

        Raises:
            MmstreamError: it did not come, or cannot work.
        """
        spec = self.specs[worker]
        try:
            with self._replenishing:
                with self._lock:
                    starting = [one.standby for (name, _), one in self._starting.items() if name == worker]
                    standbys = len(self._standbys[worker]) + starting.count(True)
                    living = sum(name == worker for name, _ in self._members) + len(starting)
                missing = [False] * (spec.replicas - living + standbys) + [True] * (spec.standby - standbys)
                begun = [] if self._closing else [self._place(spec, standby=standby) for standby in missing]
            for replica in begun:
                self._await(replica)
        finally:
            with self._lock:
                self._owed[worker] -= 1

    def close(self) -> None:
        """End every actor."""
        self._closing = True
        with self._lock:
            members, starting = dict(self._members), dict(self._starting)
        ending = [member.actor.close.remote() for member in members.values()]
        if ending:
            ray.wait(ending, num_returns=len(ending), timeout=CLOSE_TIMEOUT_S)
        for actor in (
            *(member.actor for member in members.values()),
            *(one.actor for one in starting.values()),
            *self._clerks.values(),
        ):
            ray.kill(actor)

    def _place(self, spec: WorkerSpec, *, standby: bool) -> Replica:
        """Ask Ray for an actor; ``_await`` tells when it is there."""
        with self._lock:
            replica = (spec.name, self._count[spec.name])
            self._count[spec.name] += 1
        box = uuid.uuid4().hex
        most = {name: (one.scale.most if one.scale else one.replicas) + one.standby for name, one in self.specs.items()}
        asked = dict(spec.resources)
        remote: Any = ray.remote  # its stubs know no concurrency groups
        actor = remote(
            num_cpus=asked.pop("CPU", 0),
            num_gpus=asked.pop("GPU", 0),
            memory=asked.pop("memory", None),
            resources=asked or None,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy=self._strategy(spec, replica[1]),
            concurrency_groups={"link": 1, "control": 2, "pull": 1, "room": 4 + 2 * sum(most.values())},
        )(Host).remote(self._graph, *replica, box, self._tracing)
        with self._lock:
            self._starting[replica] = Starting(actor, box, standby)
        return replica

    def _strategy(self, spec: WorkerSpec, number: int) -> Any:
        """On the machine of the worker that it is to be near; else on as many machines as there are."""
        if spec.near is None:
            return "SPREAD"
        if spec.near not in self.specs:  # the driver
            return NodeAffinitySchedulingStrategy(self._here, soft=True)
        nodes = [member.node for replica, member in self._members.items() if replica[0] == spec.near]
        return NodeAffinitySchedulingStrategy(nodes[number % len(nodes)], soft=True) if nodes else "SPREAD"

    def _await(self, replica: Replica) -> None:
        begun = self._starting[replica]
        actor = begun.actor
        try:
            birth: Birth = ask(actor.start.remote(), replica, START_TIMEOUT_S)
            if birth.fault is not None:
                raise birth.fault
        except MmstreamError:
            ray.kill(actor)
            raise
        finally:
            with self._lock:
                self._starting.pop(replica, None)
        with self._lock:
            if self._closing:
                ray.kill(actor)
                return
            self._members[replica] = Member(actor, begun.box, birth.node, birth.pid)
            if begun.standby:
                self._standbys[replica[0]].append(replica)
        if birth.node not in (self._here, *self._clerks):
            clerk: Any = ray.remote(_Clerk)
            strategy = NodeAffinitySchedulingStrategy(birth.node, soft=False)
            self._clerks[birth.node] = clerk.options(num_cpus=0, scheduling_strategy=strategy).remote()
        self._born(replica, actor)
        if not begun.standby:
            self._ledger.enlist(replica, birth.node)

    def _promote(self, worker: str) -> None:
        with self._lock:
            if not self._standbys[worker]:
                return
            replica = self._standbys[worker].pop(0)
            node = self._members[replica].node
        self._ledger.enlist(replica, node)

    def _read_box(self, member: Member) -> list[tuple[str, float]]:
        if member.node == self._here:
            return blackbox.read(member.box)
        clerk = self._clerks.get(member.node)
        if clerk is None:
            return []
        try:
            found: list[tuple[str, float]] = ask(clerk.read.remote(member.box), ("clerk", 0), CLERK_TIMEOUT_S)
            return found
        except LinkError:  # its machine is gone too: it was no packet that killed it
            return []
