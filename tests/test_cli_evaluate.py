"""``mmstream evaluate`` over a small manifest of real speech."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmstream.samples import SPOKEN_TEXT
from tests.command_line import BANK, WEATHER, call, mmstream, say
from tests.media_samples import write_wav

FIGURES = ["condition", "wer", "wer_ci", "cer", "words", "utterances", "rtf", "video"]
LATENCIES = ["emission_ms", "commit_ms", "first_partial_ms", "finalisation_ms", "missing_finals", "revision_rate"]
AS_RECORDED = {"modality": "audio", "snr_db": None, "drop_video": 0.0, "drop_kind": "random", "av_offset_ms": 0.0}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two utterances. In the second the reference says less than the speaker."""
    folder = tmp_path_factory.mktemp("manifest")
    say(folder / "weather.wav", WEATHER)
    say(folder / "deep/bank.wav", BANK)
    entries = [
        {"media": "weather.wav", "text": "The weather is very nice today.", "speaker": "slt", "duration": 2.9},
        {"media": "deep/bank.wav", "text": "The company said it will buy."},
    ]
    return write(folder / "dev.jsonl", entries)


def write(path: Path, entries: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def test_the_last_line_holds_the_documented_figures(manifest: Path, tmp_path: Path) -> None:
    output = tmp_path / "results.jsonl"
    done = mmstream("evaluate", manifest, "--model", "sphinx", "--output", output)
    figures = done.last_json
    assert done.code == 0
    assert list(figures) == FIGURES
    assert (figures["words"], figures["utterances"]) == (12, 2)
    assert figures["wer"] == pytest.approx(2 / 12)  # "the bank" is not in the reference
    low, high = figures["wer_ci"]
    assert 0 <= low <= figures["wer"] <= high
    assert 0 < figures["cer"] < 1
    assert 0 < figures["rtf"] < 5
    assert "emission" not in done.out
    folder = manifest.parent
    assert [json.loads(line) for line in output.read_text().splitlines()] == [
        {"media": f"{folder}/weather.wav", "reference": "The weather is very nice today.", "hypothesis": WEATHER},
        {"media": f"{folder}/deep/bank.wav", "reference": "The company said it will buy.", "hypothesis": BANK},
    ]


def test_people_get_a_table_and_machines_only_the_line(manifest: Path) -> None:
    run = ("evaluate", manifest, "--model", "sphinx", "--limit", 1)
    shown, bare = call(*run), call(*run, "--json")
    assert [line.split()[0] for line in shown.out.splitlines()[:-1]] == FIGURES
    assert len(bare.out.splitlines()) == 1
    for done in (shown, bare):
        assert {**done.last_json, "rtf": 0} == {
            **{"wer": 0.0, "wer_ci": [0.0, 0.0], "cer": 0.0, "words": 6, "utterances": 1, "rtf": 0, "video": 0.0},
            "condition": AS_RECORDED,
        }
        assert done.err == "mmstream: model: sphinx\n"


def test_in_real_time_latency_is_added(manifest: Path) -> None:
    done = call("evaluate", manifest, "--model", "sphinx", "--realtime", "--limit", 1, "--json")
    figures = done.last_json
    assert done.code == 0
    assert list(figures) == FIGURES + LATENCIES
    for name in ("emission_ms", "commit_ms"):
        assert list(figures[name]) == ["p50", "p90", "p99"]
        assert 0 <= figures[name]["p50"] <= figures[name]["p90"] <= figures[name]["p99"] < 10_000
    assert all(figures["commit_ms"][rank] >= figures["emission_ms"][rank] for rank in ("p50", "p90", "p99"))
    assert figures["revision_rate"] >= 0
    assert figures["wer"] == 0


def test_where_nobody_speaks_no_rate_is_invented(tmp_path: Path) -> None:
    write_wav(tmp_path / "quiet.wav", np.zeros((16_000, 1), np.int16))
    heard = write(tmp_path / "dev.jsonl", [{"media": "quiet.wav", "text": "hello"}])
    figures = call("evaluate", heard, "-m", "sphinx", "--realtime", "--json").last_json
    assert figures["wer"] == 1
    assert [figures[name] for name in LATENCIES] == [None, None, None, None, 0, None]
    nothing = write(tmp_path / "dev.jsonl", [{"media": "quiet.wav", "text": ""}])
    done = call("evaluate", nothing, "-m", "sphinx")
    done.the_line("mmstream: the references hold no words: there is no word error rate")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"media": "weather.wav", "text": 3}', "text must be a string"),
        ('{"media": "weather.wav", "text": ', "not JSON"),
        ('{"media": "elsewhere.wav", "text": "a"}', "media 'elsewhere.wav' is not in "),
        ('{"text": "a"}', "'media' is missing"),
        ("[]", "must be a JSON object"),
    ],
)
def test_a_broken_line_is_named_before_anything_runs(manifest: Path, line: str, said: str) -> None:
    broken = manifest.with_name("broken.jsonl")
    broken.write_text(manifest.read_text() + line + "\n")
    done = call("evaluate", broken, "--model", "sphinx")
    done.the_line(f"mmstream: {broken}:3: ", said)
    assert "model:" not in done.err


def test_media_that_cannot_be_read_ends_the_evaluation_with_its_name(manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video\n")
    broken = write(tmp_path / "dev.jsonl", [{"media": "text.mp4", "text": "a"}])
    done = call("evaluate", broken, "--model", "sphinx", "--output", tmp_path / "results.jsonl")
    done.the_line(f"mmstream: {tmp_path}/text.mp4 cannot be read as media")
    assert done.out == ""
    assert not (tmp_path / "results.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.jsonl"], "mmstream: nowhere.jsonl: No such file or directory"),
        ([str(SPOKEN_TEXT), "--model", "sphynx"], "spoken.txt:1: not JSON"),
    ],
)
def test_manifests_that_are_none(arguments: list[str], said: str) -> None:
    call("evaluate", *arguments).the_line(said)


def test_an_output_that_cannot_be_written_is_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video: work would fail on it\n")
    entries = write(tmp_path / "dev.jsonl", [{"media": "text.mp4", "text": "a"}])
    done = call("evaluate", entries, "-m", "sphinx", "--output", entries / "results.jsonl")
    done.the_line(f"mmstream: {entries}/results.jsonl: cannot be written: ")
