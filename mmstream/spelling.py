"""'Did you mean': the nearest of the names that would have been right."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_SIMILARITY = 0.6  # of difflib, 0..1: below it a suggestion puzzles more than it helps
_LISTED = 12  # names shown where none is near
_COMPARED = 200  # names: among more, a suggestion costs more time than it saves


def nearest(word: str, names: Iterable[str]) -> str | None:
    """The name most like ``word``, whatever its case; None where none comes near."""
    folded = {name.casefold(): name for name in names}
    if len(folded) > _COMPARED:
        return None
    found = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=_SIMILARITY)
    return folded[found[0]] if found else None


def did_you_mean(word: str, names: Iterable[str], otherwise: str = "") -> str:
    """The end of an error line about ``word``: a suggestion, or ``otherwise`` and the names there are."""
    known = list(names)
    near = nearest(word, known)
    if near is not None:
        return f"; did you mean {near!r}?"
    if not otherwise or not known:
        return ""
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    return f"; {otherwise} {', '.join(repr(name) for name in known[:_LISTED])}{more}"
