"""YAML files of one or several documents: plain values as their readers take them, with the line of each."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mmstream.pipeline.lines import Keys, NotYamlError, Plain, Value, parse
from mmstream.pipeline.problems import Problem


@dataclass(frozen=True)
class Part:
    """One document of a file."""

    path: str  # as it is shown
    content: Any
    lines: dict[Keys, int]

    def problem(self, keys: Keys, message: str) -> Problem:
        """A problem at ``keys``, or at what encloses them where they are missing."""
        place = keys
        while place and place not in self.lines:
            place = place[:-1]
        return Problem(self.path, self.lines.get(place, 1), message)


def read_parts(file: Path, shown: str) -> tuple[list[Part], list[Problem]]:
    """The documents of a YAML file, and what keeps others from being read; empty ones are left out."""
    parts, problems = _read(file.read_text(), shown)
    return list(parts), list(problems)


@functools.lru_cache(maxsize=64)
def _read(text: str, shown: str) -> tuple[tuple[Part, ...], tuple[Problem, ...]]:
    rows = text.splitlines()
    starts = [0, *(number for number, row in enumerate(rows) if row.split() == ["---"])]
    parts: list[Part] = []
    problems: list[Problem] = []

    def complain(line: int, message: str) -> None:
        problems.append(Problem(shown, line, message))

    for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
        plain = Plain(_meaning, complain)
        try:
            # The lines before it stay, empty, so that its own keep their numbers.
            value = parse("\n" * start + "\n".join(rows[start:end]), complain)
            if value is not None:
                parts.append(Part(shown, plain.values(value), plain.lines))
        except NotYamlError as error:
            complain(error.line, error.message)
    return tuple(parts), tuple(problems)


def _meaning(value: Value) -> tuple[Any, None]:
    """What a scalar means in YAML 1.1, which kubectl and Ray read: an unquoted ``on`` is true there."""
    text = str(value.content)
    if not value.plain:
        return text, None
    loader: Any = yaml.SafeLoader("")
    tag = loader.resolve(yaml.ScalarNode, text, (True, False))
    try:
        return loader.construct_object(yaml.ScalarNode(tag, text)), None
    except (ValueError, yaml.YAMLError):
        return text, None
