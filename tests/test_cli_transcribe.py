"""``mmstream transcribe`` from start to end, on short real speech, with the embedded recogniser."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pysubs2
import pytest

from mmstream.journal import JOURNAL_NAME
from mmstream.samples import SPOKEN_VIDEO
from mmstream.transcription.pieces import WORK_FOLDER
from operators.sinks import without_wall_clock
from tests.command_line import (
    BANK,
    COMMAND,
    COUNTING,
    STATES,
    TRANSCRIBE,
    WEATHER,
    Finished,
    Running,
    call,
    leftovers,
    mmstream,
    say,
)
from tests.media_samples import missing

FORMATS = ("srt", "vtt", "jsonl", "txt")


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of four files, one of them in a folder of its own and one a video."""
    folder = tmp_path_factory.mktemp("media") / "talks"
    picture = ("-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25", "-shortest", "-preset", "ultrafast")
    say(folder / "weather.wav", WEATHER)
    say(folder / "deep/bank.mp4", BANK, options=picture)
    say(folder / "counting.flac", COUNTING)
    say(folder / "states.wav", STATES)
    return folder


def text_of(path: Path) -> str:
    return " ".join(json.loads(line)["text"] for line in path.read_text("utf-8").splitlines())


def times(folder: Path) -> dict[str, int]:
    """When each caption file was written."""
    hidden = {JOURNAL_NAME, WORK_FOLDER}
    files = (path for path in folder.rglob("*") if path.is_file() and hidden.isdisjoint(path.parts))
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in files}


# A folder with a broken file among good ones, in every format.


@pytest.fixture(scope="module")
def mixed(talks: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Finished, Path]:
    """The run, and the folder that it wrote."""
    media, output = talks.parent, tmp_path_factory.mktemp("out") / "captions"
    (media / "broken.mp4").write_text("this is not a video\n")
    inputs = [media / "broken.mp4", talks / "weather.wav", talks / "deep"]
    return mmstream(*TRANSCRIBE, *inputs, "--output", output, "--format", ",".join(FORMATS), "--json"), output


def test_one_broken_file_stops_nothing_and_the_exit_code_is_1(mixed: tuple[Finished, Path]) -> None:
    done, _ = mixed
    summary = done.last_json
    assert done.code == 1
    assert done.out.count("\n") == 1  # nothing but the JSON line
    assert {key: summary[key] for key in ("files", "failed", "skipped")} == {"files": 3, "failed": 1, "skipped": 0}
    assert summary["audio_seconds"] == pytest.approx(6.7, abs=0.2)
    assert 0 < summary["wall_seconds"] < 60
    assert summary["rtf"] == pytest.approx(summary["wall_seconds"] / summary["audio_seconds"], rel=0.01)


def test_the_line_about_the_broken_file_says_which_and_why(mixed: tuple[Finished, Path], talks: Path) -> None:
    done, _ = mixed
    (line,) = done.lines("failed")
    assert str(talks.parent / "broken.mp4") in line
    assert "cannot be read as media" in line
    assert "Traceback" not in done.err
    assert "" not in done.err.splitlines()


def test_each_good_file_has_its_line_and_the_last_line_sums_up(mixed: tuple[Finished, Path], talks: Path) -> None:
    done, _ = mixed
    named = [line.split()[1] for line in done.lines("done")]
    assert named == [str(talks / "weather.wav"), str(talks / "deep/bank.mp4")]
    assert all(re.search(r"\d\.\d s  RTF \d+\.\d{3}$", line) for line in done.lines("done"))
    assert done.err.splitlines()[-1].startswith("2 done, 0 skipped, 1 failed; 7 s of media in ")


def test_every_format_is_written_under_the_name_of_its_file(mixed: tuple[Finished, Path]) -> None:
    _, output = mixed
    assert sorted(times(output)) == sorted(f"{name}.{suffix}" for name in ("weather", "bank") for suffix in FORMATS)


@pytest.mark.parametrize(("name", "words"), [("weather", WEATHER), ("bank", BANK)])
def test_every_format_holds_the_words(mixed: tuple[Finished, Path], name: str, words: str) -> None:
    _, output = mixed
    assert (output / f"{name}.txt").read_text() == words + "\n"
    for suffix in ("srt", "vtt"):
        (cue,) = pysubs2.load(str(output / f"{name}.{suffix}"))
        assert cue.plaintext == words
        assert 300 <= cue.start < cue.end <= 4000
    (line,) = map(json.loads, (output / f"{name}.jsonl").read_text().splitlines())
    assert [word["word"] for word in line["words"]] == words.split()
    ends = [time for word in line["words"] for time in (word["start"], word["end"])]
    assert ends == sorted(ends)
    assert 0.3 <= ends[0] < ends[-1] <= 4


# Once more: what is done, what has changed.


def test_a_second_run_skips_what_is_done_and_does_what_is_new(talks: Path, tmp_path: Path) -> None:
    media = tmp_path / "talk.wav"
    media.write_bytes((talks / "weather.wav").read_bytes())
    output = tmp_path / "out"
    run = (*TRANSCRIBE, media, "--output", output, "--json")

    assert call(*run).last_json["skipped"] == 0
    first = times(output)
    again = call(*run)
    assert again.code == 0
    assert {**again.last_json, "wall_seconds": 0} == {
        **{"files": 1, "failed": 0, "skipped": 1, "audio_seconds": 0, "wall_seconds": 0, "rtf": None}
    }
    assert again.lines("skipped") == ["skipped  1 file, done before"]
    assert times(output) == first

    more = call(*run, "--format", "srt,txt", "--language", "en-GB")
    assert more.last_json["skipped"] == 0
    assert sorted(times(output)) == ["talk.srt", "talk.txt"]

    media.write_bytes((talks / "states.wav").read_bytes())
    assert call(*run, "--format", "srt,txt").last_json["skipped"] == 0
    assert (output / "talk.txt").read_text() == STATES + "\n"

    (output / "talk.srt").unlink()
    assert call(*run, "--format", "srt,txt").last_json["skipped"] == 0
    assert (output / "talk.srt").is_file()


def test_a_killed_run_is_finished_by_the_next_without_doing_a_file_twice(talks: Path, tmp_path: Path) -> None:
    run = (*TRANSCRIBE, talks, "--output", tmp_path, "--format", "srt,jsonl", "--json")
    with Running(*run) as first:
        first.wait_for("done     ")
        first.send(signal.SIGKILL)
        first.end()
    finished = times(tmp_path)
    done_before = len(first.err) - 1  # all but the line about the model
    assert 1 <= done_before < 4

    second = mmstream(*run)
    assert second.code == 0
    assert second.last_json["skipped"] >= done_before
    assert second.last_json["files"] == 4
    assert len(second.lines("done")) == 4 - second.last_json["skipped"]
    complete = {name: time for name, time in finished.items() if not name.endswith(".partial")}
    assert {name: times(tmp_path)[name] for name in complete} == complete
    assert len(times(tmp_path)) == 8
    assert not leftovers(tmp_path)
    assert not (tmp_path / WORK_FOLDER).exists()
    assert pysubs2.load(str(tmp_path / "weather.srt"))[0].plaintext == WEATHER


def test_two_runs_into_one_folder(talks: Path, tmp_path: Path) -> None:
    with Running(*TRANSCRIBE, SPOKEN_VIDEO, "--output", tmp_path) as first:
        first.wait_for_file(tmp_path / WORK_FOLDER / ".spoken.jsonl.partial")
        second = call(*TRANSCRIBE, talks / "weather.wav", "--output", tmp_path)
        second.the_line(f"mmstream: {tmp_path}: another run is writing here; wait for its end or choose another")
        assert first.process.poll() is None
        first.send(signal.SIGINT)
        first.end()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_nothing_half_written(talks: Path, tmp_path: Path, number: signal.Signals) -> None:
    with Running(*TRANSCRIBE, talks / "weather.wav", SPOKEN_VIDEO, "--output", tmp_path, "--format", "srt,txt") as run:
        run.wait_for("done     ")
        run.wait_for_file(tmp_path / WORK_FOLDER / ".spoken.jsonl.partial")
        run.send(number)
        asked_at = time.monotonic()
        done = run.end()
        assert time.monotonic() - asked_at < 8
    assert done.code == 130
    assert done.err.splitlines()[-1] == "interrupted: run the same command again to go on where it stopped"
    assert "Traceback" not in done.err
    assert sorted(times(tmp_path)) == ["weather.srt", "weather.txt"]
    assert not (tmp_path / WORK_FOLDER).exists()


# Ray.


def test_two_workers_on_ray_give_the_lines_of_one_thread(talks: Path, tmp_path: Path) -> None:
    local, on_ray = tmp_path / "local", tmp_path / "ray"
    options = ("-f", "jsonl,srt", "--split-s", 6)  # which cuts the sample video in three
    assert call(*TRANSCRIBE, talks, SPOKEN_VIDEO, "-o", local, *options).code == 0
    run = (*TRANSCRIBE, talks, SPOKEN_VIDEO, "-o", on_ray, *options, "--executor", "ray", "--workers", 2, "--json")
    done = mmstream(*run, timeout_s=120)
    assert done.code == 0, done
    assert done.last_json["files"] == len(done.lines("done")) == 5
    names = [Path(name) for name in times(local) if name.endswith(".jsonl")]
    assert len(names) == 5
    for name in names:
        assert _timeless(on_ray / name) == _timeless(local / name)
        assert (on_ray / name).with_suffix(".srt").read_bytes() == (local / name).with_suffix(".srt").read_bytes()


def _timeless(path: Path) -> list[str]:
    lines = [json.dumps(without_wall_clock(json.loads(line))) for line in path.read_text("utf-8").splitlines()]
    assert lines, path
    return lines


# Folders that cannot be written.


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts a small file system in memory, with the options given."""
    folder = tmp_path / "small"
    folder.mkdir()

    def mount(options: str) -> Path:
        if os.geteuid() != 0:
            missing("the right to mount a small file system (run as root)")
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
        if done.returncode:
            missing(f"the right to mount a small file system ({done.stderr.strip()})")
        return folder

    yield mount
    if os.path.ismount(folder):
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk(mounted: Any, talks: Path) -> None:
    folder = mounted("size=32k")
    with pytest.raises(OSError, match="No space left"):
        (folder / "filler").write_bytes(bytes(64 << 10))
    run = (*TRANSCRIBE, talks / "weather.wav", talks / "deep/bank.mp4", "-o", folder, "-f", "jsonl", "--json")

    done = call(*run)
    assert done.code == 1
    assert done.last_json["failed"] == 2
    failed = done.lines("failed")
    assert [line.split()[1] for line in failed] == [f"{talks}/weather.wav:", f"{talks}/deep/bank.mp4:"]
    assert all(line.endswith(": No space left on device") for line in failed)
    assert "Traceback" not in done.err
    assert sorted(path.name for path in folder.iterdir()) == [JOURNAL_NAME, "filler"]

    (folder / "filler").unlink()
    done = call(*run)
    assert done.last_json["failed"] == done.last_json["skipped"] == done.code == 0
    assert text_of(folder / "weather.jsonl") == WEATHER


def test_a_standard_output_that_is_full(talks: Path, tmp_path: Path) -> None:
    command = [COMMAND, *TRANSCRIBE, str(talks / "weather.wav"), "-o", str(tmp_path), "--json"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "mmstream: standard output: cannot be written: No space left on device"
    assert (tmp_path / "weather.srt").is_file()


def test_a_read_only_folder(mounted: Any, talks: Path) -> None:
    folder = mounted("ro")
    done = call(*TRANSCRIBE, talks / "weather.wav", "-o", folder / "captions")
    done.the_line(f"mmstream: {folder}/captions: ", "Read-only file system")


def test_an_output_that_is_a_file(talks: Path, tmp_path: Path) -> None:
    output = tmp_path / "captions.srt"
    output.write_text("mine")
    call(*TRANSCRIBE, talks / "weather.wav", "-o", output).the_line(f"--output {output}: is a file; captions go into")
    assert output.read_text() == "mine"
