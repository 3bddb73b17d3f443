"""``mmstream sessions``: what runs on this machine and, where RAY_ADDRESS names one, on a cluster."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table as Grid
from rich.text import Text

from mmstream.board import PUBLISH_S, Folder, Shelf, Table, cluster_is_named, plain, published
from mmstream.clock import SYSTEM_CLOCK
from mmstream.commands.options import Json, print_json

NOTHING = "no session is running"
PIPE_COLUMNS = 1000


def sessions(
    as_json: Json = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Again every second, until Ctrl-C.")] = False,
) -> None:
    """Show the sessions that run: where, how far they have come, and what they have lost.

    Yours on this machine, whatever command runs them; where RAY_ADDRESS names a cluster, all of its sessions too.

    Examples:

        mmstream sessions

        mmstream sessions --watch

        mmstream sessions --json
    """
    with contextlib.suppress(KeyboardInterrupt), _shelves() as shelves:
        if as_json:
            _print_json(shelves)
            while watch:
                time.sleep(PUBLISH_S)
                _print_json(shelves)
        elif watch:
            _watch(shelves)
        else:
            _console().print(_drawn(published(shelves)))


@contextlib.contextmanager
def _shelves() -> Iterator[Sequence[Shelf]]:
    if not cluster_is_named():
        yield [Folder()]
        return
    from mmstream.executors.ray_board import joined  # Ray takes seconds to import

    with joined() as cluster:
        yield [Folder(), cluster]


def _print_json(shelves: Sequence[Shelf]) -> None:
    print_json([plain(table, row) for table in published(shelves) for row in table.rows])


def _console() -> Console:
    """Standard output. A pipe has no width of its own, and whoever reads it wants whole rows."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPE_COLUMNS)


def _watch(shelves: Sequence[Shelf]) -> None:
    console = _console()
    if not console.is_terminal:
        while True:
            console.print(_drawn(published(shelves)))
            time.sleep(PUBLISH_S)
    with Live(console=console, auto_refresh=False, screen=True) as live:
        while True:
            live.update(_drawn(published(shelves)), refresh=True)
            time.sleep(PUBLISH_S)


def _drawn(tables: Sequence[Table]) -> Grid | Text:
    rows = [(table, row) for table in tables for row in table.rows]
    if not rows:
        return Text(NOTHING)
    names = ("session", "state", "replicas", "reached", "lag", "dropped", "recov.", "replay", "for", "process")
    grid = Grid(box=None, pad_edge=False)
    for name in names:
        text = name in ("session", "state", "replicas", "process")
        grid.add_column(name, justify="left" if text else "right", no_wrap=not text, overflow="fold")
    now = SYSTEM_CLOCK.now()
    for table, row in rows:
        grid.add_row(
            Text(_printable(row.session)),
            Text(row.state, "" if row.state == "running" else "yellow"),
            Text(", ".join(f"{worker} {number}" for worker, number in row.replicas.items())),
            f"{row.reached_s:.1f} s",
            f"{row.lag_s:.1f} s",
            str(row.dropped),
            str(row.recoveries),
            f"{row.replayed_s:.1f} s",
            f"{max(0.0, now - row.since):.0f} s",
            Text(f"{table.host}:{table.pid}"),
        )
    return grid


def _printable(text: str) -> str:
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
