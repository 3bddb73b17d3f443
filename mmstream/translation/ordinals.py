"""How a language writes an ordinal: ``3rd`` is ``3.`` in German, ``3e`` in French; a net makes ``3rten`` of it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from mmstream.translation.engine import Translated
from mmstream.translation.languages import primary
from mmstream.translation.variants import core

ORDINAL = re.compile(r"(\d+)(?:st|nd|rd|th)", re.IGNORECASE)
MONTHS = frozenset("january february march april may june july august september october november december".split())


def with_ordinals(found: Translated, source: Sequence[str], target: str, kept: int) -> Translated:
    """A translation with the ordinals of an English ``source`` as ``target`` writes them, behind its ``kept`` words.

    Other languages than German, French and Spanish keep what the model says.
    """
    if primary(target) not in ("de", "fr", "es"):
        return found
    words, sources = list(found.words), found.sources or (0,) * len(found.words)
    for number, word in enumerate(source):
        ordinal = ORDINAL.fullmatch(core(word))
        if ordinal is None:
            continue
        form = _form(ordinal[1], primary(target), is_day=_is_day(source, number))
        glued = re.compile(rf"(?<![\d.,:]){ordinal[1]}(?![\d:]|[.,]\d)[^\W\d]*")
        near = sorted(range(kept, len(words)), key=lambda at: abs(sources[at] - number))
        at = next((at for at in near if glued.search(words[at])), None)
        if at is not None:
            goes_on = at + 1 < len(words) and not words[at + 1][:1].isupper()
            words[at] = _written(words[at], glued, form, goes_on=goes_on)
    return replace(found, words=tuple(words))


def _form(number: str, target: str, *, is_day: bool) -> str:
    if target == "de":
        return f"{number}."
    if target == "fr" and (number == "1" or not is_day):
        return f"{number}er" if number == "1" else f"{number}e"
    return number  # Spanish would have to know a gender: 3.º or 3.ª


def _is_day(source: Sequence[str], at: int) -> bool:
    """Whether a month stands beside a word: ``May 3rd``, ``the 3rd of May``."""
    return any(core(word).lower() in MONTHS for word in (*source[max(0, at - 1) : at], *source[at + 1 : at + 3]))


def _written(word: str, glued: re.Pattern[str], form: str, *, goes_on: bool) -> str:
    """``word`` with its number as ``form``. A full stop behind it is the form's own, or none where the text goes on."""
    match = glued.search(word)
    assert match is not None
    rest = word[match.end() :]
    rest = rest[2:] if rest[:2] in (".º", ".ª") else rest
    if rest.startswith(".") and (form.endswith(".") or goes_on):
        rest = rest[1:]
    return word[: match.start()] + form + rest
