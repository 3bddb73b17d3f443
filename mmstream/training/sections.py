"""A YAML file -> nested dataclasses: every field is a key of the same name, every mistake ``file:line: message``."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, Union

from mmstream.pipeline.arguments import check_arguments
from mmstream.pipeline.document import Document
from mmstream.pipeline.lines import Keys
from mmstream.pipeline.problems import PipelineError, Problem, shown
from mmstream.pipeline.variables import Unknown
from mmstream.spelling import did_you_mean, nearest

Section = TypeVar("Section")


class ConfigError(PipelineError):
    """A config that cannot be trained with: every problem of it, one line each, in the order of the file."""


class Sections:
    """Builds sections from plain values. Problems gather in the document."""

    def __init__(self, document: Document, folder: Path) -> None:
        self.document, self.folder = document, folder

    def section(self, kind: type[Section], given: Any, keys: Keys) -> Section | None:
        """A dataclass from a mapping; None where that failed, which has been said."""
        place = ".".join(key for key in keys if isinstance(key, str)) or "a training config"
        if given is None:
            given = {}
        if not isinstance(given, dict):
            self.complain(keys, f"{place} is a mapping, not {shown(given)}")
            return None
        before = len(self.document.problems)
        hints = typing.get_type_hints(kind)
        fields = {one.name: one for one in dataclasses.fields(kind)}  # type: ignore[arg-type]  # kind is a dataclass
        for name in given:
            if name not in fields:
                self.complain((*keys, name), f"{place} takes no {name!r}{did_you_mean(name, fields, 'it takes')}")
        values = {name: self._value(kind, name, hints[name], given[name], keys) for name in fields if name in given}
        meant = {nearest(name, fields) for name in given if name not in fields}
        for name, one in fields.items():
            needed = one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
            if needed and name not in given and name not in meant:
                self.complain(keys, f"{place} needs {name!r}")
        if len(self.document.problems) > before:
            return None
        try:
            return kind(**values)
        except ValueError as fault:
            self.complain(self.field_of(str(fault), given, keys), f"{place}: {fault}")
            return None

    def _value(self, kind: type[Any], name: str, hint: Any, value: Any, keys: Keys) -> Any:
        here: Keys = (*keys, name)
        inner = _section_in(hint)
        if inner is not None and typing.get_origin(hint) is tuple:
            if not isinstance(value, list):
                self.complain(here, f"{name} is a list of mappings, not {shown(value)}")
                return None
            return tuple(self.section(inner, one, (*here, k)) for k, one in enumerate(value))
        if inner is not None:
            if value is None and type(None) in typing.get_args(hint):
                return None
            return self.section(inner, value, here)
        if isinstance(value, Unknown):
            return value  # it has been complained of
        text = self.document.texts.get(here)
        fitted, faults = check_arguments(kind, {name: value}, {} if text is None else {name: text})
        for fault in [message for field, message in faults if field == name]:
            place = ".".join(key for key in keys if isinstance(key, str))
            self.complain(here, fault.replace(kind.__name__, place, 1))
        found = fitted.get(name)
        return self.folder / found.expanduser() if isinstance(found, Path) else found

    def field_of(self, message: str, given: Mapping[str, Any], keys: Keys) -> Keys:
        """Where the field stands that a fault's text begins with."""
        words = message.replace(":", "").split()
        for word in words[:2]:
            if isinstance(given, Mapping) and word in given:
                keys, given = (*keys, word), given[word]
        return keys

    def complain(self, keys: Keys, message: str) -> None:
        problem: Problem = self.document.problem(keys, message)
        self.document.problems.append(problem)


def _section_in(hint: Any) -> Any:
    """The dataclass in an annotation, also of a tuple of them or of one or None; else None."""
    if dataclasses.is_dataclass(hint):
        return hint
    if typing.get_origin(hint) in (tuple, Union, types.UnionType):
        return next((one for one in typing.get_args(hint) if dataclasses.is_dataclass(one)), None)
    return None
