"""``mmstream bench``: the measurements behind BENCHMARKS.md, each with a table and one JSON line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

bench = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Measure the runtime: `hops`, `pipeline`, `soak`, `start`, `mouth`. The last line is one JSON object.",
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
        Literal["cheap", "sphinx"], typer.Option(help="cheap: a word for every 300 ms of speech, at no cost.")
    ] = "cheap",
    rounds: Rounds = 1,
    speech: Speech = None,
    json: JsonOnly = False,
) -> None:
    """Hours of media as fast as they go: memory, threads, open files and CPU time as they pass.

    Examples:

        mmstream bench soak

        mmstream bench soak --model sphinx --hours 1 --speech talk.mp4
    """
    from mmstream.benchmarks.soak import measure_soak
    from mmstream.benchmarks.table import show

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
