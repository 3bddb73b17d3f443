"""The one normaliser of English text under every error rate of this project. Change it and all figures change.

Reference and hypothesis both pass through it, so that what remains different is what was heard differently:

- Unicode compatibility forms, accents and case fall: ``Café`` -> ``cafe``.
- Notes in square or angle brackets go, with what they hold: ``[music]``. So does all punctuation; hyphens and
  dashes part words (``rifle-shot`` -> ``rifle shot``); apostrophes stay within a word only (``'tis man's``).
- Numbers in digits are spelled out, as a reader says them: ``33`` thirty three, ``1,000`` one thousand, ``3.5``
  three point five, ``2nd`` second, ``1961`` nineteen sixty one, ``1990s`` nineteen nineties, ``$5`` five dollars,
  ``50%`` fifty percent, ``3:30`` three thirty, ``007`` zero zero seven. No ``and`` within a number.
- ``&`` is ``and``; ``Mr Mrs Dr`` are mister, missus, doctor.

What it leaves alone: contractions (``it's``), spelling (``colour``), fillers (``um``), compounds (``any one``).
"""

from __future__ import annotations

import re
import unicodedata

_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SCALES = ((10**12, "trillion"), (10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred"))
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_TITLES = {"mr": "mister", "mrs": "missus", "dr": "doctor"}
_CURRENCIES = {"$": "dollars", "£": "pounds", "€": "euros"}
_NUMBER = re.compile(
    r"(?P<currency>[$£€]?)(?P<whole>\d{1,3}(?:,\d{3})+|\d+)(?:\.(?P<decimals>\d+))?"
    r"(?:(?P<suffix>st|nd|rd|th|s|%)|(?P<scale> (?:hundred|thousand|million|billion|trillion)))?(?![a-z0-9])"
    r"|(?P<within>\d+)"  # within a word, such as mp3player
)
_APOSTROPHES = re.compile(
    "[\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}\N{MODIFIER LETTER APOSTROPHE}`]"
)


def normalise(text: str) -> str:
    """Lower-case words of letters and inner apostrophes, one space between them; ``""`` where nothing is left."""
    text = _APOSTROPHES.sub("'", text)
    text = unicodedata.normalize("NFKD", text).casefold()
    text = "".join(character for character in text if not unicodedata.combining(character))
    text = re.sub(r"\[[^\]]*\]|<[^>]*>", " ", text).replace("&", " and ")
    text = re.sub(r"(?<=\d):(?=\d\d\b)", " ", text)
    text = _NUMBER.sub(_spell, text)
    text = re.sub(r"[^\w']|_", " ", text)
    text = re.sub(r"(?<!\w)'+|'+(?!\w)", " ", text)
    return " ".join(_TITLES.get(word, word) for word in text.split())


def _spell(found: re.Match[str]) -> str:
    """A number in digits, and what belongs to it, in words."""
    digits = (found["within"] or found["whole"]).replace(",", "")
    currency, decimals, suffix = _CURRENCIES.get(found["currency"] or ""), found["decimals"], found["suffix"]
    plain = not (currency or decimals or found["scale"] or "," in found[0])
    words = _year(int(digits)) if plain and len(digits) == 4 and digits[0] in "12" else _cardinal(digits)
    if currency:
        amount_in_cents = decimals is not None and len(decimals) == 2 and not found["scale"]
        if decimals and not amount_in_cents:
            words += ["point", *_digits(decimals)]
        words += [*(found["scale"] or "").split(), currency, *(_cardinal(decimals) if amount_in_cents else [])]
    else:
        words += ["point", *_digits(decimals)] if decimals else []
        words += (found["scale"] or "").split()
    if suffix == "%":
        words.append("percent")
    elif suffix == "s":
        words[-1] = re.sub("y$", "ie", words[-1]) + "s"
    elif suffix:
        words[-1] = _ORDINALS.get(words[-1], re.sub("y$", "ie", words[-1]) + "th")
    return f" {' '.join(words)} "


def _cardinal(digits: str) -> list[str]:
    """How many; a number that begins with 0, or is very long, digit by digit."""
    if len(digits) > 15 or (digits[0] == "0" and len(digits) > 1):
        return _digits(digits)
    return _count(int(digits)) or ["zero"]


def _digits(digits: str) -> list[str]:
    return [_ONES[int(digit)] for digit in digits]


def _count(number: int) -> list[str]:
    """The words for ``number``; none for 0."""
    for scale, name in _SCALES:
        if number >= scale:
            return [*_count(number // scale), name, *_count(number % scale)]
    if number >= 20:
        return [_TENS[number // 10], *_count(number % 10)]
    return [_ONES[number]] if number else []


def _year(number: int) -> list[str]:
    """Four digits in two pairs, as years are read: 1961, 1905, 1900, 2024; but two thousand five."""
    century, rest = divmod(number, 100)
    if century % 10 == 0:
        return _count(number) if rest < 10 or century == 10 else [*_count(century), *_count(rest)]
    if rest == 0:
        return [*_count(century), "hundred"]
    return [*_count(century), *(["oh"] if rest < 10 else []), *_count(rest)]
