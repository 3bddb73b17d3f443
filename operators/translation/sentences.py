"""Where one sentence of an utterance ends and the next begins: by punctuation, by pauses, by length.

Only stable words are looked at, so an end that was found once stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmstream.media import Word
from mmstream.translation.punctuation import JOINTS, ends_clause, ends_sentence

SHORTEST_CLAUSE = 4  # words: shorter ones say too little to be translated alone


@dataclass(frozen=True, slots=True)
class Limits:
    """What ends a sentence besides its punctuation."""

    pause_s: float = 0.8  # of silence
    longest: int = 40  # words
    clauses: bool = False  # clauses end it too

    def __post_init__(self) -> None:
        if self.pause_s <= 0:
            raise ValueError(f"pause_s is above 0, not {self.pause_s:g}")
        if self.longest < 2:
            raise ValueError(f"longest is 2 words or more, not {self.longest}")


def closed(words: Sequence[Word], stable: int, begin: int, limits: Limits, *, final: bool) -> list[int]:
    """The ends (exclusive) of all sentences after word ``begin`` of an utterance that are over for good.

    ``stable``: how many leading words never change. A final utterance ends its last sentence.
    """
    ends = []
    while (end := _next_end(words, stable, begin, limits)) is not None:
        ends.append(end)
        begin = end
    if final and begin < len(words):
        ends.append(len(words))
    return ends


def _next_end(words: Sequence[Word], stable: int, begin: int, limits: Limits) -> int | None:
    for at in range(begin, stable):
        count = at + 1 - begin
        followed = at + 1 < stable  # what comes behind the last stable word, and when, is not known yet
        if ends_sentence(words[at].text):
            return at + 1
        if followed and words[at + 1].start - words[at].end >= limits.pause_s:
            return at + 1
        if limits.clauses and count >= SHORTEST_CLAUSE and ends_clause(words[at].text):
            return at + 1
        if count >= limits.longest:
            return _best_cut(words, begin, at + 1)
    return None


def _best_cut(words: Sequence[Word], begin: int, end: int) -> int:
    """Where to cut a sentence that is too long: in its second half, at a clause, before a joint, or at a pause."""

    def worth(cut: int) -> tuple[float, float]:
        before, after = words[cut - 1], words[cut]
        return ends_clause(before.text) + 0.5 * (after.text.lower() in JOINTS), after.start - before.end

    return max(range(begin + (end - begin + 1) // 2, end), key=worth)
