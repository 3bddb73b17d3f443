"""``mmstream transcribe``: files and folders to caption files, resumable, one failure stopping nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from mmstream import __version__
from mmstream.batch import Batch, Job, find_jobs
from mmstream.commands.options import (
    Allow,
    ExecutorOption,
    Json,
    Language,
    ModelOption,
    OnlyOnCamera,
    Pipeline,
    Sets,
    Translate,
    Translator,
    Translators,
    print_json,
    recogniser,
    translators,
)
from mmstream.core import MmstreamError
from mmstream.drive import running
from mmstream.graph import Graph
from mmstream.journal import fingerprint
from mmstream.pipeline import default_path
from mmstream.recipe import FORMATS, Recipe, file_sinks
from mmstream.registry import Model
from mmstream.spelling import did_you_mean
from mmstream.transcription.joining import keep_pieces
from mmstream.transcription.outputs import output_at
from mmstream.transcription.pieces import WORK_FOLDER
from mmstream.transcription.plan import SHORTEST_S, Planner
from mmstream.transcription.run import Run, in_words
from mmstream.translation.models import AUTO


def transcribe(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH", help="Media files, and folders of them.")],
    output: Annotated[
        str, typer.Option("--output", "-o", help="Folder for the captions, or a URL such as s3://bucket/captions.")
    ],
    formats: Annotated[str, typer.Option("--format", "-f", help="Any of srt,vtt,jsonl,txt.")] = "srt",
    model: ModelOption = "auto",
    language: Language = None,
    translate: Translate = None,
    translator: Translator = AUTO,
    only_on_camera: OnlyOnCamera = False,
    executor: ExecutorOption = "local",
    workers: Annotated[int, typer.Option(min=1, help="Replicas; on Ray each has a process of its own.")] = 1,
    sessions_per_worker: Annotated[
        int | None,
        typer.Option(
            min=1, help="Files, or pieces, that a worker hears at a time; by default 1, or what a batch holds."
        ),
    ] = None,
    split_s: Annotated[
        float, typer.Option(help="Longer files are cut at pauses into pieces of about this length; 0: never.")
    ] = 600.0,
    as_json: Json = False,
    pipeline: Pipeline = None,
    sets: Sets = None,
    allow: Allow = None,
) -> None:
    """Caption files. Run it again after an interruption: what is done is skipped. Exits with 1 if any file failed.

    Long files are cut at pauses and heard piece by piece, several at a time where there are workers for it; their
    captions come out as one. After an interruption no piece is heard again. Translations go beside the captions:
    talk.vtt, talk.de.vtt.

    Examples:

        mmstream transcribe talk.mp4 --output captions --format srt,vtt

        mmstream transcribe talks/ --output captions --translate de,fr --format vtt

        mmstream transcribe lectures/ --output captions --format jsonl --executor ray --workers 4 --json

        mmstream transcribe lectures/ --output s3://bucket/captions --executor ray --workers 16
    """
    chosen_formats, place = _formats(formats), output_at(output)
    if split_s and split_s < SHORTEST_S:
        raise MmstreamError(f"--split-s {split_s:g}: must be {SHORTEST_S:g} or more, or 0 for whole files")
    chosen = recogniser(model, language)
    translated = translators(translate, translator, chosen, language)
    recipe = Recipe(pipeline, sets=sets or (), allow=allow or ())
    source = recipe.source
    recipe.recognise_with(chosen, watched=False)
    recipe.read_file(watched=False)
    if "video" in chosen.media or only_on_camera:
        recipe.look_at_source()
    if only_on_camera:
        recipe.keep_on_camera_only()
    if translated is not None:
        translated.put_into(recipe, watched=False)
    paths_to_write = [str(place.folder / f"{{session}}.{suffix}") for suffix in chosen_formats]
    recipe.write_to([sink for path in paths_to_write for sink in file_sinks(path, recipe.languages)])
    recipe.replicate(workers)
    graph, joiner = keep_pieces(recipe.graph(), place.folder / WORK_FOLDER)
    options = [f"only_on_camera={only_on_camera}", f"split_s={split_s:g}"]
    settings = _fingerprint(chosen, translated, pipeline, [*(sets or []), *options])
    suffixes = [f"{before}{suffix}" for suffix in chosen_formats for before in _before_suffix(recipe.languages)]
    jobs, faults = find_jobs(paths)
    _check_names(jobs, recipe.languages)
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    with closing(place):
        place.open()
        console.print(Text(f"mmstream: model: {chosen.describe()}"))
        if translated is not None:
            console.print(Text(f"mmstream: translators: {translated.describe()}"))
        run = Run(console, place, joiner, settings, suffixes, recipe.plainly, failed=len(faults))
        for fault in faults:
            run.say(f"failed   {fault}", "red")
        todo = run.pending(jobs)
        if todo:
            planner = Planner(todo, split_s or None, graph.nodes[source].arguments.get("streams", "audio"))
            try:
                with running(executor, graph) as started:
                    run.work(Batch(started, source, sessions_at_once(graph, sessions_per_worker)), planner, len(todo))
            except KeyboardInterrupt:
                run.say("interrupted: run the same command again to go on where it stopped", "yellow")
                raise
    summary = run.summary(len(jobs) + len(faults))
    console.print(Text(in_words(summary)))
    if as_json:
        print_json(summary)
    if run.failed:
        raise typer.Exit(1)


def sessions_at_once(graph: Graph, per_replica: int | None) -> int:
    """How many sessions keep every replica busy, one each or a batch each, within the limits that the file sets."""
    busy, room = 1, graph.sessions.most
    for spec in graph.workers.values():
        if spec.place == "driver":
            continue
        replicas = spec.scale.most if spec.scale else spec.replicas
        busy = max(busy, replicas * (per_replica or (spec.batch.max_size if spec.batch else 1)))
        if spec.limit is not None:
            room = spec.limit * replicas if room is None else min(room, spec.limit * replicas)
    return busy if room is None else min(busy, room)


def _before_suffix(languages: Sequence[str]) -> list[str]:
    """What stands before the suffix of what was said, and of each translation."""
    return ["", *(f"{one}." for one in languages)]


def _check_names(jobs: Sequence[Job], languages: Sequence[str]) -> None:
    """Raises MmstreamError: the translation of one file and the captions of another would have one name."""
    names = {job.name: job for job in jobs}
    for job in jobs:
        for one in languages:
            other = names.get(f"{job.name}.{one}")
            if other is not None:
                raise MmstreamError(
                    f"{other.media} and the translation of {job.media} would both write {other.name!r}: "
                    "give them different output folders"
                )


def _fingerprint(model: Model, translated: Translators | None, pipeline: Path | None, sets: Sequence[str]) -> str:
    """All that decides what comes out of a file: where it has changed, the file is done again."""
    text = (pipeline or default_path()).read_text()
    made_of = {"model": model.name, "arguments": model.arguments, "pipeline": text, "set": sets}
    if translated is not None:
        made_of |= {"translators": translated.models, "translation": translated.arguments}
    return fingerprint({"version": __version__, **made_of})


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
