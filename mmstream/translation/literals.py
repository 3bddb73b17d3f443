"""What of a sentence has to stand in its translation as it is: numbers, names, addresses, signs."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from mmstream.translation.families import Family

ADDRESS = re.compile(
    r"(?:[a-z][a-z0-9+.-]*://|www\.)\S+|[\w.+-]+@[\w-]+(?:\.[\w-]+)+|[@#]\w+|[\w-]+(?:\.[a-z]{2,})+/\S*", re.IGNORECASE
)
DOMAIN = re.compile(r"[\w-]+(?:\.[\w-]+)*\.(?:com|org|net|edu|gov|io|de|fr|es|uk|eu|info|ai|dev|app|co)", re.IGNORECASE)
LONGEST = 60  # characters: no word is so long
UNITS = "%‰°€$£¥§"  # they stay with their number


def literal_of(word: str, family: Family) -> str | None:
    """The part of a word that is to stay as it is; None where there is none."""
    core = _core(word)
    if not core:
        return word if any(unicodedata.category(one) == "So" for one in word) else None
    found = ADDRESS.search(word)
    if found is not None:
        return found[0].rstrip(".,;:!?)»\"'")
    if any(one.isdigit() for one in core) or len(core) > LONGEST or DOMAIN.fullmatch(core):
        return core
    if any(unicodedata.category(one) == "So" for one in core) or family.is_strange(core):
        return core
    inner = core[1:]
    if any(one.isupper() for one in inner) and any(one.islower() for one in core):
        return core  # iPhone, McDonald
    if core[0].isupper() and len(core) > 1 and family.seen(_stem(core)) is False:
        return core
    return None


def literals_in(words: Sequence[str], family: Family) -> dict[int, str]:
    """The literals of a sentence, by number of the word."""
    found = {}
    for number, word in enumerate(words):
        literal = literal_of(word, family)
        if literal is not None:
            found[number] = literal
    return found


def missing(literals: Sequence[str], text: str) -> list[str]:
    """Those of ``literals`` that ``text`` does not hold, as often as they are there."""
    return [
        literal
        for literal, count in Counter(literals).items()
        for _ in range(max(0, count - len(_standing(literal).findall(text))))
    ]


def replaced(words: Sequence[str], swaps: Sequence[tuple[str, str]]) -> list[str]:
    """``words`` with each old text, once and in order, as the new one; what is not there is passed over."""
    out = list(words)
    for old, new in swaps:
        at = next((number for number, word in enumerate(out) if _standing(old).search(word)), None)
        if at is not None:
            out[at] = new.join(_standing(old).split(out[at], maxsplit=1))
    return out


def _standing(literal: str) -> re.Pattern[str]:
    """Finds a literal that is not a part of a longer word or number."""
    before = r"(?<![\w])" if literal[0].isalnum() else ""
    behind = r"(?![\w])" if literal[-1].isalnum() else ""
    digits = r"(?<!\d[.,:])" if literal[0].isdigit() else ""
    more = r"(?![.,:]\d)" if literal[-1].isdigit() else ""
    return re.compile(before + digits + re.escape(literal) + behind + more)


def _core(word: str) -> str:
    """``word`` without the punctuation around it."""
    start, end = 0, len(word)
    while start < end and _is_around(word[start]):
        start += 1
    while end > start and _is_around(word[end - 1]):
        end -= 1
    return word[start:end]


def _stem(core: str) -> str:
    """A name without what is stuck to it: ``Tom's`` -> ``Tom``."""
    return re.split(r"['’]s?$", core)[0]  # noqa: RUF001


def _is_around(character: str) -> bool:
    return (
        unicodedata.category(character)[0] in "PS"
        and character not in UNITS
        and unicodedata.category(character) != "So"
    )
