"""Manifests: which media to recognise and what is said in them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmstream.core import MmstreamError
from mmstream.media import Word


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a manifest."""

    media: Path
    text: str  # what is said
    speaker: str | None = None
    duration: float | None = None  # seconds
    words: tuple[Word, ...] | None = None
    translations: Mapping[str, str] | None = None  # of the text, by language (BCP 47)


def read_manifest(path: Path) -> list[Entry]:
    """The entries of a manifest: JSON lines ``{"media", "text", "speaker", "duration", "words", "translations"}``.

    ``media`` is relative to the folder of the manifest and must exist; ``text`` may be empty. The others may be
    missing, and keys beyond these are ignored. A word is ``{"word", "start", "end"}``, in seconds; translations are
    texts by language. MmstreamError names file and line of the first mistake.
    """
    entries = []
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    entries.append(_entry(line, path, number))
    except OSError as fault:
        raise MmstreamError(f"{path}: {fault.strerror or fault}") from fault
    except UnicodeDecodeError as fault:
        raise MmstreamError(f"{path}: not a manifest: it is not UTF-8 text") from fault
    if not entries:
        raise MmstreamError(f"{path}: the manifest is empty")
    return entries


def _entry(line: str, path: Path, number: int) -> Entry:
    try:
        fields = json.loads(line.rstrip("\n"))
        if not isinstance(fields, dict):
            raise ValueError(f"must be a JSON object, is {line.strip()[:40]!r}")
        media = path.parent / _value(fields, "media", str)
        if not media.is_file():
            raise ValueError(f"media {fields['media']!r} is not in {path.parent}")
        return Entry(
            media=media,
            text=_value(fields, "text", str),
            speaker=_value(fields, "speaker", str, required=False),
            duration=_seconds(fields, "duration", required=False),
            words=_words(fields["words"]) if fields.get("words") is not None else None,
            translations=_translations(fields.get("translations")),
        )
    except json.JSONDecodeError as fault:
        raise MmstreamError(f"{path}:{number}: not JSON: {fault.msg} at column {fault.colno}") from fault
    except OSError as fault:
        raise MmstreamError(f"{path}:{number}: media cannot be looked up: {fault.strerror}") from fault
    except RecursionError as fault:
        raise MmstreamError(f"{path}:{number}: not a manifest: it is nested too deeply") from fault
    except ValueError as fault:
        raise MmstreamError(f"{path}:{number}: {fault}") from fault


def _translations(value: Any) -> dict[str, str] | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError('translations must be an object of texts by language: {"de": "..."}')
    return value


def _words(value: Any) -> tuple[Word, ...]:
    if not isinstance(value, list) or not all(isinstance(word, dict) for word in value):
        raise ValueError("words must be a list of objects {word, start, end}")
    words = tuple(Word(_value(word, "word", str), _seconds(word, "start"), _seconds(word, "end")) for word in value)
    if any(word.end < word.start for word in words):
        raise ValueError("words: one of them ends before it starts")
    return words


def _seconds(fields: dict[str, Any], key: str, required: bool = True) -> Any:
    value = _value(fields, key, (int, float), required)
    if value is None:
        return None
    if isinstance(value, bool) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{key} must be seconds, 0 or more, is {value!r}")
    return float(value)


def _value(fields: dict[str, Any], key: str, kind: type | tuple[type, ...], required: bool = True) -> Any:
    value = fields.get(key)
    if value is None and not required:
        return None
    if key not in fields:
        raise ValueError(f"{key!r} is missing")
    if not isinstance(value, kind):
        raise ValueError(f"{key} must be {'a string' if kind is str else 'a number'}, is {value!r}")
    return value
