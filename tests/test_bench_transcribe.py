"""``mmstream bench transcribe``: that it measures what it says. Not how fast we are."""

from __future__ import annotations

import contextlib
import os

import pytest

from mmstream import drive
from mmstream.benchmarks import transcription
from mmstream.core import MmstreamError


@pytest.fixture(autouse=True)
def in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads in the place of Ray's processes: the same captions, sooner."""
    monkeypatch.setattr(transcription, "running", lambda _, graph: drive.running("local", graph))
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")


def test_throughput_of_one_worker_and_of_two() -> None:
    said: list[str] = []
    report = transcription.measure_transcription(1, 0.1, 2, None, said.append)
    one, two, speedup = report.figures
    assert (one.name, two.name, speedup.name) == ("one worker", "2 workers", "2 workers against one")
    assert speedup.median == pytest.approx(two.median / one.median)
    assert speedup.target == ">= 1.7"
    assert 0.1 < one.median < 1000
    assert said == ["starting workers", "1 worker, round 1 of 1", "2 workers, round 1 of 1"]


def test_captions_that_depend_on_the_workers_are_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcription, "running", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(transcription.Bench, "run", lambda *_: 1.0)
    monkeypatch.setattr(transcription.Bench, "warm_up", lambda *_: None)
    monkeypatch.setattr(transcription.Bench, "captions", lambda _, name: [name])
    with pytest.raises(MmstreamError, match="one worker and 2 workers wrote different captions"):
        transcription.measure_transcription(1, 0.1, 2, None, lambda _: None)
