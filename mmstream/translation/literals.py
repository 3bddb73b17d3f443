"""What of a sentence has to stand in its translation as it is: numbers, names, addresses, signs."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from mmstream.translation.families import Family
from mmstream.translation.variants import core as core_of

ADDRESS = re.compile(
    r"(?:[a-z][a-z0-9+.-]*://|www\.)\S+|[\w.+-]+@[\w-]+(?:\.[\w-]+)+|[@#]\w+|[\w-]+(?:\.[a-z]{2,})+/\S*", re.IGNORECASE
)
DOMAIN = re.compile(r"[\w-]+(?:\.[\w-]+)*\.(?:com|org|net|edu|gov|io|de|fr|es|uk|eu|info|ai|dev|app|co)", re.IGNORECASE)
# ``20th``, ``1980s``, ``24-hour``: of these the number stays, and the rest is translated
COUNTED = re.compile(r"(\d+(?:[.,]\d+)*)(?:st|nd|rd|th|s|['’]s|(?:-[a-z]{2,})+)", re.IGNORECASE)  # noqa: RUF001
CAMEL = re.compile(r"[a-z][A-Z]")  # iPhone, McDonald
ENDINGS = ("s", "es", "d", "ed", "ing", "ly", "er", "ers", "ness", "less", "able")
ORDINARY = ("ly", "ism", "ist", "tion", "sion", "ness", "ment", "ity", "less", "able")  # of no name
LONGEST = 60  # characters: no word is so long
AROUND = "\"'“”‘’«»()[]{}.,;:!?…"  # noqa: RUF001
MARKS = tuple(".,;:!?»”’\"'")  # noqa: RUF001 - they end no address
STUCK = "%‰°€$£¥§"  # they stay with their number
JOINED = "\u200d\ufe0e\ufe0f\u20e3"  # what makes one sign of several


def literals_in(words: Sequence[str], family: Family) -> dict[int, str]:
    """The literals of a sentence, by number of the word."""
    shouted = all(word.isupper() for word in words if word.upper() != word.lower())
    found = {}
    for number, word in enumerate(words):
        literal = literal_of(word, family)
        if literal is None and not shouted:
            literal = _name_in(word, family, first=number == 0)
        if literal is not None:
            found[number] = literal
    return found


def literal_of(word: str, family: Family) -> str | None:
    """The part of a word that is to stay as it is, whatever stands around it; None where there is none."""
    address = ADDRESS.search(word)
    if address is not None:
        return _unwrapped(address[0])
    core = _core(word)
    signs = _signs(core)
    if signs:
        rest = core.replace(signs[0], "")
        plain = len(signs) == 1 and any(one.isalpha() for one in rest) and literal_of(rest, family) is None
        return signs[0] if plain else core
    if not core:
        return None
    if any(one.isdigit() for one in core):
        counted = COUNTED.fullmatch(core)
        return core if counted is None else counted[1]
    if len(core) > LONGEST or DOMAIN.fullmatch(core) or CAMEL.search(core) or family.is_strange(core):
        return core
    return None


def missing(literals: Sequence[str], text: str) -> list[str]:
    """Those of ``literals`` that ``text`` holds less often. None of them counts as a part of another."""
    lacking: list[str] = []
    for literal, count in sorted(Counter(literals).items(), key=lambda one: -len(one[0])):
        text, found = _standing(literal).subn("\n", text)
        lacking += [literal] * (count - found)
    return lacking


def replaced(words: Sequence[str], swaps: Sequence[tuple[str, str]]) -> list[str]:
    """``words`` with each old text, once and in order, as the new one; what is not there is passed over."""
    out = list(words)
    for old, new in swaps:
        pattern = _standing(old)
        at = next((number for number, word in enumerate(out) if pattern.search(word)), None)
        if at is not None:
            out[at] = new.join(pattern.split(out[at], maxsplit=1))
    return out


def _name_in(word: str, family: Family, *, first: bool) -> str | None:
    """What is written as a name and was never seen in training. ``first``: every word is written so there."""
    name = re.split(r"['’]s?$", _core(word))[0]  # noqa: RUF001 - Tom's
    plain = name.lower()
    if len(name) < 2 or not name[0].isupper() or family.seen(plain) is not False or family.seen(_core(word).lower()):
        return None
    if "-" in plain and all(family.seen(part) for part in plain.split("-")):
        return None
    if first and (len(plain) < 3 or plain.endswith(ORDINARY)):
        return None
    if first and any(plain.endswith(end) and _has_stem(plain.removesuffix(end), family) for end in ENDINGS):
        return None
    return name


def _has_stem(stem: str, family: Family) -> bool:
    return len(stem) > 2 and any(family.seen(one) for one in (stem, f"{stem}e", stem[:-1]))


def _standing(literal: str) -> re.Pattern[str]:
    """Finds a literal that is not a part of a longer word or number. Letters may follow a number: ``1980er``."""
    before = r"(?<!\w)" if literal[0].isalnum() else ""
    before += r"(?<!\d[.,:])" if literal[0].isdigit() else ""
    behind = (r"(?!\d)" if literal.isdigit() else r"(?!\w)") if literal[-1].isalnum() else ""
    behind += r"(?![.,:]\d)" if literal[-1].isdigit() else ""
    return re.compile(before + re.escape(literal) + behind)


def _core(word: str) -> str:
    """``word`` without the punctuation around it, but with what belongs to its number: ``(-5%).`` -> ``-5%``."""
    inner = word.strip(AROUND)
    if any(one.isdigit() for one in inner):
        start = next(at for at, one in enumerate(inner) if one.isalnum() or one in STUCK or _is_signed(inner, at))
        end = next(at for at in range(len(inner), 0, -1) if inner[at - 1].isalnum() or inner[at - 1] in STUCK + JOINED)
        return inner[start:end] if not _signs(inner) else inner
    return inner if _signs(inner) else core_of(inner)


def _is_signed(word: str, at: int) -> bool:
    return word[at] in "-+−" and word[at + 1 : at + 2].isdigit()  # noqa: RUF001


def _signs(word: str) -> list[str]:
    """Runs of emoji and the like."""
    runs: list[str] = []
    inside = False
    for one in word:
        is_sign = (unicodedata.category(one) == "So" and one not in STUCK) or "\U0001f000" <= one <= "\U0001faff"
        if inside and (is_sign or one in JOINED or "\U000e0020" <= one <= "\U000e007f"):
            runs[-1] += one
        elif is_sign:
            runs.append(one)
            inside = True
        else:
            inside = False
    return runs


def _unwrapped(address: str) -> str:
    """An address without the punctuation of its sentence; brackets of its own stay."""
    while address.endswith(MARKS) or (address.endswith(")") and address.count(")") > address.count("(")):
        address = address[:-1]
    return address
