"""``mmstream bench soak``: hours of media as fast as they go, to see whether memory or cost grows with them."""

from __future__ import annotations

import json
import multiprocessing
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

import numpy as np

from mmstream.benchmarks.processes import check_proc
from mmstream.benchmarks.speech import record
from mmstream.benchmarks.table import Figure, Report
from mmstream.core import MmstreamError
from mmstream.drive import run_to_end, running
from mmstream.pipeline import check, read_text

Decoder = Literal["cheap", "sphinx"]

STAGES = "mmstream.benchmarks.stages"
SAMPLE_RATE = 44_100  # Hz, so that Resample has to work
SPEECH_S = 600.0  # media seconds that are looped
SETTLED_S = 600.0  # media seconds after which nothing may grow
LOOKS = 120  # at the process, in all
PIPELINE = f"""
capacity: 64
nodes:
  media: {{use: {STAGES}:Loop}}
  resample: {{use: operators.audio:Resample, from: media}}
  vad: {{use: operators.audio:Vad, from: resample}}
  decode: {{use: {STAGES}:Metronome, from: vad}}
  commit: {{use: operators.policies:Commit, from: decode}}
  srt: {{use: operators.sinks:Srt, from: commit}}
  vtt: {{use: operators.sinks:WebVtt, from: commit}}
  jsonl: {{use: operators.sinks:JsonLines, from: commit}}
  txt: {{use: operators.sinks:PlainText, from: commit}}
  watch: {{use: {STAGES}:Watcher, from: commit}}
"""
FEWEST_LOOKS = 6  # after the process has settled, for a slope to mean anything
SINKS = ("srt", "vtt", "jsonl", "txt")


@dataclass(frozen=True)
class Look:
    """One line of ``Watcher``."""

    media_s: float
    cpu_s: float
    resident_mb: float
    threads: int
    files: int


def measure_soak(
    rounds: int, hours: float, decoder: Decoder, speech: Path | None, say: Callable[[str], None]
) -> Report:
    """``hours`` of media through the whole pipeline, in a fresh process for every round."""
    check_proc()
    with tempfile.TemporaryDirectory(prefix="mmstream-bench-") as name:
        folder = Path(name)
        recording = record(speech, min(SPEECH_S, hours * 3600), SAMPLE_RATE)
        np.save(folder / "speech.npy", np.concatenate(recording.pieces))
        courses = []
        for number in range(rounds):
            say(f"{hours:g} h of media, decoder {decoder}, round {number + 1} of {rounds}")
            (folder / str(number)).mkdir()
            spawn = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(max_workers=1, mp_context=spawn) as fresh:
                job = fresh.submit(soak, folder / "speech.npy", folder / str(number), hours, decoder)
                courses.append(job.result())
    settings = {"rounds": rounds, "hours": hours, "decoder": decoder, "speech": recording.name}
    return _report(settings, courses, min(SETTLED_S, hours * 3600 / 3))


def soak(samples: Path, folder: Path, hours: float, decoder: Decoder) -> list[Look]:
    """Run the pipeline over ``samples`` in this process: how the process fared. Files go to ``folder``.

    Raises:
        MmstreamError: the session failed.
    """
    document = read_text(PIPELINE, "<soak>")
    document.set_arguments("media", {"path": str(samples), "sample_rate": SAMPLE_RATE, "hours": hours})
    if decoder == "sphinx":
        document.replace_node("decode", use="operators.decoders:Sphinx")
    for sink in SINKS:
        document.set_arguments(sink, {"path": str(folder / f"soak.{sink}")})
    seen = folder / "watch.jsonl"
    document.set_arguments("watch", {"path": str(seen), "every_s": hours * 3600 / LOOKS})
    with running("local", check(document, allow=[STAGES])) as executor:
        result = run_to_end(executor, "soak")
    if result.error is not None:
        raise result.error
    lines = seen.read_text(encoding="utf-8").splitlines() if seen.exists() else []
    return [Look(**json.loads(line)) for line in lines]


def _split(course: Sequence[Look], settled_s: float) -> tuple[list[Look], list[Look]]:
    """The looks before and after the process has settled.

    Raises:
        MmstreamError: they are too few.
    """
    early = [look for look in course if look.media_s < settled_s]
    late = [look for look in course if look.media_s >= settled_s]
    if not early or len(late) < FEWEST_LOOKS:
        raise MmstreamError(
            f"too little speech to see what grows: {len(early)} captions in the first {settled_s:.0f} s, "
            f"{len(late)} after; choose other --speech or more --hours"
        )
    return early, late


def _report(settings: dict[str, Any], courses: Sequence[Sequence[Look]], settled_s: float) -> Report:
    halves = [_split(course, settled_s) for course in courses]

    def figure(name: str, unit: str, of: Callable[[list[Look], list[Look]], float], at_most: Any = None) -> Figure:
        """One value for each round."""
        return Figure(name, unit, tuple(of(early, late) for early, late in halves), at_most)

    after = f"after {settled_s / 60:.3g} min of media"
    figures = [
        figure(f"resident memory {after}", "MB", lambda _, late: late[0].resident_mb),
        figure("its highest growth from then on", "MB", lambda _, late: _highest(late) - late[0].resident_mb, 20.0),
        figure("growth per hour of media from then on", "MB/h", lambda _, late: 3600 * _slope(late, "resident_mb")),
        figure(f"CPU for each second of media, {after}", "ms", lambda _, late: 1000 * _slope(late, "cpu_s")),
        figure("the same in the second half over the first", "times", lambda _, late: _steepening(late)),
        figure("threads at the start", "", lambda early, _: early[0].threads),
        figure("threads at the end", "", lambda _, late: late[-1].threads),
        figure("open files at the start", "", lambda early, _: early[0].files),
        figure("open files at the end", "", lambda _, late: late[-1].files),
    ]
    series = [
        [[round(look.media_s, 3), round(look.resident_mb, 3), round(look.cpu_s, 3)] for look in course]
        for course in courses
    ]
    notes = ("Start means the first caption. Each round runs in a process of its own.",)
    details = {"course": series, "course_columns": ["media_s", "resident_mb", "cpu_s"]}
    return Report("soak", "Hours of media", settings, figures, notes, details)


def _highest(looks: Sequence[Look]) -> float:
    return max(look.resident_mb for look in looks)


def _slope(looks: Sequence[Look], name: str) -> float:
    """Growth of a quantity for each second of media, between the medians of the first and the last third."""
    third = max(1, len(looks) // 3)
    (t0, v0), (t1, v1) = (
        (median(look.media_s for look in part), median(getattr(look, name) for look in part))
        for part in (looks[:third], looks[-third:])
    )
    return float((v1 - v0) / (t1 - t0))


def _steepening(looks: Sequence[Look]) -> float:
    """How much more CPU a second of media costs at the end than at the beginning."""
    half = len(looks) // 2
    return _slope(looks[-half:], "cpu_s") / _slope(looks[:half], "cpu_s")
