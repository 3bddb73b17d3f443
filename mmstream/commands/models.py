"""``mmstream models``: which models there are, and bringing one to this machine."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from mmstream.commands.options import Json
from mmstream.nets import STEP_S
from mmstream.registry import CATALOGUE, ModelError, Status, find, pull, pulled_names, resolve, statuses, verify
from mmstream.registry.catalogue import AVSR

PIPE_WIDTH = 200  # columns: a table that goes to a file or a pipe keeps each row on one line

models = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Recognition models: `list`, `show`, `pull`, `path`, `verify`. Only `pull` uses the network.",
)

Name = Annotated[str, typer.Argument(help="Name of a model; see `mmstream models list`.")]


@models.command("list")
def list_models(as_json: Json = False) -> None:
    """List the models that mmstream knows, and where each is on this machine.

    Example:

        mmstream models list
    """
    found = statuses()
    if as_json:
        typer.echo(json.dumps([asdict(status) for status in found]))
        return
    table = Table("name", "for", "languages", "size", "licence", "on this machine", box=None)
    for status in found:
        size = f"{status.megabytes:,} MB"
        table.add_row(status.name, status.task, status.languages, size, status.licence, _where(status))
    Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH).print(table)


def _where(status: Status) -> str:
    words = {"wheel": "yes, in its package", "pulled": "yes, pulled", "cache": "yes, in the hub's cache"}
    return words.get(status.where, "damaged: pull it again" if status.where == "damaged" else "")


@models.command("pull")
def pull_model(
    name: Name,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="FOLDER", help="Copy a CTranslate2 model from this folder: no network."),
    ] = None,
) -> None:
    """Bring a model to this machine, from the Hugging Face hub or from a folder, and note its checksums.

    An interrupted pull goes on where it stopped. Models lie in `$MMSTREAM_HOME/models`, by default under
    `~/.cache/mmstream`.

    Examples:

        mmstream models pull whisper-base.en

        mmstream models pull my-whisper --from /media/stick/my-whisper-ct2
    """
    model = pull(name, source)
    megabytes = sum(path.stat().st_size for path in (model.path or Path()).iterdir()) / 1e6
    typer.echo(f"{model.name}: {megabytes:,.0f} MB in {model.path}")


@models.command("show")
def show_model(name: Name, as_json: Json = False) -> None:
    """Print what is known of a model: for our own, its size, its look-ahead, its latency and its model card.

    Example:

        mmstream models show avsr
    """
    model = find(name) or resolve(name)
    entry = CATALOGUE.get(model.name)
    facts: dict[str, Any] = {"name": model.name, "operator": model.use, "folder": str(model.path)}
    if entry is not None:
        facts |= {"languages": entry.languages, "licence": entry.licence}
    card = ""
    if model.use == AVSR and model.path is not None:
        facts |= _facts_of(model.path)
        card_path = model.path / "MODEL_CARD.md"
        card = card_path.read_text("utf-8") if card_path.is_file() else ""
    if as_json:
        typer.echo(json.dumps(facts))
        return
    width = max(len(fact) for fact in facts)
    for fact, value in facts.items():
        typer.echo(f"{fact.replace('_', ' '):<{width}}  {value}")
    if card:
        typer.echo(f"\n{card}")


def _facts_of(folder: Path) -> dict[str, Any]:
    """What the description beside the weights of a recogniser of ours says."""
    from mmstream.nets.weights import describe, net_config

    config = net_config(describe(folder), folder)
    return {
        "megabytes": round(sum(path.stat().st_size for path in folder.iterdir()) / 1e6, 1),
        "fusion": config.fusion,
        "lookahead_ms": round(config.lookahead * STEP_S * 1000),
        "chunk_ms": round(config.chunk * STEP_S * 1000),
        "algorithmic_latency_ms": round(config.algorithmic_latency_s * 1000),
    }


@models.command("path")
def path_of(name: Name) -> None:
    """Print the folder of a model on this machine.

    Example:

        mmstream models path whisper-base.en
    """
    model = find(name) or resolve(name)
    typer.echo(model.path)


@models.command("verify")
def verify_models(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Models; else all that are here.")
    ] = None,
) -> None:
    """Compare every file of models on this machine with its checksum. Exits with 1 if one is missing or wrong.

    Examples:

        mmstream models verify

        mmstream models verify whisper-base.en
    """
    bundled = [entry.name for entry in CATALOGUE.values() if entry.comes != "hub"]
    failed = False
    for name in names or [*bundled, *pulled_names()]:
        try:
            count = verify(name)
        except ModelError as error:
            typer.echo(str(error), err=True)
            failed = True
        else:
            typer.echo(f"{name}: {count} files as they should be")
    if failed:
        raise typer.Exit(1)
