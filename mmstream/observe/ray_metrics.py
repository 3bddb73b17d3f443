"""Metrics of a process that belongs to a Ray cluster: on the endpoint that Ray has for Prometheus on every node."""

from __future__ import annotations

from typing import Any

from ray.util.metrics import Counter, Gauge, Histogram

from mmstream.observe.metrics import METRICS, Counts, Key, Metric, Metrics


class RayMetrics(Metrics):
    """Hands Ray what has happened since the last ``flush``.

    Ray's objects are made in the first flush: those made before the process has joined a cluster export nothing. Ray
    keeps of a histogram how many values fell into each bucket, no more, so each goes in as its bucket's midpoint; it
    loses values below 0, such as the latency of a word recognised before its end, and here they are in the first.
    """

    def __init__(self) -> None:
        super().__init__()
        self._exported: dict[str, Any] = {}
        self._told: dict[Key, float] = {}  # counters, as far as Ray knows them
        self._told_counts: dict[Key, Counts] = {}

    def flush(self) -> None:
        super().flush()
        with self._lock:
            counters, gauges = dict(self._counters), dict(self._gauges)
            histograms = {key: Counts(found.bounds, list(found.counts)) for key, found in self._histograms.items()}
        if not self._exported:
            self._exported = {name: _made(metric) for name, metric in METRICS.items()}
        for key, value in counters.items():
            if value > self._told.get(key, 0.0):
                self._exported[key[0]].inc(value - self._told.get(key, 0.0), _tags(key))
        for key, value in gauges.items():
            self._exported[key[0]].set(value, _tags(key))
        for key, found in histograms.items():
            before = self._told_counts.get(key, Counts(found.bounds))
            _observe(self._exported[key[0]], _tags(key), before, found)
        self._told, self._told_counts = counters, histograms


def _observe(exported: Any, tags: dict[str, str], before: Counts, now: Counts) -> None:
    edges = (0.0, *now.bounds, 3 * now.bounds[-1])
    for place, count in enumerate(now.counts):
        for _ in range(count - before.counts[place]):
            exported.observe((edges[place] + edges[place + 1]) / 2, tags)


def _made(metric: Metric) -> Any:
    if metric.kind == "histogram":
        return Histogram(metric.name, metric.help, list(metric.buckets), metric.tags)
    return (Counter if metric.kind == "counter" else Gauge)(metric.name, metric.help, metric.tags)


def _tags(key: Key) -> dict[str, str]:
    name, values = key
    return dict(zip(METRICS[name].tags, values, strict=True))
