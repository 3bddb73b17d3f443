"""``mmstream transcribe`` of long files: cut, heard in pieces, joined; and of files whose captions go to a URL."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import pytest

from mmstream.commands.transcribe import sessions_at_once
from mmstream.graph import Batch as GraphBatch
from mmstream.graph import Graph
from mmstream.journal import JOURNAL_NAME
from mmstream.pipeline import check, read_text
from mmstream.transcription.pieces import WORK_FOLDER
from tests.command_line import BANK, COUNTING, STATES, TRANSCRIBE, WEATHER, Running, call, mmstream, say

SENTENCES = (WEATHER, COUNTING, BANK, STATES, WEATHER)


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 17 s of sentences with pauses of more than a second between them."""
    return say(tmp_path_factory.mktemp("media") / "talk.flac", *SENTENCES)


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def entries(folder: Path) -> list[str]:
    """The outputs that the journal names, pieces by their times."""
    return [name for line in lines(folder / JOURNAL_NAME) for name in line["outputs"]]


def test_a_file_that_was_cut_has_the_captions_of_the_whole(talk: Path, tmp_path: Path) -> None:
    run = (*TRANSCRIBE, talk, "-f", "jsonl,txt,srt", "--workers", 2)
    assert call(*run, "-o", tmp_path / "whole").code == 0  # it is shorter than a piece
    assert call(*run, "-o", tmp_path / "cut", "--split-s", 6).code == 0
    assert entries(tmp_path / "whole") == ["talk.jsonl", "talk.txt", "talk.srt"]
    *pieces, jsonl, _, _ = entries(tmp_path / "cut")
    assert len(pieces) == 3
    assert jsonl == "talk.jsonl"
    assert not (tmp_path / "cut" / WORK_FOLDER).exists()

    cut, whole = (lines(tmp_path / folder / "talk.jsonl") for folder in ("cut", "whole"))
    assert (tmp_path / "cut/talk.txt").read_text() == "\n".join(SENTENCES) + "\n"
    assert [line["index"] for line in cut] == list(range(len(SENTENCES)))
    assert {line["session"] for line in cut} == {"talk"}
    words, as_whole = ([word for line in found for word in line["words"]] for found in (cut, whole))
    for word, other in zip(words, as_whole, strict=True):
        assert word["word"] == other["word"]
        assert (word["start"], word["end"]) == pytest.approx((other["start"], other["end"]), abs=0.1)
    times = [time for word in words for time in (word["start"], word["end"])]
    assert times == sorted(times)
    seams = sorted({float(Path(piece).stem.partition("-")[0]) for piece in pieces} - {0.0})
    assert all(not word["start"] < seam < word["end"] for word in words for seam in seams)
    assert all(line["start"] > seam or line["end"] < seam for line in cut for seam in seams)


def test_a_killed_run_goes_on_at_the_piece(talk: Path, tmp_path: Path) -> None:
    run = (*TRANSCRIBE, talk, "-o", tmp_path, "-f", "txt", "--split-s", 6)
    journal = tmp_path / JOURNAL_NAME
    with Running(*run) as first:
        first.wait_for_file(journal)
        give_up_at = time.monotonic() + 60
        while not journal.read_bytes() and time.monotonic() < give_up_at:
            time.sleep(0.01)
        first.send(signal.SIGKILL)
        first.end()
    before = entries(tmp_path)
    assert 1 <= len(before) < 3
    assert not (tmp_path / "talk.txt").exists()
    kept = {name: (tmp_path / name).stat().st_mtime_ns for name in before}
    assert kept

    done = call(*run)
    assert done.code == 0
    after = entries(tmp_path)
    assert after[: len(before)] == before
    assert len(after) == len(set(after)) == 4  # every piece once, and the file
    assert (tmp_path / "talk.txt").read_text() == "\n".join(SENTENCES) + "\n"
    assert not (tmp_path / WORK_FOLDER).exists()


def test_a_piece_that_fails_fails_its_file_and_no_other(talk: Path, tmp_path: Path) -> None:
    short = tmp_path / "short.flac"
    short.write_bytes(talk.read_bytes()[: talk.stat().st_size * 2 // 3])
    out = tmp_path / "out"
    done = call(*TRANSCRIBE, short, talk, "-o", out, "-f", "txt", "--split-s", 5, "--workers", 2)
    assert done.code == 1
    (failed,) = done.lines("failed")
    assert failed.startswith(f"failed   {short}, ")
    assert " s to its end: " in failed
    assert f"{short} is damaged or cut short" in failed
    assert [line.split()[1] for line in done.lines("done")] == [str(talk)]
    assert [path.name for path in out.glob("*.txt")] == ["talk.txt"]


def test_a_split_that_would_cut_sentences_is_refused(talk: Path, tmp_path: Path) -> None:
    call(*TRANSCRIBE, talk, "-o", tmp_path / "out", "--split-s", 2).the_line("--split-s 2: must be 5 or more, or 0")
    assert not (tmp_path / "out").exists()


def test_captions_to_a_url(talk: Path, tmp_path: Path) -> None:
    files = fsspec.filesystem("memory")
    url = f"memory://{tmp_path.name}/captions"
    run = (*TRANSCRIBE, talk, "-o", url, "-f", "srt,txt", "--split-s", 6, "--json")
    done = call(*run)
    assert done.code == 0, done
    assert files.cat(f"/{tmp_path.name}/captions/talk.txt").decode() == "\n".join(SENTENCES) + "\n"
    found = [path.rpartition("captions/")[2] for path in files.find(f"/{tmp_path.name}")]
    assert sorted(name for name in found if not name.startswith(".mmstream-journal/")) == ["talk.srt", "talk.txt"]
    assert call(*run).last_json["skipped"] == 1
    files.rm(f"/{tmp_path.name}", recursive=True)


def test_a_url_that_nothing_here_can_write(talk: Path) -> None:
    done = mmstream(*TRANSCRIBE, talk, "-o", "nowhere://bucket/x")
    done.the_line("mmstream: --output nowhere://bucket/x: Protocol not known: nowhere")


PIPELINE = """
capacity: 64
nodes:
  media: {use: operators.sources:MediaFile, with: {path: a.wav}}
  resample: {use: operators.audio:Resample, from: media}
  speech: {use: operators.audio:Vad, from: resample}
  decode: {use: operators.decoders:Sphinx, from: speech}
  commit: {use: operators.policies:Commit, from: decode}
  text: {use: operators.sinks:PlainText, with: {path: "{session}.txt"}, from: commit}
workers:
  sound: {nodes: [media, resample, speech]}
  words: {nodes: [decode, commit], WORDS}
"""


@pytest.mark.parametrize(
    ("words", "asked", "expected"),
    [
        ("replicas: 1", None, 1),
        ("replicas: 3", None, 3),
        ("replicas: 3", 2, 6),
        ("replicas: {min: 1, max: 4, sessions: 8}", None, 4),
        ("replicas: 2, limit: 3", 8, 6),
    ],
)
def test_sessions_that_keep_every_replica_busy(words: str, asked: int | None, expected: int) -> None:
    graph: Graph = check(read_text(PIPELINE.replace("WORDS", words), "<test>"))
    assert sessions_at_once(graph, asked) == expected


def test_a_worker_that_gathers_batches_hears_as_many_sessions() -> None:
    graph: Graph = check(read_text(PIPELINE.replace("WORDS", "replicas: 2"), "<test>"))
    words = replace(graph.workers["words"], batch=GraphBatch(max_size=16, max_wait_s=0.02))
    batching = replace(graph, workers={**graph.workers, "words": words})
    assert sessions_at_once(batching, None) == 32
    assert sessions_at_once(batching, 1) == 2
