"""``mmstream bench sessions``: how many live sessions share one batching worker, and what one client does to others."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmstream.benchmarks.alone import Processes
from mmstream.benchmarks.crowd import SAMPLE_RATE, Course, Kind, Outing, Seen, crowd_graph, go_out
from mmstream.benchmarks.processes import check_proc
from mmstream.benchmarks.speech import record
from mmstream.benchmarks.table import Figure, Report
from mmstream.core import MmstreamError
from mmstream.drive import running
from mmstream.executors import ExecutorName
from mmstream.graph import Graph

SPEECH_S = 120.0  # media seconds that the sessions send, each from a place of its own
BOUND_MS: dict[Kind, float] = {"stub": 250.0, "avsr": 1000.0}  # of p95
STUB_SESSIONS = 200  # that must hold
WAIT_MS: dict[Kind, float] = {"stub": 5.0, "avsr": 100.0}
GAIN = 3.0  # sessions in shared calls over sessions in processes of their own
STEP = 0.1  # a capacity is found to this share of it
MOST = 3200  # sessions
SLOW_SESSIONS, SLOW_CHANGE = 16, 10.0  # percent by which a slow client may change the others' p95


Samples = NDArray[np.float32]  # (time,)


@dataclass(frozen=True)
class Plan:
    """What is measured, and how."""

    kind: Kind = "stub"
    sessions: int = STUB_SESSIONS  # where the search begins
    seconds: float = 30.0  # of one outing
    executor: ExecutorName = "ray"
    replicas: int = 1  # of the worker
    batch: int = 64  # packets of a shared call at most
    max_wait_ms: float | None = None  # for a call to fill; None: as suits the kind
    search: bool = True  # for the capacity; else only ``sessions`` are tried
    bound_ms: float | None = None  # of p95; None: that of the kind

    @property
    def bound(self) -> float:
        return BOUND_MS[self.kind] if self.bound_ms is None else self.bound_ms

    def graph(self, told: dict[str, Seen], stuck: set[str] | None = None) -> Graph:
        wait_ms = WAIT_MS[self.kind] if self.max_wait_ms is None else self.max_wait_ms
        return crowd_graph(self.kind, told, batch=self.batch, max_wait_ms=wait_ms, replicas=self.replicas, stuck=stuck)

    def holds(self, outing: Outing) -> bool:
        """Whether so many sessions are not too many."""
        return outing.lost == 0 and outing.ms(95) <= self.bound


@dataclass
class Way:
    """One way to run the sessions: what it held in each round, and all that was tried."""

    name: str
    capacities: list[int] = field(default_factory=list)
    tried: list[dict[str, Any]] = field(default_factory=list)
    best: list[Outing] = field(default_factory=list)  # at its capacity, in each round
    first: list[Outing] = field(default_factory=list)  # at the number that the search began with

    def measure(self, plan: Plan, go: Callable[[int], Outing], begin: int, say: Callable[[str], None]) -> None:
        """One round."""
        outings: dict[int, Outing] = {}

        def holds(sessions: int) -> bool:
            outing = outings[sessions] = go(sessions)
            told = {"way": self.name, "sessions": sessions, **summary(outing), "holds": plan.holds(outing)}
            self.tried.append(told)
            say(", ".join(f"{name} {value}" for name, value in told.items()))
            return plan.holds(outing)

        self.capacities.append(find_capacity(holds, begin) if plan.search else begin * holds(begin))
        self.first.append(outings[begin])
        if self.capacities[-1]:
            self.best.append(outings[self.capacities[-1]])


def summary(outing: Outing) -> dict[str, float]:
    """The figures of an outing; a latency that is not there is -1."""
    found = {f"p{percent}_ms": outing.ms(percent) for percent in (50, 95, 99)}
    times = {name: round(value, 1) if np.isfinite(value) else -1.0 for name, value in found.items()}
    return {**times, "lost": outing.lost, "cores": round(outing.cores, 2)}


def find_capacity(holds: Callable[[int], bool], begin: int, step: float = STEP, most: int = MOST) -> int:
    """The most sessions that hold, to a share ``step`` of them: doubled or halved from ``begin`` on, then bisected."""
    low, high = 0, begin
    while holds(high):
        low, high = high, high * 2
        if low >= most:
            return low
    while low == 0 and high > 1:
        half = high // 2
        low, high = (half, high) if holds(half) else (0, half)
    while high - low > max(1, step * low):
        middle = (low + high) // 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def measure_sessions(plan: Plan, rounds: int, speech: Path | None, say: Callable[[str], None]) -> Report:
    """The capacity of one worker that all sessions share; for ``avsr`` also that of one process for each session.

    Raises:
        MmstreamError: a session failed, or the speech cannot be read.
    """
    samples, name = _prepare(speech)
    alone, shared = Way("a process each"), Way("shared")
    for number in range(rounds):
        if plan.kind == "avsr":
            say(f"one process for each session, round {number + 1} of {rounds}")
            _measure_alone(plan, alone, samples, say)
        say(f"all sessions in one worker, round {number + 1} of {rounds}")
        _measure_shared(plan, shared, samples, say)
    settings = {"rounds": rounds, **asdict(plan), "bound_ms": plan.bound, "speech": name}
    title = f"Live sessions, {plan.kind}"
    details = {"tried": [*alone.tried, *shared.tried]}
    return Report("sessions", title, settings, _figures(plan, shared, alone), _notes(plan), details)


def _measure_alone(plan: Plan, way: Way, samples: Samples, say: Callable[[str], None]) -> None:
    """One round."""
    numbers = count()
    with tempfile.TemporaryDirectory(prefix="mmstream-bench-") as folder:
        np.save(Path(folder) / "sound.npy", samples)
        with Processes(plan.kind, Path(folder) / "sound.npy") as processes:

            def go(sessions: int) -> Outing:
                return processes.go_out(f"alone-{next(numbers)}", sessions, plan.seconds)

            way.measure(plan, go, max(1, plan.sessions // 4), say)


def _measure_shared(plan: Plan, way: Way, samples: Samples, say: Callable[[str], None]) -> None:
    """One round."""
    numbers = count()
    told: dict[str, Seen] = {}
    with running(plan.executor, plan.graph(told)) as executor:

        def go(sessions: int) -> Outing:
            return go_out(executor, told, f"shared-{next(numbers)}", sessions, Course(samples, plan.seconds))

        go(1)  # what starts late in a new Ray is not measured
        way.measure(plan, go, plan.sessions, say)


def measure_slow(plan: Plan, slow: int, rounds: int, speech: Path | None, say: Callable[[str], None]) -> Report:
    """What ``slow`` clients that stop reading do to the others: the same sessions with and without them, in turn.

    Raises:
        MmstreamError: there would be no others; a session failed, or the speech cannot be read.
    """
    if not 0 < slow < plan.sessions:
        raise MmstreamError(f"{slow} slow sessions of {plan.sessions} leave no others to be measured")
    samples, name = _prepare(speech)
    told: dict[str, Seen] = {}
    stuck: set[str] = set()
    found: dict[bool, list[Outing]] = {False: [], True: []}
    with running(plan.executor, plan.graph(told, stuck)) as executor:
        for number in range(rounds + 1):  # the first warms up
            for disturbed in (False, True) if number % 2 else (True, False):
                lot = f"{'slow' if disturbed else 'all'}-{number}"
                apart = {f"{lot}-{k}" for k in range(slow)}  # in both, so that the same sessions are compared
                stuck |= apart if disturbed else set()
                course = Course(samples, plan.seconds)
                outing = go_out(executor, told, lot, plan.sessions, course, apart)
                say(f"{lot}: {plan.sessions - slow} sessions, p95 {outing.ms(95):.1f} ms, lost {outing.lost}")
                if number:
                    found[disturbed].append(outing)
    settings = {"rounds": rounds, "slow": slow, **asdict(plan), "speech": name}
    title = f"Clients that stop reading: {slow} of {plan.sessions} sessions, {plan.kind}"
    return Report("sessions-slow", title, settings, _slow_figures(found), SLOW_NOTES)


SLOW_NOTES = (
    "Every figure is of the other sessions. A client that stops reading does so after ten of its packets.",
    "Rounds with and without it are run in turn, over the same executor, after one of each that does not count.",
)


def _slow_figures(found: dict[bool, list[Outing]]) -> list[Figure]:
    without, beside = ([outing.ms(95) for outing in found[disturbed]] for disturbed in (False, True))
    changes = tuple(100 * (b / a - 1) for a, b in zip(without, beside, strict=True))
    change = 100 * abs(median(beside) / median(without) - 1)
    return [
        Figure("p95 without", "ms", tuple(without)),
        Figure("p95 beside them", "ms", tuple(beside)),
        Figure("change of p95, by round", "%", changes),
        Figure("change of the median p95, either way", "%", (change,), at_most=SLOW_CHANGE),
        Figure("packets lost beside them", "", tuple(float(outing.lost) for outing in found[True]), at_most=0.0),
    ]


def _prepare(speech: Path | None) -> tuple[Samples, str]:
    """The sound, and what it is called."""
    check_proc()
    # Ray runs its workers at the lowest priority, so that what else runs here would be measured.
    os.environ.setdefault("RAY_worker_niceness", "0")
    recording = record(speech, SPEECH_S, SAMPLE_RATE)
    samples: Samples = np.concatenate(list(recording.pieces)).astype(np.float32) / np.float32(32768)
    return samples, recording.name


def _figures(plan: Plan, shared: Way, alone: Way) -> list[Figure]:
    stub = plan.kind == "stub"
    figures = _outing_figures(f"{plan.sessions} sessions", shared.first, plan.bound if stub else None)
    if not plan.search:
        return figures
    target = STUB_SESSIONS if stub else None
    figures.append(Figure("sessions that one worker holds", "", tuple(map(float, shared.capacities)), at_least=target))
    figures += _outing_figures("at that number", shared.best, None)
    if alone.capacities:
        ratios = tuple(many / max(1, few) for many, few in zip(shared.capacities, alone.capacities, strict=True))
        figures.append(Figure("sessions that a process each holds", "", tuple(map(float, alone.capacities))))
        figures += _outing_figures("a process each, at that number", alone.best, None)
        figures.append(Figure("shared over a process each", "times", ratios, at_least=GAIN))
    return figures


def _outing_figures(name: str, outings: Sequence[Outing], bound: float | None) -> list[Figure]:
    """None where no number of sessions held, or nothing came of them."""
    if not outings or not all(len(outing.latency_s) for outing in outings):
        return []
    figures = []
    for percent in (50, 95, 99):
        values = tuple(outing.ms(percent) for outing in outings)
        figures.append(Figure(f"{name}: p{percent}", "ms", values, bound if percent == 95 else None))
    lost = tuple(float(outing.lost) for outing in outings)
    figures.append(Figure(f"{name}: packets lost", "", lost, None if bound is None else 0.0))
    figures.append(Figure(f"{name}: CPU of all processes", "cores", tuple(outing.cores for outing in outings)))
    return figures


def _notes(plan: Plan) -> tuple[str, ...]:
    what = {
        "stub": "Latency: from the moment at which a packet was due to its hypothesis in the user's process; the stub "
        "sleeps for 5 ms a batch.",
        "avsr": "Latency: from the moment at which a word's end was due to the word in the user's process, final.",
    }
    more = (
        "A process each: the same nodes on threads, without batches; its libraries are loaded once for all.",
        "The recogniser uses one thread of torch in every process.",
    )
    return (
        what[plan.kind],
        f"Packets of 100 ms, the sessions spread evenly over them; sources run in the user's process. A number of "
        f"sessions holds with p95 <= {plan.bound:g} ms and nothing lost; capacities are found to a tenth.",
        *(more if plan.kind == "avsr" else ()),
    )
