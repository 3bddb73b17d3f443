"""Command-line options that several commands take, so that they read the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmstream.executors import ExecutorName

Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="auto (the best on this machine), sphinx, whisper-base.en, ..., or a folder with a CTranslate2 model.",
    ),
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
