"""Command-line options that several commands take, so that they read the same everywhere."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from mmstream.core import MmstreamError
from mmstream.executors import ExecutorName
from mmstream.registry import CATALOGUE, Model, resolve

ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="auto (the best on this machine), sphinx, avsr (also reads lips), whisper-base.en, ..., or a folder with "
        "a CTranslate2 model or with weights of `mmstream export`.",
    ),
]
Language = Annotated[
    str | None, typer.Option(help="Language spoken, such as en or de, for a model that knows several.")
]
OnlyOnCamera = Annotated[
    bool, typer.Option("--only-on-camera", help="Leave out voices that are not those of the person on camera.")
]
Trace = Annotated[
    Path | None,
    typer.Option("--trace", help="Folder for what each node does with each packet; see `mmstream trace`."),
]
ExecutorOption = Annotated[ExecutorName, typer.Option("--executor", help="Threads in this process, or actors on Ray.")]
Pipeline = Annotated[
    Path | None,
    typer.Option("--pipeline", help="Pipeline file to start from; by default the one that ships with mmstream."),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NODE.ARG=VALUE", help="Change an argument of a node; may be given several times."),
]
Allow = Annotated[
    list[str] | None,
    typer.Option("--allow", metavar="MODULE", help="Let the file use operators from this module too."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of standard output.")]


def recogniser(name: str, language: str | None) -> Model:
    """The model of that name, told the language where it knows several.

    Raises:
        MmstreamError: it is not on this machine, or does not know the language.
    """
    model = resolve(name, language)
    entry = CATALOGUE.get(model.name)
    if language is None:
        return model
    if entry is None or entry.languages == "many":
        return model.with_arguments(language=language)
    if language.lower().partition("-")[0] != entry.languages:
        raise MmstreamError(
            f"--language {language}: model {model.name!r} knows {entry.languages!r} only; see mmstream models list"
        )
    return model


def print_json(value: Any) -> None:
    """One line on standard output.

    Raises:
        MmstreamError: it cannot be written.
    """
    try:
        sys.stdout.write(json.dumps(value) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as fault:
        # Otherwise the interpreter tries once more when it ends, and complains.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise MmstreamError(f"standard output: cannot be written: {fault.strerror or fault}") from fault
