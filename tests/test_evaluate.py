"""Conditions of ``mmstream evaluate``: what the graph gets in each, which options go together, and latency by hand."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mmstream.core import MmstreamError
from mmstream.drive import running
from mmstream.evaluation.conditions import Condition, Disturbance, Modality, Setup, clips_of
from mmstream.evaluation.latency import Percentiles, Timed, latency
from mmstream.evaluation.manifest import read_manifest
from mmstream.evaluation.trial import Trial
from tests.command_line import call, mmstream
from tests.media_samples import noise, write_wav
from tests.tiny_avsr import write_tiny
from tests.watching import CLIP_S, FPS, Watcher, film

FRAMES = round(CLIP_S * FPS)
SAMPLES = round(CLIP_S * 16_000)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two films of a drawn face and a tone, and noise beside them."""
    folder = tmp_path_factory.mktemp("films")
    first = film(folder / "0.mkv")
    shutil.copy(first, folder / "1.mkv")
    (folder / "noise").mkdir()
    write_wav(folder / "noise/hiss.wav", noise(2.0))
    entries = [{"media": f"{k}.mkv", "text": "bin blue at l eight please", "duration": CLIP_S} for k in range(2)]
    path = folder / "dev.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recogniser of sound and lips that has learnt nothing."""
    return write_tiny(tmp_path_factory.mktemp("model"))


def measured(manifest: Path, folder: Path, condition: Condition, workers: int = 1) -> list[list[float]]:
    """Of each film, what the recogniser of ``tests.watching`` says it got."""
    setup = Setup(Watcher(), allow=("tests",), workers=workers)  # type: ignore[arg-type]
    graph = setup.graph(condition.modality, f"{folder}/{{session}}.jsonl")
    clips = clips_of(read_manifest(manifest), manifest)
    with running("local", graph) as started:
        trial = Trial(setup, graph, started, folder, clips, condition, Disturbance(manifest.parent / "noise", 1))
        trial.run(Console(file=(folder / "said").open("w")))
    assert [one.clip.name for one in trial.heard] == ["0.mkv", "1.mkv"]
    return [[float(word) for word in one.text.split()] for one in trial.heard]


@pytest.mark.parametrize(
    ("modality", "got"), [("audio", (SAMPLES, 0)), ("video", (0, FRAMES)), ("av", (SAMPLES, FRAMES))]
)
def test_a_modality_is_what_the_graph_gets(manifest: Path, tmp_path: Path, modality: Modality, got: Any) -> None:
    for samples, _, mouths, _ in measured(manifest, tmp_path, Condition(modality), workers=2):
        assert (samples, mouths) == got


def test_conditions_come_together(manifest: Path, tmp_path: Path) -> None:
    clean = measured(manifest, tmp_path, Condition("av"))
    given = measured(manifest, tmp_path, Condition("av", -10.0, 0.5, "burst", 200.0))
    for (_, quiet_db, *_), (samples, loud_db, mouths, first_ms) in zip(clean, given, strict=True):
        assert samples == SAMPLES
        assert loud_db == pytest.approx(quiet_db + 10.4, abs=1.2)  # words are whole dB
        assert FRAMES // 2 - 6 <= mouths <= FRAMES // 2  # 5 more went beyond the end; the tracker may need one
        assert first_ms >= 200
    assert measured(manifest, tmp_path, Condition("av", 0.0, 1.0, "all"))[0][2:] == [0, -1]


def test_the_command_runs_every_modality_of_a_model_that_looks(manifest: Path, tiny: Path) -> None:
    run = ("evaluate", manifest, "--model", tiny, "--json")
    by_default, heard, seen = call(*run), call(*run, "--modality", "audio"), call(*run, "--modality", "video")
    assert by_default.last_json["condition"]["modality"] == "av"
    for done in (by_default, heard, seen):
        assert done.code == 0, done.err
        assert (done.last_json["utterances"], done.last_json["words"]) == (2, 12)
    assert heard.last_json["video"] in (0, None)


def test_the_command_sweeps(manifest: Path, tiny: Path, tmp_path: Path) -> None:
    done = call(
        "evaluate", manifest, "--model", tiny, "--sweep", "--out", tmp_path / "out", "--limit", 1, "--workers", 1
    )
    assert done.code == 0, done.err
    assert (done.last_json["clips"], done.last_json["cells"]) == (1, 57)
    assert done.lines("mmstream: noise: ") == [f"mmstream: noise: {manifest.parent}/noise/*"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "clips.jsonl",
        "sweep.json",
        "sweep.md",
        "wer-by-missing-video.png",
        "wer-by-offset.png",
        "wer-by-snr.png",
    ]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--modality", "av"], "--modality av: model 'sphinx' uses sound only"),
        (["--modality", "video"], "--modality video: model 'sphinx' uses sound only"),
        (["--snr", 0], "--noise and --snr go together"),
        (["--noise", "noise"], "--noise and --snr go together"),
        (["--noise", "nowhere", "--snr", 0], "nowhere: there is no sound file or folder of sound files"),
        (["--drop-video", 0.5], "--drop-video: there is no video in --modality audio"),
        (["--av-offset-ms", 40], "--av-offset-ms: there is no video in --modality audio"),
        (["--drop-kind", "burst"], "--drop-kind burst loses nothing: say how much with --drop-video"),
        (["--out", "elsewhere"], "--out is the folder of --sweep"),
        (["--sweep", "--snr", 0], "--sweep runs every condition, as fast as possible and in this process: drop --snr"),
        (["--sweep", "--realtime"], "drop --realtime"),
        (["--sweep", "--modality", "audio"], "drop --modality"),
        (["--sweep", "--drop-kind", "all"], "drop --drop-kind"),
        (["--sweep", "--noise", "nowhere"], "nowhere: there is no sound file or folder of sound files"),
    ],
)
def test_options_that_do_not_go_together(manifest: Path, options: list[Any], said: str) -> None:
    call("evaluate", manifest, "--model", "sphinx", *options).the_line(said)


@pytest.mark.parametrize(
    "options",
    [
        ["--snr", 1000],
        ["--snr", "nan"],
        ["--snr=-inf"],
        ["--drop-video", 2],
        ["--drop-video", "nan"],
        ["--av-offset-ms", 1e9],
        ["--av-offset-ms", "nan"],
    ],
)
def test_options_out_of_range(manifest: Path, options: list[Any]) -> None:
    done = call("evaluate", manifest, "--model", "sphinx", *options)
    said = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", done.err).replace("│", " ").split())
    assert done.code == 2, done
    assert f"Invalid value for '{options[0].partition('=')[0]}': Input should be " in said


@pytest.mark.parametrize("options", [["--snr", 0], ["--sweep"]])
def test_noise_that_is_none_is_told_before_the_work(manifest: Path, options: list[Any]) -> None:
    """The manifest itself, which is no sound."""
    done = call("evaluate", manifest, "--model", "sphinx", "--noise", manifest, *options)
    assert done.the_line().startswith(f"mmstream: {manifest} cannot be read as media")
    assert "model:" not in done.err


def test_a_folder_of_the_sweep_that_cannot_be_made(manifest: Path) -> None:
    run = ("evaluate", manifest, "--model", "sphinx", "--sweep", "--noise", manifest.parent / "noise/hiss.wav")
    said = [line for line in call(*run, "--out", manifest).err.splitlines() if "noise:" not in line]
    assert said == ["mmstream: model: sphinx", f"mmstream: {manifest}: cannot be written: File exists"]


def test_no_more_replicas_than_utterances(manifest: Path) -> None:
    """So many would not fit into any machine."""
    done = call("evaluate", manifest, "--model", "sphinx", "--workers", 1_000_000, "--json")
    assert (done.code, done.last_json["utterances"]) == (0, 2), done.err


def test_sound_and_lips_have_conditions_of_their_own(manifest: Path, tiny: Path) -> None:
    run = ("evaluate", manifest, "--model", tiny, "--modality", "video")
    call(*run, "--noise", manifest.parent / "noise", "--snr", 0).the_line(
        "--noise: there is no sound in --modality video"
    )
    call(*run, "--av-offset-ms", 40).the_line("--av-offset-ms: there is no sound in --modality video")


def test_the_help_explains_the_sweep() -> None:
    shown = " ".join(mmstream("evaluate", "--help", env={"COLUMNS": "100"}).out.replace("│", " ").split())
    for part in ("--sweep --out sweep", "--drop-video 0.5 --drop-kind burst", "<audio|video|av>", "<random|burst|all>"):
        assert part in shown


def word(end: float, emitted: float, committed: float, start_of_media: float = 1000.0) -> dict[str, float]:
    return {"end": end, "captured_at": start_of_media + end, "emitted_at": emitted, "committed_at": committed}


def test_first_partial_and_finalisation_by_hand() -> None:
    first = [{"words": [word(0.6, 1000.9, 1001.0), word(1.0, 1001.1, 1001.4)], "shown_at": 1000.8}]
    second = [{"words": [word(0.7, 1000.7, 1001.0)]}, {"gap": {}}, {"words": [word(2.0, 1002.1, 1002.6)]}]
    found = latency([Timed(first, onset=0.5, end=1.1), Timed(second, onset=0.5, end=2.0), Timed([], 0.5, 1.0)])
    # Shown at 0.8 and, as far as is known, 0.7; 0.5 was the onset. Final at 1.4 and 2.6; the ends were 1.1 and 2.0.
    assert found.first_partial_ms == Percentiles(250.0, 290.0, 299.0)
    assert found.finalisation_ms == Percentiles(450.0, 570.0, 597.0)
    assert found.missing_finals == 1


def test_without_the_times_of_words_nothing_is_missing() -> None:
    found = latency([Timed([{"words": [word(0.6, 1000.9, 1001.0)]}]), Timed([])])
    assert (found.first_partial_ms, found.finalisation_ms, found.missing_finals) == (None, None, 0)
    assert found.emission_ms == Percentiles(300.0, 300.0, 300.0)


def test_noise_without_a_recording_is_no_condition() -> None:
    with pytest.raises(ValueError, match="needs noise"):
        Disturbance().on_sound(Condition("audio", 0.0))
    with pytest.raises(MmstreamError, match="uses sound only"):
        Setup(Watcher(media=("audio",))).graph("av", "x.jsonl")  # type: ignore[arg-type]
