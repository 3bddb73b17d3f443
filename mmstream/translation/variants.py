"""What recognisers make of a sentence, for the sources of training.

Some write what was said with case and punctuation, some in lower case without; a translator is to take both. Words
that are to survive unchanged (names, numbers, addresses) can stand as place-holders, which the net learns to copy.
"""

from __future__ import annotations

import unicodedata

PLACEHOLDERS = tuple(f"｟{number}｠" for number in range(1, 5))
APOSTROPHES = str.maketrans(dict.fromkeys("\N{RIGHT SINGLE QUOTATION MARK}\N{MODIFIER LETTER APOSTROPHE}`", "'"))


def spoken(text: str) -> str:
    """Lower case, without punctuation but for apostrophes inside words: ``Don't!`` -> ``don't``."""
    words = (_without_punctuation(word, kept="'") for word in text.lower().translate(APOSTROPHES).split())
    return " ".join(word for word in words if word)


def bare(text: str) -> str:
    """Lower case, without any punctuation: ``Don't!`` -> ``dont``."""
    words = (_without_punctuation(word, kept="") for word in text.lower().split())
    return " ".join(word for word in words if word)


def protected(source: str, target: str, most: int = 2) -> tuple[str, str] | None:
    """The pair with words that stay the same in both languages as place-holders; None where there are none.

    Such words are names and numbers: with a digit or a capital, and once on either side.
    """
    ours, theirs = source.split(), target.split()
    cores = [core(word) for word in ours]
    others = [core(word) for word in theirs]
    found = 0
    for at, name in enumerate(cores):
        if found == most or not _survives(name) or cores.count(name) != 1 or others.count(name) != 1:
            continue
        there = others.index(name)
        placeholder = PLACEHOLDERS[found]
        ours[at] = ours[at].replace(name, placeholder)
        theirs[there] = theirs[there].replace(name, placeholder)
        found += 1
    return (" ".join(ours), " ".join(theirs)) if found else None


def _survives(core: str) -> bool:
    return len(core) > 1 and (core[0].isupper() or any(one.isdigit() for one in core)) and core not in PLACEHOLDERS


def core(word: str) -> str:
    """``word`` without punctuation around it."""
    start, end = 0, len(word)
    while start < end and _is_punctuation(word[start]):
        start += 1
    while end > start and _is_punctuation(word[end - 1]):
        end -= 1
    return word[start:end]


def _without_punctuation(word: str, kept: str) -> str:
    """``word`` without punctuation, with ``kept`` where it stands between letters; place-holders stay."""
    if any(one in word for one in PLACEHOLDERS):
        return next(one for one in PLACEHOLDERS if one in word)
    inner = "".join(one for one in word if one in kept or not _is_punctuation(one))
    return inner.strip(kept) if kept else inner


def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"
