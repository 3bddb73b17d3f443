"""GET /metrics: what the server counts, for Prometheus, by the one table of ``mmstream.observe.metrics``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import get_args

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from mmstream.observe.metrics import METRICS
from mmstream.server.service import Service
from mmstream.sessions import State

HISTOGRAMS = ("mmstream_emission_latency_seconds", "mmstream_commit_latency_seconds")
DROPPED = "mmstream_dropped_packets_total"


class ServiceCollector(Collector):
    """Reads a service off at each scrape."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        yield self._sessions()
        yield self._dropped()
        for name in HISTOGRAMS:
            yield self._histogram(name)

    def _sessions(self) -> GaugeMetricFamily:
        states = Counter(row.state for row in self._service.table())
        states["running"] += max(0, self._service.open_sessions - states.total())  # those without media yet
        metric = METRICS["mmstream_sessions"]
        family = GaugeMetricFamily(metric.name, metric.help, labels=metric.tags)
        for state in get_args(State):
            family.add_metric([state], states[state])
        return family

    def _dropped(self) -> CounterMetricFamily:
        metric = METRICS[DROPPED]
        family = CounterMetricFamily(metric.name.removesuffix("_total"), metric.help, labels=metric.tags)
        for tags, value in self._service.metrics.counters(DROPPED).items():
            family.add_metric(list(tags), value)
        return family

    def _histogram(self, name: str) -> HistogramMetricFamily:
        counts, buckets, total = self._service.metrics.histogram(name), [], 0
        for bound, count in zip([*map(str, counts.bounds), "+Inf"], counts.counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        family = HistogramMetricFamily(name, METRICS[name].help)
        family.add_metric([], buckets, sum_value=counts.sum)
        return family


def text_of(service: Service) -> bytes:
    """The metrics in Prometheus's text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ServiceCollector(service))
    return generate_latest(registry)
