"""A training run's YAML file -> ``Config``; every mistake in it as ``file:line: message``, all at once."""

from __future__ import annotations

import dataclasses
import os
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, Union

from mmstream.pipeline.arguments import check_arguments
from mmstream.pipeline.document import Document, read
from mmstream.pipeline.lines import Keys
from mmstream.pipeline.problems import PipelineError, Problem, shown
from mmstream.pipeline.variables import Unknown
from mmstream.spelling import did_you_mean, nearest
from mmstream.training.config import Config, DevSet, TrainingSet, check_net

Section = TypeVar("Section")


class ConfigError(PipelineError):
    """A config that cannot be trained with: every problem of it, one line each, in the order of the file."""


def read_config(path: Path, environment: Mapping[str, str] = os.environ) -> Config:
    """The run that the file describes; relative paths in it start at its folder, ``${NAME}`` is a variable.

    Raises:
        PipelineError: there is no such file, or it is not YAML.
        ConfigError: what is wrong with what it says.
    """
    document = read(path, environment)
    reader = _Reader(document, path.parent)
    config = reader.section(Config, document.content, ())
    if config is not None and not document.problems:
        reader.check(config)
    if document.problems:
        raise ConfigError(document.problems)
    assert config is not None
    return config


class _Reader:
    """Builds sections from plain values. Problems gather in the document."""

    def __init__(self, document: Document, folder: Path) -> None:
        self._document, self._folder = document, folder

    def section(self, kind: type[Section], given: Any, keys: Keys) -> Section | None:
        """A dataclass from a mapping; None where that failed, which has been said."""
        place = ".".join(key for key in keys if isinstance(key, str)) or "a training config"
        if given is None:
            given = {}
        if not isinstance(given, dict):
            self._complain(keys, f"{place} is a mapping, not {shown(given)}")
            return None
        before = len(self._document.problems)
        hints = typing.get_type_hints(kind)
        fields = {one.name: one for one in dataclasses.fields(kind)}  # type: ignore[arg-type]  # kind is a dataclass
        for name in given:
            if name not in fields:
                self._complain((*keys, name), f"{place} takes no {name!r}{did_you_mean(name, fields, 'it takes')}")
        values = {name: self._value(kind, name, hints[name], given[name], keys) for name in fields if name in given}
        meant = {nearest(name, fields) for name in given if name not in fields}
        for name, one in fields.items():
            needed = one.default is dataclasses.MISSING and one.default_factory is dataclasses.MISSING
            if needed and name not in given and name not in meant:
                self._complain(keys, f"{place} needs {name!r}")
        if len(self._document.problems) > before:
            return None
        try:
            return kind(**values)
        except ValueError as fault:
            self._complain(self._field_of(str(fault), given, keys), f"{place}: {fault}")
            return None

    def check(self, config: Config) -> None:
        """What no single section can know."""
        try:
            check_net(config.net)
        except ValueError as fault:
            net = self._document.content.get("net") or {}
            self._complain(self._field_of(str(fault), net, ("net",)), f"net: {fault}")
        sets: tuple[tuple[str, tuple[Any, ...]], ...] = (("train", config.data.train), ("dev", config.data.dev))
        for part, listed in sets:
            names = named(listed)
            for k, one in enumerate(listed):
                keys = ("data", part, k)
                if not one.manifest.is_file():
                    self._complain((*keys, "manifest"), f"there is no manifest {one.manifest}")
                if names.index(names[k]) < k:
                    self._complain((*keys, "name"), f"two sets are called {names[k]!r}: give one another name")
        if config.begin_with is not None and not config.begin_with.is_file():
            self._complain(("begin_with",), f"there is no checkpoint {config.begin_with}")
        noise = config.data.noise
        if noise is not None and not noise.folder.is_dir():
            self._complain(("data", "noise", "folder"), f"there is no folder {noise.folder}")

    def _value(self, kind: type[Any], name: str, hint: Any, value: Any, keys: Keys) -> Any:
        here: Keys = (*keys, name)
        inner = _section_in(hint)
        if inner is not None and typing.get_origin(hint) is tuple:
            if not isinstance(value, list):
                self._complain(here, f"{name} is a list of mappings, not {shown(value)}")
                return None
            return tuple(self.section(inner, one, (*here, k)) for k, one in enumerate(value))
        if inner is not None:
            if value is None and type(None) in typing.get_args(hint):
                return None
            return self.section(inner, value, here)
        if isinstance(value, Unknown):
            return value  # it has been complained of
        text = self._document.texts.get(here)
        fitted, faults = check_arguments(kind, {name: value}, {} if text is None else {name: text})
        for fault in [message for field, message in faults if field == name]:
            place = ".".join(key for key in keys if isinstance(key, str))
            self._complain(here, fault.replace(kind.__name__, place, 1))
        found = fitted.get(name)
        return self._folder / found.expanduser() if isinstance(found, Path) else found

    def _field_of(self, message: str, given: Mapping[str, Any], keys: Keys) -> Keys:
        """Where the field stands that a fault's text begins with."""
        words = message.replace(":", "").split()
        for word in words[:2]:
            if isinstance(given, Mapping) and word in given:
                keys, given = (*keys, word), given[word]
        return keys

    def _complain(self, keys: Keys, message: str) -> None:
        problem: Problem = self._document.problem(keys, message)
        self._document.problems.append(problem)


def named(sets: Sequence[TrainingSet | DevSet]) -> list[str]:
    """The name of each training or dev set: its own, or one after its manifest."""
    return [one.name or f"{one.manifest.parent.name}_{one.manifest.stem}" for one in sets]


def _section_in(hint: Any) -> Any:
    """The dataclass in an annotation, also of a tuple of them or of one or None; else None."""
    if dataclasses.is_dataclass(hint):
        return hint
    if typing.get_origin(hint) in (tuple, Union, types.UnionType):
        return next((one for one in typing.get_args(hint) if dataclasses.is_dataclass(one)), None)
    return None
