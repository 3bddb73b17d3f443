"""Variables in the scalars of a pipeline file: ``${NAME}``, ``${NAME:-default}``; ``$${`` is a plain ``${``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mmstream.pipeline.lines import Complain, Replace, Value, scalar
from mmstream.pipeline.problems import shown

_VARIABLE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|\$\{")


class Unknown(str):
    """Stands for a value that could not be made out; that has been said, and nothing more is said of it."""


def replacing(environment: Mapping[str, str], complain: Complain) -> Replace:
    """What a scalar means with the variables of ``environment`` in place; faults go to ``complain``.

    A value that is one variable and nothing else is read like an unquoted scalar, so that ``"${PORT:-8000}"`` is a
    number. Its text is kept beside it, for an argument that takes text.
    """

    def replace(value: Value) -> tuple[Any, str | None]:
        text = str(value.content)
        if value.refused:
            return Unknown(text), None
        if "${" not in text:
            return (scalar(text) if value.plain else text), None
        faults: list[str] = []
        replaced = _VARIABLE.sub(lambda found: _meaning(found, environment, faults), text)
        for fault in faults:
            complain(value.line, fault)
        if faults:
            return Unknown(text), None
        whole = _VARIABLE.fullmatch(text)
        if whole is not None and whole["name"]:
            return scalar(replaced), replaced
        return replaced, None

    return replace


def _meaning(found: re.Match[str], environment: Mapping[str, str], faults: list[str]) -> str:
    if found[0] == "$${":
        return "${"
    name, default = found["name"], found["default"]
    if name is None:
        rest = shown(found.string[found.start() : found.start() + 20])
        faults.append(f"{rest} is no variable: write ${{NAME}} or ${{NAME:-default}}, or $${{ for a plain ${{")
        return ""
    given = environment.get(name)
    if default is not None:
        return given or default
    if given is None:
        faults.append(f"the variable {name} is not set; set it, or give it a default: ${{{name}:-default}}")
    return given or ""
