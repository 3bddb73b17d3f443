"""``mmstream run``: a pipeline file as it stands, for one session or for many at a time."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mmstream.batch import find_jobs
from mmstream.commands.options import Allow, ExecutorOption, Json, Sets, Trace, print_json
from mmstream.core import MmstreamError
from mmstream.drive import run_all, run_recipe, running
from mmstream.executors import Executor, ExecutorName
from mmstream.executors.ledger import Result
from mmstream.graph import Graph
from mmstream.recipe import FORMATS, Recipe, SinkNode, file_sinks, formats
from mmstream.record import Arguments
from mmstream.sessions import SessionRow

log = logging.getLogger(__name__)

Pace = Literal["realtime", "fast"]
NAME = "run"
FIGURES = "run_figures"  # the node whose file holds what the table is made of


def run(
    file: Annotated[Path, typer.Argument(help="Pipeline file.")],
    executor: ExecutorOption = "local",
    session: Annotated[
        str | None, typer.Option(help="Name of the session ('run'); {session} in a sink's path stands for it.")
    ] = None,
    sessions: Annotated[int | None, typer.Option(min=1, help="Sessions at a time; it needs --input.")] = None,
    inputs: Annotated[
        list[Path] | None,
        typer.Option("--input", help="Media files and folders of them instead of the file's source: each a session."),
    ] = None,
    pace: Annotated[Pace | None, typer.Option(help="Of --input: at 1.0x, as if it were live, or fast.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Also write captions into this folder.")] = None,
    formats_given: Annotated[str | None, typer.Option("--format", "-f", help="Any of srt,vtt,jsonl,txt.")] = None,
    as_json: Json = False,
    trace: Trace = None,
    sets: Sets = None,
    allow: Allow = None,
) -> None:
    """Run a pipeline file as it stands, until its sources end or Ctrl-C.

    With --input every media file is a session of its own; files play again under other names until there are as many
    sessions as --sessions. On Ray, a file that says no `workers` gets a replica for each core. Ctrl-C and SIGTERM let
    every session finish its last words. Exits with 1 if any failed.

    Examples:

        mmstream run pipeline.yaml

        mmstream run pipeline.yaml --executor ray --set source.device=USB

        mmstream run pipeline.yaml --executor ray --sessions 8 --input talks/ --output captions --format srt,jsonl
    """
    _check_options(session, sessions, inputs, pace, output, formats_given, as_json)
    recipe = Recipe(file, sets=sets or (), allow=allow or ())
    written = formats(formats_given or "srt") if output is not None else []
    if output is not None:
        paths = [str(output / f"{{session}}.{suffix}") for suffix in written]
        recipe.also_write_to([sink for path in paths for sink in file_sinks(path, recipe.languages)])
    if not inputs:
        run_recipe(recipe, executor, session or NAME, trace)
        return
    planned = _planned(inputs, sessions or 1, recipe.source)
    if pace == "fast":
        recipe.read_file(watched=False)
    else:
        recipe.play_file()
    if len(planned) > 1:
        recipe.show_many()
    if executor == "ray" and not recipe.says_workers:
        recipe.replicate(min(sessions or 1, os.cpu_count() or 1))
    with tempfile.TemporaryDirectory(prefix="mmstream-") as folder:
        lines = Path(folder)
        if recipe.gives_captions:
            figures = SinkNode(FIGURES, FORMATS["jsonl"], {"path": f"{lines}/{{session}}.jsonl"})
            recipe.also_write_to([figures])
        many = _Many(recipe, lines, live=pace != "fast")
        many.run(executor, recipe.graph(), planned, sessions or 1, trace)
    many.show()
    if as_json:
        print_json({"sessions": [asdict(ended) for ended in many.ended], "failed": many.failed})
    if many.failed:
        raise typer.Exit(1)


def _check_options(
    session: str | None,
    sessions: int | None,
    inputs: Sequence[Path] | None,
    pace: Pace | None,
    output: Path | None,
    formats_given: str | None,
    as_json: bool,
) -> None:
    if inputs and session is not None:
        raise MmstreamError("--session names one session, but with --input they are named after the files")
    if not inputs and sessions is not None and sessions > 1:
        raise MmstreamError(
            f"--sessions {sessions} needs --input FOLDER, of media files: a microphone gives one session"
        )
    for option, given in (("--pace", pace), ("--json", as_json or None)):
        if not inputs and given is not None:
            raise MmstreamError(f"{option} needs --input FOLDER")
    if formats_given is not None and output is None:
        raise MmstreamError("--format needs --output FOLDER")
    if output is not None and output.exists() and not output.is_dir():
        raise MmstreamError(f"--output {output}: is a file; captions go into a folder")


def _planned(inputs: Sequence[Path], at_least: int, source: str) -> list[tuple[str, Arguments]]:
    """A session for every media file, and files again under other names until there are ``at_least`` sessions.

    Raises:
        MmstreamError: one of ``inputs`` cannot be used, or two files have one name.
    """
    jobs, faults = find_jobs(inputs)
    if faults:
        raise faults[0]
    planned: dict[str, Arguments] = {}
    names = {job.name for job in jobs}
    for number in range(max(len(jobs), at_least)):
        job, again = jobs[number % len(jobs)], number // len(jobs)
        name = job.name
        while again and (name in names or name in planned):
            again += 1
            name = f"{job.name}-{again}"
        planned[name] = {source: {"path": str(job.media)}}
    return list(planned.items())


@dataclass(frozen=True)
class _Ended:
    """A session that has ended. None where it is not known."""

    session: str
    error: str | None
    words: int | None
    dropped: int  # packets
    recoveries: int | None
    commit_p50_ms: float | None
    commit_p95_ms: float | None


class _Many:
    """Runs sessions of one graph and gathers what is told of each at the end."""

    def __init__(self, recipe: Recipe, lines: Path, *, live: bool) -> None:
        self.ended: list[_Ended] = []
        self._recipe = recipe
        self._lines = lines  # the folder of every session's JSON lines
        self._live = live
        self._rows: dict[str, SessionRow] = {}  # the last that was seen of each
        self._console = Console(stderr=True, soft_wrap=True, highlight=False)

    @property
    def failed(self) -> int:
        """Sessions that have failed."""
        return sum(one.error is not None for one in self.ended)

    def run(
        self,
        executor: ExecutorName,
        graph: Graph,
        planned: Sequence[tuple[str, Arguments]],
        at_once: int,
        trace: Path | None,
    ) -> None:
        most = graph.sessions.most
        if most is not None and min(at_once, len(planned)) > most:
            raise MmstreamError(
                f"--sessions {at_once}: {graph.path} lets {most} in at a time; raise 'sessions: {{limit: N}}' in it"
            )
        log.info("sessions: %d, %d at a time", len(planned), min(at_once, len(planned)))
        with contextlib.ExitStack() as stack:
            started = stack.enter_context(running(executor, graph, trace=trace))
            for result in stack.enter_context(contextlib.closing(run_all(started, planned, at_once))):
                self._look(started)
                if result is not None:
                    self._settle(result)
        if len(self.ended) < len(planned):
            log.warning("sessions not begun: %d", len(planned) - len(self.ended))

    def _look(self, executor: Executor) -> None:
        table = getattr(executor, "table", tuple)
        self._rows.update((row.session, row) for row in table())

    def _settle(self, result: Result) -> None:
        """Note a session that has ended, and say so where it failed."""
        error = None if result.error is None else str(self._recipe.plainly(result.error))
        if error is not None:
            self._console.print(Text(_printable(f"failed   {result.session}: {error}"), "red"))
        row = self._rows.get(result.session)
        words = _words(self._lines / f"{result.session}.jsonl")
        p50_ms, p95_ms = _commit_ms(words or []) if self._live else (None, None)
        self.ended.append(
            _Ended(
                result.session,
                error,
                None if words is None else len(words),
                result.dropped,
                None if row is None else row.recoveries,
                p50_ms,
                p95_ms,
            )
        )

    def show(self) -> None:
        """The table, for people: a row for each session, in the order in which they ended."""
        grid = Table(box=None)
        grid.add_column("session")
        for name in ("words", "dropped", "recoveries", "commit p50", "p95"):
            grid.add_column(name, justify="right")
        grid.add_column("")
        for one in self.ended:
            counts = (one.words, one.dropped, one.recoveries)
            grid.add_row(
                Text(_printable(one.session)),
                *("-" if count is None else str(count) for count in counts),
                *("-" if ms is None else f"{ms:.0f} ms" for ms in (one.commit_p50_ms, one.commit_p95_ms)),
                Text("failed", "red") if one.error is not None else "",
            )
        Console(stderr=True, highlight=False).print(grid)


def _words(path: Path) -> list[Mapping[str, Any]] | None:
    """The words of a session that has written its lines; None for one that failed first, or gives no captions."""
    if not path.exists():
        return None
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [word for line in lines for word in line.get("words", ())]


def _commit_ms(words: Sequence[Mapping[str, Any]]) -> tuple[float | None, float | None]:
    """Median and 95th percentile of the time from a word's end to the moment from which it never changed."""
    if not words:
        return None, None
    waited = [1000 * (word["committed_at"] - word["captured_at"]) for word in words]
    p50, p95 = np.percentile(waited, [50, 95])
    return round(float(p50), 1), round(float(p95), 1)


def _printable(text: str) -> str:
    """The text on one line, whatever names of files are in it."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
