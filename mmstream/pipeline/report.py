"""Gathers the problems of a document while its values are taken out, shape by shape."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from mmstream.pipeline.document import Document
from mmstream.pipeline.lines import Keys
from mmstream.pipeline.problems import Problem, listed, shown
from mmstream.pipeline.variables import Unknown
from mmstream.spelling import did_you_mean

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
NAME_RULE = "begins with a letter and goes on with letters, digits, '_' or '-'"


class Report:
    """The problems of one document. Each taking method gives a usable value, or None once it has said what is wrong."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = list(document.problems)

    def add(self, keys: Keys, message: str) -> None:
        """Say what is wrong with the value at ``keys``, unless its variables have been complained of already."""
        if not isinstance(self._value(keys), Unknown):
            self.problems.append(self.document.problem(keys, message))

    def _value(self, keys: Keys) -> Any:
        value: Any = self.document.content
        for key in keys:
            try:
                value = value[key]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def mapping(self, value: Any, keys: Keys, what: str, known: Iterable[str], example: str) -> dict[str, Any]:
        """``value`` with its unknown keys reported and left out; empty where it is no mapping."""
        if not isinstance(value, dict):
            self.add(keys, f"{what} must be a mapping such as {example}, not {shown(value)}")
            return {}
        known = tuple(known)
        for key in value:
            if key not in known:
                self.add((*keys, key), f"{what} has no {key!r}{did_you_mean(key, known, 'it has')}")
        return {key: entry for key, entry in value.items() if key in known}

    def named(self, value: Any, keys: Keys, what: str, example: str) -> dict[str, Any]:
        """A mapping whose keys are names that the file chooses; what has no usable name is left out."""
        if not isinstance(value, dict):
            self.add(keys, f"{what!r} must be a mapping such as {example}, not {shown(value)}")
            return {}
        for name in value:
            if not NAME.fullmatch(name):
                self.add((*keys, name), f"{shown(name)} under {what!r} is no name: a name {NAME_RULE}")
        return {name: entry for name, entry in value.items() if NAME.fullmatch(name)}

    def integer(self, value: Any, keys: Keys, what: str, least: int) -> int | None:
        if isinstance(value, int) and not isinstance(value, bool) and value >= least:
            return value
        self.add(keys, f"{what} must be an integer of at least {least}, not {shown(value)}")
        return None

    def number(self, value: Any, keys: Keys, what: str) -> float | None:
        """A finite number that is not negative."""
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
            return value
        self.add(keys, f"{what} must be a number of at least 0, not {shown(value)}")
        return None

    def positive(self, value: Any, keys: Keys, what: str) -> float | None:
        """A finite number above 0."""
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0:
            return value
        self.add(keys, f"{what} must be a number above 0, not {shown(value)}")
        return None

    def positive_or_null(self, value: Any, keys: Keys, what: str) -> float | None:
        """A finite number above 0; null, which means that there is no bound, gives None without a complaint."""
        return None if value is None else self.positive(value, keys, what)

    def flag(self, value: Any, keys: Keys, what: str) -> bool:
        if not isinstance(value, bool):
            self.add(keys, f"{what} must be true or false, not {shown(value)}")
            return False
        return value

    def choice(self, value: Any, keys: Keys, what: str, choices: Sequence[str]) -> str | None:
        if value in choices:
            return str(value)
        near = did_you_mean(value, choices) if isinstance(value, str) else ""
        self.add(keys, f"{what} must be {listed([repr(one) for one in choices], 'or')}, not {shown(value)}{near}")
        return None

    def names(self, value: Any, keys: Keys, what: str) -> list[tuple[str, Keys]]:
        """A name, or a list of different ones, each with its place."""
        if isinstance(value, str):
            return [(value, keys)]
        if not isinstance(value, list):
            self.add(keys, f"{what} must be a name or a list of names, not {shown(value)}")
            return []
        found: dict[str, Keys] = {}
        for index, name in enumerate(value):
            place = (*keys, index)
            if not isinstance(name, str):
                self.add(place, f"{what} must be a name or a list of names; {shown(name)} is no name")
            elif name in found:
                self.add(place, f"{what} names {name!r} twice")
            else:
                found[name] = place
        return list(found.items())
