"""Which sessions are let in, which are idle, and the table that other shells see."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import MappingProxyType, SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

from mmstream import board, drive
from mmstream.board import Board, Folder, Table, cluster_is_named, published, runtime_folder
from mmstream.commands.sessions import sessions
from mmstream.core import MmstreamError
from mmstream.graph import Graph, SessionLimits
from mmstream.sessions import Expiry, SessionRefused, SessionRow, admit
from mmstream.testing import ManualClock

WAIT_S = 10.0
ROW = SessionRow("talks/a", "running", {"main": 0, "decode": 3}, 12.5, 0.4, 2, 1, 3.5, 1_000.0)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The runtime folder of this test alone."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return tmp_path / "mmstream"


def text_of(at: float, *rows: SessionRow) -> str:
    return Table("host", 1, at, rows).as_json()


# Admission and idle sessions.


def test_one_more_than_the_limit_is_refused_with_the_number_and_the_way_to_raise_it() -> None:
    admit("talk", 7, SessionLimits(most=8))
    admit("talk", 10_000, SessionLimits())
    with pytest.raises(SessionRefused) as refusal:
        admit("talk", 8, SessionLimits(most=8))
    assert str(refusal.value) == (
        "session 'talk' is refused: 8 are open, and the limit is 8; "
        "raise it with 'sessions: {limit: N}' in the pipeline file"
    )


def test_a_session_that_does_not_come_on_is_idle_after_its_time() -> None:
    clock = ManualClock()
    expiry = Expiry(SessionLimits(idle_s=300), clock)
    assert expiry.idle({"a": 0.0, "b": 0.0}) == ()
    clock.advance(200)
    assert expiry.idle({"a": 0.0, "b": 5.0}) == ()
    clock.advance(101)
    assert expiry.idle({"a": 0.0, "b": 5.0}) == ("a",)
    assert expiry.idle({"a": 0.0, "b": 5.0}) == ("a",)
    clock.advance(200)
    assert expiry.idle({"a": 0.1, "b": 5.0}) == ("b",)


def test_a_session_that_goes_back_for_a_replay_is_not_idle() -> None:
    clock = ManualClock()
    expiry = Expiry(SessionLimits(idle_s=10), clock)
    expiry.idle({"a": 30.0})
    clock.advance(11)
    assert expiry.idle({"a": 24.0}) == ()


def test_a_later_session_of_the_same_name_begins_anew() -> None:
    clock = ManualClock()
    expiry = Expiry(SessionLimits(idle_s=10), clock)
    expiry.idle({"a": 0.0})
    expiry.idle({})
    clock.advance(11)
    assert expiry.idle({"a": 0.0}) == ()


def test_without_a_limit_no_session_is_idle() -> None:
    clock = ManualClock()
    expiry = Expiry(SessionLimits(), clock)
    expiry.idle({"a": 0.0})
    clock.advance(1e9)
    assert expiry.idle({"a": 0.0}) == ()


# The board.


def test_a_table_is_the_same_after_its_json() -> None:
    table = Table("host", 7, 1_002.5, (ROW, SessionRow("b", "draining", MappingProxyType({}), 0, 0, 0, 0, 0, 5)))
    assert Table.of_json(table.as_json()) == table


class Ticks(ManualClock):
    """A clock on which a wait ends when the test says so; ``idle`` counts the waits begun."""

    def __init__(self) -> None:
        super().__init__()
        self.idle, self.tick = threading.Semaphore(0), threading.Semaphore(0)

    def wait(self, seconds: float, stop: threading.Event) -> bool:
        self.idle.release()
        while not stop.is_set() and not self.tick.acquire(timeout=0.01):
            pass
        return stop.is_set()


@pytest.mark.usefixtures("no_thread_left")
def test_a_board_publishes_what_the_rows_are_now_and_takes_it_away_at_the_end(folder: Path) -> None:
    rows = [ROW]
    clock = Ticks()
    with Board(lambda: tuple(rows), [Folder()], clock):
        assert clock.idle.acquire(timeout=WAIT_S)
        (found,) = published([Folder()])
        assert (found.pid, found.rows) == (os.getpid(), (ROW,))
        rows.clear()
        clock.tick.release()
        assert clock.idle.acquire(timeout=WAIT_S)
        (found,) = published([Folder()])
        assert found.rows == ()
    assert published([Folder()]) == []
    assert list(folder.iterdir()) == []


def test_the_folder_is_this_users_alone(folder: Path) -> None:
    Folder().put("key", text_of(0, ROW))
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    with pytest.raises(MmstreamError, match="is not a folder of this user alone; remove it, or set XDG_RUNTIME_DIR"):
        Folder().texts()
    with pytest.raises(MmstreamError, match="is not a folder of this user alone"):
        Folder().put("key", "")


def test_a_link_in_the_folders_place_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(MmstreamError, match="is not a folder of this user alone"):
        Folder().put("key", "")


def test_where_the_runtime_folder_is(tmp_path: Path) -> None:
    assert runtime_folder({"XDG_RUNTIME_DIR": str(tmp_path)}) == tmp_path / "mmstream"
    fallback = runtime_folder({})
    assert fallback.name == f"mmstream-{os.getuid()}"
    assert runtime_folder({"XDG_RUNTIME_DIR": str(tmp_path / "never made")}) == fallback


def test_a_shelf_that_fails_is_told_once_and_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    good, bad = Folder(tmp_path / "good"), Folder(tmp_path / "file" / "inside")
    made = Board(lambda: (ROW,), [bad, good])
    made._publish()
    made._publish()
    assert len(caplog.records) == 1
    assert "will not show this process" in caplog.text
    assert len(good.texts()) == 1


HOLDING = """
import sys
from pathlib import Path
from mmstream.board import Folder
shelf = Folder(Path(sys.argv[1]))
shelf.put("theirs", sys.argv[2])
print("there", flush=True)
sys.stdin.read()
"""


def test_the_table_of_another_process_is_seen_until_it_is_killed(folder: Path) -> None:
    command = [sys.executable, "-c", HOLDING, str(folder), text_of(3.0, ROW)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        assert [table.rows for table in published([Folder()])] == [(ROW,)]
        process.send_signal(signal.SIGSTOP)  # it says nothing more, and still runs
        assert len(published([Folder()], ManualClock(1e9))) == 1
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()
    assert published([Folder()]) == []
    assert list(folder.iterdir()) == []


def test_a_table_of_another_version_is_passed_over(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    shelf = Folder()
    for number, text in enumerate(("not JSON", "[]", "{}", '{"rows": [{"name": 1}]}', text_of(0, ROW))):
        shelf.put(f"key{number}", text)
    assert [table.rows for table in published([Folder()])] == [(ROW,)]
    assert len(caplog.records) == 4


class Fleeting:
    """A shelf that cannot tell whether a process runs."""

    lasts_s = 20.0

    def __init__(self, **texts: str) -> None:
        self.kept = texts

    def put(self, key: str, text: str) -> None:
        self.kept[key] = text

    def drop(self, key: str) -> None:
        del self.kept[key]

    def texts(self) -> dict[str, str]:
        return dict(self.kept)


def test_where_a_process_cannot_be_asked_its_silence_tells(folder: Path) -> None:
    shelf = Fleeting(silent=text_of(1_000.0, ROW), alive=text_of(1_015.0, ROW))
    assert [table.at for table in published([shelf], ManualClock(1_021.0))] == [1_015.0]
    assert list(shelf.kept) == ["alive"]


def test_a_table_on_two_shelves_is_shown_once(folder: Path) -> None:
    local = Folder()
    local.put("same", text_of(1.0, ROW))
    assert len(published([Folder(), Fleeting(same=text_of(1.0, ROW), other=text_of(2.0))], ManualClock(2.0))) == 2


# Running executors publish.


class Busy:
    """An executor with one session, as far as the board is concerned."""

    def start(self) -> None: ...

    def close(self) -> None: ...

    def table(self) -> tuple[SessionRow, ...]:
        return (ROW,)


@pytest.mark.usefixtures("no_thread_left")
def test_what_an_executor_runs_is_published_while_it_runs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put = threading.Event()
    publish = Board._publish

    def published_once(made: Board) -> None:
        publish(made)
        put.set()

    monkeypatch.setattr(Board, "_publish", published_once)
    monkeypatch.setattr(drive, "make", lambda name, graph, clock, tracing: Busy())
    with drive.running("local", Graph("p.yaml", {}, (), {})):
        assert put.wait(WAIT_S)
        assert [table.rows for table in published([Folder()])] == [(ROW,)]
    assert published([Folder()]) == []


# The command.

app = typer.Typer()
app.command("sessions")(sessions)
app.command("other")(lambda: None)


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["sessions", *arguments])
    assert done.exit_code == 0, done
    return done.stdout


def test_nothing_running_says_so(folder: Path) -> None:
    assert run() == "no session is running\n"
    assert json.loads(run("--json")) == []


def test_sessions_are_shown_with_their_figures(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmstream.commands.sessions.SYSTEM_CLOCK", ManualClock(1_065.0))
    Folder().put("key", Table("somewhere", 77, 0.0, (ROW,)).as_json())
    heads, line = run().splitlines()
    assert heads.split() == "session state replicas reached lag dropped recov. replay for process".split()
    assert line.split() == "talks/a running main 0, decode 3 12.5 s 0.4 s 2 1 3.5 s 65 s somewhere:77".split()


def test_sessions_as_json_have_every_figure_and_their_process(folder: Path) -> None:
    Folder().put("key", Table("somewhere", 77, 0.0, (ROW,)).as_json())
    (found,) = json.loads(run("--json"))
    assert (found.pop("host"), found.pop("pid")) == ("somewhere", 77)
    assert found == {field: getattr(ROW, field) for field in ROW.__slots__}


def test_a_name_cannot_steer_the_terminal(folder: Path) -> None:
    evil = SessionRow("a\x1b[2J[red]b", "running", {}, 0, 0, 0, 0, 0, 0)
    Folder().put("key", text_of(0.0, evil))
    assert "a\\x1b[2J[red]b" in run()


@pytest.mark.parametrize("options", [("--watch",), ("--watch", "--json")])
def test_watching_shows_again_and_again_until_ctrl_c(
    folder: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]
) -> None:
    left = iter([None, None])

    def sleep(seconds: float) -> None:
        assert seconds == board.PUBLISH_S
        if next(left, "over") == "over":
            raise KeyboardInterrupt

    monkeypatch.setattr("mmstream.commands.sessions.time", SimpleNamespace(sleep=sleep))
    assert len(run(*options).splitlines()) == 3


# A cluster.


def test_which_addresses_name_a_cluster() -> None:
    assert cluster_is_named({"RAY_ADDRESS": "auto"})
    assert not any(cluster_is_named(one) for one in ({}, {"RAY_ADDRESS": ""}, {"RAY_ADDRESS": "local"}))


@pytest.fixture
def cluster(ray_cluster: None, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")


def test_a_board_on_a_cluster_is_seen_from_any_node_of_it(cluster: None, folder: Path) -> None:
    from mmstream.executors.ray_board import Cluster

    shelf = Cluster()
    shelf.put("elsewhere", Table("another-node", 5, 1e12, (ROW,)).as_json())
    try:
        assert list(Folder().texts()) == []
        assert "another-node:5" in run()
    finally:
        shelf.drop("elsewhere")
    assert shelf.texts() == {}
    assert run() == "no session is running\n"


def test_a_cluster_that_this_process_has_left_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from mmstream.executors import ray_board

    monkeypatch.setattr(ray_board.internal_kv, "_internal_kv_initialized", lambda: False)
    with pytest.raises(MmstreamError, match="this process has left the cluster"):
        ray_board.Cluster().put("key", "text")


def test_an_address_where_nobody_listens_is_one_line_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        monkeypatch.setattr("ray.is_initialized", lambda: False)
        done = CliRunner().invoke(app, ["sessions"])
    assert str(done.exception).startswith(f"RAY_ADDRESS={address}: no such cluster: ")
