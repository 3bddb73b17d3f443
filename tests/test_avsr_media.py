"""What cameras and files really give, through the whole pipeline with the weights that ship: captions always go on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.command_line import mmstream
from tests.media_samples import ffmpeg, require_data

Cue = dict[str, Any]

BLACK = "drawbox=color=black:t=fill"
VARIANTS: dict[str, tuple[object, ...]] = {  # name -> options of ffmpeg between the clip and the output
    "clean": (),
    "black": ("-vf", BLACK),
    "frozen": ("-vf", "loop=loop=74:size=1:start=0,setpts=N/25/TB", "-frames:v", 75),
    "leaves": ("-vf", f"{BLACK}:enable='between(t,0.9,3)'"),
    "returns": ("-vf", f"{BLACK}:enable='between(t,0.4,1.2)'"),
    "profile": ("-vf", "rotate=PI/2"),
    "slow": ("-r", "5"),
    "fast": ("-r", "60"),
    "drifting": ("-vf", "setpts=PTS*1.001"),
    "wide": ("-vf", "pad=720:288:360:0"),
    "large": ("-vf", "scale=1280:-2"),
}


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[list[Cue], list[Cue]]]:
    """The words and the gaps of each variant of one clip, all transcribed by one command."""
    folder, out = tmp_path_factory.mktemp("variants"), tmp_path_factory.mktemp("captions")
    manifest = require_data("grid/dev_seen.jsonl")
    clip = manifest.parent / json.loads(manifest.read_text().splitlines()[0])["media"]
    encoding = ("-preset", "ultrafast", "-crf", "14", "-c:a", "copy")
    for name, options in VARIANTS.items():
        ffmpeg("-i", clip, *options, *encoding, folder / f"{name}.mp4")
    ffmpeg("-i", clip, "-vn", "-c:a", "copy", folder / "sound.mp4")
    ffmpeg("-i", clip, "-an", "-c:v", "copy", folder / "lips.mp4")
    pictures = tmp_path_factory.mktemp("late") / "clip.mp4"
    ffmpeg("-ss", "1", "-i", clip, "-an", *encoding[:4], pictures)
    ffmpeg(
        "-itsoffset", "1", "-i", pictures, "-i", clip, "-map", "0:v", "-map", "1:a", "-c", "copy", folder / "late.mkv"
    )
    sideways = tmp_path_factory.mktemp("sideways") / "clip.mp4"
    ffmpeg("-i", clip, "-vf", "transpose=1", *encoding, sideways)  # as a phone on its side films
    ffmpeg("-i", sideways, "-c", "copy", "-metadata:s:v:0", "rotate=90", folder / "portrait.mp4")
    done = mmstream("transcribe", folder, "--model", "avsr", "--output", out, "--format", "jsonl", "--json")
    assert done.code == 0, done.err
    assert done.last_json["failed"] == 0

    def read(name: str) -> tuple[list[Cue], list[Cue]]:
        lines = [json.loads(line) for line in (out / f"{name}.jsonl").read_text().splitlines()]
        words = [word for line in lines if "words" in line for word in line["words"]]
        return words, [line["gap"] for line in lines if "gap" in line]

    return read


def share(words: list[Cue]) -> float:
    return float(np.mean([word["video"] for word in words]))


def test_the_clean_clip_has_timed_words_with_shares_of_video(captions: Callable) -> None:
    words, gaps = captions("clean")
    assert len(words) >= 4
    assert gaps == []
    assert all(0 < word["video"] < 1 and word["start"] < word["end"] <= 3.3 for word in words)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("black", "dark|no face"), ("frozen", "frozen|not change|still"), ("profile", "no face"), ("sound", "")],
)
def test_without_a_mouth_to_see_sound_goes_on_alone_and_the_lines_say_why(
    captions: Callable, name: str, reason: str
) -> None:
    words, gaps = captions(name)
    assert len(words) >= 3
    assert share(words) < 0.6 * share(captions("clean")[0])
    if reason:
        assert any(any(part in gap["reason"] for part in reason.split("|")) for gap in gaps), gaps
        assert {gap["medium"] for gap in gaps} == {"video"}


@pytest.mark.parametrize("name", ["leaves", "returns"])
def test_a_face_that_leaves_costs_only_its_time(captions: Callable, name: str) -> None:
    words, gaps = captions(name)
    assert len(words) >= 3
    assert gaps
    assert 0 < share(words) < share(captions("clean")[0])


@pytest.mark.parametrize("name", ["slow", "fast", "drifting", "wide", "large", "portrait"])
def test_other_pictures_are_seen_as_well(captions: Callable, name: str) -> None:
    words, _ = captions(name)
    assert len(words) >= 3
    assert share(words) > 0.3 * share(captions("clean")[0])


def test_video_that_starts_later_counts_from_then_on(captions: Callable) -> None:
    words, _ = captions("late")
    assert len(words) >= 3
    assert all(word["video"] < 0.05 for word in words if word["end"] < 0.9)


def test_lips_alone_give_words_in_which_video_is_all(captions: Callable) -> None:
    words, _ = captions("lips")
    assert len(words) >= 3
    assert all(word["video"] > 0.9 for word in words)
