"""``mmstream trace``: where the time between a word's capture and its caption went."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mmstream.atomic import AtomicFile
from mmstream.commands.options import Json, print_json
from mmstream.observe.perfetto import trace_events
from mmstream.observe.reading import Trace, read
from mmstream.observe.waterfall import Share, Waterfall, share, shares, waterfalls


def trace(
    session: Annotated[str, typer.Argument(metavar="SESSION", help="Name of the session.")],
    folder: Annotated[Path, typer.Option("--from", metavar="DIR", help="Folder that the run wrote its spans to.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write a trace for Perfetto or Chrome here.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show where the latency of a session's words went, stage by stage; with -o, word by word as a trace.

    The stages of a word follow one another from the capture of its end to the moment from which it never changes, so
    their means add up to the mean commit latency. "later media" is sound that still had to be spoken before the word
    was certain; "to X" the way to another process; "queue X" the wait in a lane; "X" the work of a node.

    Open the file at ui.perfetto.dev or chrome://tracing: a track for each word, and one for each node of each process.

    Examples:

        mmstream trace talk-3 --from spans

        mmstream trace talk-3 --from spans -o talk-3.json --json
    """
    found = read(folder, session)
    falls = waterfalls(found)
    if output is not None:
        with AtomicFile(output) as file:
            file.write(json.dumps(trace_events(found, falls), allow_nan=False))
    console = Console(soft_wrap=True, highlight=False)
    said = Console(stderr=True, soft_wrap=True, highlight=False)
    if found.unread:
        said.print(Text(f"mmstream: {found.unread} lines of spans were cut short and are left out", "yellow"))
    if not falls:
        said.print(Text(f"mmstream: session {session!r}: no word became stable", "yellow"))
    elif not as_json:
        console.print(_table(found, falls))
    if output is not None:
        said.print(Text(f"mmstream: wrote {output}"))
    if as_json:
        print_json(_plain(session, falls))


def _latency(falls: Sequence[Waterfall]) -> Share:
    return share("commit latency", (fall.word.committed_at - fall.word.captured_at for fall in falls))


def _table(found: Trace, falls: Sequence[Waterfall]) -> Table:
    stages, latency = shares(falls), _latency(falls)
    table = Table(title=f"session {found.session}: {len(falls)} words, milliseconds", title_justify="left")
    table.add_column("stage")
    for name in ("mean", "p50", "p95", "of the latency"):
        table.add_column(name, justify="right")
    for stage in stages:
        part = f"{100 * stage.mean / latency.mean:.1f}%" if latency.mean > 0 else ""
        style = "dim" if stage.name == "unexplained" and abs(stage.mean) < 0.05 else ""
        table.add_row(stage.name, *_numbers(stage), part, style=style, end_section=stage is stages[-1])
    table.add_row("sum of the means", f"{sum(stage.mean for stage in stages):.1f}")
    table.add_row(latency.name, *_numbers(latency))
    return table


def _numbers(stage: Share) -> tuple[str, str, str]:
    return f"{stage.mean:.1f}", f"{stage.p50:.1f}", f"{stage.p95:.1f}"


def _plain(session: str, falls: Sequence[Waterfall]) -> dict[str, object]:
    """The table for machines, milliseconds."""
    if not falls:
        return {"session": session, "words": 0, "stages": [], "commit_latency_ms": None}
    stages = [{"name": stage.name, **_rounded(stage)} for stage in shares(falls)]
    return {"session": session, "words": len(falls), "stages": stages, "commit_latency_ms": _rounded(_latency(falls))}


def _rounded(stage: Share) -> dict[str, float]:
    """To microseconds."""
    return {"mean": round(stage.mean, 3), "p50": round(stage.p50, 3), "p95": round(stage.p95, 3)}
