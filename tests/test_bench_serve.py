"""``mmstream bench serve``: that each of its figures measures what it says. Not how fast the server is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mmstream.benchmarks import serve, serve_overhead
from mmstream.benchmarks.serve import Ear, Plan, measure_serve, server_of_stub, speaking
from mmstream.benchmarks.serve_client import Pace, server
from mmstream.benchmarks.serve_overhead import Shown
from mmstream.benchmarks.serve_stub import WORD_S
from mmstream.benchmarks.table import Figure
from mmstream.core import MmstreamError, Packet
from mmstream.media import Caption, Word
from tests.command_line import WEATHER, call, say


def quiet(text: str) -> None: ...


def by_name(figures: list[Figure]) -> dict[str, Figure]:
    return {figure.name: figure for figure in figures}


def test_latencies_count_from_onset_and_from_the_end_of_words() -> None:
    shown = Shown()
    words = (Word("a", 1.0, 1.5, None), Word("b", 1.5, 2.0, None))

    def show(stable: int, unstable: int, now: float, final: bool = False) -> None:
        caption = Caption(0, words[:stable], words[stable : stable + unstable], final, "en")
        shown.take(Packet("s", 1.0, 2.2, caption, 1002.2), now)

    show(0, 0, 1001.2)  # nothing to see yet
    show(0, 1, 1001.7)
    show(1, 1, 1002.3)
    show(2, 0, 1003.0, final=True)
    assert shown.first_partial_s == pytest.approx([0.7])
    assert shown.commit_s == pytest.approx([0.8, 1.0])
    assert shown.texts == ["a", "b"]


def test_an_echo_counts_from_the_packet_that_completes_the_word_to_the_first_caption_with_it() -> None:
    ear = Ear(Pace(b"", 0.0))
    ear.pace.sent = [1000.1 + 0.1 * number for number in range(10)]
    words = [{"word": f"w{number}", "start": WORD_S * number, "end": WORD_S * (number + 1)} for number in range(2)]
    ear.hear({"type": "statistics"}, 1000.3)
    ear.hear({"type": "caption", "stable": [], "unstable": words[:1]}, 1000.51)
    ear.hear({"type": "caption", "stable": words[:1], "unstable": words[1:]}, 1001.04)
    ear.hear({"type": "gap"}, 1001.1)
    assert ear.echo_s == pytest.approx({0.5: 0.01, 1.0: 0.04})
    assert ear.gaps == 1


def test_every_word_of_every_session_that_speaks_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "SETTLE_S", 0.5)
    with server_of_stub(3) as process:
        spoken = asyncio.run(speaking(process, 3, 2.0))
        found = serve.figures_of(3, [spoken])
        with pytest.raises(MmstreamError, match="all 3 sessions of this server are taken"):
            asyncio.run(speaking(process, 4, 2.0))
    assert len(spoken.echo_s) == 3 * 3  # of four words each, but for the first
    assert (spoken.missing, spoken.gaps) == (0, 0)
    echo = by_name(found)["3 speaking sessions: echo p95"]
    assert (echo.unit, echo.at_most, echo.median) == ("ms", 200.0, spoken.ms(95))
    assert 5.0 <= spoken.ms(50) < 1000.0  # the stub alone takes 5 ms
    assert 0.0 < spoken.server_cores < 2.0


def test_the_same_words_come_here_and_through_the_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(serve_overhead, "WARM_S", 0.3)
    speech = say(tmp_path / "weather.wav", WEATHER)
    found = by_name(serve_overhead.compare("sphinx", 2.3, 1, speech, quiet))
    assert found["rounds in which the words differed"].rounds == (0.0,)
    for name in ("first partial", "commit"):
        here, there = (found[f"{name} {way}: p50"].median for way in ("in this process", "through the server"))
        added = found[f"{name}: what the server adds to p50"]
        assert added.at_most == 60.0
        assert added.median == pytest.approx(there - here)
        assert 0.0 < here < 5000.0


def test_waiting_sessions_are_weighed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "WARM_IDLE", 5)
    report = measure_serve(Plan(parts=("idle",), idle=20), 1, None, quiet)
    found = by_name(list(report.figures))
    assert found["waiting sessions held"].rounds == (20.0,)
    assert 0.0 < found["memory of a waiting session"].median < 2000.0
    assert found["memory of a waiting session"].at_most == 50.0


def test_a_server_that_does_not_start_says_why() -> None:
    with pytest.raises(MmstreamError, match=r"the server did not start: .*no-such"), server(["serve", "-m", "no-such"]):
        pass


def test_the_command_knows_its_parts() -> None:
    assert "unknown; did you mean 'idle'?" in call("bench", "serve", "--part", "idl").the_line("--part idl")
