"""The one table of metrics, and what counts them: plain numbers in this process, exported once a second."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from mmstream.clock import SYSTEM_CLOCK, Clock

Kind = Literal["counter", "gauge", "histogram"]

FLUSH_S = 1.0
JOIN_TIMEOUT_S = 2.0

LATENCY_S = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
RECOVERY_S = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0)
BATCH = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. Ray puts ``ray_`` before its name on the endpoint."""

    name: str
    kind: Kind
    help: str
    tags: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()  # upper bounds, of a histogram; above 0, or Ray refuses them


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("mmstream_sessions", "gauge", "Open sessions.", ("state",)),
        Metric("mmstream_queue_packets", "gauge", "Packets that wait on an edge, of all sessions.", ("edge",)),
        Metric("mmstream_queue_age_seconds", "gauge", "How long the oldest packet of an edge has waited.", ("edge",)),
        Metric("mmstream_dropped_packets_total", "counter", "Packets lost on an edge, and why.", ("edge", "reason")),
        Metric("mmstream_batch_size", "histogram", "Packets in one call of a batching node.", ("node",), BATCH),
        Metric("mmstream_rtf", "gauge", "Compute seconds of a node per second of media.", ("node",)),
        Metric(
            "mmstream_emission_latency_seconds",
            "histogram",
            "From the capture of a word's end to the moment it was first shown.",
            buckets=LATENCY_S,
        ),
        Metric(
            "mmstream_commit_latency_seconds",
            "histogram",
            "From the capture of a word's end to the moment from which it never changes.",
            buckets=LATENCY_S,
        ),
        Metric("mmstream_worker_restarts_total", "counter", "Replicas of a worker that were replaced.", ("worker",)),
        Metric("mmstream_replayed_seconds_total", "counter", "Media seconds that sources gave again."),
        Metric(
            "mmstream_recovery_seconds",
            "histogram",
            "From the loss of a worker to the session's going on.",
            buckets=RECOVERY_S,
        ),
        Metric("mmstream_lag_seconds", "gauge", "How far a session is behind its capture.", ("session",)),
    )
}

Key = tuple[str, tuple[str, ...]]  # name, values of its tags in the order of the table


@dataclass
class Counts:
    """A histogram: how many values fell into each bucket; the last one is for those above every bound."""

    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    sum: float = 0.0  # of all values

    def __post_init__(self) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def total(self) -> int:
        return sum(self.counts)


class Metrics:
    """Counts in this process; ``flush`` exports nothing here, and to Ray in ``RayMetrics``. Thread-safe.

    A call costs a lock and a look into a dictionary: less than a microsecond.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[Key, float] = {}
        self._gauges: dict[Key, float] = {}
        self._histograms: dict[Key, Counts] = {}
        self._work: dict[str, tuple[float, float]] = {}  # node -> compute, media seconds since its RTF was last known

    # What happens, in the words of those whom it happens to.

    def sessions(self, counts: Mapping[str, int]) -> None:
        """How many sessions are open in each state; a state that is left out keeps its number, so give 0."""
        for state, count in counts.items():
            self._set("mmstream_sessions", count, state)

    def queue(self, edge: str, packets: int, age_s: float) -> None:
        """What waits on an edge now, over all sessions of this process; 0 and 0.0 once nothing does."""
        self._set("mmstream_queue_packets", packets, edge)
        self._set("mmstream_queue_age_seconds", age_s, edge)

    def dropped(self, edge: str, reason: str, packets: int = 1) -> None:
        """``reason``: one of few words, such as full or late: every other one is another time series."""
        self._count("mmstream_dropped_packets_total", packets, edge, reason)

    def batch(self, node: str, size: int) -> None:
        """One call of a batching node with so many packets."""
        self._observe("mmstream_batch_size", size, node)

    def worked(self, node: str, compute_s: float, media_s: float) -> None:
        """A node has computed for so long on so much new media; its RTF is worked out at every ``flush``."""
        with self._lock:
            compute, media = self._work.get(node, (0.0, 0.0))
            self._work[node] = compute + compute_s, media + media_s

    def emitted(self, latency_s: float) -> None:
        """A word was shown so long after its end was captured."""
        self._observe("mmstream_emission_latency_seconds", latency_s)

    def committed(self, latency_s: float) -> None:
        """A word has become stable so long after its end was captured."""
        self._observe("mmstream_commit_latency_seconds", latency_s)

    def restarted(self, worker: str) -> None:
        """A replica was lost, and another has taken its place."""
        self._count("mmstream_worker_restarts_total", 1, worker)

    def replayed(self, media_s: float) -> None:
        """A source gives so many media seconds again."""
        self._count("mmstream_replayed_seconds_total", media_s)

    def recovered(self, seconds: float) -> None:
        """A session goes on so long after it had lost a worker."""
        self._observe("mmstream_recovery_seconds", seconds)

    def lag(self, session: str, seconds: float) -> None:
        """How far what comes out of a session is behind what was captured."""
        self._set("mmstream_lag_seconds", seconds, session)

    def session_ended(self, session: str) -> None:
        """Its lag is told no more; the endpoint forgets it within two of Ray's reports."""
        with self._lock:
            self._gauges.pop(("mmstream_lag_seconds", (session,)), None)

    # What has been counted.

    def value(self, name: str, *tags: str) -> float:
        """A counter since the start, or a gauge as it was last set; 0 for what never happened."""
        with self._lock:
            return self._counters.get((name, tags), 0.0) + self._gauges.get((name, tags), 0.0)

    def histogram(self, name: str, *tags: str) -> Counts:
        """A copy of a histogram since the start."""
        with self._lock:
            found = self._histograms.get((name, tags))
            return (
                Counts(METRICS[name].buckets, list(found.counts), found.sum) if found else Counts(METRICS[name].buckets)
            )

    def counters(self, name: str) -> dict[tuple[str, ...], float]:
        """A counter since the start, by the values of its tags."""
        with self._lock:
            return {tags: value for (known, tags), value in self._counters.items() if known == name}

    def flush(self) -> None:
        """Work out each node's RTF since the last flush, and export. From one thread at a time."""
        with self._lock:
            for node, (compute_s, media_s) in tuple(self._work.items()):
                if media_s > 0:
                    self._gauges["mmstream_rtf", (node,)] = compute_s / media_s
                    del self._work[node]

    def _count(self, name: str, amount: float, *tags: str) -> None:
        with self._lock:
            self._counters[name, tags] = self._counters.get((name, tags), 0.0) + amount

    def _set(self, name: str, value: float, *tags: str) -> None:
        with self._lock:
            self._gauges[name, tags] = value

    def _observe(self, name: str, value: float, *tags: str) -> None:
        with self._lock:
            found = self._histograms.get((name, tags))
            if found is None:
                found = self._histograms[name, tags] = Counts(METRICS[name].buckets)
            found.add(value)


class Flusher:
    """Calls ``look``, for gauges that somebody has to read off, and ``flush``: once a second in a thread of its own.

    As long as a ``with`` block runs, and once more at its end.
    """

    def __init__(self, flush: Callable[[], None], look: Callable[[], None], clock: Clock = SYSTEM_CLOCK) -> None:
        self._flush = flush
        self._look = look
        self._clock = clock
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mmstream-observe", daemon=True)

    def __enter__(self) -> Flusher:
        self._thread.start()
        return self

    def __exit__(self, *fault: object) -> None:
        self._closing.set()
        self._thread.join(JOIN_TIMEOUT_S)

    def _run(self) -> None:
        while True:
            closing = self._clock.wait(FLUSH_S, self._closing)
            self._look()
            self._flush()
            if closing:
                return
