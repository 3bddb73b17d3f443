"""Every condition over a manifest, in several processes, and the report of it. It goes on where it was stopped."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmstream import __version__
from mmstream.atomic import AtomicFile
from mmstream.core import MmstreamError
from mmstream.evaluation.cells import grid
from mmstream.evaluation.conditions import Clip, Condition, Disturbance, Setup
from mmstream.evaluation.plots import import_matplotlib, write_plots
from mmstream.evaluation.report import Report, markdown
from mmstream.evaluation.stage import Found, Stage
from mmstream.journal import fingerprint
from mmstream.pipeline import default_path
from operators.audio.noise import noise_files

CLIPS = "clips.jsonl"  # what each clip gave, as soon as it did

Results = dict[Condition, Found]


@dataclass
class Sweep:
    """The grid of conditions that the model can be measured in, and the folder ``out`` for what comes of it."""

    setup: Setup
    manifest: Path
    clips: Sequence[Clip]
    disturbance: Disturbance
    out: Path

    def run(self, workers: int, console: Console) -> dict[str, Any]:
        """Do what is left to do, write tables and plots, and sum up.

        Raises:
            MmstreamError: a clip could not be recognised, or ``out`` cannot be written. What is done is kept.
        """
        import_matplotlib()
        media = self.setup.model.media
        conditions = grid(media)
        replace(self.setup, recipes=[]).graph("av" if "video" in media else "audio", "{session}.jsonl")  # faults first
        done = Clips(self.out, self._settings(conditions), conditions, self.clips)
        left = [clip for clip in self.clips if clip.name not in done.found]
        columns = (TextColumn("clips"), BarColumn(), MofNCompleteColumn(), TextColumn("left"), TimeRemainingColumn())
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("", total=len(self.clips), completed=len(self.clips) - len(left))
            for name, results in heard(self.setup, self.disturbance, left, conditions, workers):
                done.add(name, results)
                bar.advance(task)
        report = Report.of(self.setup.model.name, self.manifest, self.clips, self.disturbance, media, done.found)
        with AtomicFile(self.out / "sweep.md") as file:
            file.write(markdown(report))
        with AtomicFile(self.out / "sweep.json") as file:
            file.write(json.dumps(report.to_json(), indent=1) + "\n")
        write_plots(report, self.out)
        return report.summary() | {"out": str(self.out)}

    def _settings(self, conditions: Sequence[Condition]) -> str:
        """All that decides what comes out of a clip, but for its media."""
        assert self.disturbance.noise is not None
        model, pipeline = self.setup.model, self.setup.pipeline or default_path()
        made_of = {
            "version": __version__,
            "model": [model.name, model.use, dict(model.arguments), _stamps(model.path)],
            "pipeline": [pipeline.read_text("utf-8"), list(self.setup.sets)],
            "noise": [_stamps(file) for file in noise_files(self.disturbance.noise)],
            "seed": self.disturbance.seed,
            "conditions": [condition.to_json() for condition in conditions],
        }
        return fingerprint(made_of)


class Clips:
    """``clips.jsonl``: a line for each clip that is done. What was made with other settings is left aside."""

    def __init__(self, folder: Path, settings: str, conditions: Sequence[Condition], clips: Sequence[Clip]) -> None:
        self.path = folder / CLIPS
        self.found: dict[str, Results] = {}
        self._settings, self._conditions = settings, conditions
        self._stamps = {clip.name: _stamps(clip.entry.media) for clip in clips}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise MmstreamError(f"{folder}: cannot be written: {fault.strerror or fault}") from fault
        try:
            text = self.path.read_text("utf-8") if self.path.exists() else ""
        except (OSError, UnicodeDecodeError) as fault:
            raise MmstreamError(f"{self.path}: cannot be read: {fault}") from fault
        for line in text.splitlines():
            self._read(line)
        with AtomicFile(self.path) as file:  # what is stale, and half a line of a run that was killed, goes
            for name, results in self.found.items():
                file.write(self._line(name, results))

    def add(self, name: str, results: Results) -> None:
        """Enter a clip, safe against the death of this process."""
        self.found[name] = results
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(self._line(name, results))
        except OSError as fault:
            raise MmstreamError(f"{self.path}: cannot be written: {fault.strerror or fault}") from fault

    def _line(self, name: str, results: Results) -> str:
        cells = [[found.text, list(found.video)] for found in (results[one] for one in self._conditions)]
        made_of = {"settings": self._settings, "media": self._stamps[name]}
        return json.dumps({"clip": name, **made_of, "cells": cells}) + "\n"

    def _read(self, line: str) -> None:
        try:
            entry = json.loads(line)
            name = str(entry["clip"])
            if entry["settings"] == self._settings and entry["media"] == self._stamps.get(name):
                cells = [Found(str(text), tuple(map(float, video))) for text, video in entry["cells"]]
                self.found[name] = dict(zip(self._conditions, cells, strict=True))
        except (ValueError, TypeError, KeyError):
            return


def heard(
    setup: Setup, disturbance: Disturbance, clips: Sequence[Clip], conditions: Sequence[Condition], workers: int
) -> Iterator[tuple[str, Results]]:
    """Each clip's results, as they come, out of so many processes; with one worker, out of this one.

    Raises:
        MmstreamError: a clip could not be recognised, or a process died.
    """
    if workers == 1 or len(clips) < 2:
        stage = Stage(setup, disturbance)
        try:
            for clip in clips:
                yield clip.name, stage.hear(clip, conditions)
        finally:
            stage.close()
        return
    context = get_context("spawn")
    stop = context.Event()
    pool = ProcessPoolExecutor(min(workers, len(clips)), context, _begin, (setup, disturbance, stop))
    try:
        futures: dict[Future[Results], Clip] = {pool.submit(_hear, clip, conditions): clip for clip in clips}
        for future in as_completed(futures):
            yield futures[future].name, future.result()
    except BrokenProcessPool as fault:
        raise MmstreamError("a process of the sweep died; run the same command again to go on") from fault
    finally:
        stop.set()
        pool.shutdown(wait=True, cancel_futures=True)


_STAGE: list[Stage] = []  # of this process, in a process of the pool


def _begin(setup: Setup, disturbance: Disturbance, stop: Event) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process ends the others
    os.environ["OMP_NUM_THREADS"] = "1"  # before torch comes: one core each
    _STAGE.append(Stage(setup, disturbance, stop.is_set))


def _hear(clip: Clip, conditions: Sequence[Condition]) -> Results:
    return _STAGE[0].hear(clip, conditions)


def default_noise(manifest: Path) -> Path:
    """The babble nearest to a manifest, or else any noise: in ``noise`` beside it, or beside a folder that it is in.

    Raises:
        MmstreamError: there is none.
    """
    for folder in list(manifest.resolve().parents)[:3]:
        if (folder / "noise").is_dir():
            return folder / "noise" / ("babble*" if any((folder / "noise").glob("babble*")) else "*")
    raise MmstreamError(f"--sweep needs babble: there is no folder noise near {manifest}; name one with --noise")


def _stamps(path: Path | None) -> list[list[Any]]:
    """Size and time of change of a file, or of the files of a folder."""
    if path is None:
        return []
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return [[str(file), file.stat().st_size, file.stat().st_mtime_ns] for file in files]
