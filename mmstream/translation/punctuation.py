"""What the end of a word says of its sentence."""

from __future__ import annotations

SENTENCE_ENDS = (".", "!", "?", "…", "。", "！", "？", "।", "؟")  # noqa: RUF001
CLAUSE_ENDS = (",", ";", ":", "—", "、", "，", "；", "：")  # noqa: RUF001
CLOSING = "\"'”’»)]}」』"  # noqa: RUF001 - may stand behind the mark
ABBREVIATIONS = frozenset(
    ("mr.", "mrs.", "ms.", "dr.", "prof.", "st.", "jr.", "sr.", "vs.", "etc.", "e.g.", "i.e.", "vol.", "a.m.", "p.m.")
)
JOINTS = frozenset(("and", "but", "or", "so", "because", "which", "who", "that", "when", "while", "if", "although"))


def ends_sentence(text: str) -> bool:
    """Whether a word ends a sentence: ``home.``, ``really?"``; not ``Dr.``, ``J.`` or ``3.``."""
    bare = text.rstrip(CLOSING)
    if not bare.endswith(SENTENCE_ENDS):
        return False
    if not bare.endswith("."):
        return True
    stem = bare.rstrip(".")
    return bool(stem) and bare.lower() not in ABBREVIATIONS and not (len(stem) == 1 and stem.isupper() and stem != "I")


def ends_clause(text: str) -> bool:
    """Whether a word ends a clause."""
    return text.rstrip(CLOSING).endswith(CLAUSE_ENDS)
