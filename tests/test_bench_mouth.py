"""``mmstream bench mouth``: that it measures what it says and ends with one JSON line. Not how fast we are."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from mmstream.benchmarks import mouth
from tests.command_line import call
from tests.media_samples import talking_picture
from tests.test_bench import figures


def test_a_drawn_face_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mouth, "DRAWN_S", 2.0)
    threads = cv2.getNumThreads()
    done = call("bench", "mouth", "--rounds", "2")
    assert done.code == 0, done
    *table, line = done.out.splitlines()
    assert any("decoding alone" in row for row in table)
    found = figures(line)
    names = {name.partition(",")[0]: figure for name, figure in found.items()}
    assert all(len(figure["rounds"]) == 2 and figure["low"] > 0 for figure in names.values())
    assert names["faces and mouth"]["target"] == ">= 100"
    speeds, decoding = names["faces and mouth"]["rounds"], names["decoding alone"]["rounds"]
    ratios = [b / a for a, b in zip(speeds, decoding, strict=True)]
    assert names["cost against decoding"]["rounds"] == pytest.approx(ratios, rel=1e-3)
    assert done.last_json["settings"]["pictures"] == "50 of 360x288"
    assert done.last_json["mouth_share"] == 1.0
    assert "round 2 of 2" in done.err
    assert cv2.getNumThreads() == threads, "as it was before"


def test_a_video_without_a_face_is_said_to_be_one(tmp_path: Path) -> None:
    done = call("bench", "mouth", talking_picture(tmp_path / "bars.mp4", 1.0), "--rounds", "1", "--json")
    assert done.code == 0, done
    assert len(done.out.splitlines()) == 1
    assert done.last_json["settings"]["pictures"] == "25 of 160x120"
    assert any("0% of the pictures hold a mouth" in note for note in done.last_json["notes"])


def test_a_video_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    done = call("bench", "mouth", tmp_path / "missing.mp4")
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[1:] == [f"mmstream: {tmp_path / 'missing.mp4'}: no such file"]
