"""``mmstream doctor``: what is installed, what is missing, and the command that mends it."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import typer
from rich.console import Console
from rich.table import Table

from mmstream.commands.models import PIPE_WIDTH
from mmstream.commands.options import Json
from mmstream.core import MmstreamError
from mmstream.registry import gpu_count, home, resolve, statuses

State = Literal["ok", "missing", "note"]

OLDEST_PYTHON = (3, 11)
LITTLE_SPACE_GB = 2.0

_DISTRIBUTION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_EXTRA = re.compile(r"extra\s*==\s*['\"](?P<extra>[^'\"]+)['\"]")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    what: str
    state: State  # missing: the main job needs it; note: something else does
    found: str
    mend: str = ""  # a command, or what to do


def doctor(as_json: Json = False) -> None:
    """Look at this machine: what is installed, what is missing, and the command that mends it.

    Exits with 1 only if something is missing that captioning a file or a stream needs.

    Example:

        mmstream doctor
    """
    findings = list(examine())
    broken = any(finding.state == "missing" for finding in findings)
    if as_json:
        typer.echo(json.dumps({"ok": not broken, "findings": [asdict(finding) for finding in findings]}))
    else:
        _show(findings)
    if broken:
        raise typer.Exit(1)


def _show(findings: list[Finding]) -> None:
    table = Table("", "what", "found", "to mend it", box=None)
    marks = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "missing": "[red]missing[/]"}
    for finding in findings:
        table.add_row(marks[finding.state], *(_literally(text) for text in (finding.what, finding.found, finding.mend)))
    Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH).print(table)


def _literally(text: str) -> str:
    return text.replace("[", "\\[")


def examine() -> Iterator[Finding]:
    """Every finding, the needed ones first."""
    yield _python()
    yield from _packages()
    yield _model()
    yield from _whispers()
    yield _microphone()
    yield _program("ffmpeg", "needed by the tests only; mmstream itself decodes with PyAV", "ffmpeg")
    yield _gpu()
    yield _space()


def _python() -> Finding:
    version = platform.python_version()
    if sys.version_info[:2] >= OLDEST_PYTHON:
        return Finding("Python", "ok", version)
    return Finding("Python", "missing", version, f"install Python {'.'.join(map(str, OLDEST_PYTHON))} or later")


def _packages() -> Iterator[Finding]:
    """The packages that mmstream's own metadata names, without importing any of them."""
    for requirement in importlib.metadata.requires("mmstream") or ():
        name = _DISTRIBUTION.match(requirement)
        extra = _EXTRA.search(requirement)
        if name is None or (extra is not None and extra["extra"] != "whisper"):
            continue
        try:
            yield Finding(name[0], "ok", importlib.metadata.version(name[0]))
        except importlib.metadata.PackageNotFoundError:
            if extra is None:
                yield Finding(name[0], "missing", "not installed", f"python -m pip install '{_plain(requirement)}'")
            else:
                mend = "python -m pip install 'mmstream[whisper]'"
                yield Finding(name[0], "note", "not installed; needed by Whisper models only", mend)


def _plain(requirement: str) -> str:
    return requirement.partition(";")[0].strip()


def _model() -> Finding:
    try:
        model = resolve("auto")
    except MmstreamError as fault:
        said, _, mend = str(fault).partition(": run ")
        return Finding("recogniser", "missing", said, mend)
    return Finding("recogniser", "ok", model.describe())


def _whispers() -> Iterator[Finding]:
    """Whisper models that are here, or how to get one."""
    found = [status for status in statuses() if status.name.startswith("whisper-") and status.where]
    for status in found:
        if status.where == "damaged":
            yield Finding(status.name, "note", "damaged", f"mmstream models pull {status.name}")
    whole = [status.name for status in found if status.where != "damaged"]
    if whole:
        yield Finding("Whisper models", "ok", ", ".join(whole))
    else:
        mend = "mmstream models pull whisper-base.en"
        yield Finding("Whisper models", "note", "none here; they recognise far better than sphinx", mend)


def _microphone() -> Finding:
    from operators.sources import list_devices

    try:
        devices = list_devices()
    except MmstreamError as fault:
        said, _, mend = str(fault).partition("; install it with: ")
        return Finding("microphone", "note", said, mend)
    if not devices:
        return Finding("microphone", "note", "none found; needed by mmstream live only", "plug one in")
    return Finding("microphone", "ok", ", ".join(device.name for device in devices))


def _program(name: str, why: str, package: str) -> Finding:
    path = shutil.which(name)
    if path is not None:
        return Finding(name, "ok", path)
    install = "brew install" if sys.platform == "darwin" else "sudo apt-get install"
    return Finding(name, "note", f"not installed; {why}", f"{install} {package}")


def _gpu() -> Finding:
    count = gpu_count()
    return Finding("GPU", "ok", f"{count} with CUDA" if count else "none; models run on the CPU")


def _space() -> Finding:
    """Room for models, where they would be pulled to."""
    folder = home()
    there = next(path for path in (folder, *folder.parents) if path.exists() or path == Path(folder.anchor))
    free_gb = shutil.disk_usage(there).free / 1e9
    if free_gb >= LITTLE_SPACE_GB:
        return Finding("space for models", "ok", f"{free_gb:,.0f} GB free in {folder}")
    mend = "make room, or set MMSTREAM_HOME to a folder on another disk"
    return Finding("space for models", "note", f"{free_gb:.1f} GB free in {folder}", mend)
