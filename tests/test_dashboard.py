"""The Grafana dashboard shows every metric of the table, and nothing else, by the labels that the table has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mmstream.observe.metrics import METRICS, Metric

FOLDER = Path(__file__).parent.parent / "deploy" / "grafana"
DASHBOARD = json.loads((FOLDER / "mmstream.json").read_text())

PARTS = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
FUNCTIONS = {"histogram_quantile", "increase", "max", "rate", "sum", "topk"}
GROUPED = re.compile(r"\bby \(([^)]*)\)")


def panels() -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> Iterator[tuple[str, dict[str, Any]]]:
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target


def exported(metric: Metric) -> set[str]:
    """Its names on Ray's endpoint, as tests/test_metrics_ray.py finds them there."""
    return {f"ray_{metric.name}{part}" for part in PARTS[metric.kind]}


def metrics_in(expression: str) -> list[Metric]:
    names = re.findall(r"\bray_\w+", expression)
    return [metric for metric in METRICS.values() for name in names if name in exported(metric)]


def labels_in(query: dict[str, Any]) -> set[str]:
    """Labels that are grouped by, matched, or shown in the legend."""
    grouped = {label.strip() for group in GROUPED.findall(query["expr"]) for label in group.split(",")}
    matched = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", query["expr"]))
    return grouped | matched | set(re.findall(r"{{\s*(\w+)\s*}}", query["legendFormat"]))


@pytest.mark.parametrize(("title", "query"), list(queries()))
def test_a_query_asks_for_a_metric_of_the_table_by_its_own_labels(title: str, query: dict[str, Any]) -> None:
    expression = query["expr"]
    names = re.findall(r"\bray_\w+", expression)
    assert len(names) == 1, title
    (metric,) = metrics_in(expression)
    allowed = set(metric.tags) | ({"le"} if names[0].endswith("_bucket") else set())
    assert labels_in(query) <= allowed, title
    assert set(re.findall(r"\b([a-z_]+)\s*(?=\()", GROUPED.sub("", expression))) <= FUNCTIONS
    for opening, closing in ("()", "[]", "{}"):
        assert expression.count(opening) == expression.count(closing)


@pytest.mark.parametrize(("title", "query"), list(queries()))
def test_a_query_fits_the_kind_of_its_metric(title: str, query: dict[str, Any]) -> None:
    (metric,) = metrics_in(query["expr"])
    over_time = bool(re.search(r"\b(rate|increase)\(ray_\w+\[\$__(rate_interval|range)\]\)", query["expr"]))
    assert over_time == (metric.kind != "gauge"), title
    assert ("histogram_quantile" in query["expr"]) == ("_bucket" in query["expr"]), title
    if "histogram_quantile" in query["expr"]:
        assert re.search(r"by \(le\b", query["expr"]), title


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_every_metric_has_a_panel_that_tells_its_tags_apart(metric: Metric) -> None:
    asking = [query for _, query in queries() if metric in metrics_in(query["expr"])]
    assert asking
    assert set(metric.tags) <= set.union(*(labels_in(query) for query in asking))


@pytest.mark.parametrize("name", ["mmstream_emission_latency_seconds", "mmstream_commit_latency_seconds"])
def test_latencies_have_their_percentiles(name: str) -> None:
    asked = {
        quantile
        for _, query in queries()
        if METRICS[name] in metrics_in(query["expr"])
        for quantile in re.findall(r"histogram_quantile\(([\d.]+)", query["expr"])
    }
    assert asked == {"0.5", "0.95", "0.99"}


def test_panels_do_not_overlap_and_have_their_own_numbers() -> None:
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        taken |= cells


def test_every_panel_asks_the_chosen_data_source() -> None:
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")
    for panel in panels():
        for asking in (panel, *panel["targets"]):
            assert asking["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_prometheus_keeps_every_metric_that_the_dashboard_asks_for() -> None:
    (job,) = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    assert job["file_sd_configs"][0]["files"] == ["/tmp/ray/prom_metrics_service_discovery.json"]
    (rule,) = job["metric_relabel_configs"]
    assert (rule["action"], rule["source_labels"]) == ("keep", ["__name__"])
    for metric in METRICS.values():
        assert all(re.fullmatch(rule["regex"], name) for name in exported(metric))


def test_grafana_is_told_of_the_data_source_and_the_dashboards() -> None:
    (source,) = yaml.safe_load((FOLDER / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    assert (source["type"], source["isDefault"]) == ("prometheus", True)
    (provider,) = yaml.safe_load((FOLDER / "provisioning/dashboards/mmstream.yml").read_text())["providers"]
    assert (provider["type"], provider["options"]) == ("file", {"path": "${MMSTREAM_DASHBOARDS}"})
