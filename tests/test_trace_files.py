"""Spans on disk: whole lines, whatever the session is called and however its processes end; and to OpenTelemetry."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import threading
import time
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mmstream.core import MmstreamError, Packet
from mmstream.observe import otel
from mmstream.observe.metrics import Metrics
from mmstream.observe.reading import read
from mmstream.observe.spans import MOST_WAITING, Recorder, Tracing
from mmstream.observe.watch import Watch
from mmstream.testing import ManualClock
from tests.toys import chunk
from tests.traced import EXPECTED, MEL, MEL_WAIT, ORIGIN, SENT, TO_MEL, WORKERS, Run, close_to, graph, stages_ms

# Files.


def test_a_line_of_spans_is_complete_json_with_all_that_was_told(tmp_path: Path) -> None:
    Run(tmp_path).to_its_end()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "talk.decode-0.spans.jsonl",
        "talk.driver-0.spans.jsonl",
        "talk.sound-0.spans.jsonl",
    ]
    lines = [json.loads(line) for line in (tmp_path / "talk.sound-0.spans.jsonl").read_text().split("\n") if line]
    assert lines[0] == {"run": 1.0, "worker": "sound", "number": 0, "inputs": {"mel": ["mic"]}, "session": "talk"}
    assert len(lines) == 7
    began = ORIGIN + 0.1 + (SENT + TO_MEL + MEL_WAIT) / 1000
    expected = {"start": 0.0, "end": 0.1, "captured_at": ORIGIN + 0.1, "began": began, "ended": began + MEL / 1000}
    told = lines[1]
    assert {name: told.pop(name) for name in expected} == pytest.approx(expected, abs=1e-5)
    assert told == {"node": "mel", "kind": "AudioChunk", "waited_s": MEL_WAIT / 1000, "batch": 1, "gave": [0.0, 0.1]}


def test_a_batch_is_told_with_each_of_its_packets(tmp_path: Path) -> None:
    clock = ManualClock(ORIGIN)
    recorder = Recorder(Tracing(tmp_path, 1.0), graph(), WORKERS["decode"], 3)
    watch = Watch(Metrics(), recorder=recorder, clock=clock)
    packets = [Packet(name, 0.0, 0.1, chunk(0), ORIGIN) for name in "ab"]
    clock.advance(0.005)
    watch.batch("decode", packets, [0.001, 0.002], [[packets[0]], []], ORIGIN)
    recorder.flush()
    (one,), (other,) = (read(tmp_path, name).spans["decode-3"] for name in "ab")
    assert (one.batch, one.gave, one.waited_s, one.ended) == (2, (0.0, 0.1), 0.001, pytest.approx(ORIGIN + 0.005))
    assert (other.batch, other.gave, other.waited_s) == (2, None, 0.002)


def test_what_a_batch_gives_is_not_told_of_the_call_around_it(tmp_path: Path) -> None:
    """A node whose lane is full is served in between, while another one's call is under way."""
    recorder = Recorder(Tracing(tmp_path, 1.0), graph(), WORKERS["decode"], 0)
    watch = Watch(Metrics(), recorder=recorder, clock=ManualClock(ORIGIN))
    sound, later = (Packet("talk", start, start + 0.1, chunk(0), ORIGIN) for start in (0.0, 5.0))
    watch.begin("mel", sound)
    watch.gave("mel", sound)
    watch.gave("decode", later)
    watch.gave("mel", Packet("other", 5.0, 5.1, chunk(0), ORIGIN))
    watch.end()
    watch.gave("decode", later)
    recorder.flush()
    (span,) = read(tmp_path, "talk").spans["decode-0"]
    assert (span.node, span.gave) == ("mel", (0.0, 0.1))


@pytest.mark.parametrize("session", ["a/b", "../x", "ünï 🎙", "x" * 300, "\udcff.mp3", ".", "a.b-0.c"])
def test_any_name_of_a_session_has_its_file(session: str, tmp_path: Path) -> None:
    (tmp_path / "spans").mkdir()
    Run(tmp_path / "spans", session).to_its_end()
    assert list(tmp_path.iterdir()) == [tmp_path / "spans"]
    assert stages_ms(tmp_path / "spans", session) == close_to(EXPECTED)


def test_the_latest_run_of_a_session_counts(tmp_path: Path) -> None:
    early = Run(tmp_path, run=1.0)
    early.chunk(0)
    early.close()
    Run(tmp_path, run=2.0).to_its_end()
    trace = read(tmp_path, "talk")
    assert (trace.run, len(trace.spans["sound-0"])) == (2.0, 6)


def test_a_session_that_is_opened_again_goes_on_in_its_file(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.chunk(0)
    run.close()
    run.chunk(1)
    run.close()
    assert len(read(tmp_path, "talk").spans["sound-0"]) == 2
    assert (tmp_path / "talk.sound-0.spans.jsonl").read_text().count('"session"') == 2  # it was forgotten between


def test_a_line_cut_short_by_a_kill_costs_that_line_alone(tmp_path: Path) -> None:
    Run(tmp_path).to_its_end()
    path = tmp_path / "talk.sound-0.spans.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    trace = read(tmp_path, "talk")
    assert (len(trace.spans["sound-0"]), trace.unread) == (5, 1)
    second = Recorder(Tracing(tmp_path, 2.0), graph(), WORKERS["sound"], 0)
    second.worked("talk", "mel", Packet("talk", 0.6, 0.7, chunk(0), ORIGIN), ORIGIN + 1, ORIGIN + 2)
    second.flush()
    trace = read(tmp_path, "talk")
    assert (trace.run, len(trace.spans["sound-0"]), trace.unread) == (2.0, 1, 0)


def test_spans_are_written_before_too_many_wait(tmp_path: Path) -> None:
    recorder = Recorder(Tracing(tmp_path, 1.0), graph(), WORKERS["sound"], 0)
    packet = Packet("talk", 0.0, 0.1, chunk(0), ORIGIN)
    for _ in range(MOST_WAITING + 10):
        recorder.worked("talk", "mel", packet, ORIGIN, ORIGIN)
    assert len(read(tmp_path, "talk").spans["sound-0"]) == MOST_WAITING
    recorder.flush()
    assert len(read(tmp_path, "talk").spans["sound-0"]) == MOST_WAITING + 10


def test_threads_lose_no_span(tmp_path: Path) -> None:
    recorder = Recorder(Tracing(tmp_path, 1.0), graph(), WORKERS["sound"], 0)

    def record(session: str) -> None:
        packet = Packet(session, 0.0, 0.1, chunk(0), ORIGIN)
        for number in range(3_000):
            recorder.worked(session, "mel", packet, ORIGIN + number, ORIGIN + number)

    threads = [threading.Thread(target=record, args=(name,)) for name in "abc"]
    for thread in threads:
        thread.start()
    for _ in range(20):
        recorder.flush()
    for thread in threads:
        thread.join()
    recorder.flush()
    for name in "abc":
        assert [span.began for span in read(tmp_path, name).spans["sound-0"]] == [ORIGIN + n for n in range(3_000)]


def test_a_disk_that_fails_ends_the_recording_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(Tracing.into(tmp_path / "spans").folder)
    shutil.rmtree(tmp_path / "spans")
    with caplog.at_level(logging.WARNING, "mmstream"):
        run.to_its_end()
        run.to_its_end()
    assert len(caplog.records) == 3  # one for each worker
    assert "no more spans of worker decode-0" in caplog.text


def test_recording_a_packet_costs_microseconds(tmp_path: Path) -> None:
    """About 5, most of them in ``flush``; opening the file for each packet would take many times that."""
    recorder = Recorder(Tracing(tmp_path, 1.0), graph(), WORKERS["sound"], 0)
    packet = Packet("talk", 0.0, 0.1, chunk(0), ORIGIN)
    costs = []
    for _ in range(5):
        began = time.thread_time()
        for _ in range(5_000):
            recorder.worked("talk", "mel", packet, ORIGIN, ORIGIN, 0.001, 4, (0.0, 0.1))
        recorder.flush()
        costs.append((time.thread_time() - began) / 5_000)
    assert min(costs) < 15e-6


def test_a_folder_that_cannot_be_made_is_told_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(MmstreamError, match="cannot keep spans"):
        Tracing.into(tmp_path / "file" / "spans")
    assert Tracing.into(tmp_path / "a" / "b", ManualClock(7.0)) == Tracing(tmp_path / "a" / "b", 7.0)


# OpenTelemetry.


def test_a_session_is_one_trace_of_opentelemetry_over_all_workers(tmp_path: Path) -> None:
    memory = InMemorySpanExporter()
    for worker in ("sound", "decode"):
        sent = otel.OpenTelemetry(SimpleSpanProcessor(memory), 1.0, f"{worker}-0")
        recorder = Recorder(Tracing(tmp_path, 1.0), graph(), WORKERS[worker], 0, sent)
        for session in ("talk", "other"):
            packet = Packet(session, 0.0, 0.1, chunk(0), ORIGIN)
            recorder.worked(session, worker, packet, ORIGIN, ORIGIN + 0.25, 0.5, 3)
        recorder.flush()
    spans = memory.get_finished_spans()
    traces = defaultdict(set)
    for span in spans:
        traces[span.context.trace_id].add((span.name, span.attributes["mmstream.session"]))
    assert sorted(map(sorted, traces.values())) == [
        [("decode", "other"), ("sound", "other")],
        [("decode", "talk"), ("sound", "talk")],
    ]
    assert {(span.end_time - span.start_time) for span in spans} == {250_000_000}
    assert spans[0].start_time == ORIGIN * 1e9
    assert (spans[0].attributes["mmstream.waited_s"], spans[0].attributes["mmstream.batch"]) == (0.5, 3)
    assert spans[0].resource.attributes["service.instance.id"] == "sound-0"


def test_opentelemetry_is_off_unless_an_endpoint_is_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert otel.exporter(1.0, "main-0", {}) is None
    named = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
    module = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    monkeypatch.setitem(sys.modules, module, None)  # as where it is not installed
    with caplog.at_level(logging.WARNING, "mmstream"):
        assert otel.exporter(1.0, "main-0", named) is None
    assert "spans are not sent there" in caplog.text
    fake: Any = ModuleType(module)
    fake.OTLPSpanExporter = InMemorySpanExporter
    monkeypatch.setitem(sys.modules, module, fake)
    made = otel.exporter(1.0, "main-0", named)
    assert isinstance(made, otel.OpenTelemetry)
    made._provider.shutdown()
