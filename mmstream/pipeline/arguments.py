"""``with`` against the constructor's signature, which is the configuration: names, required ones, types."""

from __future__ import annotations

import inspect
import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union

from mmstream.pipeline.classes import Kind
from mmstream.pipeline.lines import scalar
from mmstream.pipeline.problems import listed, shown
from mmstream.spelling import did_you_mean, nearest

_NAMES: Mapping[Any, tuple[str, str]] = {  # one value, several
    str: ("text", "texts"),
    int: ("an integer", "integers"),
    float: ("a number", "numbers"),
    bool: ("true or false", "true or false"),
    None: ("null", "null"),
    type(None): ("null", "null"),
    Path: ("a path", "paths"),
}
_LISTS = (list, tuple, set, frozenset, Sequence)


class _MisfitError(Exception):
    """A value that its annotation does not take."""


class Parameters:
    """What a constructor takes, read from its signature."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        try:
            hints = typing.get_type_hints(kind.__init__)
        except (NameError, TypeError, AttributeError):  # names that exist for type checkers only: checked when built
            hints = {}
        given = inspect.signature(kind).parameters.values()
        self.takes_any = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in given)
        named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        self.by_name = {one.name: one for one in given if one.kind in named}
        self.hints: dict[str, Any] = {name: hints.get(name, Any) for name in self.by_name}

    @property
    def required(self) -> tuple[str, ...]:
        return tuple(name for name, one in self.by_name.items() if one.default is inspect.Parameter.empty)


def check_arguments(
    kind: Kind, given: Mapping[str, Any], texts: Mapping[str, str]
) -> tuple[dict[str, Any], list[tuple[str | None, str]]]:
    """The arguments as the constructor gets them, and the problems: (argument or None, message).

    ``texts`` holds what an argument from outside was written as: it is taken where the annotation wants text.
    """
    parameters = Parameters(kind)
    converted: dict[str, Any] = {}
    problems: list[tuple[str | None, str]] = []
    for name, value in given.items():
        if name not in parameters.by_name:
            if parameters.takes_any:
                converted[name] = value
            else:
                there = did_you_mean(name, parameters.by_name, "it takes") or "; it takes no arguments"
                problems.append((name, f"{kind.__name__} takes no {name!r}{there}"))
            continue
        try:
            converted[name] = _fit_either(value, texts.get(name), parameters.hints[name])
        except _MisfitError:
            problems.append((name, _complaint(kind, name, value, parameters.hints[name])))
    # A misspelt required argument is one problem, not two.
    meant = {nearest(name, parameters.by_name) for name in given if name not in parameters.by_name}
    for name in parameters.required:
        if name not in given and name not in meant:
            expected = _expected(parameters.hints[name])
            problems.append((None, f"{kind.__name__} needs {name!r} under 'with': {expected}"))
    return converted, problems


def _fit_either(value: Any, text: str | None, hint: Any) -> Any:
    try:
        return fit(value, hint)
    except _MisfitError:
        if text is None:
            raise
        return fit(text, hint)


def fit(value: Any, hint: Any) -> Any:
    """``value`` as an argument annotated ``hint``: an int where a float is wanted becomes one, a list a tuple."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return fit(value, inner[0])
    if origin is Literal:
        return _fit_literal(value, inner)
    if origin in (Union, types.UnionType):
        return _fit_union(value, inner)
    if (origin or hint) in _LISTS:
        return _fit_list(value, origin or hint, inner)
    if (origin or hint) in (dict, Mapping):
        if not isinstance(value, dict):
            raise _MisfitError
        return {key: fit(entry, inner[1] if inner else Any) for key, entry in value.items()}
    return _fit_scalar(value, hint)


def _fit_scalar(value: Any, hint: Any) -> Any:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is float and is_number and not math.isnan(value):
        return float(value)
    if hint is int and is_number and isinstance(value, int):
        return value
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint in (str, bool, type(None), None):
        if isinstance(value, hint or type(None)):
            return value
    elif hint not in (float, int, Path):
        return value  # a type that YAML has no word for: the constructor judges
    raise _MisfitError


def _fit_literal(value: Any, choices: tuple[Any, ...]) -> Any:
    for choice in choices:
        if choice == value and type(choice) is type(value):
            return choice
    raise _MisfitError


def _fit_union(value: Any, hints: tuple[Any, ...]) -> Any:
    # `int | float` keeps an integer an integer, and `float | int` too.
    for hint in sorted(hints, key=lambda hint: hint is float):
        try:
            return fit(value, hint)
        except _MisfitError:
            continue
    raise _MisfitError


def _fit_list(value: Any, container: Any, inner: tuple[Any, ...]) -> Any:
    if not isinstance(value, list):
        raise _MisfitError
    if container is tuple and inner and inner[-1] is not Ellipsis:
        if len(inner) != len(value):
            raise _MisfitError
        return tuple(fit(entry, hint) for entry, hint in zip(value, inner, strict=True))
    fitted = [fit(entry, inner[0] if inner else Any) for entry in value]
    return fitted if container is Sequence else container(fitted)


def _complaint(kind: Kind, name: str, value: Any, hint: Any) -> str:
    said = f"{kind.__name__} takes {_expected(hint)} for {name!r}, not {shown(value)}"
    if isinstance(value, str):
        texts = [choice for choice in _choices(hint) if isinstance(choice, str)]
        if texts:
            return said + did_you_mean(value, texts)
        meaning = scalar(value.strip())
        if not isinstance(meaning, str) and _fits(meaning, hint):
            return f"{said}; write it without quotes"
    elif isinstance(value, (int, float)) and _fits(str(value), hint):
        return f"{said}; put it in quotes"
    return said


def _fits(value: Any, hint: Any) -> bool:
    try:
        fit(value, hint)
    except _MisfitError:
        return False
    return True


def _choices(hint: Any) -> Iterator[Any]:
    if typing.get_origin(hint) is Literal:
        yield from typing.get_args(hint)
    elif typing.get_origin(hint) in (Union, types.UnionType):
        for inner in typing.get_args(hint):
            yield from _choices(inner)


def _expected(hint: Any, several: bool = False) -> str:
    """What an annotation takes, in words: ``an integer``, ``'fast' or 'realtime'``, ``a list of texts or null``."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _expected(inner[0], several)
    if origin is Literal:
        return listed([shown(choice) for choice in inner], "or")
    if origin in (Union, types.UnionType):
        words = [_expected(one, several) for one in sorted(inner, key=lambda one: one is type(None))]
        return listed(list(dict.fromkeys(words)), "or")
    if (origin or hint) in _LISTS:
        kind = "lists" if several else "a list"
        if origin is tuple and inner[-1] is not Ellipsis:
            return f"{kind} of {len(inner)}: {listed([_expected(one) for one in inner])}"
        return f"{kind} of {_expected(inner[0], True)}" if inner else kind
    if (origin or hint) in (dict, Mapping):
        kind = "mappings" if several else "a mapping"
        return f"{kind} from names to {_expected(inner[1], True)}" if inner else kind
    one_many = _NAMES.get(hint, ("a value", "values"))
    return one_many[several]
