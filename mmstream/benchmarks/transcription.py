"""``mmstream bench transcribe``: one long file cut and heard by several workers on Ray, against one worker."""

from __future__ import annotations

import io
import json
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from mmstream.batch import Batch, Job
from mmstream.benchmarks.speech import record
from mmstream.benchmarks.table import Figure, Report
from mmstream.core import MmstreamError
from mmstream.drive import running
from mmstream.executors import Executor
from mmstream.graph import Graph
from mmstream.journal import Input
from mmstream.recipe import Recipe, file_sink
from mmstream.registry import resolve
from mmstream.transcription.joining import Joiner, keep_pieces
from mmstream.transcription.outputs import Folder
from mmstream.transcription.pieces import WORK_FOLDER
from mmstream.transcription.plan import SHORTEST_S, Planner
from mmstream.transcription.run import Run
from operators.sinks import without_wall_clock

SAMPLE_RATE = 16_000  # Hz
PIECES = 6  # for each worker: the last ones do not end together
WARM_UP_S = 3.0  # of media, for each replica
TARGET = 1.7  # for two workers


@dataclass
class Bench:
    """One speech, one folder for captions, and two executors that stay up for all rounds."""

    speech: Path
    output: Folder
    joiner: Joiner
    source: str
    split_s: float

    def warm_up(self, executor: Executor, replicas: int) -> None:
        """One short session in every replica at a time: first calls find what later ones find ready."""
        jobs = [Job(self.speech, f"warm-up-{replicas}-{n}", {"end_s": WARM_UP_S}) for n in range(replicas)]
        for done in Batch(executor, self.source, replicas).results(jobs):
            if done is not None and done.error is not None:
                raise done.error

    def run(self, executor: Executor, replicas: int, name: str) -> float:
        """Wall-clock seconds from the file to its captions, called ``name``.

        Raises:
            MmstreamError: it failed.
        """
        said = io.StringIO()
        run = Run(Console(file=said), self.output, self.joiner, "bench", ["jsonl"])
        jobs = [(Job(self.speech, name), Input.of(self.speech))]
        began = time.monotonic()
        run.work(Batch(executor, self.source, replicas), Planner(jobs, self.split_s, "audio"), 1)
        if run.failed:
            raise MmstreamError(said.getvalue().strip())
        return time.monotonic() - began

    def captions(self, name: str) -> list[str]:
        lines = (self.output.folder / f"{name}.jsonl").read_text("utf-8").splitlines()
        return [json.dumps({**without_wall_clock(json.loads(line)), "session": ""}) for line in lines]


def measure_transcription(
    rounds: int, minutes: float, workers: int, speech: Path | None, say: Callable[[str], None]
) -> Report:
    """Media seconds per second with one worker and with ``workers``, in turn, models loaded and warm.

    Raises:
        MmstreamError: a run failed, or the captions depend on the number of workers.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # Ray's processes take it over
    recording = record(speech, 60 * minutes, SAMPLE_RATE)
    split_s = max(SHORTEST_S, recording.seconds / (PIECES * workers))
    values: defaultdict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="mmstream-bench-") as name:
        folder = Path(name)
        recording.write_flac(folder / "speech.flac")
        graphs = {count: _graph(folder / "out", count) for count in (1, workers)}
        (graph, joiner, source) = graphs[workers]
        bench = Bench(folder / "speech.flac", Folder(folder / "out"), joiner, source, split_s)
        bench.output.open()
        say("starting workers")
        with running("ray", graph) as many, running("ray", graphs[1][0]) as one:
            executors = {1: one, workers: many}
            for count, executor in executors.items():
                bench.warm_up(executor, count)
            for number in range(rounds):
                for count in sorted(executors, reverse=bool(number % 2)):
                    say(f"{count} worker{'s' * (count > 1)}, round {number + 1} of {rounds}")
                    wall_s = bench.run(executors[count], count, f"{number}-{count}")
                    values[str(count)].append(recording.seconds / wall_s)
                values["speedup"].append(values[str(workers)][-1] / values["1"][-1])
                if bench.captions(f"{number}-1") != bench.captions(f"{number}-{workers}"):
                    raise MmstreamError(f"one worker and {workers} workers wrote different captions")
        bench.output.close()
    settings = {"rounds": rounds, "minutes": minutes, "speech": recording.name, "pieces of about": f"{split_s:.0f} s"}
    return Report("transcribe", "Batch throughput on Ray", settings, _figures(values, workers), _notes())


def _graph(output: Path, workers: int) -> tuple[Graph, Joiner, str]:
    """What ``mmstream transcribe --model sphinx --workers N`` runs; what joins pieces; the node that reads files."""
    recipe = Recipe()
    source = recipe.source
    recipe.recognise_with(resolve("sphinx"), watched=False)
    recipe.read_file(watched=False)
    recipe.write_to([file_sink(str(output / "{session}.jsonl"))])
    recipe.replicate(workers)
    return *keep_pieces(recipe.graph(), output / WORK_FOLDER), source


def _figures(values: defaultdict[str, list[float]], workers: int) -> list[Figure]:
    target = TARGET if workers == 2 else None
    return [
        Figure("one worker", "media s/s", tuple(values["1"])),
        Figure(f"{workers} workers", "media s/s", tuple(values[str(workers)])),
        Figure(f"{workers} workers against one", "times", tuple(values["speedup"]), at_least=target),
    ]


def _notes() -> tuple[str, ...]:
    return (
        "One file, cut at pauses, its pieces heard by pocketsphinx with one thread a worker, captions joined and "
        "written. Finding the cuts counts; starting Ray and loading models does not.",
        "Both executors stay up, so the workers that wait are there while the others work. Captions were the same.",
    )
