"""Many files: looked at when their turn comes, pieces in order, a bar that tells how far it is."""

from __future__ import annotations

import io
import re
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mmstream.batch import Batch, Job, find_jobs
from mmstream.core import MmstreamError
from mmstream.executors import Result
from mmstream.graph import Node
from mmstream.journal import Input
from mmstream.testing import run_operator
from mmstream.transcription import plan
from mmstream.transcription.joining import Joiner
from mmstream.transcription.outputs import Folder
from mmstream.transcription.pieces import WORK_FOLDER, Keep
from mmstream.transcription.plan import AHEAD, THREADS, File, Planner
from mmstream.transcription.run import Run, in_words
from operators.sinks import PlainText
from tests.captions import caption
from tests.media_samples import tone, write_wav


class Hears:
    """An executor that writes one caption for each session, at once; the sessions in ``failing`` fail."""

    def __init__(self, folder: Path, failing: tuple[str, ...] = ()) -> None:
        self.folder, self.failing = folder, failing
        self.ended: deque[Result] = deque()
        self.heard: list[str] = []

    def open(self, session: str, arguments: Mapping[str, Mapping[str, Any]]) -> None:
        self.heard.append(session)
        if session in self.failing:
            self.ended.append(Result(session, MmstreamError("the worker died"), ()))
            return
        start = arguments["media"].get("start_s", 0.0)
        run_operator(Keep(str(self.folder / WORK_FOLDER)), [caption(0, session, final=True, start=start)], session)
        self.ended.append(Result(session, None, ()))

    def wait(self, timeout_s: float | None = None) -> Result | None:
        return self.ended.popleft() if self.ended else None

    def abort(self, session: str) -> None:
        """It has ended already."""

    def reached(self, session: str) -> float:
        return 1.0


def transcribe(
    media: Path, out: Path, split_s: float | None = None, failing: tuple[str, ...] = (), terminal: bool = False
) -> tuple[Run, Hears, str]:
    """All files in ``media``; the run, its executor, and what it said."""
    said = io.StringIO()
    console = Console(file=said, force_terminal=terminal, width=200, color_system=None)
    output = Folder(out)
    output.open()
    joiner = Joiner([Node("txt_file", "", PlainText, {"path": f"{out}/{{session}}.txt"})])
    run = Run(console, output, joiner, "settings", ["txt"])
    executor = Hears(out, failing)
    todo = run.pending(find_jobs([media])[0])
    run.work(Batch(executor, "media", 2), Planner(todo, split_s, "audio"), len(todo))  # type: ignore[arg-type]
    output.close()
    return run, executor, said.getvalue()


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """Five files of two seconds and one of fourteen."""
    folder = tmp_path / "media"
    folder.mkdir()
    for name in "abcde":
        write_wav(folder / f"{name}.wav", tone(2.0))
    write_wav(folder / "long.wav", tone(14.0))
    return folder


def test_files_are_looked_at_a_little_ahead_of_their_turn(media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[str] = []
    probe = plan.probe

    def watched(path: str) -> Any:
        looked_at.append(path)
        return probe(path)

    monkeypatch.setattr(plan, "probe", watched)
    wav = media / "a.wav"
    jobs = [(Job(wav, str(number)), Input.of(wav)) for number in range(500)]
    files = Planner(jobs, 600.0, "audio").files()
    taken = 0
    for file in files:
        taken += file is not None
        if taken == 20:
            break
    files.close()
    assert 20 <= len(looked_at) <= 20 + AHEAD + THREADS


def test_files_come_in_order_and_a_bad_one_is_told_in_its_turn(media: Path) -> None:
    (media / "c.wav").write_text("no sound")
    jobs = [(job, Input.of(job.media)) for job in find_jobs([media])[0]]
    found = [file for file in Planner(jobs, 5.0, "audio").files() if file is not None]
    assert [(file.job if isinstance(file, File) else file[0]).name for file in found] == [*"abcde", "long"]
    assert [number for number, file in enumerate(found) if not isinstance(file, File)] == [2]
    long = found[-1]
    assert isinstance(long, File)
    assert [(piece.start_s, piece.end_s) for piece in long.pieces] == [
        (0.0, pytest.approx(4.67, abs=0.1)),
        (pytest.approx(4.67, abs=0.1), pytest.approx(9.33, abs=0.1)),
        (pytest.approx(9.33, abs=0.1), None),
    ]
    assert [piece.end_s for piece in long.pieces[:-1]] == [piece.start_s for piece in long.pieces[1:]]


def test_every_piece_is_heard_once_and_joined_in_order(media: Path, tmp_path: Path) -> None:
    run, executor, _ = transcribe(media, tmp_path / "out", split_s=5.0)
    assert (run.done, run.failed) == (6, 0)
    assert executor.heard[:5] == list("abcde")
    assert (tmp_path / "out/long.txt").read_text().splitlines() == executor.heard[5:]
    assert len(executor.heard) == 8
    assert run.audio_s == pytest.approx(24.0)
    assert not (tmp_path / "out" / WORK_FOLDER).exists()
    assert in_words(run.summary(6)).startswith("6 done, 0 skipped, 0 failed; 24 s of media in ")


def test_what_was_heard_before_a_piece_failed_is_kept_for_the_next_run(media: Path, tmp_path: Path) -> None:
    first, executor, said = transcribe(media, tmp_path / "out", split_s=5.0)
    names = executor.heard[5:]
    out = tmp_path / "again"
    first, executor, said = transcribe(media, out, split_s=5.0, failing=(names[1],))
    assert (first.done, first.failed) == (5, 1)
    (line,) = [line for line in said.splitlines() if line.startswith("failed")]
    assert re.fullmatch(rf"failed   {media}/long\.wav, 4\.\d s to 9\.\d s: the worker died", line)
    assert not (out / "long.txt").exists()

    second, executor, said = transcribe(media, out, split_s=5.0)
    assert (second.done, second.failed, second.skipped) == (1, 0, 5)
    assert names[1] in executor.heard
    assert names[0] not in executor.heard
    assert (out / "long.txt").read_text().splitlines() == names
    assert not (out / WORK_FOLDER).exists()


def test_pieces_of_another_split_are_not_taken(media: Path, tmp_path: Path) -> None:
    _, executor, _ = transcribe(media, tmp_path / "a", split_s=5.0)
    last = executor.heard[-1]
    transcribe(media, tmp_path / "b", split_s=5.0, failing=(last,))
    run, executor, _ = transcribe(media, tmp_path / "b", split_s=8.0)
    assert run.done == 1
    assert len(executor.heard) == 2
    assert (tmp_path / "b/long.txt").read_text().splitlines() == executor.heard
    assert not (tmp_path / "b" / WORK_FOLDER).exists()


def test_the_bar_counts_files_and_media(media: Path, tmp_path: Path) -> None:
    _, _, said = transcribe(media, tmp_path / "out", split_s=5.0, terminal=True)
    counts = re.findall(r"(\d)/6 files, (\d+)/(\d+) s of media", said)
    assert counts
    done_s = [int(media_s) for _, media_s, _ in counts]
    assert done_s == sorted(done_s)
    assert counts[-1] == ("6", "24", "24")
