"""The ``mmstream`` command: one function per subcommand, in ``mmstream.commands``."""

from __future__ import annotations

import logging
import os
import signal
import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from mmstream import __version__
from mmstream.commands.bench import bench
from mmstream.commands.check import check
from mmstream.commands.deploy import deploy
from mmstream.commands.devices import devices
from mmstream.commands.doctor import doctor
from mmstream.commands.evaluate import evaluate
from mmstream.commands.evaluate_translation import evaluate_translation
from mmstream.commands.export import export
from mmstream.commands.live import demo, live
from mmstream.commands.models import models
from mmstream.commands.run import run
from mmstream.commands.serve import serve
from mmstream.commands.sessions import sessions
from mmstream.commands.trace import trace
from mmstream.commands.train import train
from mmstream.commands.transcribe import transcribe
from mmstream.core import MmstreamError

app = typer.Typer(
    name="mmstream",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Live speech and video to text: microphone, files and Ray clusters from one pipeline.yaml.",
    epilog="Start with `mmstream demo`, then `mmstream live`. `mmstream doctor` says what is missing.",
)
for command in (
    live, transcribe, serve, run, sessions, trace, check, devices,
    evaluate, evaluate_translation, train, export, doctor, demo,
):  # fmt: skip
    app.command()(command)
app.add_typer(models, name="models")
app.add_typer(bench, name="bench")
app.add_typer(deploy, name="deploy")


class _OneLine(logging.Handler):
    """Messages for people, on standard error: one line each, above whatever moves on the screen."""

    def __init__(self) -> None:
        super().__init__()
        self._console = Console(stderr=True, soft_wrap=True, highlight=False)

    def emit(self, record: logging.LogRecord) -> None:
        style = "yellow" if record.levelno >= logging.WARNING else ""
        self._console.print(Text(f"mmstream: {record.getMessage()}", style))


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more, with tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version and exit.")
    ] = False,
) -> None:
    logger = logging.getLogger("mmstream")
    logger.handlers = [_OneLine()]
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    logger.propagate = False


def main() -> None:
    """Run the command line. A fault that one line explains prints that line and exits with 1."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # drains as Ctrl-C does, even where that is ignored
    try:
        app(standalone_mode=True)
    except MmstreamError as error:
        if logging.getLogger("mmstream").isEnabledFor(logging.DEBUG):
            raise
        Console(stderr=True, soft_wrap=True, highlight=False).print(Text(f"mmstream: {error}", "red"))
        sys.exit(1)
    except BrokenPipeError:  # the reader of our output has gone; nothing is left to tell it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
