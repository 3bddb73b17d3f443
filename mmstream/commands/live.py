"""``mmstream live`` and ``demo``: one session, captions on the terminal as the words are spoken."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from mmstream.commands.options import (
    Allow,
    ExecutorOption,
    Language,
    ModelOption,
    OnlyOnCamera,
    Pipeline,
    Sets,
    Trace,
    Translate,
    Translator,
    languages_in,
    recogniser,
    translators,
)
from mmstream.core import MmstreamError
from mmstream.drive import run_recipe
from mmstream.executors import ExecutorName
from mmstream.recipe import Recipe, SinkNode, file_sinks, terminal
from mmstream.registry import resolve
from mmstream.samples import SPOKEN_VIDEO
from mmstream.translation.models import AUTO

log = logging.getLogger(__name__)

REMOTE = Path(__file__).parent.parent / "remote.yaml"


def live(
    source: Annotated[
        str | None,
        typer.Argument(
            help="A stream's address (rtsp, udp, http, hls) or a file, played at 1.0x; else the microphone."
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", "-d", help="Microphone by name or number; see `mmstream devices`.")
    ] = None,
    camera: Annotated[
        str | None,
        typer.Option(help="Look as well as listen: a camera's number or name, such as 0."),
    ] = None,
    only_on_camera: OnlyOnCamera = False,
    model: ModelOption = "auto",
    output: Annotated[
        list[Path] | None, typer.Option("--output", "-o", help="Also write captions here: .srt, .vtt, .jsonl or .txt.")
    ] = None,
    language: Language = None,
    translate: Translate = None,
    translator: Translator = AUTO,
    server: Annotated[
        str | None, typer.Option(metavar="URL", help="Let `mmstream serve` at this address recognise the sound.")
    ] = None,
    token_file: Annotated[Path | None, typer.Option(help="File with the token that --server asks for.")] = None,
    executor: ExecutorOption = "local",
    trace: Trace = None,
    pipeline: Pipeline = None,
    sets: Sets = None,
    allow: Allow = None,
) -> None:
    """Caption a microphone, a live stream or a file as it plays. Ctrl-C ends; the last words still come out.

    Translations stand below what was said, and in files beside the captions: talk.srt, talk.es.srt.

    Examples:

        mmstream live

        mmstream live --device USB --model whisper-base.en --output talk.srt --output talk.jsonl

        mmstream live --translate es --output talk.srt

        mmstream live --camera 0 --model avsr

        mmstream live rtsp://camera.local/stream --output watch.vtt

        mmstream live --server wss://captions.example:8000 --token-file token --output talk.srt
    """
    if source is not None and device is not None:
        raise MmstreamError(f"--device chooses a microphone, but {source!r} is to be captioned: give one of the two")
    if server is not None:
        _check_heard_elsewhere(camera, only_on_camera, pipeline, executor, translator)
        recipe = Recipe(REMOTE, sets=sets or (), allow=allow or ())
        languages = [] if translate is None else languages_in(translate)
        _ask_server(recipe, server, token_file, model, language, languages)
        _choose_source(recipe, source, device)
        recipe.write_to([terminal(languages), *_file_sinks(output or (), languages)])
        run_recipe(recipe, executor, "live", trace)
        return
    if token_file is not None:
        raise MmstreamError("--token-file needs --server URL")
    if only_on_camera and source is None and camera is None:
        raise MmstreamError("--only-on-camera needs a camera: add --camera 0")
    recipe = Recipe(pipeline, sets=sets or (), allow=allow or ())
    chosen = recogniser(model, language)
    translated = translators(translate, translator, chosen, language)
    recipe.recognise_with(chosen, watched=True)
    _choose_source(recipe, source, device)
    if camera is not None:
        recipe.look_through("operators.sources:Camera", {"device": camera})
    elif source is not None and ("video" in chosen.media or only_on_camera):
        recipe.look_at_source()
    if only_on_camera:
        recipe.keep_on_camera_only()
    if translated is not None:
        translated.put_into(recipe, watched=True)
    recipe.write_to([terminal(recipe.languages), *_file_sinks(output or (), recipe.languages)])
    log.info("model: %s", chosen.describe())
    if translated is not None:
        log.info("translators: %s", translated.describe())
    run_recipe(recipe, executor, "live", trace)


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the captions.")] = Path("out"),
    executor: ExecutorOption = "local",
) -> None:
    """Caption the spoken sample video that comes with mmstream, at its own pace: no microphone, no network.

    Example:

        mmstream demo
    """
    files = [output / f"demo.{suffix}" for suffix in ("srt", "vtt", "jsonl")]
    recipe = Recipe()
    _choose_source(recipe, str(SPOKEN_VIDEO), None)
    recipe.recognise_with(resolve("sphinx"), watched=True)
    recipe.write_to([terminal(), *_file_sinks(files)])
    run_recipe(recipe, executor, "demo")
    for path in files:
        log.info("wrote %s (%d bytes)", path, path.stat().st_size)


def _check_heard_elsewhere(
    camera: str | None, only_on_camera: bool, pipeline: Path | None, executor: ExecutorName, translator: str
) -> None:
    """A server hears; what it does with that is its own affair.

    Raises:
        MmstreamError: something else is asked for.
    """
    asked = {
        "--camera": camera is not None,
        "--only-on-camera": only_on_camera,
        "--pipeline": pipeline is not None,
        "--executor ray": executor == "ray",
        "--translator": translator != AUTO,
    }
    for option, given in asked.items():
        if given:
            raise MmstreamError(
                f"{option} does not go with --server: the server gets the sound, and has its own pipeline"
            )


def _ask_server(
    recipe: Recipe, server: str, token_file: Path | None, model: str, language: str | None, into: Sequence[str]
) -> None:
    arguments: dict[str, Any] = {"server": server, "model": model, "language": language}
    if into:
        arguments["translate"] = list(into)
    if token_file is not None:
        arguments["token_file"] = str(token_file)
    recipe.tell("server", arguments)


def _choose_source(recipe: Recipe, source: str | None, device: str | None) -> None:
    if source is None:
        arguments: dict[str, Any] = {} if device is None else {"device": device}
        recipe.listen_to("operators.sources:Microphone", arguments, live=True)
    elif "://" in source:
        recipe.listen_to("operators.sources:LiveUrl", {"url": source}, live=True)
    else:
        recipe.listen_to("operators.sources:MediaFile", {"path": source, "pace": "realtime"}, live=False)


def _file_sinks(paths: Sequence[Path], languages: Sequence[str] = ()) -> list[SinkNode]:
    sinks = [sink for path in paths for sink in file_sinks(str(path), languages)]
    named = {sink.name: sink for sink in sinks}
    if len(named) == len(sinks):
        return sinks
    return [SinkNode(f"{sink.name}_{number}", sink.use, sink.arguments) for number, sink in enumerate(sinks, 1)]
