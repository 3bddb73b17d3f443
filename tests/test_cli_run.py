"""``mmstream run`` with many sessions at a time; the one session of a file's own source is in test_cli_live.py."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmstream.commands import run as run_module
from mmstream.commands.run import _planned
from mmstream.core import MmstreamError
from mmstream.drive import run_all
from mmstream.executors.ledger import Result
from mmstream.pipeline import default_path
from mmstream.sessions import SessionRow
from tests.command_line import BANK, COUNTING, WEATHER, Running, call, leftovers, say
from tests.test_cli_live import STUBBORN, STUBBORN_PIPELINE, text_of

FILE = default_path()  # a microphone, Sphinx, the terminal


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two short talks."""
    folder = tmp_path_factory.mktemp("media") / "talks"
    say(folder / "weather.wav", WEATHER)
    say(folder / "day" / "counting.wav", COUNTING)
    return folder


# What is run under which name.


def test_files_play_again_under_other_names_until_there_are_enough_sessions(tmp_path: Path) -> None:
    for name in ("a.wav", "a-2.wav", "b.wav"):
        (tmp_path / name).touch()
    planned = _planned([tmp_path], 7, "source")
    assert [name for name, _ in planned] == ["a-2", "a", "b", "a-2-2", "a-3", "b-2", "a-2-3"]
    assert planned[4][1] == {"source": {"path": str(tmp_path / "a.wav")}}
    assert [name for name, _ in _planned([tmp_path], 2, "source")] == ["a-2", "a", "b"]


# Many sessions of one graph, without a graph.


class Toy:
    """An executor whose sessions end when they have been waited for ``patience`` times, or at once when stopped."""

    def __init__(self, patience: int = 2, refused: frozenset[str] = frozenset()) -> None:
        self.open_now: dict[str, int] = {}
        self.most_at_once = 0
        self.opened: list[str] = []
        self.stopped: list[str] = []
        self.patience, self.refused = patience, refused
        self.signals: list[signal.Signals] = []

    def open(self, session: str, arguments: object) -> None:
        if session in self.refused:
            raise MmstreamError("no room")
        self.opened.append(session)
        self.open_now[session] = self.patience
        self.most_at_once = max(self.most_at_once, len(self.open_now))

    def wait(self, timeout_s: float) -> Result | None:
        if self.signals:
            signal.raise_signal(self.signals.pop(0))
        for session in self.open_now:
            self.open_now[session] -= 1
        over = [session for session, left in self.open_now.items() if left <= 0]
        if not over:
            return None
        del self.open_now[over[0]]
        return Result(over[0], None, ())

    def stop(self, session: str) -> None:
        self.stopped.append(session)
        self.open_now[session] = 0

    def table(self) -> tuple[SessionRow, ...]:
        return tuple(SessionRow(one, "running", {}, 0, 0, 0, 3, 0, 0) for one in self.open_now)


def sessions(count: int) -> list[tuple[str, dict[str, dict[str, object]]]]:
    return [(f"s{number}", {}) for number in range(count)]


def results(toy: Toy, count: int, at_once: int) -> dict[str, str | None]:
    """What became of each session."""
    ended = [result for result in run_all(toy, sessions(count), at_once) if result is not None]  # type: ignore[arg-type]
    return {result.session: result.error and str(result.error) for result in ended}


def test_no_more_run_at_a_time_than_may() -> None:
    toy = Toy()
    assert results(toy, 7, 3) == dict.fromkeys([f"s{number}" for number in range(7)])
    assert toy.most_at_once == 3


def test_a_session_that_is_not_let_in_stops_no_other() -> None:
    assert results(Toy(refused=frozenset({"s0", "s2"})), 3, 1) == {"s0": "no room", "s1": None, "s2": "no room"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_what_runs_and_begins_no_other(number: signal.Signals) -> None:
    toy, before = Toy(patience=1_000), signal.getsignal(signal.SIGTERM)
    toy.signals = [number]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as mmstream.cli does
    try:
        assert results(toy, 5, 3) == {"s0": None, "s1": None, "s2": None}
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (toy.opened, sorted(toy.stopped)) == (["s0", "s1", "s2"], ["s0", "s1", "s2"])


def test_a_second_signal_gives_up() -> None:
    toy = Toy(patience=1_000)
    toy.signals = [signal.SIGINT, signal.SIGINT]
    with pytest.raises(KeyboardInterrupt):
        results(toy, 2, 2)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_recoveries_are_those_that_the_executor_has_told_of(talks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextlib.contextmanager
    def running(name: str, graph: object, trace: object = None) -> Iterator[Toy]:
        yield Toy()

    monkeypatch.setattr(run_module, "running", running)
    done = call("run", FILE, "--sessions", 2, "--input", talks, "--json")
    assert [one["recoveries"] for one in done.last_json["sessions"]] == [3, 3]


# The command.


def test_every_file_of_a_folder_is_a_session(talks: Path, tmp_path: Path) -> None:
    captions = tmp_path / "captions"
    options = ("--pace", "fast", "--output", captions, "--format", "srt,jsonl", "--json")
    done = call("run", FILE, "--sessions", 3, "--input", talks, *options)
    assert done.code == 0, done
    assert sorted(done.out.splitlines()[:-1]) == [
        f"day/counting-2: {COUNTING}",
        f"day/counting: {COUNTING}",
        f"weather: {WEATHER}",
    ]
    assert {one["session"]: one["words"] for one in done.last_json["sessions"]} == {
        "day/counting": 7,
        "day/counting-2": 7,
        "weather": 6,
    }
    assert done.last_json["failed"] == 0
    assert {(one["dropped"], one["commit_p95_ms"]) for one in done.last_json["sessions"]} == {(0, None)}
    files = sorted(str(path.relative_to(captions)) for path in captions.rglob("*.*"))
    assert files == [
        f"{name}.{suffix}" for name in ("day/counting-2", "day/counting", "weather") for suffix in ("jsonl", "srt")
    ]
    assert text_of(captions / "day/counting-2.jsonl") == COUNTING
    rows = {line.split()[0]: line.split()[1:3] for line in done.err.splitlines() if line.strip()}
    assert rows["weather"] == ["6", "0"]


def test_one_session_that_fails_stops_no_other(talks: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    options = ("--pace", "fast", "--output", tmp_path / "captions", "--json")
    done = call("run", FILE, "--sessions", 2, "--input", tmp_path / "broken.wav", "--input", talks, *options)
    assert done.code == 1
    (line,) = done.lines("failed")
    assert line.startswith(f"failed   broken: {tmp_path}/broken.wav")
    assert "node '" not in line
    assert {one["session"]: one["words"] for one in done.last_json["sessions"]} == {
        "broken": None,
        "day/counting": 7,
        "weather": 6,
    }
    assert done.last_json["failed"] == 1
    assert not leftovers(tmp_path)
    assert sorted(path.stem for path in (tmp_path / "captions").rglob("*.srt")) == ["counting", "weather"]


def test_files_play_at_their_own_pace_and_sigterm_drains_them_all(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        say(tmp_path / f"talks/{name}.wav", WEATHER, COUNTING, BANK)
    options = ("--output", tmp_path / "captions", "--format", "txt")
    with Running("run", FILE, "--sessions", 2, "--input", tmp_path / "talks", *options) as run:
        run.wait_for(f"a: {WEATHER}")
        run.wait_for(f"b: {WEATHER}")
        run.send(signal.SIGTERM)
        done = run.end(20)
    assert done.code == 0, done
    assert done.lines("mmstream: finishing the last words; Ctrl-C again to give up")
    assert done.lines("mmstream: sessions not begun: 1")
    assert BANK not in done.out
    assert sorted(path.name for path in (tmp_path / "captions").iterdir()) == ["a.txt", "b.txt"]
    for name in ("a", "b"):
        said = [line.removeprefix(f"{name}: ") for line in done.out.splitlines() if line.startswith(f"{name}: ")]
        assert (tmp_path / f"captions/{name}.txt").read_text().splitlines() == said
        (row,) = [line.split() for line in done.err.splitlines() if line.split()[:1] == [name]]
        assert float(row[4]) < 10_000  # the commit latency's median, ms: known, for the files play in real time


def test_a_second_ctrl_c_gives_all_up(talks: Path, tmp_path: Path) -> None:
    (tmp_path / "stubborn.py").write_text(STUBBORN)
    text = (STUBBORN_PIPELINE % talks).replace("path: talk.txt", "path: '{session}.txt'")
    (tmp_path / "mine.yaml").write_text(text)
    options = ("--allow", "stubborn", "--sessions", "2", "--input", talks)
    with Running("run", "mine.yaml", *options, cwd=tmp_path) as run:
        run.wait_for_file(tmp_path / ".weather.txt.partial")
        run.wait_for_file(tmp_path / "day" / ".counting.txt.partial")
        run.send(signal.SIGINT)
        run.wait_for("finishing the last words; Ctrl-C again to give up")
        run.send(signal.SIGINT)
        done = run.end(10)
    assert done.code == 130, done
    assert "Traceback" not in done.err
    assert not list(tmp_path.rglob("*.txt*"))


# Options that cannot be.


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--sessions", "8"), "--sessions 8 needs --input FOLDER, of media files: a microphone gives one session"),
        (("--pace", "fast"), "--pace needs --input FOLDER"),
        (("--json",), "--json needs --input FOLDER"),
        (("--format", "srt"), "--format needs --output FOLDER"),
        (("--input", "nowhere"), "nowhere: there is no such file or folder"),
        (("--input", "empty"), "empty: the folder holds no media files"),
        (("--input", "a.wav", "--session", "mine"), "--session names one session, but with --input they are named"),
        (("--input", "a.wav", "--output", "a.wav"), "--output a.wav: is a file; captions go into a folder"),
        (("--input", "a.wav", "--output", "o", "--format", "sub"), "--format sub: 'sub' is unknown; known are "),
        (("--input", "a.wav", "--sessions", "3"), "--sessions 3: mine.yaml lets 2 in at a time; raise 'sessions: {"),
    ],
)
def test_options_that_cannot_be(
    options: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    Path("a.wav").touch()
    Path("mine.yaml").write_text(FILE.read_text() + "\nsessions: {limit: 2}\n")
    call("run", "mine.yaml", *options).the_line(f"mmstream: {said}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "empty", "mine.yaml"]


def test_a_file_without_captions_has_none_to_write(tmp_path: Path) -> None:
    (tmp_path / "sink.py").write_text(
        "from mmstream.core import Sink\n"
        "from mmstream.media import AudioChunk\n\n"
        "class Quiet(Sink[None]):\n"
        "    accepts = (AudioChunk,)\n\n"
        "    def open(self, session): ...\n\n"
        "    def process(self, packet, state):\n"
        "        return ()\n"
    )
    (tmp_path / "mine.yaml").write_text(
        "capacity: 4\nnodes:\n  mic: {use: operators.sources:Microphone}\n  quiet: {use: sink:Quiet, from: mic}\n"
    )
    talk = say(tmp_path / "talk.wav", WEATHER)
    options = ("--allow", "sink", "--input", talk, "--pace", "fast", "--json")
    assert call("run", tmp_path / "mine.yaml", *options, "--output", tmp_path / "o").the_line(
        "no sink in it gets captions, so there are none to write"
    )
    done = call("run", tmp_path / "mine.yaml", *options)
    assert done.code == 0, done
    assert [one["words"] for one in done.last_json["sessions"]] == [None]
