"""``mmstream evaluate``: error rates and latency of a model over a manifest, through the pipeline that users run."""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from mmstream.atomic import AtomicFile
from mmstream.batch import Batch, Job, named
from mmstream.commands.options import Allow, ExecutorOption, Json, ModelOption, Pipeline, Sets, print_json
from mmstream.core import MmstreamError
from mmstream.drive import running
from mmstream.evaluation.latency import latency
from mmstream.evaluation.manifest import Entry, read_manifest
from mmstream.evaluation.result import Result
from mmstream.evaluation.wer import error_rates
from mmstream.recipe import Recipe, file_sink
from mmstream.registry import resolve
from operators.sources import probe

WARM_UP = "warm-up"


def evaluate(
    manifest: Annotated[Path, typer.Argument(help='JSON lines {"media", "text", "speaker", "duration"}.')],
    model: ModelOption = "auto",
    realtime: Annotated[bool, typer.Option("--realtime", help="Feed at 1.0x and measure latency per word.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many utterances.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write each utterance's result here.")] = None,
    executor: ExecutorOption = "local",
    workers: Annotated[int, typer.Option(min=1, help="Utterances at a time.")] = 1,
    as_json: Json = False,
    pipeline: Pipeline = None,
    sets: Sets = None,
    allow: Allow = None,
) -> None:
    """Measure WER and CER of a model over a manifest, and with --realtime its latency. Ends with one JSON line.

    RTF is wall-clock seconds of work per second of audio (one utterance at a time); at 1.0x, CPU seconds of this
    process. Definitions: README, "Measuring".

    Examples:

        mmstream evaluate dev.jsonl --model sphinx

        mmstream evaluate dev.jsonl --model whisper-base.en --realtime --limit 20 --json
    """
    entries = read_manifest(manifest)[:limit]
    chosen = resolve(model)
    recipe = Recipe(pipeline, sets=sets or (), allow=allow or ())
    source = recipe.source
    recipe.read_file(watched=realtime)
    recipe.recognise_with(chosen, watched=realtime)
    recipe.replicate(workers)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(Text(f"mmstream: model: {chosen.describe()}"))
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mmstream-")))
        recipe.write_to([file_sink(f"{folder}/{{session}}.jsonl")])
        graph = recipe.graph()
        details = stack.enter_context(AtomicFile(output)) if output is not None else None  # a fault shows before work
        started = stack.enter_context(running(executor, graph))
        if realtime:
            _Trial(recipe, Batch(started, source, workers, {"pace": "fast"}), folder).warm_up(entries[0])
        trial = _Trial(recipe, Batch(started, source, workers), folder)
        trial.run(entries, console)
        result = trial.result(realtime)
        if details is not None:
            trial.write(details)
    if not as_json:
        Console(highlight=False).print(_table(result))
    print_json(result.to_json())


@dataclass
class _Trial:
    """A manifest run through the pipeline, and what came out of it."""

    recipe: Recipe
    batch: Batch
    folder: Path
    utterances: list[dict[str, Any]] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    work_s: float = 0.0
    cpu_s: float = 0.0
    audio_s: float = 0.0

    def warm_up(self, entry: Entry) -> None:
        """Recognise one utterance for nothing: first calls load and compile what later ones find ready."""
        for _ in self.batch.results([Job(entry.media, WARM_UP)]):
            pass

    def run(self, entries: Sequence[Entry], console: Console) -> None:
        """Recognise every entry.

        Raises:
            MmstreamError: one of them failed; rates over the rest would mean nothing.
        """
        jobs = {f"{number:06d}": entry for number, entry in enumerate(entries)}
        began = time.process_time()
        with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("utterances", total=len(jobs))
            for done in self.batch.results([Job(entry.media, name) for name, entry in jobs.items()]):
                if done is None:
                    continue
                if done.error is not None:
                    raise MmstreamError(named(done.job, self.recipe.plainly(done.error))) from done.error
                self._take(done.job.name, jobs[done.job.name], done.wall_s)
                bar.advance(task)
        self.cpu_s = time.process_time() - began
        self.utterances.sort(key=lambda utterance: str(utterance["name"]))

    def _take(self, name: str, entry: Entry, wall_s: float) -> None:
        path = self.folder / f"{name}.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        path.unlink()
        text = " ".join(line["text"] for line in lines if "text" in line)
        media = str(entry.media)
        self.utterances.append({"name": name, "media": media, "reference": entry.text, "hypothesis": text})
        self.lines.extend(lines)
        self.work_s += wall_s
        self.audio_s += entry.duration or probe(media).duration_s or 0.0

    def result(self, realtime: bool) -> Result:
        rates = error_rates(
            [utterance["reference"] for utterance in self.utterances],
            [utterance["hypothesis"] for utterance in self.utterances],
        )
        spent_s = self.cpu_s if realtime else self.work_s
        return Result(rates, rtf=spent_s / self.audio_s, latency=latency(self.lines) if realtime else None)

    def write(self, file: AtomicFile) -> None:
        """One JSON line per utterance: media, reference, hypothesis."""
        for utterance in self.utterances:
            file.write(json.dumps({key: text for key, text in utterance.items() if key != "name"}) + "\n")


def _table(result: Result) -> Table:
    table = Table("metric", "value", show_header=False, box=None)
    for name, value in result.to_json().items():
        table.add_row(name, _shown(value))
    return table


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{name} {_shown(part)}" for name, part in value.items())
    if isinstance(value, (list, tuple)):
        return " .. ".join(_shown(part) for part in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)
