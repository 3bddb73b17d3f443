"""``mmstream transcribe``: files and folders to caption files, resumable, one failure stopping nothing else."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from mmstream import __version__
from mmstream.batch import Batch, Done, Job, find_jobs, named
from mmstream.commands.options import (
    Allow,
    ExecutorOption,
    Json,
    Language,
    ModelOption,
    OnlyOnCamera,
    Pipeline,
    Sets,
    print_json,
    recogniser,
)
from mmstream.core import MmstreamError
from mmstream.drive import running
from mmstream.journal import Input, Journal, fingerprint
from mmstream.pipeline import default_path
from mmstream.recipe import FORMATS, Recipe, file_sink
from mmstream.registry import Model
from mmstream.spelling import did_you_mean
from operators.sources import probe


def transcribe(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Media files, and folders of them.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the captions.")],
    formats: Annotated[str, typer.Option("--format", "-f", help="Any of srt,vtt,jsonl,txt.")] = "srt",
    model: ModelOption = "auto",
    language: Language = None,
    only_on_camera: OnlyOnCamera = False,
    executor: ExecutorOption = "local",
    workers: Annotated[int, typer.Option(min=1, help="Files at a time; on Ray each has a process of its own.")] = 1,
    as_json: Json = False,
    pipeline: Pipeline = None,
    sets: Sets = None,
    allow: Allow = None,
) -> None:
    """Caption files. Run it again after an interruption: what is done is skipped. Exits with 1 if any file failed.

    Examples:

        mmstream transcribe talk.mp4 --output captions --format srt,vtt

        mmstream transcribe lectures/ --output captions --format jsonl --executor ray --workers 4 --json
    """
    chosen_formats = _formats(formats)
    if output.exists() and not output.is_dir():
        raise MmstreamError(f"--output {output}: is a file; captions go into a folder")
    chosen = recogniser(model, language)
    recipe = Recipe(pipeline, sets=sets or (), allow=allow or ())
    source = recipe.source
    recipe.recognise_with(chosen, watched=False)
    recipe.read_file(watched=False)
    if "video" in chosen.media or only_on_camera:
        recipe.look_at_source()
    if only_on_camera:
        recipe.keep_on_camera_only()
    recipe.write_to([file_sink(str(output / f"{{session}}.{suffix}")) for suffix in chosen_formats])
    recipe.replicate(workers)
    graph = recipe.graph()
    settings = _fingerprint(chosen, pipeline, [*(sets or []), f"only_on_camera={only_on_camera}"])
    jobs, faults = find_jobs(paths)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(Text(f"mmstream: model: {chosen.describe()}"))
    with Journal(output) as journal:
        run = _Run(console, journal, recipe, settings, output, chosen_formats, failed=len(faults))
        for fault in faults:
            run.say(f"failed   {fault}", "red")
        todo = run.pending(jobs)
        if todo:
            try:
                with running(executor, graph) as started:
                    run.work(Batch(started, source, workers), todo)
            except KeyboardInterrupt:
                run.say("interrupted: run the same command again to go on where it stopped", "yellow")
                raise
    summary = run.summary(len(jobs) + len(faults))
    console.print(Text(_in_words(summary)))
    if as_json:
        print_json(summary)
    if run.failed:
        raise typer.Exit(1)


def _fingerprint(model: Model, pipeline: Path | None, sets: Sequence[str]) -> str:
    """All that decides what comes out of a file: where it has changed, the file is done again."""
    text = (pipeline or default_path()).read_text()
    made_of = {"model": model.name, "arguments": model.arguments, "pipeline": text, "set": sets}
    return fingerprint({"version": __version__, **made_of})


@dataclass
class _Run:
    """What one call of the command has done so far, and the lines and bar that say so."""

    console: Console
    journal: Journal
    recipe: Recipe
    settings: str
    output: Path
    formats: Sequence[str]
    failed: int = 0
    skipped: int = 0
    audio_s: float = 0.0
    began: float = field(default_factory=time.monotonic)
    inputs: dict[str, tuple[Input, float]] = field(default_factory=dict)  # job -> the file as it was, seconds

    def pending(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs still to do; what is done is skipped, what cannot be read has failed."""
        todo = []
        for job in jobs:
            try:
                media = Input.of(job.media)
                if self.journal.done(media, self._settings_of(job)):
                    self.skipped += 1
                    continue
                self.inputs[job.name] = (media, probe(str(job.media)).duration_s or 0.0)
            except MmstreamError as error:
                self._fail(job, error)
                continue
            todo.append(job)
        if self.skipped:
            self.say(f"skipped  {self.skipped} file{'s' * (self.skipped > 1)}, done before")
        return todo

    def work(self, batch: Batch, jobs: Sequence[Job]) -> None:
        """Run the jobs, with a bar in media seconds."""
        columns = (
            TextColumn("{task.completed:.0f}/{task.total:.0f} s of media"),
            BarColumn(),
            TextColumn("RTF {task.fields[rtf]}"),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        total = sum(seconds for _, seconds in self.inputs.values())
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as bar:
            task = bar.add_task("", total=total, rtf="-")
            finished_s = 0.0
            for done in batch.results(jobs):
                if done is not None:
                    finished_s += self.inputs[done.job.name][1]
                    self._settle(done)
                under_way = sum(batch.executor.reached(session) for session in batch.running)
                self._show(bar, task, finished_s + under_way)

    def _show(self, bar: Progress, task: TaskID, media_s: float) -> None:
        rtf = f"{(time.monotonic() - self.began) / media_s:.3f}" if media_s > 0 else "-"
        bar.update(task, completed=media_s, rtf=rtf)

    def _settle(self, done: Done) -> None:
        """Enter a job that has ended, and say so. It is done once it stands in the journal."""
        job, error = done.job, done.error
        media, seconds = self.inputs[job.name]
        if error is None:
            outputs = [self.output / f"{job.name}.{suffix}" for suffix in self.formats]
            try:
                self.journal.add(media, self._settings_of(job), outputs)
            except MmstreamError as fault:
                error = fault
        if error is not None:
            self._fail(job, error)
            return
        self.audio_s += seconds
        rtf = f"RTF {done.wall_s / seconds:.3f}" if seconds else ""
        self.say(f"done     {job.media}  {seconds:.1f} s  {rtf}")

    def _fail(self, job: Job, error: MmstreamError) -> None:
        self.failed += 1
        self.say(f"failed   {named(job, self.recipe.plainly(error))}", "red")

    def say(self, text: str, style: str = "") -> None:
        """Print one line, whatever names of files are in it."""
        line = "".join(
            character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
        )
        self.console.print(Text(line, style))

    def _settings_of(self, job: Job) -> str:
        """The run's settings and the outputs' names: a format asked for later is not yet done."""
        return f"{self.settings}:{job.name}:{','.join(sorted(self.formats))}"

    def summary(self, files: int) -> dict[str, float | int | None]:
        wall_s = time.monotonic() - self.began
        return {
            "files": files,
            "failed": self.failed,
            "skipped": self.skipped,
            "audio_seconds": round(self.audio_s, 3),
            "wall_seconds": round(wall_s, 3),
            "rtf": round(wall_s / self.audio_s, 4) if self.audio_s else None,
        }


def _in_words(summary: dict[str, float | int | None]) -> str:
    done = int(summary["files"] or 0) - int(summary["failed"] or 0) - int(summary["skipped"] or 0)
    parts = [f"{done} done", f"{summary['skipped']} skipped", f"{summary['failed']} failed"]
    rtf = f", RTF {summary['rtf']:.3f}" if summary["rtf"] else ""
    return f"{', '.join(parts)}; {summary['audio_seconds']:.0f} s of media in {summary['wall_seconds']:.0f} s{rtf}"


def _formats(text: str) -> list[str]:
    """The formats named, once each.

    Raises:
        MmstreamError: one of them is unknown.
    """
    names = list(dict.fromkeys(name.strip().lower().removeprefix(".") for name in text.split(",") if name.strip()))
    for name in names:
        if name not in FORMATS:
            raise MmstreamError(f"--format {text}: {name!r} is unknown{did_you_mean(name, FORMATS, 'known are')}")
    if not names:
        raise MmstreamError(f"--format {text!r} names no format; known are {', '.join(FORMATS)}")
    return names
