"""``mmstream train``: a recogniser from manifests, or a translator from sentence pairs; resumable to the step."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import shlex
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmstream.core import MmstreamError
from mmstream.registry import home

if TYPE_CHECKING:
    from mmstream.training.config import Config
    from mmstream.training.corpora import Corpora

INTERRUPTED = 130  # exit status, as of a command that Ctrl-C ended

log = logging.getLogger(__name__)


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="What to train: a YAML file, see configs/.")],
    run: Annotated[
        Path | None, typer.Option("--run", help="Folder for checkpoints and logs; by default runs/NAME of the config.")
    ] = None,
    cache: Annotated[
        Path | None, typer.Option("--cache", help="Folder for cached features; by default the user's cache folder.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that share every batch, through Ray Train.")
    ] = None,
    only_cache: Annotated[bool, typer.Option("--only-cache", help="Cache the features and stop there.")] = False,
) -> None:
    """Train a recogniser or a translator. Run it again after an interruption: it goes on at the step where it was.

    A config with ``kind: translation`` makes a translator, any other the audio-visual recogniser. The folder of the
    run gets last.pt (the checkpoint), metrics.jsonl (a line per evaluation) and tensorboard/.
    Ctrl-C writes a checkpoint and ends.

    Examples:

        mmstream train configs/avsr-tiny.yaml

        mmstream train configs/avsr.yaml --run runs/avsr --cache /data/cache --workers 2

        nice -n 19 mmstream train configs/mt.yaml --run runs/mt
    """
    from mmstream.training.config_file import read_config
    from mmstream.training.translation.config_file import is_translation

    folder = run or Path("runs") / config.stem
    if is_translation(config):
        if workers is not None or cache is not None:
            raise MmstreamError(f"{config}: --workers and --cache are for recognisers; a translator takes run.threads")
        _train_translator(config, folder, only_cache=only_cache)
        return
    wanted = read_config(config)
    if workers is not None:
        wanted = dataclasses.replace(wanted, run=dataclasses.replace(wanted.run, workers=workers))
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    stop = _Stop(folder)
    corpora = _cached(wanted, cache or home() / "corpora", console)
    if only_cache:
        return
    with stop.listening(many=wanted.run.workers > 1):
        if wanted.run.workers > 1:
            from mmstream.training.workers import train_with_ray

            train_with_ray(wanted, cache or home() / "corpora", folder, verbose=log.isEnabledFor(logging.DEBUG))
        else:
            from mmstream.training.loop import train as run_training

            run_training(wanted, corpora, folder, stopping=lambda: stop.asked, console=console)
    _say_end(stop, folder)


def _train_translator(config: Path, folder: Path, *, only_cache: bool) -> None:
    from mmstream.training.translation.config_file import read_config
    from mmstream.training.translation.loop import prepared
    from mmstream.training.translation.loop import train as run_training

    wanted = read_config(config)
    if only_cache:
        prepared(wanted, folder)
        return
    stop = _Stop(folder)
    with stop.listening(many=False):
        console = Console(stderr=True, soft_wrap=True, highlight=False)
        run_training(wanted, folder, stopping=lambda: stop.asked, console=console)
    _say_end(stop, folder)


def _say_end(stop: _Stop, folder: Path) -> None:
    if stop.asked:
        log.info("interrupted; the checkpoint is written. Go on with: %s", shlex.join(["mmstream", *sys.argv[1:]]))
        raise typer.Exit(INTERRUPTED)
    log.info("done; ship the weights with: mmstream export %s --output FOLDER", shlex.quote(str(folder)))


def _cached(config: Config, folder: Path, console: Console) -> Corpora:
    """The corpora of a config, made with a bar where they are not there yet."""
    from mmstream.training.corpora import open_corpora

    bar = Progress(
        TextColumn("caching {task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
    tasks: dict[str, Any] = {}

    def advance(name: str, done: int, total: int) -> None:
        if name not in tasks:
            tasks[name] = bar.add_task(name, total=total)
        bar.update(tasks[name], completed=done)

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with bar:
        return open_corpora(config, folder, processes=cores, advance=advance, warn=log.warning)


class _Stop:
    """Ctrl-C and SIGTERM as a wish, so that the step under way ends and a checkpoint is written. A second one kills."""

    def __init__(self, run: Path) -> None:
        self._run = run
        self.asked = False

    @contextlib.contextmanager
    def listening(self, *, many: bool) -> Iterator[None]:
        def hear(number: int, frame: object) -> None:
            if self.asked:
                raise KeyboardInterrupt
            self.asked = True
            if many:
                from mmstream.training.workers import ask_to_stop

                ask_to_stop(self._run)

        before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
