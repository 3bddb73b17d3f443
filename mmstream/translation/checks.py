"""What is wrong with a translation: a literal is missing, it says nothing, or it says the same again and again."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from mmstream.translation.engine import Request, Translated
from mmstream.translation.literals import LONGEST, missing

TIMES = 3  # in a row: who says something so often repeats himself
TWICE = 4  # words: a phrase so long need not come more than twice
PHRASE = 8  # words: the longest phrase that is looked for


def lost(literals: Mapping[int, str], words: Sequence[str]) -> dict[int, str]:
    """The literals, by number of the source word, that a translation does not hold."""
    lacking = Counter(missing(list(literals.values()), " ".join(words)))
    found = {}
    for number, literal in literals.items():
        if lacking[literal]:
            lacking[literal] -= 1
            found[number] = literal
    return found


def is_sound(request: Request, found: Translated, never: Sequence[str] = ()) -> bool:
    """Whether a translation says something, and once, and nothing of what a text ``never`` holds."""
    source = request.text.split()
    if source and (not found.words or _says(found.words) < _says(source)):
        return False
    if any(one in word for word in found.words for one in never if one not in request.text):
        return False
    return not repeats(found.words, allowed=[*source, *request.prefix])


def repeats(words: Sequence[str], *, allowed: Sequence[str] = ()) -> bool:
    """Whether a phrase comes TIMES in a row, a long one twice, or a word has no end; and not so in ``allowed`` too."""
    most, found = _runs(allowed), _runs(words)
    if any(times > most[length] and (times >= TIMES or length >= TWICE) for length, times in found.items()):
        return True
    longest = max(map(len, allowed), default=0)
    return any(len(word) > max(LONGEST, 2 * longest) for word in words)


def _says(words: Sequence[str]) -> bool:
    return any(one.isalnum() for word in words for one in word)


def _runs(words: Sequence[str]) -> Counter[int]:
    """For each length of a phrase, how many times in a row one comes at most."""
    plain = [re.sub(r"\W", "", word).lower() or word for word in words]
    found: Counter[int] = Counter()
    for length in range(1, min(PHRASE, len(plain) // 2) + 1):
        same = 0  # words in a row that are those ``length`` before
        for at in range(length, len(plain)):
            same = same + 1 if plain[at] == plain[at - length] else 0
            if same >= length:
                found[length] = max(found[length], 1 + same // length)
    return found
