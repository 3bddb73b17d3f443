"""Every metric of the table on the endpoint of a real Ray, by the names and labels that the dashboard asks for."""

from __future__ import annotations

import re
import time
import urllib.request

import pytest
import ray

from mmstream.observe.metrics import METRICS, Metric, Metrics
from mmstream.observe.ray_metrics import RayMetrics
from tests.test_dashboard import exported

WAIT_S = 60.0  # Ray reports every 10 s, unless it was started with another interval; a busy machine takes longer
LINE = re.compile(r"(?P<name>\w+)\{(?P<labels>.*)\} (?P<value>\S+)")

Sample = tuple[str, dict[str, str], float]


def happen(metrics: Metrics) -> None:
    """Something for every metric."""
    metrics.sessions({"running": 3})
    metrics.queue("a->b", 7, 0.5)
    metrics.dropped("a->b", "full", 2)
    metrics.batch("decode", 8)
    metrics.batch("decode", 500)
    metrics.worked("decode", 0.25, 1.0)
    metrics.emitted(-0.1)  # Ray itself would lose it
    metrics.emitted(0.12)
    metrics.committed(0.3)
    metrics.restarted("decode")
    metrics.replayed(2.5)
    metrics.recovered(0.4)
    metrics.lag("s", 1.5)
    metrics.flush()
    metrics.dropped("a->b", "full")
    metrics.batch("decode", 8)
    metrics.flush()
    metrics.flush()  # nothing new: nothing may be counted again


def scrape() -> list[Sample]:
    (node,) = (node for node in ray.nodes() if node["Alive"])
    address = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    text = urllib.request.urlopen(address, timeout=10).read().decode()
    found = [LINE.fullmatch(line) for line in text.splitlines() if line.startswith("ray_mmstream_")]
    return [
        (line["name"], dict(re.findall(r'(\w+)="([^"]*)"', line["labels"])), float(line["value"]))
        for line in found
        if line is not None
    ]


@pytest.fixture(scope="module")
def samples(ray_cluster: None) -> list[Sample]:
    """What the endpoint says once an actor's metrics have come to it."""

    @ray.remote(num_cpus=0)
    class Busy:
        def work(self) -> str:
            happen(RayMetrics())
            return str(ray.get_runtime_context().get_worker_id())

    actor = Busy.remote()
    worker = ray.get(actor.work.remote(), timeout=60)
    wanted = set.union(*(exported(metric) for metric in METRICS.values()))
    give_up_at = time.monotonic() + WAIT_S
    while True:
        found = [sample for sample in scrape() if sample[1]["WorkerId"] == worker]
        if {name for name, _, _ in found} >= wanted or time.monotonic() > give_up_at:
            ray.kill(actor)
            return found
        time.sleep(0.2)


def test_the_names_are_those_that_the_dashboard_asks_for(samples: list[Sample]) -> None:
    assert {name for name, _, _ in samples} == set.union(*(exported(metric) for metric in METRICS.values()))


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_the_labels_are_the_tags_of_the_table(metric: Metric, samples: list[Sample]) -> None:
    known = {tag for other in METRICS.values() for tag in other.tags} | {"le"}
    for name, labels, _ in samples:
        if name in exported(metric):
            expected = set(metric.tags) | ({"le"} if name.endswith("_bucket") else set())
            assert labels.keys() & known == expected, name


def values(samples: list[Sample], name: str, **labels: str) -> float:
    (value,) = (value for found, has, value in samples if found == name and labels.items() <= has.items())
    return value


def test_the_values_are_what_happened(samples: list[Sample]) -> None:
    assert values(samples, "ray_mmstream_sessions", state="running") == 3
    assert values(samples, "ray_mmstream_queue_packets", edge="a->b") == 7
    assert values(samples, "ray_mmstream_queue_age_seconds", edge="a->b") == 0.5
    assert values(samples, "ray_mmstream_dropped_packets_total", edge="a->b", reason="full") == 3
    assert values(samples, "ray_mmstream_rtf", node="decode") == 0.25
    assert values(samples, "ray_mmstream_worker_restarts_total", worker="decode") == 1
    assert values(samples, "ray_mmstream_replayed_seconds_total") == 2.5
    assert values(samples, "ray_mmstream_lag_seconds", session="s") == 1.5


def test_the_buckets_are_those_of_the_table_and_no_value_is_lost(samples: list[Sample]) -> None:
    sizes = {labels["le"]: value for name, labels, value in samples if name == "ray_mmstream_batch_size_bucket"}
    assert sizes == {"1.0": 0, "2.0": 0, "4.0": 0, "8.0": 2, "16.0": 2, "32.0": 2, "64.0": 2, "128.0": 2, "+Inf": 3}
    assert values(samples, "ray_mmstream_emission_latency_seconds_count") == 2
    assert values(samples, "ray_mmstream_emission_latency_seconds_bucket", le="0.05") == 1
    assert values(samples, "ray_mmstream_recovery_seconds_bucket", le="0.5") == 1
    assert values(samples, "ray_mmstream_recovery_seconds_bucket", le="0.25") == 0
