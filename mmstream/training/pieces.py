"""Pieces of words worth a token of their own, learned from text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable


def learned_pieces(texts: Iterable[str], count: int) -> tuple[str, ...]:
    """The ``count`` pieces that come of joining the most frequent neighbours, one pair after another.

    Byte-pair encoding (Sennrich, Haddow and Birch, ACL 2016), with the space after a word as its last character.
    """
    words = Counter(f"{word} " for text in texts for word in text.split())
    pieces: dict[str, None] = {}
    parts = {word: list(word) for word in words}
    while len(pieces) < count:
        pairs: Counter[str] = Counter()
        for word, times in words.items():
            for left, right in zip(parts[word], parts[word][1:], strict=False):
                pairs[left + right] += times
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        pieces[best] = None
        for part in parts.values():
            _join(part, best)
    return tuple(pieces)


def _join(part: list[str], piece: str) -> None:
    """Put together, in place, every two neighbours that make ``piece``."""
    k = 0
    while k < len(part) - 1:
        if part[k] + part[k + 1] == piece:
            part[k : k + 2] = [piece]
        k += 1
