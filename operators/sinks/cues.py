"""Cutting the words of an utterance into cues, as subtitlers do: short lines, breaks where the speaker breaks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from rich.cells import cell_len, chop_cells

from mmstream.media import Word

SENTENCE_ENDS = (".", "!", "?", "…", "。", "\N{FULLWIDTH EXCLAMATION MARK}", "\N{FULLWIDTH QUESTION MARK}")
CLAUSE_ENDS = (",", ";", ":", "、", "\N{FULLWIDTH COMMA}")
FULL_PAUSE_S = 0.5  # a silence of this length is as good a place to break as the end of a sentence
LONG_PAUSE_S = 1.5  # a cue that runs across such a silence gives away what is yet to be said


@dataclass(frozen=True)
class CueLimits:
    """How much one cue may hold."""

    max_line_chars: int  # columns: a wide character (Chinese, Japanese, Korean) takes two
    max_lines: int
    max_duration_s: float


@dataclass
class Cue:
    """One subtitle: whole milliseconds, lines joined by newlines."""

    start_ms: int
    end_ms: int
    text: str


def cut_into_cues(words: Sequence[Word], limits: CueLimits, separator: str = " ") -> list[Cue]:
    """Cues for the words of one utterance: every word in one cue, in order, and every cue within the limits.

    A word that alone exceeds a limit gets a cue of its own; one longer than a line is cut. Of all cuts the
    cheapest is taken (dynamic programming from the end, as TeX breaks lines, Knuth and Plass 1981).
    """
    words = [word for word in words if word.text.strip()]
    best: list[tuple[float, int]] = [(0.0, len(words))] * (len(words) + 1)  # (cost of words[first:], first cut)
    for first in reversed(range(len(words))):
        options = [(_cost(words, first, first + 1, limits, separator) + best[first + 1][0], first + 1)]
        for cut in range(first + 2, len(words) + 1):
            if not _fits(words[first:cut], limits, separator):
                break
            options.append((_cost(words, first, cut, limits, separator) + best[cut][0], cut))
        best[first] = min(options)
    cues, first = [], 0
    while first < len(words):
        cut = best[first][1]
        cues.append(_cue(words[first:cut], limits, separator))
        first = cut
    return cues


def spread(words: Sequence[Word], chars_per_s: float) -> list[Word]:
    """The words of a translation, each with the time to be read before the next one begins, in the same span of time.

    Their own times are those of the words that they translate: several may share one, and one that the translation
    brings forward holds all behind it at its time. Silences that are not long go: they stood between other words.
    """
    if not words:
        return []
    start, end = words[0].start, words[-1].end
    starts: list[float] = []
    until = end
    for word in reversed(words):
        until = min(word.start, until - (len(word.text) + 1) / chars_per_s)
        starts.insert(0, until)
    if starts[0] < start:  # more is to be read than there is time
        scale = (end - start) / (end - starts[0])
        starts = [end - (end - time) * scale for time in starts]
    spaced = []
    for word, begin, follows in zip(words, starts, [*starts[1:], end], strict=True):
        until = min(max(word.end, begin), follows)
        spaced.append(replace(word, start=begin, end=until if follows - until > LONG_PAUSE_S else follows))
    return spaced


def wrap(texts: Sequence[str], columns: int, separator: str = " ") -> list[str]:
    """The texts in lines of at most ``columns``: as few lines as can be, of lengths as even as can be."""
    count = len(_fill(texts, columns, separator))
    narrowest = min(columns, max((cell_len(text) for text in texts), default=columns))
    return next(
        lines for width in range(narrowest, columns + 1) if len(lines := _fill(texts, width, separator)) <= count
    )


def _fill(texts: Sequence[str], columns: int, separator: str) -> list[str]:
    """Lines filled one after the other."""
    lines: list[str] = []
    for text in texts:
        if lines and cell_len(lines[-1] + separator + text) <= columns:
            lines[-1] += separator + text
        else:
            lines.extend(chop_cells(text, columns))
    return lines


def _fits(words: Sequence[Word], limits: CueLimits, separator: str) -> bool:
    if words[-1].end - words[0].start > limits.max_duration_s:
        return False
    return len(_fill([word.text for word in words], limits.max_line_chars, separator)) <= limits.max_lines


def _cost(words: Sequence[Word], first: int, cut: int, limits: CueLimits, separator: str) -> float:
    """What a cue of ``words[first:cut]`` costs: 1; up to 1 for a cut in mid-phrase, and for room left; a half for a
    sentence that ends within it; 2 for a silence within it.
    """
    cue = words[first:cut]
    room = limits.max_line_chars * limits.max_lines
    filled = min(1.0, cell_len(separator.join(word.text for word in cue)) / room)
    cost = 1.0 + (1 - filled) ** 2
    if cut < len(words):
        cost += _roughness(words[cut - 1], words[cut])
    for before, after in pairwise(cue):
        cost += 0.5 * before.text.endswith(SENTENCE_ENDS) + 2.0 * (after.start - before.end > LONG_PAUSE_S)
    return cost


def _roughness(before: Word, after: Word) -> float:
    """0 where speech itself breaks, 1 in the middle of a phrase."""
    if before.text.endswith(SENTENCE_ENDS):
        return 0.0
    pause = 1 - min(1.0, max(0.0, after.start - before.end) / FULL_PAUSE_S)
    return min(0.5, pause) if before.text.endswith(CLAUSE_ENDS) else pause


def _cue(words: Sequence[Word], limits: CueLimits, separator: str) -> Cue:
    return Cue(
        start_ms=max(0, round(1000 * words[0].start)),
        end_ms=max(0, round(1000 * words[-1].end)),
        text="\n".join(wrap([word.text for word in words], limits.max_line_chars, separator)),
    )
