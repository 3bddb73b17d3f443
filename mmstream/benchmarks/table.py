"""Figures with their spread, shown as a table for people and one JSON line for machines."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from mmstream import __version__

PACKAGES = ("ray", "numpy", "onnxruntime", "pocketsphinx")  # whose versions a figure depends on


@dataclass(frozen=True)
class Figure:
    """One measured quantity: its value in every round, and what it must reach, if anything."""

    name: str
    unit: str
    rounds: tuple[float, ...]
    at_most: float | None = None
    at_least: float | None = None

    @property
    def median(self) -> float:
        return median(self.rounds)

    @property
    def met(self) -> bool | None:
        """Whether the median reaches the target; None where there is none."""
        if self.at_most is not None:
            return self.median <= self.at_most
        return None if self.at_least is None else self.median >= self.at_least

    @property
    def target(self) -> str:
        if self.at_most is not None:
            return f"<= {self.at_most:g}"
        return "" if self.at_least is None else f">= {self.at_least:g}"

    def as_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "name": self.name,
            "unit": self.unit,
            "median": _rounded(self.median),
            "low": _rounded(min(self.rounds)),
            "high": _rounded(max(self.rounds)),
            "rounds": [_rounded(value) for value in self.rounds],
        }
        return found if self.met is None else {**found, "target": self.target, "met": self.met}


@dataclass(frozen=True)
class Report:
    """What one benchmark found. ``settings`` are the conditions, ``notes`` what a reader must know."""

    benchmark: str
    title: str
    settings: Mapping[str, Any]
    figures: Sequence[Figure]
    notes: Sequence[str] = ()
    details: Mapping[str, Any] = field(default_factory=dict)  # series and lists, for machines only

    def as_json(self) -> dict[str, Any]:
        return {
            "benchmark": self.benchmark,
            "machine": machine(),
            "settings": dict(self.settings),
            "figures": [figure.as_json() for figure in self.figures],
            "notes": list(self.notes),
            **self.details,
        }


def show(report: Report, *, json_only: bool) -> None:
    """Print the report on standard output: the table, unless ``json_only``, and last the JSON line."""
    if not json_only:
        console = Console(soft_wrap=True, highlight=False)
        console.print(_table(report))
        for name, value in {**report.settings, **machine()}.items():
            console.print(f"  {name}: {value}", markup=False)
        for note in report.notes:
            console.print(f"  {note}", markup=False)
    sys.stdout.write(json.dumps(report.as_json(), allow_nan=False) + "\n")
    sys.stdout.flush()


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which ``percent`` of the values lie, interpolated."""
    return float(np.percentile(np.asarray(values), percent))


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    versions = {"python": platform.python_version(), "mmstream": __version__}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "machine": f"{_processor()}, {os.cpu_count()} cores, {memory_gb:.0f} GB, {platform.system()}",
        "load": f"{os.getloadavg()[0]:.1f} over the last minute",
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
    }


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text(encoding="utf-8").splitlines() if facts.exists() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _table(report: Report) -> Table:
    table = Table(title=report.title, title_justify="left")
    table.add_column("what")
    for name in ("median", "lowest", "highest"):
        table.add_column(name, justify="right")
    table.add_column("unit")
    table.add_column("target")
    for figure in report.figures:
        verdict = "" if figure.met is None else "[green]met[/green]" if figure.met else "[red]missed[/red]"
        values = (figure.median, min(figure.rounds), max(figure.rounds))
        table.add_row(figure.name, *map(_shown, values), figure.unit, f"{figure.target} {verdict}".strip())
    return table


def _shown(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _rounded(value: float) -> float:
    """Five significant digits: more would be noise."""
    return float(f"{value:.5g}")
