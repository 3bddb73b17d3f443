"""What `mmstream trace` makes of spans: every millisecond of a word's latency in its stage, as table and as trace."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from mmstream.core import End, Packet
from mmstream.graph import WorkerSpec
from mmstream.media import Caption, Word
from mmstream.observe.perfetto import trace_events
from mmstream.observe.reading import read, sessions
from mmstream.observe.spans import Recorder, Tracing
from mmstream.observe.waterfall import shares, waterfalls
from tests.command_line import call
from tests.toys import chunk
from tests.traced import (
    DECODE,
    EXPECTED,
    MEL,
    MEL_WAIT,
    ORIGIN,
    SENT,
    TERMINAL_WAIT,
    TO_DECODE,
    TO_MEL,
    Run,
    close_to,
    graph,
    stages_ms,
)

# Stages.


def test_every_millisecond_of_a_word_lies_in_its_stage(tmp_path: Path) -> None:
    Run(tmp_path).to_its_end()
    assert stages_ms(tmp_path) == close_to(EXPECTED)
    assert list(stages_ms(tmp_path)) == list(EXPECTED)
    (fall,) = waterfalls(read(tmp_path, "talk"))
    assert fall.word.committed_at - fall.word.captured_at == pytest.approx(sum(EXPECTED.values()) / 1000, abs=1e-5)
    assert fall.word.emitted_at == pytest.approx(fall.word.committed_at - 0.2, abs=1e-5)


@pytest.mark.parametrize("lost", ["driver-0", "sound-0", "decode-0", "none"])
def test_stages_adjoin_and_add_up_even_where_a_file_is_missing(lost: str, tmp_path: Path) -> None:
    Run(tmp_path).to_its_end()
    for path in tmp_path.glob(f"*{lost}*"):
        lines = [line for line in path.read_text().splitlines() if '"shown"' in line or '"session"' in line]
        path.write_text("\n".join(lines) + "\n")
    (fall,) = waterfalls(read(tmp_path, "talk"))
    assert fall.stages[0].began == fall.word.captured_at
    assert fall.stages[-1].ended == fall.word.committed_at
    assert all(one.ended == other.began for one, other in pairwise(fall.stages))
    rest = stages_ms(tmp_path).get("unexplained", 0.0)
    # Without the driver's spans nothing is known of the way at all; without sound's, all before decode's lane.
    known = sum(EXPECTED.values()) - 250
    before_decode = SENT + TO_MEL + MEL_WAIT + MEL + TO_DECODE
    before_terminal = known - TERMINAL_WAIT
    expected = {"driver-0": known + 250, "sound-0": before_decode, "decode-0": before_terminal - 0, "none": 0}
    if lost == "decode-0":  # the caption's own capture is that of the word's end
        expected["decode-0"] += 250
    assert rest == pytest.approx(expected[lost], abs=0.01)


def test_of_two_calls_that_gave_the_same_media_the_one_before_the_word_counts(tmp_path: Path) -> None:
    """A worker was lost after mel had given the fifth chunk; the chunk was played again 700 ms later."""
    run = Run(tmp_path)
    for number in range(4):
        run.chunk(number)
    lost = Packet("talk", 0.4, 0.5, chunk(4), ORIGIN + 0.5)
    run.clock.advance(0.1)
    run.recorders["driver"].worked("talk", "mic", lost, run.clock.now(), run.clock.now(), gave=(0.4, 0.5))
    run.work("sound", "mel", lost, 0.0, 30.0, lost)
    run.chunk(4, late_ms=700.0)
    run.close()
    found = stages_ms(tmp_path)
    assert found["mel"] == pytest.approx(MEL, abs=0.01)
    assert found["to mel"] == pytest.approx(TO_MEL + 700, abs=0.01)
    assert "unexplained" not in found


def test_a_join_is_followed_to_the_input_that_came_last(tmp_path: Path) -> None:
    spec = WorkerSpec("main", ("mic", "camera", "fuse", "show"))
    made = graph(("mic", "fuse"), ("camera", "fuse"), ("fuse", "show"))
    recorder = Recorder(Tracing(tmp_path, 1.0), made, spec, 0)
    picture = Packet("s", 0.0, 0.1, chunk(0), ORIGIN + 0.1)
    for node, at in (("mic", 0.101), ("camera", 0.140)):
        recorder.worked("s", node, picture, ORIGIN + at, ORIGIN + at, gave=(0.0, 0.1))
    recorder.worked("s", "fuse", picture, ORIGIN + 0.150, ORIGIN + 0.160, 0.005, gave=(0.0, 0.1))
    caption = picture.derive(Caption(0, (Word("one", 0.0, 0.1),), (), True))
    recorder.worked("s", "show", caption, ORIGIN + 0.155, ORIGIN + 0.156)
    recorder.shown("s", "show", caption, ORIGIN + 0.155)
    recorder.flush()
    assert stages_ms(tmp_path, "s") == close_to(
        {"later media": 0, "camera": 40, "to fuse": 5, "queue fuse": 5, "fuse": 5, "show": 0}
    )


def test_words_that_the_end_of_the_media_makes_stable_are_followed_to_it(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for number in range(4):
        run.chunk(number)
    run.clock.advance(0.3)
    now = run.clock.now()
    end = Packet("talk", 0.4, 0.4, End(), now)
    run.recorders["driver"].worked("talk", "mic", end, now, now, gave=(0.4, 0.4))
    run.work("sound", "mel", end, 0.0, 1.0, None)
    watch = run.watches["decode"]
    watch.begin("decode", end, 0.0)
    run.wait(5)
    caption = Packet("talk", 0.1, 0.25, Caption(0, (Word("one", 0.1, 0.25),), (), True), ORIGIN + 0.25)
    watch.begin("commit", end, 0.0)
    watch.gave("commit", caption)
    watch.end()
    watch.end()
    run.work("driver", "terminal", caption, 0.0, 0.0, None)
    run.close()
    found = stages_ms(tmp_path)
    assert found["later media"] == pytest.approx(1000 * (now - ORIGIN - 0.25), abs=0.01)
    assert found["decode"] == pytest.approx(5.0, abs=0.01)
    assert "unexplained" not in found


def test_shares_add_up_to_the_latency_in_the_order_of_the_way(tmp_path: Path) -> None:
    Run(tmp_path).to_its_end()
    Run(tmp_path, "other").to_its_end()
    falls = [fall for name in ("talk", "other") for fall in waterfalls(read(tmp_path, name))]
    found = shares(falls)
    assert [share.name for share in found] == [*EXPECTED, "unexplained"]
    assert sum(share.mean for share in found) == pytest.approx(sum(EXPECTED.values()), abs=0.01)
    assert {share.name: share.p95 for share in found} == close_to({**EXPECTED, "unexplained": 0.0})


# The trace file.


def events_of(folder: Path) -> list[dict[str, Any]]:
    trace = read(folder, "talk")
    content = json.loads(json.dumps(trace_events(trace, waterfalls(trace)), allow_nan=False))
    assert content["displayTimeUnit"] == "ms"
    return list(content["traceEvents"])


def test_the_file_follows_the_trace_event_format(tmp_path: Path) -> None:
    Run(tmp_path).to_its_end()
    events = events_of(tmp_path)
    needed = {"X": {"ts", "dur", "args"}, "i": {"ts", "s"}, "M": {"args"}}
    for event in events:
        assert {"name", "ph", "pid", "tid", "cat"} | needed[event["ph"]] == event.keys()
        assert all(isinstance(event[name], int) for name in ("pid", "tid", "ts", "dur") if name in event)
        assert all(event[name] >= 0 for name in ("ts", "dur") if name in event)
    metadata = {event["name"] for event in events if event["ph"] == "M"}
    assert metadata == {"process_name", "process_sort_index", "thread_name", "thread_sort_index"}
    named = {event["tid"] for event in events if event["name"] == "thread_name"}
    assert {event["tid"] for event in events if event["ph"] != "M"} <= named
    processes = defaultdict(set)
    for event in events:
        if event["tid"]:
            processes[event["tid"]].add(event["pid"])
    assert all(len(found) == 1 for found in processes.values())  # a track's number means one track


def test_each_word_and_each_node_of_each_process_has_a_track(tmp_path: Path) -> None:
    Run(tmp_path).to_its_end()
    events = events_of(tmp_path)
    processes = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
    tracks = [(processes[event["pid"]], event["args"]["name"]) for event in events if event["name"] == "thread_name"]
    assert tracks == [
        ("words of talk", "0.25 s one"),
        ("decode-0", "decode"),
        ("decode-0", "commit"),
        ("driver-0", "mic"),
        ("driver-0", "terminal"),
        ("sound-0", "mel"),
    ]


def test_slices_of_a_track_do_not_overlap_and_a_words_slices_fill_its_latency(tmp_path: Path) -> None:
    Run(tmp_path).to_its_end()
    tracks = defaultdict(list)
    for event in events_of(tmp_path):
        if event["ph"] == "X":
            tracks[event["tid"]].append(event)
    assert len(tracks) == 6
    for events in tracks.values():
        events.sort(key=lambda event: event["ts"])
        assert all(one["ts"] + one["dur"] <= other["ts"] for one, other in pairwise(events))
    word = tracks[1]
    assert [event["name"] for event in word] == [name for name, lasts in EXPECTED.items() if lasts]
    assert all(one["ts"] + one["dur"] == other["ts"] for one, other in pairwise(word))
    assert sum(event["dur"] for event in word) == pytest.approx(1000 * sum(EXPECTED.values()), abs=2)


# The command.


def test_the_table_adds_up(tmp_path: Path) -> None:
    Run(tmp_path).to_its_end()
    done = call("trace", "talk", "--from", tmp_path, "-o", tmp_path / "out" / "talk.json")
    assert done.code == 0
    rows = {
        cells[0]: cells[1:]
        for line in done.out.splitlines()
        if len(cells := [c.strip() for c in line.split("│")][1:-1]) == 5
    }
    latency = f"{sum(EXPECTED.values()):.1f}"
    assert rows["later media"] == ["250.0", "250.0", "250.0", f"{25_000 / sum(EXPECTED.values()):.1f}%"]
    assert rows["decode"][:3] == [f"{DECODE:.1f}"] * 3
    assert rows["unexplained"][0] == "0.0"
    assert rows["sum of the means"][0] == latency
    assert rows["commit latency"][:3] == [latency] * 3
    assert json.loads((tmp_path / "out" / "talk.json").read_text())["otherData"]["session"] == "talk"


def test_json_is_the_last_line_and_adds_up(tmp_path: Path) -> None:
    Run(tmp_path).to_its_end()
    found = call("trace", "talk", "--from", tmp_path, "--json").last_json
    assert (found["session"], found["words"]) == ("talk", 1)
    assert {stage["name"]: stage["mean"] for stage in found["stages"]} == close_to({**EXPECTED, "unexplained": 0.0})
    assert found["commit_latency_ms"]["mean"] == pytest.approx(sum(EXPECTED.values()), abs=0.01)


def test_a_session_without_words_has_its_trace_all_the_same(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.chunk(0)
    run.close()
    done = call("trace", "talk", "--from", tmp_path, "-o", tmp_path / "talk.json", "--json")
    assert (done.code, done.last_json["words"]) == (0, 0)
    assert "no word became stable" in done.err
    assert any(event["ph"] == "X" for event in json.loads((tmp_path / "talk.json").read_text())["traceEvents"])


def test_lines_cut_short_are_told(tmp_path: Path) -> None:
    Run(tmp_path).to_its_end()
    with (tmp_path / "talk.sound-0.spans.jsonl").open("a") as file:
        file.write('{"node": "me')
    assert "1 lines of spans were cut short" in call("trace", "talk", "--from", tmp_path).err


def test_no_such_session_names_those_there_are(tmp_path: Path) -> None:
    for name in ("talk", "interview"):
        Run(tmp_path, name).to_its_end()
    call("trace", "tolk", "--from", tmp_path).the_line("no session 'tolk'; there are 'interview', 'talk'")
    assert sorted(sessions(tmp_path)) == ["interview", "talk"]


def test_no_spans_no_folder_and_no_place_for_the_output_are_one_line_each(tmp_path: Path) -> None:
    call("trace", "talk", "--from", tmp_path).the_line("holds no spans", "--trace")
    call("trace", "talk", "--from", tmp_path / "nowhere").the_line("nowhere: no such folder")
    Run(tmp_path).to_its_end()
    call("trace", "talk", "--from", tmp_path, "-o", tmp_path).the_line("cannot be written: it is a folder")
    (tmp_path / "file").write_text("")
    call("trace", "talk", "--from", tmp_path, "-o", tmp_path / "file" / "x.json").the_line("cannot be written")
