"""``mmstream bench``: that every benchmark measures what it says and ends with one JSON line. Not how fast we are."""

from __future__ import annotations

import json
import mmap
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest

from mmstream.benchmarks import hops, processes, start
from mmstream.benchmarks.metered import MeteredSphinx
from mmstream.benchmarks.pipeline import SAMPLE_RATE, call_directly
from mmstream.benchmarks.speech import Recording, record
from mmstream.benchmarks.stages import Arrivals, Loop, Metronome, Numbered, Passage, Stamp, Watcher
from mmstream.benchmarks.table import Figure, Report, show
from mmstream.core import MmstreamError, Packet
from mmstream.media import Caption, Speech
from mmstream.testing import run_operator
from tests.command_line import BANK, WEATHER, call, mmstream, say
from tests.media_samples import write_wav
from tests.virtual_microphone import VirtualMicrophone, virtual_microphone  # noqa: F401

TINY = hops.Sizes(
    chained=50,
    threads=5,
    ray_small=40,
    ray_large=20,
    queue_small=5,
    queue_large=3,
    unloaded=5,
    per_second=200.0,
)


def figures(line: str) -> dict[str, dict[str, object]]:
    """The figures of a JSON line by name, each with its rounds checked."""
    found = json.loads(line)
    assert found["machine"]["machine"]
    for figure in found["figures"]:
        assert figure["low"] <= figure["median"] <= figure["high"]
    return {figure["name"]: figure for figure in found["figures"]}


# The table and the JSON line.

FIGURES = (
    Figure("fast enough", "ms", (3.0, 1.0, 2.0), at_most=2.0),
    Figure("too few", "packets/s", (10.0, 1234567.0), at_least=1e6),
    Figure("for information", "MB", (0.123456789,)),
)
REPORT = Report("test", "A test", {"rounds": 3}, FIGURES, ("A [note].",), {"course": [1, 2]})


def test_a_figure_is_judged_by_its_median() -> None:
    fast, few, plain = (figure.as_json() for figure in FIGURES)
    assert (fast["median"], fast["low"], fast["high"], fast["met"]) == (2.0, 1.0, 3.0, True)
    assert (few["target"], few["met"]) == (">= 1e+06", False)
    assert "met" not in plain
    assert plain["median"] == 0.12346


def test_people_get_a_table_and_machines_the_last_line(capsys: pytest.CaptureFixture[str]) -> None:
    show(REPORT, json_only=False)
    *table, line = capsys.readouterr().out.splitlines()
    assert any("fast enough" in row and "met" in row for row in table)
    assert any("A [note]." in row for row in table)
    assert figures(line)["too few"]["met"] is False
    assert json.loads(line)["course"] == [1, 2]


def test_json_alone_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    show(REPORT, json_only=True)
    assert figures(capsys.readouterr().out)


# What is counted.


def test_cpu_of_children_counts_while_they_live_and_after() -> None:
    before = processes.tree_cpu_s()
    spin = "import time\nwhile time.process_time() < 0.5: pass\nprint(flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", spin], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        alive = processes.tree_cpu_s() - before
        child.communicate(b"\n")
    after = processes.tree_cpu_s() - before
    assert 0.45 <= alive <= after <= 2.0


def test_vitals_see_memory_threads_and_files(tmp_path: Path) -> None:
    before = processes.Vitals.now()
    with (tmp_path / "file").open("w"), mmap.mmap(-1, 40_000_000) as held:  # np.ones may get memory that was freed
        held[:] = bytes([1]) * len(held)
        after = processes.Vitals.now()
    assert after.files == before.files + 1
    assert 30 < after.resident_mb - before.resident_mb < 60
    assert after.threads == before.threads


# The stages.


def test_numbered_keeps_its_pace() -> None:
    packets = list(Numbered(count=5, samples=3, per_second=50.0).packets("s"))
    assert [packet.data.samples[0, 0] for packet in packets] == [0, 1, 2, 3, 4]
    assert all(packet.data.samples.shape == (3, 1) for packet in packets)
    assert packets[-1].captured_at - packets[0].captured_at == pytest.approx(0.08, abs=0.015)


def test_arrivals_are_later_than_what_was_sent(tmp_path: Path) -> None:
    began = time.monotonic()
    stamped = run_operator(Stamp(), Numbered(count=3).packets("s"))
    assert run_operator(Arrivals(str(tmp_path)), stamped, "s") == []
    passage = Passage.load(tmp_path, "s")
    assert len(passage.sent) == 3
    assert (passage.sent >= began).all()
    assert (passage.arrived > passage.sent).all()
    assert 0 < passage.latency_ms(50) <= passage.latency_ms(99)
    assert passage.per_second > 0


def test_loop_repeats_the_recording_without_a_seam(tmp_path: Path) -> None:
    recording = np.arange(250, dtype=np.int16) * 100
    np.save(tmp_path / "speech.npy", recording)
    packets = list(Loop(str(tmp_path / "speech.npy"), sample_rate=1000, hours=0.5 / 3600).packets("s"))
    given = np.concatenate([packet.data.samples for packet in packets])
    assert given.shape == (500, 2)
    assert (given[:, 0] * 32768 == np.tile(recording, 2)).all()
    assert [(packet.start, packet.end) for packet in packets][-1] == (0.4, 0.5)


def speech(start: float, seconds: float, last: bool) -> Packet[Speech]:
    return Packet("s", start, start + seconds, Speech(np.zeros(round(16_000 * seconds), np.float32), 16_000, last), 0.0)


def test_metronome_gives_a_word_for_300_ms() -> None:
    packets = [speech(1.0, 0.5, False), speech(1.5, 0.5, True), speech(5.0, 0.7, False)]
    given = [(packet.start, len(packet.data.words), packet.data.final) for packet in run_operator(Metronome(), packets)]
    assert given == [(1.0, 1, False), (1.0, 3, True), (5.0, 2, False), (5.0, 2, True)]


def test_watcher_looks_once_for_each_stretch_of_media(tmp_path: Path) -> None:
    captions = [Packet("s", 0.0, end, Caption(0, (), (), False), 0.0) for end in (0.5, 3.0, 10.0, 10.5, 21.0)]
    run_operator(Watcher(str(tmp_path / "watch"), every_s=10.0), captions)
    looks = [json.loads(line) for line in (tmp_path / "watch").read_text().splitlines()]
    assert [look["media_s"] for look in looks] == [0.5, 10.0, 21.0]
    assert all(look["resident_mb"] > 10 and look["threads"] >= 1 for look in looks)


# The speech.


def test_a_manifest_is_repeated_to_the_length_wanted(tmp_path: Path) -> None:
    for name, seconds in (("one", 0.5), ("two", 1.0)):
        tone = (8000 * np.sin(np.arange(round(8000 * seconds)) / 5)).astype(np.int16)
        write_wav(tmp_path / f"{name}.wav", tone[:, None], 8000)
    lines = (json.dumps({"media": f"{name}.wav", "text": ""}) for name in ("one", "two"))
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    recording = record(tmp_path / "m.jsonl", 2.25, SAMPLE_RATE)
    assert [round(len(piece) / SAMPLE_RATE, 2) for piece in recording.pieces] == [0.5, 1.0, 0.5, 0.25]
    assert recording.seconds == 2.25
    recording.write_flac(tmp_path / "all.flac")
    with av.open(str(tmp_path / "all.flac")) as container:
        found = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert (found == np.concatenate(recording.pieces)).all()


def test_sound_that_is_missing_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(MmstreamError, match=r"none\.wav"):
        record(tmp_path / "none.wav", 1.0, SAMPLE_RATE)


def test_the_metered_recogniser_says_what_the_direct_one_says(tmp_path: Path) -> None:
    """And that it has used about as much, on the same sound in the same pieces."""
    paths = [say(tmp_path / f"{number}.wav", text) for number, text in enumerate((WEATHER, BANK))]
    recording = Recording("said", [record(path, 3.0, SAMPLE_RATE).pieces[0] for path in paths], SAMPLE_RATE)
    packets, at = [], 0.0
    for piece in recording.pieces:
        samples = piece.astype(np.float32) / 32768
        packets.append(Packet("s", at, at + len(samples) / SAMPLE_RATE, Speech(samples, SAMPLE_RATE, True), 0.0))
        at = packets[-1].end
    report = tmp_path / "report.json"
    given = run_operator(MeteredSphinx(str(report)), packets)
    said = [" ".join(word.text for word in packet.data.words) for packet in given if packet.data.final]
    assert said == [WEATHER, BANK]
    seen = json.loads(report.read_text())
    assert seen["decoded_s"] == pytest.approx(recording.seconds)
    assert 0.3 < seen["cpu_s"] / call_directly(recording) < 3.0


# The commands.


def test_bench_hops(monkeypatch: pytest.MonkeyPatch, ray_cluster: None) -> None:
    monkeypatch.setattr(hops, "Sizes", lambda: TINY)
    done = call("bench", "hops", "--rounds", "2", "--json")
    assert done.code == 0, done
    found = figures(done.out)
    assert len(found) == 16
    assert all(len(figure["rounds"]) == 2 and figure["low"] > 0 for figure in found.values())
    assert found["edge over queue, 1 KB"]["target"] == ">= 12"
    assert "Ray edges, round 2 of 2" in done.err


def test_bench_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray_cluster: None) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    said = say(tmp_path / "said.wav", WEATHER, BANK)
    done = call("bench", "pipeline", "--rounds", "1", "--minutes", "0.1", "--speech", said)
    assert done.code == 0, done
    *table, line = done.out.splitlines()
    assert any("recogniser" in row for row in table)
    found = figures(line)
    total, decoder = found["pipeline, local"]["median"], found["inside the decoder's node, local"]["median"]
    assert 0 < decoder < total
    assert found["pipeline, on Ray"]["median"] > found["inside the decoder's node, on Ray"]["median"] > 0
    assert 0 < found["sound that Vad kept from the recogniser"]["median"] < 80
    assert json.loads(line)["settings"]["speech"] == "said.wav"


def test_bench_pipeline_wants_a_ray_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "localhost:1")
    call("bench", "pipeline", "--minutes", "0.1").the_line("RAY_ADDRESS")


def test_bench_soak() -> None:
    done = mmstream("bench", "soak", "--hours", "0.01", "--json")
    assert done.code == 0, done
    assert len(done.out.splitlines()) == 1
    found = figures(done.out)
    assert found["its highest growth from then on"]["target"] == "<= 20"
    assert found["threads at the end"]["median"] >= 3
    course = done.last_json["course"][0]
    media_s, resident_mb, cpu_s = zip(*course, strict=True)
    assert media_s[-1] > 0.01 * 3600 - 3
    assert list(cpu_s) == sorted(cpu_s)
    assert min(resident_mb) > 30


def test_bench_soak_needs_speech(tmp_path: Path) -> None:
    write_wav(tmp_path / "silence.wav", np.zeros((16_000, 1), np.int16), 16_000)
    said = mmstream("bench", "soak", "--hours", "0.005", "--speech", tmp_path / "silence.wav")
    assert said.code == 1
    assert said.err.splitlines()[-1].startswith("mmstream: too little speech")
    assert said.out == ""


def test_bench_start(virtual_microphone: VirtualMicrophone, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    for name, value in virtual_microphone.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(start, "LIMIT_S", 0.01)  # nobody is that fast: the imports are told
    done = call("bench", "start", "--rounds", "1", "--device", virtual_microphone.device, "--json")
    assert done.code == 0, done
    (figure,) = figures(done.out).values()
    assert 0.3 < figure["median"] < 60
    assert figure["met"] is False
    imports = done.last_json["imports_s"]
    assert "mmstream" in imports
    assert "torch" not in imports
    assert list(imports.values()) == sorted(imports.values(), reverse=True)


def test_bench_start_without_a_microphone_says_so_in_one_line() -> None:
    done = call("bench", "start", "--rounds", "1", "--device", "no such microphone")
    assert done.code == 1
    assert "Traceback" not in done.err
    assert done.err.splitlines()[-1].startswith("mmstream: mmstream live --model sphinx --device no such microphone ")
    assert "ended before it listened" in done.err
