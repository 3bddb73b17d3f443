"""What the command line says of itself: every command has an example, and what the README shows can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import typer

from mmstream.cli import app
from tests.command_line import call

README = (Path(__file__).parent.parent / "README.md").read_text()


def commands(group: click.Group, *before: str) -> dict[str, click.Command]:
    """Every command below ``group`` by its full name: "models pull"."""
    found = {}
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            found |= commands(command, *before, name)
        else:
            found[" ".join([*before, name])] = command
    return found


COMMANDS = commands(typer.main.get_command(app))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_what_the_command_does_and_shows_an_example(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "dumb")
    done = call(*name.split(), "--help")
    assert done.code == 0
    assert re.search(r"Examples?:", done.out)
    shown = [line for line in done.out.splitlines() if line.strip().startswith(f"mmstream {name}")]
    assert shown, done.out


def shown_commands() -> list[str]:
    """The command lines in the README's code blocks, and in help texts."""
    blocks = "\n".join(README.split("```")[1::2])
    helps = "\n".join(command.help or "" for command in COMMANDS.values())
    lines = (line.strip().partition(" #")[0].strip() for line in f"{blocks}\n{helps}".splitlines())
    return sorted({line for line in lines if line.startswith("mmstream ")})


@pytest.mark.parametrize("line", shown_commands())
def test_what_is_shown_can_be_typed(line: str) -> None:
    """Parsed as the shell and the command would, but not run: a wrong option or value raises."""
    words = shlex.split(line.partition(">")[0])[1:]
    name = max((name for name in COMMANDS if words[: name.count(" ") + 1] == name.split()), key=len)
    COMMANDS[name].make_context(name, words[name.count(" ") + 1 :])


def test_enough_is_shown() -> None:
    assert len(COMMANDS) >= 15
    assert len([line for line in shown_commands() if line in README]) >= 10
    assert len(shown_commands()) >= 25
