"""What holds for every session: the entries ``sessions``, ``recovery`` and ``max_lag_ms``."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from mmstream.graph import Graph, Recovery, SessionLimits
from mmstream.pipeline.report import Report

SESSION_KEYS = ("limit", "idle_s")
RECOVERY_KEYS = tuple(field.name for field in fields(Recovery))


@dataclass(frozen=True)
class Limits:
    """The graph's limits as far as the file makes sense of them."""

    sessions: SessionLimits
    recovery: Recovery
    max_lag_s: float | None


def read_limits(report: Report) -> Limits:
    """The limits of the file, and the defaults where it says nothing."""
    content = report.document.content
    max_lag_s = Graph.max_lag_s
    if "max_lag_ms" in content:
        max_lag_s = _seconds(report.positive_or_null(content["max_lag_ms"], ("max_lag_ms",), "'max_lag_ms'"))
    return Limits(
        _read_sessions(report, content["sessions"]) if "sessions" in content else SessionLimits(),
        _read_recovery(report, content["recovery"]) if "recovery" in content else Recovery(),
        max_lag_s,
    )


def _seconds(ms: float | None) -> float | None:
    return None if ms is None else ms / 1000


def _read_sessions(report: Report, given: Any) -> SessionLimits:
    known = report.mapping(given, ("sessions",), "'sessions'", SESSION_KEYS, "{limit: 64, idle_s: 300}")
    most = known.get("limit")
    if most is not None:
        most = report.integer(most, ("sessions", "limit"), "'limit' (sessions open at a time)", 1)
    idle_s = report.positive_or_null(known.get("idle_s"), ("sessions", "idle_s"), "'idle_s'")
    return SessionLimits(most, idle_s)


def _read_recovery(report: Report, given: Any) -> Recovery:
    known = report.mapping(given, ("recovery",), "'recovery'", RECOVERY_KEYS, "{snapshot_s: 2, replay_s: 60}")
    read = {name: report.positive(value, ("recovery", name), repr(name)) for name, value in known.items()}
    recovery = replace(Recovery(), **{name: float(value) for name, value in read.items() if value is not None})
    if recovery.replay_s < recovery.snapshot_s and None not in read.values():
        report.add(
            ("recovery", "replay_s" if "replay_s" in known else "snapshot_s"),
            f"'replay_s' ({recovery.replay_s:g}) must be at least 'snapshot_s' ({recovery.snapshot_s:g}): "
            "a source keeps what came since the last snapshot, or it is lost with a worker",
        )
    return recovery
