"""Sentences that are longer than a model takes, in parts."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence

from mmstream.translation.punctuation import JOINTS, ends_clause, ends_sentence

MOST_WORDS = 40  # of a sentence in one piece


def cleaned(word: str) -> str:
    """A word without control characters and what else nobody sees, but for what scripts and emoji are joined with."""
    if word.isascii() and word.isprintable():
        return word
    return "".join(one for one in word if unicodedata.category(one) not in ("Cc", "Cf", "Cs", "Co") or _joins(one))


def cuts(words: Sequence[str], is_too_long: Callable[[Sequence[str]], bool]) -> list[tuple[int, int]]:
    """The stretches, [begin, end), that ``words`` are cut into: one where it is not too long."""
    if not words:
        return []
    if len(words) <= MOST_WORDS and not is_too_long(words):
        return [(0, len(words))]
    spans, begin = [], 0
    while begin < len(words):
        end = _end(words, begin)
        while end - begin > 1 and is_too_long(words[begin:end]):
            end = begin + (end - begin) // 2
        spans.append((begin, end))
        begin = end
    return spans


def shares(words: Sequence[str], lengths: Sequence[int]) -> list[tuple[str, ...]]:
    """What was promised of a whole, by part: to each as much as it is long by itself, to the last the rest."""
    found, at = [], 0
    for length in lengths[:-1]:
        found.append(tuple(words[at : at + length]))
        at += length
    return [*found, tuple(words[at:])]


def _joins(character: str) -> bool:
    return character in "\u200c\u200d" or "\U000e0020" <= character <= "\U000e007f"


def _end(words: Sequence[str], begin: int) -> int:
    """Where the stretch from ``begin`` on ends: with its sentence, or before it is too long, at a clause or a joint."""
    last = min(len(words), begin + MOST_WORDS)
    ends = [at + 1 for at in range(begin, last) if ends_sentence(words[at])]
    if ends or last == len(words):
        return ends[0] if ends else last
    half = range(begin + MOST_WORDS // 2, last)
    clauses = [at for at in half if ends_clause(words[at - 1])] or [at for at in half if words[at].lower() in JOINTS]
    return clauses[-1] if clauses else last
