"""``mmstream bench sessions`` and the soak of many sessions: that everything is counted, and counted right."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mmstream.benchmarks import crowd, sessions, soak_sessions
from mmstream.benchmarks.alone import Processes
from mmstream.benchmarks.crowd import Course, Outing, Seen, Told, crowd_graph, go_out
from mmstream.benchmarks.sessions import Plan, find_capacity
from mmstream.benchmarks.soak_sessions import Look, Meter, Soak, soak_graph, soak_report
from mmstream.core import MmstreamError, Packet
from mmstream.executors import Executor, make
from mmstream.media import Caption, Gap, Hypothesis, Word

SOUND = np.zeros(16_000, np.float32)


def quiet(text: str) -> None: ...


@pytest.fixture(autouse=True)
def niceness(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmarks set it for the Ray that they start; it must not leak into other tests."""
    monkeypatch.setenv("RAY_worker_niceness", "0")


def started(told: dict[str, Seen], **options: object) -> Executor:
    executor = make("local", crowd_graph("stub", told, **options))  # type: ignore[arg-type]
    executor.start()
    return executor


def test_latency_counts_from_the_moment_a_packet_was_due() -> None:
    course = Course(SOUND, seconds=8.0)
    course.begin(1000.0)
    course.sent.update(a=80, b=80)
    early, late = Seen("a"), Seen("b")
    for k in range(80):
        end = (k + 1) * 0.1
        early.add([end], 1000.0 + end + 0.020)
        late.add([end], 1000.0 + 0.05 + end + (5.0 if end < 1.95 else 0.001 * k))  # before that it warms up
    late.gaps = 3
    outing = Outing.of(course, [(0, early), (1, late)], dropped=1, of=2, cores=0.5)
    assert (outing.sessions, outing.sent, outing.arrived, outing.lost) == (2, 160, 160, 3)
    expected = [0.020] * 61 + [0.001 * k for k in range(19, 80)]
    assert len(outing.latency_s) == 122
    for percent in (50, 95, 99):
        assert outing.ms(percent) == pytest.approx(1000 * np.percentile(expected, percent), abs=0.01)


def test_an_outing_without_words_has_no_latency() -> None:
    course = Course(SOUND, seconds=1.0)
    outing = Outing.of(course, [(0, Seen("a"))], dropped=0, of=1, cores=0.0)
    assert outing.ms(95) == float("inf")
    assert not Plan("avsr").holds(outing)


def test_every_packet_of_every_session_is_counted_once() -> None:
    told: dict[str, Seen] = {}
    executor = started(told)
    try:
        outing = go_out(executor, told, "t", 5, Course(SOUND, 1.0))
    finally:
        executor.close()
    assert (outing.sessions, outing.sent, outing.arrived, outing.lost) == (5, 50, 50, 0)
    assert len(outing.latency_s) == 5 * 8  # those that end at 0.3 s and later
    assert 5.0 <= outing.ms(50) < 500.0
    assert told == {}


def test_what_an_overloaded_recogniser_loses_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowd, "QUEUE", 2)
    monkeypatch.setattr(crowd, "STUB_S", 0.1)
    monkeypatch.setitem(crowd.NODES, "stub", f"  decode: {{use: {crowd.HERE}:Stub, from: {{source: {{capacity: 2}}}}}}")
    told: dict[str, Seen] = {}
    executor = started(told, batch=1, max_wait_ms=0.0)
    try:
        outing = go_out(executor, told, "t", 4, Course(SOUND, 2.0))
    finally:
        executor.close()
    assert outing.sent == 80
    assert outing.lost > 20
    assert outing.arrived + outing.lost == 80
    assert not Plan("stub").holds(outing)


def test_words_are_counted_once_when_they_are_committed() -> None:
    sink = Told()
    state = sink.open("s")
    words = tuple(Word(text, k, k + 0.5) for k, text in enumerate("abc"))

    def show(index: int, stable: int, final: bool = False) -> None:
        caption = Caption(index, words[:stable], words[stable:], final)
        assert list(sink.process(Packet("s", 0.0, 3.0, caption, 0.0), state)) == []

    show(0, 1)
    show(0, 1)
    show(0, 3, final=True)
    show(1, 1)
    sink.process(Packet("s", 3.0, 4.0, Gap("audio", "lost"), 0.0), state)
    sink.process(Packet("s", 0.0, 7.0, Hypothesis((), False), 0.0), state)
    assert state.ends == [0.5, 1.5, 2.5, 0.5, 7.0]
    assert len(state.arrived) == 5
    assert state.gaps == 1


@pytest.mark.parametrize(("true", "begin"), [(0, 8), (1, 8), (7, 8), (8, 8), (57, 8), (200, 200), (333, 40), (5, 200)])
def test_the_search_finds_the_capacity_to_a_tenth(true: int, begin: int) -> None:
    asked: list[int] = []

    def holds(count: int) -> bool:
        asked.append(count)
        return count <= true

    found = find_capacity(holds, begin)
    assert found <= true
    assert true - found <= max(1, 0.1 * true)
    assert asked[0] == begin
    assert len(asked) == len(set(asked)) <= 14


def test_the_search_ends_where_everything_holds() -> None:
    assert find_capacity(lambda count: True, 100, most=500) == 800


def test_a_process_for_each_session_counts_the_same(tmp_path: Path) -> None:
    np.save(tmp_path / "sound.npy", SOUND)
    with Processes("stub", tmp_path / "sound.npy") as processes:
        outing = processes.go_out("t", 2, 1.0)
        again = processes.go_out("u", 1, 0.5)
    assert (outing.sessions, outing.sent, outing.arrived, outing.lost) == (2, 20, 20, 0)
    assert (again.sessions, again.sent, again.arrived) == (1, 5, 5)
    assert 5.0 <= outing.ms(50) < 500.0


def test_the_report_judges_the_number_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan("stub", sessions=2, seconds=1.0, executor="local", search=False)
    report = sessions.measure_sessions(plan, 2, None, quiet)
    found = {figure.name: figure for figure in report.figures}
    assert len(found["2 sessions: p95"].rounds) == 2
    assert found["2 sessions: p95"].at_most == 250.0
    assert found["2 sessions: packets lost"].rounds == (0.0, 0.0)
    assert [entry["sessions"] for entry in report.details["tried"]] == [2, 2]
    assert "sessions that one worker holds" not in found


def test_a_client_that_stops_reading_holds_nobody_up() -> None:
    plan = Plan("stub", sessions=4, seconds=2.0, executor="local")
    report = sessions.measure_slow(plan, 1, 1, None, quiet)
    found = {figure.name: figure for figure in report.figures}
    assert found["packets lost beside them"].rounds == (0.0,)
    assert found["p95 beside them"].median < 500.0
    (change,) = found["change of p95, by round"].rounds
    assert found["change of the median p95, either way"].median == pytest.approx(abs(change))


def test_only_those_who_are_to_stop_reading_do() -> None:
    told: dict[str, Seen] = {}
    kept: dict[str, int] = {}
    executor = started(told, stuck={"t-0"})
    try:
        pop = told.pop
        course = Course(SOUND, 3.0)

        class Watched(dict[str, Seen]):
            def pop(self, session: str, *default: object) -> Seen:
                kept[session] = len(told[session].ends)
                return pop(session)

        outing = go_out(executor, Watched(), "t", 3, course, {"t-0"})
    finally:
        executor.close()
    assert kept == {"t-0": crowd.STUCK_AFTER, "t-1": 30, "t-2": 30}
    assert (outing.sessions, outing.arrived) == (2, 60)


def test_slow_clients_must_leave_others() -> None:
    with pytest.raises(MmstreamError, match="4 slow sessions of 4 leave no others"):
        sessions.measure_slow(Plan(sessions=4), 4, 1, None, quiet)


# The soak.


def course_of(number: int, change: Callable[[int], dict[str, float]]) -> list[Look]:
    still = {"resident_mb": 100.0, "actors_mb": 80.0, "threads": 30, "files": 20, "actors": 1, "lag_s": 0.1}
    return [Look(media_s=60.0 * k, **{**still, **change(k)}) for k in range(number)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "missed"),
    [
        (lambda k: {}, set()),
        (lambda k: {"resident_mb": 100.0 + max(0, 20 - k) * 5, "lag_s": None if k < 15 else 0.1}, set()),
        (lambda k: {"resident_mb": 100.0 + k}, {"its growth"}),
        (lambda k: {"actors_mb": 80.0 + k}, {"their growth"}),
        (lambda k: {"threads": 30 + k // 5}, {"their growth"}),
        (lambda k: {"files": 20 + k // 5}, {"their growth"}),
        (lambda k: {"actors": 1 + (k > 50)}, {"their growth"}),
        (lambda k: {"lag_s": 0.1 + 0.002 * k}, {"the same, last third over first"}),
    ],
)
def test_what_grows_is_found(change: Callable[[int], dict[str, float]], missed: set[str]) -> None:
    report = soak_report({}, course_of(60, change), 10.0)
    assert {figure.name for figure in report.figures if figure.met is False} == missed


def test_growth_is_told_by_the_hour() -> None:
    report = soak_report({}, course_of(120, lambda k: {"resident_mb": 100.0 + k}), 10.0)
    hourly = next(figure for figure in report.figures if figure.name == "its growth per hour of media")
    assert hourly.median == pytest.approx(60.0)


def test_too_short_a_soak_says_so() -> None:
    with pytest.raises(MmstreamError, match="give it more --hours"):
        soak_report({}, course_of(12, lambda k: {}), 10.0)


def test_sessions_follow_one_another_until_all_media_is_through(tmp_path: Path) -> None:
    meter = Meter()
    executor = make("local", soak_graph("cheap", tmp_path, meter))
    executor.start()
    try:
        soak = Soak(executor, np.zeros(16_000, np.int16), meter, sessions=2, hours=0.02)
        soak.run(quiet)
    finally:
        executor.close()
    assert meter.given_s == pytest.approx(2 * 72.0)
    assert len(list(tmp_path.glob("*.jsonl"))) == 13  # the first of one place is half as long as the others
    assert len(soak.looks) > 3
    assert all(one.media_s <= other.media_s for one, other in zip(soak.looks, soak.looks[1:], strict=False))


def test_another_process_is_looked_at_as_long_as_it_lives() -> None:
    with subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"], stdin=-1, stdout=-1) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = soak_sessions.vitals(child.pid)
        child.communicate(b"\n")
    assert found is not None
    assert found.threads == 1
    assert 3 < found.resident_mb < 200
    assert soak_sessions.vitals(child.pid) is None


def test_only_actors_of_this_process_count(tmp_path: Path) -> None:
    before = soak_sessions.actor_processes()
    sleeper = ["bash", "-c", "exec -a ray::Host sleep 60"]
    with subprocess.Popen(sleeper) as child:
        deadline = time.monotonic() + 5
        while soak_sessions.actor_processes() == before and time.monotonic() < deadline:
            time.sleep(0.02)
        during = soak_sessions.actor_processes()
        child.kill()
    assert during == before + 1
    assert soak_sessions.actor_processes() == before
