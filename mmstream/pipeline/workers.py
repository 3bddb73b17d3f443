"""Which worker runs which node, and with what: the entries under ``workers`` and the workers they leave out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmstream.core import BatchOperator, Place, Source
from mmstream.graph import Batch, Scale, WorkerSpec
from mmstream.pipeline.classes import Kind
from mmstream.pipeline.document import DRIVER
from mmstream.pipeline.edges import Drafts
from mmstream.pipeline.lines import Keys
from mmstream.pipeline.nodes import Draft, unknown_node
from mmstream.pipeline.problems import shown
from mmstream.pipeline.report import Report
from mmstream.spelling import did_you_mean, nearest

MAIN = "main"
DRIVER_KEYS = ("nodes", "batch")
WORKER_KEYS = ("nodes", "resources", "replicas", "standby", "limit", "near", "batch")
SCALE_KEYS = ("min", "max", "sessions", "queue_ms")
BATCH_KEYS = ("max_size", "max_wait_ms")
EXAMPLE = "{nodes: [speech, decode], resources: {GPU: 1}}"

_RAY_SPELLING = {"cpu": "CPU", "cpus": "CPU", "num_cpus": "CPU", "gpu": "GPU", "gpus": "GPU", "num_gpus": "GPU"}


@dataclass
class WorkerDraft:
    """A worker as far as the file makes sense."""

    name: str
    nodes: list[str] = field(default_factory=list)
    resources: dict[str, float] = field(default_factory=dict)
    replicas: int = 1
    batch: Batch | None = None
    standby: int = 0
    scale: Scale | None = None
    limit: int | None = None
    near: str | None = None

    def finished(self, order: Sequence[str]) -> WorkerSpec:
        """The worker of the graph; its nodes in topological order."""
        nodes = tuple(name for name in order if name in self.nodes)
        place: Place = "driver" if self.name == DRIVER else "worker"
        return WorkerSpec(
            self.name,
            nodes,
            place,
            self.resources,
            self.replicas,
            self.batch,
            self.standby,
            self.scale,
            self.limit,
            self.near,
        )


def read_workers(report: Report, drafts: Drafts) -> dict[str, WorkerDraft]:
    """Every worker; nodes that the file puts in none are in ``main`` or ``driver``, as their class says."""
    given = report.document.content.get("workers")
    entries = {} if given is None else report.named(given, ("workers",), "workers", f"{{gpu: {EXAMPLE}}}")
    workers = {name: _read_worker(report, name, entry, drafts) for name, entry in entries.items()}
    home: dict[str, str] = {}
    for worker in workers.values():
        for name, keys in _names(report, worker.name):
            if name in home and home[name] != worker.name:
                report.add(keys, f"node {name!r} is in worker {home[name]!r} already")
            home.setdefault(name, worker.name)
    for name, place in ((MAIN, "worker"), (DRIVER, "driver")):
        left = [one.name for one in drafts.values() if one.name not in home and one.kind and one.kind.runs_on == place]
        if left:
            workers.setdefault(name, WorkerDraft(name)).nodes.extend(left)
    for worker in workers.values():
        if not worker.nodes and not _names(report, worker.name):
            report.add(("workers", worker.name), f"worker {worker.name!r} has no nodes")
        _check_batch(report, worker, drafts)
    _check_near(report, workers)
    return workers


def _names(report: Report, worker: str) -> list[tuple[str, Keys]]:
    """The names under ``nodes`` of a worker; what is wrong with them has been said."""
    entry = report.document.content["workers"][worker]
    nodes = entry.get("nodes") if isinstance(entry, dict) else None
    keys: Keys = ("workers", worker, "nodes")
    if isinstance(nodes, str):
        return [(nodes, keys)]
    if not isinstance(nodes, list):
        return []
    return [(name, (*keys, index)) for index, name in enumerate(nodes) if isinstance(name, str)]


def _read_worker(report: Report, name: str, entry: Any, drafts: Drafts) -> WorkerDraft:
    worker = WorkerDraft(name)
    keys: Keys = ("workers", name)
    entry = report.mapping(entry, keys, f"worker {name!r}", WORKER_KEYS, EXAMPLE)
    for node, place in report.names(entry.get("nodes", []), (*keys, "nodes"), f"'nodes' of worker {name!r}"):
        worker.nodes.append(node)
        if node not in drafts:
            report.add(place, unknown_node(node, list(drafts)))
    if name == DRIVER:
        for key in entry:
            if key not in DRIVER_KEYS:
                report.add((*keys, key), f"worker 'driver' is the user's own process: it takes no {key!r}")
        entry = {key: value for key, value in entry.items() if key in DRIVER_KEYS}
    if "resources" in entry:
        worker.resources = _read_resources(report, entry["resources"], (*keys, "resources"))
    if "batch" in entry:
        worker.batch = _read_batch(report, entry["batch"], (*keys, "batch"))
    _read_size(report, worker, entry, keys)
    if "near" in entry and not isinstance(entry["near"], str):
        report.add((*keys, "near"), f"'near' must be the name of a worker, not {shown(entry['near'])}")
    elif "near" in entry:
        worker.near = entry["near"]
    return worker


def _read_size(report: Report, worker: WorkerDraft, entry: dict[str, Any], keys: Keys) -> None:
    """How many replicas there are, how many wait beside them, and how many sessions each takes."""
    replicas = entry.get("replicas", 1)
    if isinstance(replicas, dict):
        worker.replicas, worker.scale = _read_scale(report, replicas, (*keys, "replicas"))
    else:
        worker.replicas = report.integer(replicas, (*keys, "replicas"), "'replicas'", 1) or 1
    if "standby" in entry:
        worker.standby = report.integer(entry["standby"], (*keys, "standby"), "'standby' (replicas)", 0) or 0
    if "limit" in entry:
        worker.limit = report.integer(entry["limit"], (*keys, "limit"), "'limit' (sessions of a replica)", 1)
    wanted = worker.scale.sessions if worker.scale is not None else None
    if worker.limit is not None and wanted is not None and worker.limit < wanted:
        report.add(
            (*keys, "limit"),
            f"'limit' ({worker.limit}) must be at least 'sessions' of 'replicas' ({wanted}): "
            "no replica would ever have enough of them to call for another",
        )


def _read_scale(report: Report, given: dict[str, Any], keys: Keys) -> tuple[int, Scale | None]:
    """The fewest replicas, and when there are more; None where the file does not say it in a way that makes sense."""
    known = report.mapping(given, keys, "'replicas'", SCALE_KEYS, "{min: 1, max: 4, sessions: 8}")
    meant = {nearest(key, SCALE_KEYS) for key in given}
    least = report.integer(known.get("min", 1), (*keys, "min"), "'min' (replicas)", 1)
    most = sessions = queue_ms = None
    if "max" in known:
        most = report.integer(known["max"], (*keys, "max"), "'max' (replicas)", 1)
    elif "max" not in meant:
        report.add(keys, "'replicas' does not say how many there may be: max")
    if "sessions" in known:
        sessions = report.integer(known["sessions"], (*keys, "sessions"), "'sessions' (per replica)", 1)
    if "queue_ms" in known:
        queue_ms = report.positive(known["queue_ms"], (*keys, "queue_ms"), "'queue_ms'")
    if not meant & {"sessions", "queue_ms"}:
        report.add(keys, "'replicas' does not say what calls for more of them: sessions (per replica), or queue_ms")
    if least is not None and most is not None and most < least:
        report.add((*keys, "max"), f"'max' ({most}) must be at least 'min' ({least})")
    scale = None if most is None else Scale(most, sessions, None if queue_ms is None else queue_ms / 1000)
    return least or 1, scale


def _check_near(report: Report, workers: Mapping[str, WorkerDraft]) -> None:
    """``near`` names another worker, or the user's own process, and does not lead back to where it began."""
    names = dict.fromkeys([*workers, DRIVER])
    for worker in workers.values():
        keys: Keys = ("workers", worker.name, "near")
        if worker.near is None:
            continue
        if worker.near == worker.name:
            report.add(keys, f"worker {worker.name!r} cannot be near itself; name the worker that it takes from")
        elif worker.near not in names:
            others = [name for name in names if name != worker.name]
            there = did_you_mean(worker.near, others, "there are")
            report.add(keys, f"there is no worker {shown(worker.near)}{there}")
    told: set[str] = set()
    for name in workers:
        circle = _circle(workers, name)
        if len(circle) > 1 and not told & set(circle):
            told.update(circle)
            report.add(("workers", name, "near"), f"a circle of 'near': {' -> '.join([*circle, name])}")


def _circle(workers: Mapping[str, WorkerDraft], start: str) -> list[str]:
    """The workers from ``start`` on, each near the next, where the last is near ``start``; else nothing."""
    path: list[str] = []
    following: str | None = start
    while following is not None and following in workers and following not in path:
        path.append(following)
        following = workers[following].near
    return path if following == start else []


def _read_resources(report: Report, given: Any, keys: Keys) -> dict[str, float]:
    """Ray's resources: CPU, GPU, memory (bytes), and any name that the cluster defines."""
    if not isinstance(given, dict):
        report.mapping(given, keys, "'resources'", (), "{CPU: 2, GPU: 0.5}")
        return {}
    resources = {}
    for name, value in given.items():
        place = (*keys, name)
        meant = _RAY_SPELLING.get(name.casefold(), name)
        if meant != name:
            report.add(place, f"no cluster has a resource {name!r}; did you mean {meant!r}?")
            continue
        amount = report.number(value, place, f"resource {name!r}")
        if amount is None:
            continue
        if name == "GPU" and amount > 1 and not float(amount).is_integer():
            report.add(place, f"resource 'GPU' must be a fraction of one or a whole number, not {amount}")
        resources[name] = amount
    return resources


def _read_batch(report: Report, given: Any, keys: Keys) -> Batch | None:
    known = report.mapping(given, keys, "'batch'", BATCH_KEYS, "{max_size: 32, max_wait_ms: 20}")
    if not isinstance(given, dict):
        return None
    if "max_size" not in {nearest(key, BATCH_KEYS) for key in given}:
        report.add(keys, "'batch' does not say how many packets one call may take: max_size")
    size = report.integer(known.get("max_size", 1), (*keys, "max_size"), "'max_size' (packets)", 1)
    wait_ms = report.number(known.get("max_wait_ms", 0), (*keys, "max_wait_ms"), "'max_wait_ms'")
    return Batch(size or 1, (wait_ms or 0) / 1000)


def _check_batch(report: Report, worker: WorkerDraft, drafts: Drafts) -> None:
    if worker.batch is None:
        return
    kinds = [drafts[name].kind for name in worker.nodes if name in drafts]
    if all(kind is not None and not issubclass(kind, BatchOperator) for kind in kinds):
        message = f"worker {worker.name!r} has no operator that works in batches, so 'batch' must go"
        report.add(("workers", worker.name, "batch"), message)


def queues(workers: Mapping[str, WorkerDraft], source: Draft, target: Draft) -> bool:
    """Whether packets wait on an edge between two nodes whose classes are known."""
    home = next((worker for worker in workers.values() if target.name in worker.nodes), None)
    together = home is not None and source.name in home.nodes
    shared = home is not None and home.batch is not None
    return has_queue(source.kind, target.kind, together=together, inputs=len(target.inputs), shared=shared)


def has_queue(source: Kind | None, target: Kind | None, *, together: bool, inputs: int, shared: bool) -> bool:
    """Whether packets wait on an edge; else the one node calls the next.

    They wait where the edge leaves the thread of a source or a worker (not ``together``), in front of a node with
    several ``inputs``, and where a worker gathers batches of sessions (``shared``) for an operator that takes them.
    """
    if source is None or target is None:
        return False
    return issubclass(source, Source) or not together or inputs > 1 or (shared and issubclass(target, BatchOperator))


def waiting_cycle(drafts: Drafts, workers: Mapping[str, WorkerDraft]) -> list[tuple[str, str]]:
    """Blocking edges (source, target) by which workers feed each other in a circle; empty where there is none.

    A worker is one thread: it cannot take from its inbox while it waits for room in another's. Were each of the
    circle's queues full, all would wait for ever. A source has a thread of its own and so waits for itself only.
    """
    home = {node: worker.name for worker in workers.values() for node in worker.nodes}
    hops: dict[str, dict[str, tuple[str, str]]] = {}  # worker -> the worker it waits for -> one such edge
    for draft in drafts.values():
        for given in draft.inputs:
            here, there = home.get(given.source), home.get(draft.name)
            blocks = given.overflow in (None, "block") and given.source in drafts and not drafts[given.source].is_source
            if blocks and here is not None and there is not None and here != there:
                hops.setdefault(here, {}).setdefault(there, (given.source, draft.name))
    for start in hops:
        path = _way_back(hops, start)
        if path:
            return [hops[here][there] for here, there in zip(path, [*path[1:], path[0]], strict=True)]
    return []


def _way_back(hops: Mapping[str, Mapping[str, object]], start: str) -> list[str]:
    """The workers on the shortest way from ``start`` to itself."""
    ways = [[start]]
    seen: set[str] = set()
    for way in ways:
        for following in hops.get(way[-1], {}):
            if following == start:
                return way
            if following not in seen:
                seen.add(following)
                ways.append([*way, following])
    return []
