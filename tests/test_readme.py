"""The README's promises that a program can check: every file has its line, every command exists."""

from __future__ import annotations

import re
from pathlib import Path

from mmstream.cli import app

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def listed_files() -> set[str]:
    """The Python files in the README's tree, as paths from the root."""
    tree = README.split("## Where things are")[1].split("```")[1]
    folders: list[str] = []
    found = set()
    for line in tree.splitlines():
        name = line.split()[0] if line.split() else ""
        depth = (len(line) - len(line.lstrip())) // 2
        if name.endswith("/"):
            folders[depth:] = [name]
        elif name.endswith(".py"):
            found.add("".join([*folders[:depth], name]))
    return found


def test_the_tree_gives_every_file_one_line() -> None:
    there = {
        str(path.relative_to(ROOT))
        for package in ("mmstream", "operators")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py"
    }
    assert listed_files() == there


def test_every_command_shown_exists() -> None:
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    known |= {group.name for group in app.registered_groups}
    shown = set(re.findall(r"^mmstream ([a-z]+)", README, re.MULTILINE))
    assert len(shown) >= 7
    assert shown <= known
