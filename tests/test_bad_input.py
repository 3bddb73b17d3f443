"""Whatever the input: the right words or one clear line, and never a traceback or a half-written file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mmstream.journal import JOURNAL_NAME
from tests.command_line import SAMPLE_RATE, TRANSCRIBE, WEATHER, Finished, call, leftovers, mmstream, say
from tests.media_samples import ffmpeg, write_wav
from tests.model_folders import folder as model_folder  # noqa: F401 - a fixture
from tests.model_folders import home  # noqa: F401 - a fixture

PICTURE = ("-f", "lavfi", "-i", "testsrc2=size=160x120:rate=25", "-shortest", "-preset", "ultrafast")
SIX_CHANNELS = "pan=5.1|c0=0*c0|c1=0*c0|c2=c0|c3=0*c0|c4=0*c0|c5=0*c0"  # as in films: speech in the centre alone

HARD_NAMES = {  # name without suffix -> as it is shown
    "two words": "two words",
    "new\nline": r"new\nline",
    "þýðing 翻訳": "þýðing 翻訳",
    os.fsdecode(b"latin-\xe9"): r"latin-\udce9",
    "red-\x1b[31m": r"red-\x1b[31m",
}

# Media files: each in one run together with all the others, as they would lie in somebody's folder.


@dataclass(frozen=True)
class Media:
    """The run over the folder of bad media, and the captions that it wrote."""

    folder: Path
    run: Finished
    output: Path

    def said_of(self, name: str) -> str:
        """The one line about a file."""
        (line,) = [line for line in self.run.err.splitlines() if f"{self.folder.name}/{name}" in line]
        return line

    def captions_of(self, name: str) -> list[Path]:
        return [path for path in self.output.iterdir() if path.name.startswith(name.partition(".")[0] + ".")]


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Media:
    folder = tmp_path_factory.mktemp("media") / "bad"
    folder.mkdir()
    sound = say(folder / "good.wav", WEATHER)
    for make in (damaged, odd, named):
        make(folder, sound)
    inputs = sorted(path for path in folder.iterdir())
    output = folder.parent / "captions"
    run = mmstream(
        *TRANSCRIBE,
        *inputs,
        folder.parent / "nowhere.mp4",
        "-o",
        output,
        "-f",
        "jsonl,srt",
        "--json",
    )
    return Media(folder, run, output)


def damaged(folder: Path, sound: Path) -> None:
    """Files that hold less than they should."""
    for name, options in (("index-first", ("-movflags", "+faststart")), ("index-last", ())):
        whole = folder.parent / f"{name}.mp4"
        ffmpeg("-i", sound, *PICTURE, *options, whole)
        (folder / f"{name}.mp4").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (folder / "text.mp4").write_text("these are my notes, not a video\n" * 100)
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "random.mp4").write_bytes(np.random.default_rng(0).bytes(50_000))
    ffmpeg("-i", sound, *PICTURE, "-an", "-t", 1, folder / "silent.mp4")
    write_wav(folder / "no-samples.wav", np.zeros((0, 1), np.int16))
    (folder / "folder.mp4").mkdir()


def odd(folder: Path, sound: Path) -> None:
    """Files that are unusual and whole."""
    ffmpeg("-i", sound, "-b:a", "96k", folder / "sound-only.m4a")
    ffmpeg("-i", sound, "-ar", 8_000, folder / "8-khz.wav")
    ffmpeg("-i", sound, "-ar", 96_000, folder / "96-khz.flac")
    ffmpeg("-i", sound, "-af", SIX_CHANNELS, folder / "6-channels.wav")
    frames = "select='not(mod(n\\,7))+lt(mod(n\\,50)\\,9)'"
    ffmpeg("-i", sound, *PICTURE, "-vf", frames, "-fps_mode", "vfr", "-b:a", "96k", folder / "variable-rate.mp4")
    ffmpeg("-i", sound, "-b:a", "96k", folder.parent / "once.ts")
    (folder / "jumps-back.ts").write_bytes((folder.parent / "once.ts").read_bytes() * 2)
    write_wav(folder / "quiet.wav", np.zeros((SAMPLE_RATE, 1), np.int16))


def named(folder: Path, sound: Path) -> None:
    """Files with names that are hard to print."""
    for name in HARD_NAMES:
        (folder / f"{name}.wav").write_bytes(sound.read_bytes())


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("index-first.mp4", "is damaged or cut short: its audio ends at"),
        ("index-last.mp4", "cannot be read as media: its index is missing, so it was cut short"),
        ("text.mp4", "cannot be read as media: "),
        ("random.mp4", "cannot be read as media: "),
        ("empty.mp4", "is empty (0 bytes)"),
        ("silent.mp4", "has no audio, only video"),
        ("no-samples.wav", "but nothing is in it"),
        ("folder.mp4", "the folder holds no media files"),
    ],
)
def test_a_file_that_cannot_be_captioned_is_named_with_the_reason(media: Media, name: str, why: str) -> None:
    line = media.said_of(name)
    assert line.startswith("failed   ")
    assert why in line
    assert "node '" not in line
    assert not media.captions_of(name)


def test_a_file_that_is_not_there(media: Media) -> None:
    line = f"failed   {media.folder.parent}/nowhere.mp4: there is no such file or folder"
    assert line in media.run.err.splitlines()


@pytest.mark.parametrize(
    "name",
    "good.wav sound-only.m4a 8-khz.wav 96-khz.flac 6-channels.wav variable-rate.mp4 jumps-back.ts".split(),
)
def test_an_unusual_file_gives_its_words(media: Media, name: str) -> None:
    assert media.said_of(name).startswith("done     ")
    captions = media.output / name.replace(name.rpartition(".")[2], "jsonl")
    lines = [json.loads(line) for line in captions.read_text("utf-8").splitlines()]
    words = [word for line in lines for word in line["words"]]
    times = 2 if name == "jumps-back.ts" else 1
    assert " ".join(word["word"] for word in words) == " ".join([WEATHER] * times)
    assert all(before["end"] <= after["start"] for before, after in pairwise(words))
    assert 0.3 <= words[0]["start"] < words[-1]["end"] <= 3 * times


def test_silence_gives_captions_without_a_word(media: Media) -> None:
    assert media.said_of("quiet.wav").startswith("done     ")
    assert [path.read_text() for path in media.captions_of("quiet.wav")] == ["", ""]


@pytest.mark.parametrize(("name", "shown"), HARD_NAMES.items())
def test_a_name_that_is_hard_to_print_stands_on_one_line(media: Media, name: str, shown: str) -> None:
    assert media.said_of(f"{shown}.wav").startswith("done     ")
    for suffix in ("jsonl", "srt"):
        assert WEATHER in (media.output / f"{name}.{suffix}").read_text()


def test_the_run_over_bad_media_sums_up_and_leaves_nothing_half_written(media: Media) -> None:
    summary = media.run.last_json
    assert media.run.code == 1
    assert summary["failed"] == len(media.run.lines("failed")) == 9
    assert summary["files"] - summary["failed"] == len(media.run.lines("done")) == 13
    assert "Traceback" not in media.run.err
    assert not leftovers(media.output)
    written = [path for path in media.output.rglob("*") if path.name != JOURNAL_NAME]
    assert len(written) == 2 * 13


# What is refused before anything is done.


@pytest.fixture
def refused(media: Media, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., str]]:
    """Transcribes a good file in a folder of its own, with the options given; gives the one line said of them."""
    monkeypatch.chdir(tmp_path)

    def run(*options: object) -> str:
        done = call(*TRANSCRIBE, media.folder / "good.wav", "--output", "captions", *options)
        assert done.out == ""
        return done.the_line("mmstream: ")

    yield run
    assert not (tmp_path / "captions").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "pipeline.yaml: "),
        (b"- a\n- b\n", "pipeline.yaml:1: a pipeline file is a mapping"),
        (b"just text", "pipeline.yaml:1: a pipeline file is a mapping"),
        (b"nodes: {a: {use: os:system}}", "pipeline.yaml:1: "),
        (b"nodes: {" * 100, "pipeline.yaml:1: "),
        (b"nodes: \x00\xff\xfe", "pipeline.yaml"),
        (b"nodes: {a: {use: x}}\n" + b"#" * 10_000_000, "pipeline.yaml: "),
    ],
    ids=["empty", "list", "text", "not-allowed", "unfinished", "binary", "10-mb"],
)
def test_a_pipeline_file_that_is_none(refused: Callable[..., str], content: bytes, said: str) -> None:
    Path("pipeline.yaml").write_bytes(content)
    assert said in refused("--pipeline", "pipeline.yaml")


def test_a_pipeline_file_with_a_python_tag_runs_nothing(media: Media, tmp_path: Path) -> None:
    pipeline = tmp_path / "pipeline.yaml"
    pipeline.write_text(f"nodes: !!python/object/apply:os.system ['touch {tmp_path}/run']\n")
    done = call(
        *TRANSCRIBE,
        media.folder / "good.wav",
        "-o",
        tmp_path / "captions",
        "--pipeline",
        pipeline,
    )
    assert done.code == 1
    tag = "the tag '!!python/object/apply:os.system' is not allowed: a pipeline file holds plain values only"
    assert done.err.splitlines()[0] == f"mmstream: {pipeline}:1: {tag}"
    assert all(line.startswith(f"{pipeline}:1: ") for line in done.err.splitlines()[1:])
    assert list(tmp_path.iterdir()) == [pipeline]


def test_an_operator_of_a_module_that_is_not_allowed_is_not_even_imported(refused: Callable[..., str]) -> None:
    Path("mine.py").write_text("open('imported', 'w')\n")
    Path("pipeline.yaml").write_text("nodes: {a: {use: mine:Thing}}")
    line = refused("--pipeline", "pipeline.yaml")
    assert "--allow mine" in line
    assert not Path("imported").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--model", "sphynx"), "there is no model 'sphynx'; did you mean 'sphinx'?"),
        (("--model", "whisper-bass.en"), "there is no model 'whisper-bass.en'; did you mean 'whisper-base.en'?"),
        (("--model", "./nowhere"), "nowhere: does not exist; a model is a folder with "),
        (("--format", "srt,vvt"), "--format srt,vvt: 'vvt' is unknown; did you mean 'vtt'?"),
        (("--format", ","), "--format ',' names no format; known are srt, vtt, jsonl, txt"),
        (("--set", "speech.treshold=0.6"), "did you mean 'threshold'?"),
        (("--set", "speech.threshold=loud"), "speech.threshold"),
        (("--set", "nonsense"), "--set nonsense"),
        (("--pipeline", "nowhere.yaml"), "nowhere.yaml: there is no such file"),
    ],
)
def test_options_that_cannot_be(refused: Callable[..., str], options: tuple[str, ...], said: str) -> None:
    assert said in refused(*options)


def test_a_model_that_has_changed_since_it_was_pulled(
    refused: Callable[..., str],
    home: Path,  # noqa: F811
    model_folder: Path,  # noqa: F811
) -> None:
    assert call("models", "pull", "mine", "--from", model_folder).code == 0
    content = bytearray((home / "models/mine/config.json").read_bytes())
    content[-1] ^= 1
    (home / "models/mine/config.json").write_bytes(content)
    line = refused("--model", "mine")
    assert f"model 'mine': {home}/models/mine/config.json has the wrong checksum" in line


@pytest.mark.parametrize("path", ["a" * 300, "/dev/null", "good.wav/inside.wav"])
def test_paths_that_cannot_be_files(media: Media, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    monkeypatch.chdir(media.folder)
    done = call(*TRANSCRIBE, path, "--output", tmp_path)
    (line,) = done.lines("failed")
    assert line.startswith(f"failed   {path}: ")
    assert done.code == 1
    assert "Traceback" not in done.err
