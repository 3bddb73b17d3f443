"""Command lines of deploy/: whether what they run exists, and takes the options that it is given."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import typer

from mmstream.deployment.facts import Facts, pin_faults
from mmstream.spelling import did_you_mean

IN_THE_IMAGE = ("mmstream", "ray", "python", "pip", "ulimit")
ASKS = (["--help"], ["--version"])  # options that need no command
_BETWEEN = {";", "&&", "||", "|", "&"}
# What typer raises for a wrong option: click's own class in some of its releases, a copy in others.
_REFUSED: tuple[type[Exception], ...] = (click.ClickException, typer.BadParameter.__bases__[0])


def shell_faults(text: str, facts: Facts) -> list[str]:
    """What is wrong with a line of shell that runs in the image."""
    reader = shlex.shlex(text, posix=True, punctuation_chars=";&|")
    reader.whitespace_split = True
    reader.commenters = ""
    found: list[str] = []
    words: list[str] = []
    try:
        for token in [*reader, ";"]:
            if token in _BETWEEN:
                found += command_faults(words, facts) if words else []
                words = []
            else:
                words.append(token)
    except ValueError as error:
        return [f"not a command line: {error}"]
    return found


def command_faults(words: Sequence[str], facts: Facts) -> list[str]:
    """What is wrong with one command that runs in the image."""
    program, *rest = words
    if program not in IN_THE_IMAGE:
        return [f"the image has no {program!r}{did_you_mean(program, IN_THE_IMAGE, 'it has')}"]
    if program == "mmstream":
        return _mmstream(rest, facts)
    if program == "ray":
        return _ray(rest, facts)
    if program == "pip":
        return pin_faults(rest, facts.pins)
    if program == "python" and "-c" in rest:
        return _python(rest[rest.index("-c") + 1])
    return []


def start_options() -> set[str]:
    """The options of `ray start`, as KubeRay's ``rayStartParams`` names them."""
    start = _rays().commands["start"]
    return {option.removeprefix("--") for one in start.params for option in one.opts if option.startswith("--")}


@functools.cache
def _rays() -> Any:
    from ray.scripts.scripts import cli  # a second to import

    return cli


@functools.cache
def _ours() -> Any:
    from mmstream.cli import app  # it imports the command that uses this module

    return typer.main.get_command(app)


def _mmstream(words: Sequence[str], facts: Facts) -> list[str]:
    values, fault = _parsed(_ours(), "mmstream", words)
    if fault:
        return [fault]
    given = [values.get(name) for name in ("file", "pipeline")]
    return [_no_file(path) for path in given if path is not None and not _exists(Path(path), facts)]


def _ray(words: Sequence[str], facts: Facts) -> list[str]:
    values, fault = _parsed(_rays(), "ray", words)
    if fault:
        return [fault]
    entrypoint, file = values.get("entrypoint"), values.get("cluster_config_file")
    if file is not None and not _exists(Path(file), facts):
        return [_no_file(file)]
    return command_faults(list(entrypoint), facts) if entrypoint else []


def _parsed(command: Any, name: str, words: Sequence[str]) -> tuple[dict[str, Any], str]:
    """What the innermost command that the words name is given, or what is wrong with it. Nothing is run."""
    remaining = list(words)
    while hasattr(command, "commands"):
        if remaining in ASKS:
            return {}, ""
        subcommand = remaining.pop(0) if remaining else ""
        if subcommand not in command.commands:
            return {}, f"{name} has no command {subcommand!r}{did_you_mean(subcommand, command.commands, 'it has')}"
        command, name = command.commands[subcommand], f"{name} {subcommand}"
    try:
        return dict(command.make_context(name, remaining).params), ""
    except _REFUSED as error:
        said: Any = error  # typer's class and click's are not related, and both can say it
        return {}, f"{name}: {said.format_message().rstrip('.')}"


def _exists(path: Path, facts: Facts) -> bool:
    """Whether a file is in the image, or in the repository for somebody who works at its root."""
    path = Path(str(path).removeprefix("$PWD/"))
    if path.is_absolute():
        return str(path) in facts.copied
    return (facts.root / path).is_file()


def _no_file(path: object) -> str:
    return f"there is no file {str(path)!r}, neither in the image nor in the repository"


def _python(code: str) -> list[str]:
    try:
        compile(code, "<command>", "exec")
    except SyntaxError as error:
        return [f"python -c: {error.msg}"]
    return []
