"""What a client of OpenAI's audio API asks for: the fields of its form, checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn, cast, get_args

from mmstream.server.formats import Format, Granularity
from mmstream.server.models import AUTO
from mmstream.server.refusal import Refusal

# OpenAI's own models, for which the default one stands in.
STAND_INS = re.compile(r"whisper-1|gpt(-4o|-4o-mini)?-transcribe(-\d{4}-\d{2}-\d{2})?")
STREAMED: tuple[Format, ...] = ("json", "text")
HOTTEST = 1.0
TRANSLATED: tuple[Format, ...] = ("json", "verbose_json")  # into any number of languages; the others into one
LONGEST_VALUE = 40  # characters of a wrong value that are said back


class InvalidField(Refusal):
    """A field of the form cannot be met."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__("invalid_value", message, 400, 4400, param=field)


@dataclass(frozen=True)
class Asked:
    """``prompt`` and ``temperature`` are not here: they change nothing."""

    model: str = AUTO
    language: str | None = None  # BCP-47
    format: Format = "json"
    granularities: tuple[Granularity, ...] = ()
    stream: bool = False
    translate: tuple[str, ...] = ()  # BCP-47, as they were written


def read(fields: Sequence[tuple[str, str]]) -> Asked:
    """The request that the fields of a form make. Fields that are unknown here are ignored; of two, the last counts.

    Raises:
        InvalidField: one of them has no meaning, or does not go with another.
    """
    given = dict(fields)
    shape = given.get("response_format") or "json"
    if shape not in get_args(Format):
        _no("response_format", f"is {_listed(get_args(Format))}, not {shape[:LONGEST_VALUE]!r}")
    asked = Asked(
        model=given.get("model") or AUTO,
        language=given.get("language") or None,
        format=cast(Format, shape),
        granularities=_granularities(fields),
        stream=_flag(given, "stream"),
        translate=_languages(fields),
    )
    _check_temperature(given.get("temperature") or "0")
    if asked.granularities and asked.format != "verbose_json":
        _no("timestamp_granularities[]", f"needs response_format verbose_json, not {asked.format}")
    if asked.stream and asked.format not in STREAMED:
        _no("stream", f"goes with response_format {_listed(STREAMED)}, not {asked.format}")
    if asked.stream and asked.translate:
        _no("translate", "does not go with stream: translations come whole, or live at /v1/live")
    if len(asked.translate) > 1 and asked.format not in TRANSLATED:
        _no("translate", f"is one language for response_format {asked.format}; {_listed(TRANSLATED)} hold several")
    return asked


def served_name(model: str, served: Sequence[str]) -> str:
    """The name by which the service knows what a client calls ``model``."""
    return AUTO if model not in served and STAND_INS.fullmatch(model) else model


def _granularities(fields: Sequence[tuple[str, str]]) -> tuple[Granularity, ...]:
    found: list[Granularity] = []
    for name, value in fields:
        if name.removesuffix("[]") == "timestamp_granularities":
            if value not in get_args(Granularity):
                _no(name, f"is {_listed(get_args(Granularity))}, not {value[:LONGEST_VALUE]!r}")
            found.append(cast(Granularity, value))
    return tuple(found)


def _languages(fields: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    values = (value for name, value in fields if name.removesuffix("[]") == "translate")
    return tuple(one.strip() for value in values for one in value.split(",") if one.strip())


def _flag(given: dict[str, str], name: str) -> bool:
    value = given.get(name, "false").lower()
    if value not in ("true", "false", "1", "0", ""):
        _no(name, f"is true or false, not {value[:LONGEST_VALUE]!r}")
    return value in ("true", "1")


def _check_temperature(text: str) -> None:
    try:
        warm = 0 <= float(text) <= HOTTEST
    except ValueError:
        warm = False
    if not warm:
        _no("temperature", f"is a number from 0 to {HOTTEST:g}, not {text[:LONGEST_VALUE]!r}")


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"


def _no(field: str, what: str) -> NoReturn:
    raise InvalidField(field, f"{field} {what}")
