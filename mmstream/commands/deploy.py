"""``mmstream deploy check``: the files of deploy/, as far as that goes without Docker and without Kubernetes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmstream.deployment import examine

deploy = typer.Typer(no_args_is_help=True, help="Clusters: check the files that start them.")


@deploy.callback()
def _group() -> None:  # without it a single command would lose its name
    pass


@deploy.command()
def check(
    folder: Annotated[Path, typer.Argument(metavar="PATH", help="Folder of the files.")] = Path("deploy"),
) -> None:
    """Check Dockerfile, Compose, `ray up` and KubeRay files without starting anything: one line a file, or a problem.

    Schemas, Ray's own validation, versions against constraints.txt, rights, probes, secrets, and that every command
    in them exists and takes its options. Exits with 1 if there is any problem.

    Examples:

        mmstream deploy check

        mmstream deploy check deploy
    """
    checked = examine(folder)
    for one in checked:
        for problem in one.problems:
            typer.echo(str(problem))
        if not one.problems:
            typer.echo(f"{one.path}: ok ({one.what})")
    if any(one.problems for one in checked):
        raise typer.Exit(1)
