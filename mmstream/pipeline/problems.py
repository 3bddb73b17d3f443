"""What is wrong with a pipeline file: one line each, all of them at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mmstream.core import MmstreamError

_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to mend, and where it stands."""

    path: str  # the file, or the command-line option that said it
    line: int  # 1-based; 0: the file as a whole, or no file
    message: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else self.path
        return "".join(one if one.isprintable() else repr(one)[1:-1] for one in f"{place}: {self.message}")


class PipelineError(MmstreamError):
    """A pipeline that cannot run: every problem of it, one line each, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        unique = dict.fromkeys(problems)
        self.problems = tuple(sorted(unique, key=lambda problem: (problem.line == 0, problem.line)))
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


def shown(value: Any) -> str:
    """A value as the file writes it, on one line and short enough for a message."""
    text = _written(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."


def _written(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value[:_SHOWN_CHARACTERS]))}]"
    if isinstance(value, dict):
        pairs = [f"{key}: {shown(entry)}" for key, entry in list(value.items())[:_SHOWN_CHARACTERS]]
        return repr("{" + ", ".join(pairs) + "}")[1:-1]
    return repr(value)


def listed(words: Sequence[str], last: str = "and") -> str:
    """Words as prose: ``a``, ``a and b``, ``a, b and c``."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} {last} {words[-1]}"
