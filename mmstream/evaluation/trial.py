"""A manifest run through a pipeline in one condition, and what came out of it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from mmstream.atomic import AtomicFile
from mmstream.batch import Batch, Done, Job, named
from mmstream.clock import SYSTEM_CLOCK
from mmstream.core import MmstreamError
from mmstream.evaluation.conditions import Clip, Condition, Disturbance, Setup, arguments
from mmstream.evaluation.latency import Timed, latency
from mmstream.evaluation.result import Result
from mmstream.evaluation.wer import error_rates
from mmstream.executors import Executor
from mmstream.graph import Graph

WARM_UP = "warm-up"
LEAD_S = 1.0  # wall-clock seconds before media second 0, for sources to open: they must keep step

Lines = list[dict[str, Any]]  # of operators.sinks:JsonLines


@dataclass(frozen=True)
class Heard:
    """What came out for one clip."""

    clip: Clip
    lines: Lines

    @property
    def text(self) -> str:
        return text_of(self.lines)

    @property
    def timed(self) -> Timed:
        words = self.clip.entry.words
        return Timed(self.lines, words[0].start, words[-1].end) if words else Timed(self.lines)


@dataclass
class Takes(Batch):
    """Runs clips in a condition: the sources of their sessions play what the condition makes of them."""

    graph: Graph | None = None
    clips: Mapping[str, Clip] = field(default_factory=dict)  # by name
    condition: Condition = field(default_factory=Condition)
    disturbance: Disturbance = field(default_factory=Disturbance)
    realtime: bool = False

    def _begin(self, job: Job) -> Done | None:
        assert self.graph is not None
        origin = SYSTEM_CLOCK.now() + LEAD_S if self.realtime else None
        try:
            given = arguments(self.graph, self.clips[job.name], self.condition, self.disturbance, origin=origin)
            self.executor.open(job.name, given)
        except MmstreamError as error:
            return Done(job, error, 0.0)
        self.running[job.name] = (job, time.monotonic())
        return None


@dataclass
class Trial:
    """A manifest in one condition. ``folder`` is where the graph writes its JSON lines."""

    setup: Setup
    graph: Graph
    executor: Executor
    folder: Path
    clips: Sequence[Clip]
    condition: Condition
    disturbance: Disturbance
    realtime: bool = False
    heard: list[Heard] = field(default_factory=list)  # in the order of the manifest, once all have run
    work_s: float = 0.0
    cpu_s: float = 0.0

    def warm_up(self) -> None:
        """Recognise one clip for nothing: first calls load and compile what later ones find ready."""
        clip = Clip(WARM_UP, self.clips[0].entry)
        for _ in self._takes([clip], realtime=False).results([Job(clip.entry.media, clip.name)]):
            pass

    def run(self, console: Console) -> None:
        """Recognise every clip.

        Raises:
            MmstreamError: one of them failed; rates over the rest would mean nothing.
        """
        found: dict[str, Heard] = {}
        takes = self._takes(self.clips, realtime=self.realtime)
        jobs = [Job(clip.entry.media, clip.name) for clip in self.clips]
        began = time.process_time()
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("utterances", total=len(jobs))
            for done in takes.results(jobs):
                if done is None:
                    continue
                if done.error is not None:
                    raise MmstreamError(named(done.job, self.setup.plainly(done.error))) from done.error
                found[done.job.name] = Heard(takes.clips[done.job.name], read_lines(self.folder, done.job.name))
                self.work_s += done.wall_s
                bar.advance(task)
        self.cpu_s = time.process_time() - began
        self.heard = [found[clip.name] for clip in self.clips]

    def _takes(self, clips: Sequence[Clip], *, realtime: bool) -> Takes:
        by_name = {clip.name: clip for clip in clips}
        made = (self.graph, by_name, self.condition, self.disturbance, realtime)
        return Takes(self.executor, "", self.setup.workers, {}, {}, *made)

    def result(self) -> Result:
        rates = error_rates([one.clip.entry.text for one in self.heard], [one.text for one in self.heard])
        spent_s = self.cpu_s if self.realtime else self.work_s
        return Result(
            rates,
            rtf=spent_s / sum(clip.seconds for clip in self.clips),
            video=mean_video([line for one in self.heard for line in one.lines]),
            latency=latency(one.timed for one in self.heard) if self.realtime else None,
        )

    def write(self, file: AtomicFile) -> None:
        """One JSON line per utterance: media, reference, hypothesis."""
        for one in self.heard:
            line = {"media": one.clip.media, "reference": one.clip.entry.text, "hypothesis": one.text}
            file.write(json.dumps(line) + "\n")


def read_lines(folder: Path, session: str) -> Lines:
    """What a session wrote; its file is removed."""
    path = folder / f"{session}.jsonl"
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    path.unlink()
    return lines


def text_of(lines: Lines) -> str:
    """All that was recognised."""
    return " ".join(line["text"] for line in lines if "text" in line)


def video_shares(lines: Lines) -> list[float]:
    """How far video contributed to each word, 0..1."""
    return [word["video"] for line in lines for word in line.get("words", ())]


def mean_video(lines: Lines) -> float | None:
    """How far video contributed to the words, 0..1; None without words."""
    shares = video_shares(lines)
    return sum(shares) / len(shares) if shares else None
