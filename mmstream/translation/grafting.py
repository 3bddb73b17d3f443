"""Putting a literal into a translation that lacks it, where the translation of its source word stands or would."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import replace

from mmstream.translation.checks import lost
from mmstream.translation.engine import Translated
from mmstream.translation.literals import missing
from mmstream.translation.punctuation import CLOSING, SENTENCE_ENDS
from mmstream.translation.variants import core

ALIKE = 0.6  # of difflib, 0..1: from here on a word is taken for a literal that was spelt otherwise
# They stand before a number and are no part of it: ``a las 2:30``.
ARTICLES = frozenset("el la los las le les der die das den dem des".split())
MARKS = "".join(SENTENCE_ENDS) + CLOSING


def grafted(found: Translated, literals: Mapping[int, str], kept: int, *, alike: bool = False) -> Translated:
    """The translation with the ``literals`` that it lacks, by number of the source word, behind its ``kept`` words.

    A word that attends to a literal's source word and looks like it gives way to it, the words that spell a number
    out, or a number or name that the source does not know; else the literal goes behind what comes before it in the
    source. With ``alike`` only the first two are done.
    """
    words, sources = list(found.words), list(found.sources or [0] * len(found.words))
    for number, literal in lost(literals, words).items():
        rated = [
            (_likeness(words[at], literal, invented=not alike and sources[at] == number), sources[at] == number, at)
            for at in range(kept, len(words))
            if abs(sources[at] - number) <= 1 and not _holds(words[at], literals)
        ]
        likeness, _, at = max(rated, default=(0.0, False, 0))
        spelt = _spelt_out(words, sources, number, literal, kept)
        if likeness >= ALIKE:
            words[at] = words[at].replace(core(words[at]) or words[at], literal, 1)
        elif spelt:
            last = words[spelt[-1]]
            words[spelt[0] : spelt[-1] + 1] = [last.replace(core(last), literal, 1)]
            sources[spelt[0] : spelt[-1] + 1] = [number]
        elif not alike:
            _insert(words, sources, number, literal, kept)
    return replace(found, words=tuple(words), sources=tuple(sources))


def _holds(word: str, literals: Mapping[int, str]) -> bool:
    return any(not missing([literal], word) for literal in literals.values())


def _likeness(word: str, literal: str, *, invented: bool) -> float:
    """0..1. Two spellings of one number are the same; so are, where it is ``invented``, two numbers or two names."""
    plain = core(word)
    digits = [one for one in literal if one.isdigit()]
    theirs = [one for one in plain if one.isdigit()]
    if digits:
        return 1.0 if theirs == digits else ALIKE if invented and theirs else 0.0
    if invented and not theirs and plain[:1].isupper() and literal[0].isupper():
        return ALIKE
    return difflib.SequenceMatcher(None, plain.lower(), literal.lower(), autojunk=False).ratio()


def _spelt_out(words: list[str], sources: list[int], number: int, literal: str, kept: int) -> list[int]:
    """Where the words stand that say a number in words: ``dos y media`` for ``2:30``. They attend to it in a row."""
    if not any(one.isdigit() for one in literal):
        return []
    row: list[int] = []
    for at in range(kept, len(words)):
        plain = core(words[at])
        says_it = sources[at] == number and plain.isalpha() and plain.islower()
        if says_it and (not row or at == row[-1] + 1) and (row or plain not in ARTICLES):
            row.append(at)
    return row


def _insert(words: list[str], sources: list[int], number: int, literal: str, kept: int) -> None:
    """Put a literal behind the word whose source is the nearest before its own."""
    before = [(sources[at], at) for at in range(len(words)) if sources[at] <= number]
    place = max(kept, max(before)[1] + 1 if before else 0)
    if place == len(words) > kept and literal[-1].isalnum():  # the mark that ends the sentence stays at its end
        bare = words[-1].rstrip(MARKS)
        if bare:
            literal += words[-1][len(bare) :]
            words[-1] = bare
    words.insert(place, literal)
    sources.insert(place, number)
