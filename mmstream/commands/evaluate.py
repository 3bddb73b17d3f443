"""``mmstream evaluate``: error rates and latency of a model over a manifest, through the pipeline that users run."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mmstream.atomic import AtomicFile
from mmstream.commands.options import Allow, ExecutorOption, Json, ModelOption, Pipeline, Sets, print_json
from mmstream.core import MmstreamError
from mmstream.drive import running
from mmstream.evaluation.conditions import (
    OFFSET_MS,
    Clip,
    Condition,
    Disturbance,
    Modality,
    Setup,
    check_media,
    check_noise,
    clips_of,
)
from mmstream.evaluation.manifest import read_manifest
from mmstream.evaluation.sweep import Sweep, default_noise
from mmstream.evaluation.trial import Trial
from mmstream.executors import ExecutorName
from mmstream.registry import Model, resolve
from operators.audio.noise import SNR_DB
from operators.sources import probe
from operators.video.loss import Kind

Noise = Annotated[
    Path | None,
    typer.Option("--noise", metavar="PATH", help="Recording to mix in, or a folder from which one is drawn per clip."),
]


def evaluate(
    manifest: Annotated[Path, typer.Argument(help='JSON lines {"media", "text", "speaker", "duration", "words"}.')],
    model: ModelOption = "auto",
    modality: Annotated[
        Modality | None, typer.Option(help="What the model gets. [default: all that it can use]", show_default=False)
    ] = None,
    noise: Noise = None,
    snr: Annotated[
        float | None,
        typer.Option("--snr", metavar="DB", min=SNR_DB[0], max=SNR_DB[1], help="Power of speech over that noise."),
    ] = None,
    drop_video: Annotated[
        float, typer.Option(metavar="FRACTION", min=0, max=1, help="Lose so much of the pictures.")
    ] = 0.0,
    drop_kind: Annotated[
        Kind, typer.Option(help="Lose single pictures, one burst, or the whole stream of so many clips.")
    ] = "random",
    av_offset_ms: Annotated[
        float,
        typer.Option(
            metavar="MS",
            min=OFFSET_MS[0],
            max=OFFSET_MS[1],
            help="Play the video so much later than the sound; negative: earlier.",
        ),
    ] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws of noise and loss.")] = 0,
    realtime: Annotated[bool, typer.Option("--realtime", help="Feed at 1.0x and measure latency per word.")] = False,
    sweep: Annotated[bool, typer.Option("--sweep", help="Run every condition; write tables and plots.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder for what --sweep writes. [default: sweep]", show_default=False),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many utterances.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write each utterance's result here.")] = None,
    executor: ExecutorOption = "local",
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Utterances at a time. [default: 1; of a sweep, the cores]", show_default=False),
    ] = None,
    as_json: Json = False,
    pipeline: Pipeline = None,
    sets: Sets = None,
    allow: Allow = None,
) -> None:
    """Measure WER and CER of a model over a manifest, and with --realtime its latency. Ends with one JSON line.

    RTF is wall-clock seconds of work per second of audio (one utterance at a time); at 1.0x, CPU seconds of this
    process. Noise is scaled to each clip as a whole; one clip meets the same noise at every ratio and in every
    modality. Definitions: README, "Measuring".

    --sweep runs WER by noise (babble, clean to -10 dB) for each modality, by missing video and by the offset of video
    against sound, and writes DIR/sweep.md, sweep.json and plots; a sweep that was interrupted goes on where it
    stopped. Without --noise it takes the babble in a folder "noise" near the manifest. It finds each mouth once, in
    the clip as recorded, and loses or shifts mouths; a single condition loses and shifts the frames themselves.

    Examples:

        mmstream evaluate dev.jsonl --model sphinx

        mmstream evaluate dev.jsonl --model whisper-base.en --realtime --limit 20 --json

        mmstream evaluate grid/dev_seen.jsonl --model avsr --noise noise/ --snr 0 --drop-video 0.5 --drop-kind burst

        mmstream evaluate grid/dev_seen.jsonl --model avsr --sweep --out sweep
    """
    clips = clips_of(read_manifest(manifest)[:limit], manifest)
    chosen = resolve(model)
    setup = Setup(chosen, pipeline, tuple(sets or ()), tuple(allow or ()), min(workers or 1, len(clips)))
    if sweep:
        given = {"--modality": modality is not None, "--snr": snr is not None, "--drop-video": drop_video != 0}
        given |= {"--drop-kind": drop_kind != "random", "--av-offset-ms": av_offset_ms != 0, "--realtime": realtime}
        _check_sweep({**given, "--output": output is not None, "--executor": executor != "local"})
        disturbance = Disturbance(noise or default_noise(manifest), seed)
        whole = Sweep(replace(setup, workers=1), manifest, clips, disturbance, out or Path("sweep"))
        figures = _sweep(whole, workers or _cores())
    else:
        if out is not None:
            raise MmstreamError("--out is the folder of --sweep: drop it, or say --output FILE")
        condition = Condition(modality or _all_of(chosen, clips), snr, drop_video, drop_kind, av_offset_ms)
        settled = _Settled(setup, clips, condition, Disturbance(noise, seed), realtime)
        figures = _measure(settled, executor, output)
    _show(figures, as_json)


def _sweep(sweep: Sweep, workers: int) -> Mapping[str, Any]:
    """Every condition, by so many processes."""
    assert sweep.disturbance.noise is not None
    check_noise(sweep.disturbance.noise)
    console = _console(sweep.setup.model)
    console.print(Text(f"mmstream: noise: {sweep.disturbance.noise}"))
    return sweep.run(workers, console)


@dataclass(frozen=True)
class _Settled:
    """What is to be measured, once the options have been found to go together."""

    setup: Setup
    clips: Sequence[Clip]
    condition: Condition
    disturbance: Disturbance
    realtime: bool


def _measure(settled: _Settled, name: ExecutorName, output: Path | None) -> Mapping[str, Any]:
    """The manifest in one condition.

    Raises:
        MmstreamError: the model or the options do not go together, or a clip could not be recognised.
    """
    check_media(settled.setup.model, settled.condition.modality)
    _check(settled.condition, settled.disturbance.noise)
    console = _console(settled.setup.model)
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mmstream-")))
        modality, realtime = settled.condition.modality, settled.realtime
        graph = settled.setup.graph(modality, f"{folder}/{{session}}.jsonl", realtime=realtime)
        details = stack.enter_context(AtomicFile(output)) if output is not None else None  # a fault shows before work
        started = stack.enter_context(running(name, graph))
        run = (settled.setup, graph, started, folder, settled.clips, settled.condition, settled.disturbance, realtime)
        trial = Trial(*run)
        if realtime:
            trial.warm_up()
        trial.run(console)
        result = trial.result()
        if details is not None:
            trial.write(details)
    return {"condition": settled.condition, **result.to_json()}


def _all_of(model: Model, clips: Sequence[Clip]) -> Modality:
    """All media that the model can use and the first clip has."""
    return "av" if "video" in model.media and probe(clips[0].media).has_video else "audio"


def _console(model: Model) -> Console:
    """Where people are told how far it is; which model it is stands there already."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(Text(f"mmstream: model: {model.describe()}"))
    return console


def _check(condition: Condition, noise: Path | None) -> None:
    """Whether the options go together.

    Raises:
        MmstreamError: they do not.
    """
    if (noise is None) != (condition.snr_db is None):
        raise MmstreamError("--noise and --snr go together: --noise noise/ --snr 0")
    if noise is not None:
        check_noise(noise)
    if condition.drop_kind != "random" and not condition.drop_video:
        raise MmstreamError(f"--drop-kind {condition.drop_kind} loses nothing: say how much with --drop-video 0.5")
    if condition.modality == "video" and noise is not None:
        raise MmstreamError("--noise: there is no sound in --modality video to mix it into")
    if condition.modality == "audio" and (condition.drop_video or condition.av_offset_ms):
        option = "--drop-video" if condition.drop_video else "--av-offset-ms"
        raise MmstreamError(f"{option}: there is no video in --modality audio")
    if condition.modality == "video" and condition.av_offset_ms:
        raise MmstreamError("--av-offset-ms: there is no sound in --modality video to be late against")


def _check_sweep(given: Mapping[str, bool]) -> None:
    for option, is_given in given.items():
        if is_given:
            raise MmstreamError(f"--sweep runs every condition, as fast as possible and in this process: drop {option}")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _show(figures: Mapping[str, Any], as_json: bool) -> None:
    """A table for people, unless they want none, then one line for machines."""
    if not as_json:
        table = Table("metric", "value", show_header=False, box=None)
        for name, value in figures.items():
            table.add_row(name, _shown(value))
        Console(highlight=False).print(table)
    print_json({name: value.to_json() if isinstance(value, Condition) else value for name, value in figures.items()})


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{name} {_shown(part)}" for name, part in value.items())
    if isinstance(value, (list, tuple)):
        return " .. ".join(_shown(part) for part in value)
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
