"""The benchmark of shared calls: what it reports, on the sample that comes along."""

from __future__ import annotations

import pytest

from mmstream.benchmarks import batching
from mmstream.benchmarks.batching import Case, measure_batching


def test_bench_batching(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = (Case("audio", 3, 1), Case("audio-visual", 2, 1))
    monkeypatch.setattr(batching, "CASES", cases)
    said: list[str] = []
    report = measure_batching(rounds=1, seconds=1.5, speech=None, say=said.append)
    figures = {figure.name: figure for figure in report.figures}
    for case in cases:
        alone, shared = (figures[f"{case}: {name}"].median for name in ("alone", "shared"))
        assert figures[f"{case}: gain"].median == pytest.approx(shared / alone)
        assert min(alone, shared) > 0
    assert figures["sessions whose words or times differ"].median == 0
    assert int(report.notes[1].split()[0]) > 0, "or nothing was compared"
    assert said == ["warm-up", "round 1 of 1"]
