"""``mmstream check``: every problem of a pipeline file at once, or its drawing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from mmstream.commands.options import Allow, Sets
from mmstream.pipeline import PipelineError, draw, load, schema


def check(
    file: Annotated[Path, typer.Argument(help="Pipeline file.")] = Path("pipeline.yaml"),
    as_schema: Annotated[
        bool, typer.Option("--schema", help="Print a JSON Schema of pipeline files instead, for your editor.")
    ] = False,
    sets: Sets = None,
    allow: Allow = None,
) -> None:
    """Check a pipeline file without starting anything: print every problem with its line, or draw the graph.

    Exits with 1 if there is any problem.

    Examples:

        mmstream check pipeline.yaml

        mmstream check pipeline.yaml --set speech.threshold=0.6 --allow my_operators

        mmstream check --schema > pipeline.schema.json
    """
    if as_schema:
        typer.echo(json.dumps(schema(allow or ()), indent=2))
        return
    try:
        graph = load(file, sets=sets or (), allow=allow or ())
    except PipelineError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
    typer.echo(draw(graph, plain=not _can_draw(sys.stdout.encoding)))


def _can_draw(encoding: str | None) -> bool:
    """Whether box-drawing characters can be written."""
    try:
        "●┼→".encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
