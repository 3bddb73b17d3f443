"""What is counted where: the table, the calls that fill it, and the watch around a worker's operators."""

from __future__ import annotations

import re
import threading
from typing import Any

import pytest

from mmstream.core import Packet
from mmstream.media import Caption, Hypothesis, Word
from mmstream.observe.metrics import METRICS, Flusher, Metrics
from mmstream.observe.watch import Watch
from mmstream.observe.words import Words
from mmstream.testing import ManualClock
from tests.toys import chunk


def packet(start: float, end: float, data: Any = None, session: str = "s") -> Packet[Any]:
    """Captured at the wall-clock second 1000 + ``end``."""
    return Packet(session, start, end, chunk(0) if data is None else data, 1000 + end)


def caption(stable: str, unstable: str = "", index: int = 0, final: bool = False) -> Packet[Caption]:
    """Words of half a second each, one after another; the utterance ``index`` begins at ten seconds times it."""
    texts = f"{stable} {unstable}".split()
    words = [Word(text, 10 * index + n / 2, 10 * index + (n + 1) / 2) for n, text in enumerate(texts)]
    count = len(stable.split())
    data = Caption(index, tuple(words[:count]), tuple(words[count:]), final)
    return packet(words[0].start, words[-1].end, data)


# The table.


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_the_table_is_one_that_ray_and_prometheus_take(metric: Any) -> None:
    assert re.fullmatch(r"mmstream_[a-z_]+", metric.name)
    assert metric.help.endswith(".")
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert all(bound > 0 for bound in metric.buckets)
    assert not {"le", "session"} & set(metric.tags) or metric.name == "mmstream_lag_seconds"  # one series a session


def test_every_call_fills_what_the_table_names() -> None:
    metrics = Metrics()
    metrics.sessions({"running": 3, "draining": 1})
    metrics.queue("a->b", 7, 0.5)
    metrics.dropped("a->b", "full")
    metrics.dropped("a->b", "full", 2)
    metrics.dropped("a->b", "late")
    metrics.batch("decode", 8)
    metrics.worked("decode", 0.2, 1.0)
    metrics.emitted(0.12)
    metrics.committed(0.3)
    metrics.restarted("decode")
    metrics.replayed(2.5)
    metrics.recovered(0.4)
    metrics.lag("s", 1.5)
    metrics.flush()
    assert metrics.value("mmstream_sessions", "running") == 3
    assert metrics.value("mmstream_sessions", "draining") == 1
    assert metrics.value("mmstream_queue_packets", "a->b") == 7
    assert metrics.value("mmstream_queue_age_seconds", "a->b") == 0.5
    assert metrics.value("mmstream_dropped_packets_total", "a->b", "full") == 3
    assert metrics.value("mmstream_dropped_packets_total", "a->b", "late") == 1
    assert metrics.histogram("mmstream_batch_size", "decode").counts == [0, 0, 0, 1, 0, 0, 0, 0, 0]
    assert metrics.value("mmstream_rtf", "decode") == pytest.approx(0.2)
    assert metrics.histogram("mmstream_emission_latency_seconds").counts[2] == 1  # 0.1 to 0.15
    assert metrics.histogram("mmstream_commit_latency_seconds").counts[5] == 1  # to 0.3, which belongs to it
    assert metrics.value("mmstream_worker_restarts_total", "decode") == 1
    assert metrics.value("mmstream_replayed_seconds_total") == 2.5
    assert metrics.histogram("mmstream_recovery_seconds").total == 1
    assert metrics.value("mmstream_lag_seconds", "s") == 1.5
    metrics.session_ended("s")
    assert metrics.value("mmstream_lag_seconds", "s") == 0


def test_a_value_beyond_every_bucket_and_one_below_zero_are_counted() -> None:
    metrics = Metrics()
    metrics.committed(99.0)
    metrics.committed(-0.2)
    counts = metrics.histogram("mmstream_commit_latency_seconds").counts
    assert (counts[0], counts[-1], sum(counts)) == (1, 1, 2)


def test_rtf_is_of_the_time_since_it_was_last_known() -> None:
    metrics = Metrics()
    metrics.worked("decode", 1.0, 2.0)
    metrics.flush()
    metrics.worked("decode", 0.3, 0.0)  # a flush at the end of a stream: no new media
    metrics.flush()
    assert metrics.value("mmstream_rtf", "decode") == 0.5
    metrics.worked("decode", 0.1, 1.0)
    metrics.flush()
    assert metrics.value("mmstream_rtf", "decode") == pytest.approx(0.4)


def test_threads_lose_no_count() -> None:
    metrics = Metrics()

    def count() -> None:
        for _ in range(5_000):
            metrics.dropped("a->b", "full")
            metrics.batch("decode", 3)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert metrics.value("mmstream_dropped_packets_total", "a->b", "full") == 20_000
    assert metrics.histogram("mmstream_batch_size", "decode").total == 20_000


def test_a_flusher_looks_before_it_flushes_and_once_more_at_its_end() -> None:
    calls: list[str] = []
    seen = threading.Event()

    class Clock(ManualClock):
        """One second passes; then nothing but the end."""

        def wait(self, seconds: float, stop: threading.Event) -> bool:
            if not calls:
                self.advance(seconds)
                return False
            seen.set()
            return stop.wait(10)

    clock = Clock()
    with Flusher(lambda: calls.append(f"flush at {clock.now():.0f}"), lambda: calls.append("look"), clock):
        assert seen.wait(10)
    assert calls == ["look", "flush at 1001", "look", "flush at 1001"]


# Words.


def test_a_word_is_emitted_when_its_place_first_showed_its_text_and_committed_when_it_is_stable() -> None:
    words = Words()
    assert words.take(caption("", "big"), 1001.0) == []
    assert words.take(caption("", "bin blue"), 1002.0) == []
    (first,) = words.take(caption("bin", "blue at"), 1003.0)
    assert (first.word.text, first.captured_at, first.emitted_at, first.committed_at) == ("bin", 1000.5, 1002, 1003)
    later = words.take(caption("bin blue at", final=True), 1004.0)
    assert [(word.word.text, word.emitted_at, word.committed_at) for word in later] == [
        ("blue", 1002, 1004),
        ("at", 1003, 1004),
    ]


def test_a_second_sink_and_a_replay_count_no_word_twice() -> None:
    words = Words()
    for _ in range(2):
        words.take(caption("bin"), 1002.0)
    assert len(words.take(caption("bin blue", final=True), 1003.0)) == 1
    assert words.take(caption("bin blue", final=True), 1003.1) == []
    assert words.take(caption("bin"), 1003.2) == []
    assert len(words.take(caption("at f two", index=1, final=True), 1014.0)) == 3


# The watch.


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def test_a_node_is_not_charged_for_those_that_it_calls(clock: ManualClock) -> None:
    metrics = Metrics()
    watch = Watch(metrics, clock=clock)
    watch.begin("mel", packet(0.0, 1.0))
    clock.advance(0.1)
    watch.begin("decode", packet(0.0, 1.0))
    clock.advance(0.5)
    watch.begin("commit", packet(0.0, 0.8, Hypothesis((), False)))
    clock.advance(0.02)
    watch.end()
    watch.end()
    clock.advance(0.1)
    watch.end()
    metrics.flush()
    rtf = {node: metrics.value("mmstream_rtf", node) for node in ("mel", "decode", "commit")}
    assert rtf == pytest.approx({"mel": 0.2, "decode": 0.5, "commit": 0.02 / 0.8})


def test_media_that_comes_twice_counts_once(clock: ManualClock) -> None:
    """Hypotheses begin again and again at the start of their utterance; sound and pictures cover the same second."""
    metrics = Metrics()
    watch = Watch(metrics, clock=clock)
    for end in (0.5, 1.0, 0.7, 2.0):
        watch.begin("commit", packet(0.0, end, Hypothesis((), False)))
        clock.advance(0.1)
        watch.end()
    metrics.flush()
    assert metrics.value("mmstream_rtf", "commit") == pytest.approx(0.4 / 2.0)


def test_a_batch_is_one_piece_of_work_for_the_media_of_all(clock: ManualClock) -> None:
    metrics = Metrics()
    watch = Watch(metrics, clock=clock)
    began = watch.now()
    clock.advance(0.3)
    watch.batch("decode", [packet(0.0, 1.0, session=name) for name in "abc"], [0.0] * 3, [[]] * 3, began)
    metrics.flush()
    assert metrics.value("mmstream_rtf", "decode") == pytest.approx(0.1)
    assert metrics.histogram("mmstream_batch_size", "decode").counts[2] == 1  # 3 to 4


def test_captions_that_a_sink_takes_have_latencies_and_no_others(clock: ManualClock) -> None:
    metrics = Metrics()
    watch = Watch(metrics, {"terminal"}, clock=clock)
    for node, lasts in (("translate", 1.22), ("terminal", 0.0), ("terminal", 0.0)):
        watch.begin(node, caption("bin blue", final=True))
        clock.advance(lasts)
        watch.end()
    counts = metrics.histogram("mmstream_commit_latency_seconds")
    assert counts.total == 2
    assert (counts.counts[4], counts.counts[8]) == (1, 1)  # 1.22 - 1.0 and 1.22 - 0.5
    watch.session_ended("s")
    watch.begin("terminal", caption("bin", final=True))
    watch.end()
    assert metrics.histogram("mmstream_commit_latency_seconds").total == 3
