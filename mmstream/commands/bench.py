"""``mmstream bench``: the measurements behind BENCHMARKS.md, each with a table and one JSON line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from mmstream.commands.options import ExecutorOption
from mmstream.core import MmstreamError
from mmstream.spelling import did_you_mean
from mmstream.translation.languages import checked, checked_list

PARTS: tuple[Literal["overhead", "idle", "sessions"], ...] = ("overhead", "idle", "sessions")
WAYS: tuple[Literal["kill", "freeze", "node"], ...] = ("kill", "freeze", "node")

bench = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Measure the runtime: each with a table, and as its last line one JSON object.",
)

Rounds = Annotated[int, typer.Option("--rounds", "-r", min=1, help="How often to measure; the median is shown.")]
JsonOnly = Annotated[bool, typer.Option("--json", help="Print only the JSON line on standard output.")]
Speech = Annotated[
    Path | None, typer.Option(help="A manifest (.jsonl) or a media file; by default the sample video that comes along.")
]


def _say(text: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"mmstream: {text}", markup=False, style="dim")


@bench.command()
def hops(rounds: Rounds = 5, json: JsonOnly = False) -> None:
    """From one node to the next: chained, between threads, between Ray actors, and over Ray's own queue.

    Example:

        mmstream bench hops --rounds 5
    """
    from mmstream.benchmarks.hops import measure_hops
    from mmstream.benchmarks.table import show

    show(measure_hops(rounds, _say), json_only=json)


@bench.command()
def pipeline(
    rounds: Rounds = 5,
    minutes: Annotated[float, typer.Option(min=0.05, help="Speech in each round.")] = 2.0,
    speech: Speech = None,
    json: JsonOnly = False,
) -> None:
    """CPU time that the pipeline adds to pocketsphinx called directly, on threads and on Ray.

    Examples:

        mmstream bench pipeline

        mmstream bench pipeline --minutes 10 --rounds 1 --speech ../shared/data/speech/en/dev.jsonl
    """
    from mmstream.benchmarks.pipeline import measure_pipeline
    from mmstream.benchmarks.table import show

    show(measure_pipeline(rounds, minutes, speech, _say), json_only=json)


@bench.command()
def soak(
    hours: Annotated[float, typer.Option(min=0.005, help="Media in each round.")] = 2.0,
    model: Annotated[
        Literal["cheap", "sphinx", "avsr"], typer.Option(help="cheap: a word for every 300 ms of speech, at no cost.")
    ] = "cheap",
    rounds: Rounds = 1,
    sessions: Annotated[int, typer.Option(min=0, help="So many at a time, one after another; exits 1 on growth.")] = 0,
    executor: ExecutorOption = "local",
    speech: Speech = None,
    json: JsonOnly = False,
) -> None:
    """Hours of media as fast as they go: memory, threads, open files and CPU time as they pass.

    Examples:

        mmstream bench soak

        mmstream bench soak --model sphinx --hours 1 --speech talk.mp4

        mmstream bench soak --sessions 8 --executor ray --hours 4
    """
    from mmstream.benchmarks.soak import measure_soak
    from mmstream.benchmarks.soak_sessions import measure_soak_sessions
    from mmstream.benchmarks.table import show

    if sessions:
        if model == "sphinx":
            raise MmstreamError("--sessions takes the models cheap and avsr")
        report = measure_soak_sessions(model, sessions, hours, executor, speech, _say)
        show(report, json_only=json)
        if any(figure.met is False for figure in report.figures):
            raise typer.Exit(1)
        return
    if model == "avsr":
        raise MmstreamError("--model avsr needs --sessions")
    show(measure_soak(rounds, hours, model, speech, _say), json_only=json)


@bench.command()
def start(
    device: Annotated[
        str | None, typer.Option("--device", "-d", help="Microphone by name or number; see `mmstream devices`.")
    ] = None,
    rounds: Rounds = 5,
    json: JsonOnly = False,
) -> None:
    """From the start of `mmstream live --model sphinx` until it listens. Needs a microphone.

    Example:

        mmstream bench start --device USB
    """
    from mmstream.benchmarks.start import measure_start
    from mmstream.benchmarks.table import show

    show(measure_start(rounds, device, _say), json_only=json)


@bench.command()
def mouth(
    video: Annotated[
        Path | None, typer.Argument(help="A media file with a face in it; by default a drawn face that talks.")
    ] = None,
    rounds: Rounds = 5,
    seconds: Annotated[float, typer.Option(min=1.0, help="At most this much of the video, in each round.")] = 30.0,
    json: JsonOnly = False,
) -> None:
    """Finding the mouth in each picture on one core, and how that compares with decoding the video.

    Examples:

        mmstream bench mouth

        mmstream bench mouth ../shared/data/talks/grid_multi_unseen.mp4 --rounds 3
    """
    from mmstream.benchmarks.mouth import measure_mouth
    from mmstream.benchmarks.table import show

    show(measure_mouth(rounds, video, seconds, _say), json_only=json)


@bench.command()
def translate(
    model: Annotated[str, typer.Option("--model", "-m", help="Translator: auto, mt-en-de, ..., or a folder.")] = "auto",
    targets: Annotated[
        str, typer.Option(help="Languages, the first of them for all that is done in one.")
    ] = "de,fr,es",
    rounds: Rounds = 5,
    json: JsonOnly = False,
) -> None:
    """A sentence of 12 words translated on one core, alone and in batches, and the start of a translator.

    Examples:

        mmstream bench translate

        mmstream bench translate --model ./my-translator --targets it
    """
    from mmstream.benchmarks.table import show
    from mmstream.benchmarks.translation import measure_translation

    show(measure_translation(rounds, model, checked_list(targets), _say), json_only=json)


@bench.command()
def batching(
    rounds: Rounds = 5,
    seconds: Annotated[float, typer.Option(min=1.0, help="Media of each session, in each round.")] = 2.0,
    speech: Speech = None,
    json: JsonOnly = False,
) -> None:
    """The recogniser `avsr` over 1 to 32 sessions: shared calls against one session at a time, on 1 and 2 threads.

    Example:

        mmstream bench batching --speech ../shared/data/speech/en/dev.jsonl
    """
    from mmstream.benchmarks.batching import measure_batching
    from mmstream.benchmarks.table import show

    show(measure_batching(rounds, seconds, speech, _say), json_only=json)


@bench.command()
def transcribe(
    rounds: Rounds = 3,
    minutes: Annotated[float, typer.Option(min=0.1, help="Speech in each round.")] = 2.0,
    workers: Annotated[int, typer.Option(min=2, help="How many, against one.")] = 2,
    speech: Speech = None,
    json: JsonOnly = False,
) -> None:
    """One long file through several workers on Ray, against one worker.

    Example:

        mmstream bench transcribe --minutes 2 --rounds 3
    """
    from mmstream.benchmarks.table import show
    from mmstream.benchmarks.transcription import measure_transcription

    show(measure_transcription(rounds, minutes, workers, speech, _say), json_only=json)


@bench.command()
def sessions(
    kind: Annotated[Literal["stub", "avsr"], typer.Option(help="Recogniser.")] = "stub",
    sessions: Annotated[int, typer.Option(min=1, help="Where the search for the most begins.")] = 200,
    seconds: Annotated[float, typer.Option(min=4.0, help="Of each trial.")] = 30.0,
    executor: ExecutorOption = "ray",
    replicas: Annotated[int, typer.Option(min=1, help="Of the worker that they share.")] = 1,
    slow: Annotated[int, typer.Option(min=0, help="Clients that stop reading: what they do to the others.")] = 0,
    rounds: Rounds = 1,
    speech: Speech = None,
    json: JsonOnly = False,
) -> None:
    """How many live sessions one worker holds, against a process each; with --slow, clients that stop reading.

    Examples:

        mmstream bench sessions --kind avsr --sessions 48 --replicas 2

        mmstream bench sessions --sessions 16 --slow 1 --rounds 3
    """
    from mmstream.benchmarks.sessions import Plan, measure_sessions, measure_slow
    from mmstream.benchmarks.table import show

    plan = Plan(kind, sessions, seconds, executor, replicas)
    report = measure_slow(plan, slow, rounds, speech, _say) if slow else measure_sessions(plan, rounds, speech, _say)
    show(report, json_only=json)


@bench.command()
def overload(
    rounds: Rounds = 1,
    seconds: Annotated[float, typer.Option(min=1.0, help="Of overload.")] = 60.0,
    json: JsonOnly = False,
) -> None:
    """A live session whose recogniser is three times too slow for a while: how far it lags, and what it loses.

    Example:

        mmstream bench overload --seconds 60
    """
    from mmstream.benchmarks.overload import Course, measure_overload
    from mmstream.benchmarks.table import show

    show(measure_overload(rounds, Course(overload_s=seconds), _say), json_only=json)


@bench.command()
def chaos(
    ways: Annotated[
        list[str] | None, typer.Option("--way", help="kill, freeze or node (a machine); by default all.")
    ] = None,
    faults: Annotated[int, typer.Option(min=1, help="How many, in each run; machines and freezes: a tenth.")] = 20,
    seconds: Annotated[float, typer.Option(min=15.0, help="Of a run of kills; the others last a fifth.")] = 600.0,
    standby: Annotated[
        bool | None, typer.Option("--standby/--no-standby", help="Kills with, or without, warm standbys; both.")
    ] = None,
    sessions: Annotated[int, typer.Option(min=1, help="Live sessions, at 1.0x.")] = 8,
    model: Annotated[Literal["stub", "avsr"], typer.Option(help="Recogniser.")] = "avsr",
    translate: Annotated[
        str | None, typer.Option(metavar="LANGUAGE", help="Translate too, such as into de, in workers of their own.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the times and victims.")] = 0,
    speech: Speech = None,
    json: JsonOnly = False,
) -> None:
    """Workers killed, frozen and lost with their machine, under live sessions; every word accounted for.

    Examples:

        mmstream bench chaos

        mmstream bench chaos --way kill --faults 4 --seconds 60 --standby --model stub --translate de
    """
    from mmstream.benchmarks.chaos import Load, Trial, measure_chaos
    from mmstream.benchmarks.table import show

    trials = []
    for way in ways or WAYS:
        if way not in WAYS:
            raise MmstreamError(f"--way {way}: unknown{did_you_mean(way, WAYS, 'known are')}")
        if way == "kill":
            choices = (True, False) if standby is None else (standby,)
            trials += [Trial(way, faults, int(choice), seconds) for choice in choices]
        else:
            trials.append(Trial(way, max(1, faults // 10), int(way == "freeze"), max(45.0, seconds / 5)))
    load = Load(sessions, model, None if translate is None else checked(translate))
    show(measure_chaos(trials, load, speech, seed, _say), json_only=json)


@bench.command()
def serve(
    parts: Annotated[
        list[str] | None, typer.Option("--part", help="overhead, idle or sessions; by default all.")
    ] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="Of all but the sessions that speak.")] = "sphinx",
    seconds: Annotated[float, typer.Option(min=4.0, help="Of speech, in each round.")] = 30.0,
    idle: Annotated[int, typer.Option(min=1, help="Sessions that wait.")] = 500,
    sessions: Annotated[int, typer.Option(min=1, help="Sessions that speak, to a stub.")] = 100,
    rounds: Rounds = 3,
    speech: Speech = None,
    json: JsonOnly = False,
) -> None:
    """The server: what it adds to `mmstream live` in process, what waiting sessions cost it, how many may speak.

    Examples:

        mmstream bench serve

        mmstream bench serve --part sessions --sessions 200 --rounds 1
    """
    from mmstream.benchmarks.serve import Plan, measure_serve
    from mmstream.benchmarks.table import show

    for part in parts or ():
        if part not in PARTS:
            raise MmstreamError(f"--part {part}: unknown{did_you_mean(part, PARTS, 'known are')}")
    chosen = tuple(part for part in PARTS if part in (parts or PARTS))
    show(measure_serve(Plan(chosen, model, seconds, idle, sessions), rounds, speech, _say), json_only=json)
