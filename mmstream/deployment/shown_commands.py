"""Commands that the README and the comments of deploy/ tell people to type."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from mmstream.deployment.facts import Facts
from mmstream.deployment.programs import command_faults
from mmstream.pipeline.problems import Problem

CHECKED = ("mmstream", "ray")
FILES = ("docker", "kubectl", "sed", "pip")  # of these, the files of the repository that they name
_IN_A_COMMENT = re.compile(r"#\s{3,}(?P<command>[a-z]+ .*)")
_VARIABLE_FIRST = re.compile(r"^([A-Z_]+=\S+ )+")


def shown_faults(path: str, text: str, facts: Facts) -> list[Problem]:
    """What is wrong with the commands that a text shows: options that are not there, files that are not there."""
    rows = _fenced(text) if path.endswith(".md") else _commented(text)
    found = []
    for line, command in rows:
        try:
            words = shlex.split(_VARIABLE_FIRST.sub("", command), comments=True)
        except ValueError as error:
            found.append(Problem(path, line, f"not a command line: {error}"))
            continue
        if words and words[0] in CHECKED:
            words = words[: words.index(">")] if ">" in words else words
            found += [Problem(path, line, fault) for fault in command_faults(words, facts)]
        elif words and words[0] in FILES:
            for word in words:
                if word.startswith("deploy/") and not (facts.root / word).exists():
                    found.append(Problem(path, line, f"there is no {word!r}"))
    return found


def _fenced(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a README's shell blocks, joined where they go on, with the number of the first."""
    inside, gathered, began = False, "", 0
    for number, row in enumerate(text.splitlines(), 1):
        if row.lstrip().startswith("```"):
            inside = not inside and row.strip() in ("```sh", "```bash")
            continue
        if not inside:
            continue
        began = began or number
        gathered += row.strip().removesuffix("\\") + " "
        if not row.rstrip().endswith("\\"):
            yield began, gathered.strip()
            gathered, began = "", 0


def _commented(text: str) -> Iterator[tuple[int, str]]:
    """Commands in comments: those that stand three spaces in, up to where an explanation begins."""
    for number, row in enumerate(text.splitlines(), 1):
        found = _IN_A_COMMENT.match(row)
        if found and found["command"].partition(" ")[0] in (*CHECKED, *FILES):
            yield number, re.split(r"\s{3,}", found["command"])[0]


def names_of(file: Path) -> bool:
    """Whether a file may show commands."""
    return file.suffix in (".md", ".yaml", ".yml") or file.name == "Dockerfile"
