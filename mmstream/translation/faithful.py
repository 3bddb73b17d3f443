"""What a translator may not do: lose a number, a name or an address, say nothing, say the same again and again."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from mmstream.translation.ctranslate import LONGEST, CTranslate, Decoding
from mmstream.translation.engine import Request, Translated
from mmstream.translation.literals import literals_in, missing, replaced
from mmstream.translation.punctuation import JOINTS, ends_clause, ends_sentence

MOST_WORDS = 40  # of a sentence in one piece
MANY_WORDS = 5  # from which on it is worth asking what language a sentence is in
CAREFUL = Decoding(beam=4, no_repeat=3, penalty=1.2)  # for what went wrong
TIMES = 3  # in a row: who says something so often repeats himself
PHRASE = 6  # words: the longest phrase that is looked for

log = logging.getLogger(__name__)


class Faithful:
    """An engine around a model. Whatever that gives, every literal of a source stands in its translation, as often.

    A text with words has a translation with words; none runs in circles where its source does not. Sentences of more
    than MOST_WORDS are cut, at clauses where there are some. Control characters are left out.
    """

    def __init__(self, model: CTranslate) -> None:
        self.model = model
        self._told = False  # that a text is in another language than declared

    def translate(self, requests: Sequence[Request], source: str) -> list[Translated]:
        """As an engine does."""
        tasks = [self._task(request) for request in requests]
        parts = [part for task in tasks for part in task.parts]
        done = iter(self._parts(parts, source))
        return [task.joined([next(done) for _ in task.parts]) for task in tasks]

    def _task(self, request: Request) -> _Task:
        """A request, cleaned and cut into parts that the model can take."""
        words = [(number, cleaned(word)) for number, word in enumerate(request.text.split())]
        kept = [(number, word) for number, word in words if word]
        self._ask_language([word for _, word in kept])
        spans = cuts([word for _, word in kept], self._is_too_long)
        parts = []
        for begin, end in spans:
            text = " ".join(word for _, word in kept[begin:end])
            parts.append(replace(request, text=text, prefix=request.prefix if begin == 0 else ()))
        return _Task(request, parts, [[number for number, _ in kept[begin:end]] for begin, end in spans])

    def _is_too_long(self, words: Sequence[str]) -> bool:
        """Whether a stretch is more than the model takes. A token is a character at least."""
        if len(words) > MOST_WORDS:
            return True
        return (
            sum(map(len, words)) > LONGEST and len(self.model.family.source(" ".join(words), "", "").tokens) > LONGEST
        )

    def _parts(self, parts: Sequence[Request], source: str) -> list[Translated]:
        """Translations that have been checked, and mended where they had to be."""
        found = self.model.translate(parts, source) if parts else []
        literals = [literals_in(part.text.split(), self.model.family) for part in parts]
        for mend in (self._with_placeholders, self._carefully, self._in_stretches):
            wrong = [row for row, part in enumerate(parts) if not _is_good(part, found[row], literals[row])]
            if not wrong:
                break
            for row, one in zip(wrong, mend([parts[row] for row in wrong], source), strict=True):
                if one is not None:
                    found[row] = one
        return found

    def _with_placeholders(self, parts: Sequence[Request], source: str) -> list[Translated | None]:
        """Literals that went missing go in as place-holders, and come back in their place."""
        most = self.model.family.placeholders
        swapped: dict[int, tuple[Request, list[tuple[str, str]]]] = {}
        for row, part in enumerate(parts):
            words = part.text.split()
            literals = literals_in(words, self.model.family)
            if literals and len(literals) <= len(most):
                swaps = list(zip(literals.values(), most, strict=False))
                for (number, literal), (_, token) in zip(literals.items(), swaps, strict=True):
                    words[number] = words[number].replace(literal, token, 1)
                prefix = tuple(replaced(part.prefix, swaps))
                swapped[row] = replace(part, text=" ".join(words), prefix=prefix), swaps
        made = self.model.translate([request for request, _ in swapped.values()], source) if swapped else []
        found: list[Translated | None] = [None] * len(parts)
        for (row, (_, swaps)), one in zip(swapped.items(), made, strict=True):
            words = list(one.words)
            for literal, token in swaps:
                words = [word.replace(token, literal) for word in words]
            kept = parts[row].prefix
            found[row] = replace(one, words=(*kept, *words[len(kept) :]))
        return found

    def _carefully(self, parts: Sequence[Request], source: str) -> list[Translated | None]:
        """With a wider beam and without repetitions, for what ran in circles or said nothing."""
        return list(self.model.translate(parts, source, CAREFUL))

    def _in_stretches(self, parts: Sequence[Request], source: str) -> list[Translated | None]:
        """What stands between literals by itself, with these put back; a stretch that fails again as it is."""
        return [self._stretched(part, source) for part in parts]

    def _stretched(self, part: Request, source: str) -> Translated:
        words = part.text.split()
        literals = literals_in(words, self.model.family)
        out: list[str] = []
        sources: list[int] = []
        for begin, end in _between(len(words), literals):
            if end - begin == 1 and begin in literals:
                made, places = [words[begin]], [begin]
            else:
                request = Request(" ".join(words[begin:end]), part.target)
                one = self.model.translate([request], source, CAREFUL)[0]
                good = _is_good(request, one, {})
                made = list(one.words) if good else words[begin:end]
                places = [begin + at for at in one.sources or ()] if good else list(range(begin, end))
                places = places or [begin] * len(made)
            out += made
            sources += places
        kept = part.prefix
        if tuple(out[: len(kept)]) != kept:  # it was promised: what is missing follows
            rest = missing(list(literals.values()), " ".join(kept))
            numbers = [next(at for at, literal in literals.items() if literal == one) for one in rest]
            return Translated((*kept, *rest), 0.0, (*[0] * len(kept), *numbers))
        return Translated(tuple(out), 0.0, tuple(sources))

    def _ask_language(self, words: Sequence[str]) -> None:
        """Warn, once, of a text whose words the model has never seen."""
        if self._told or len(words) < MANY_WORDS:
            return
        seen = [self.model.family.seen(word.strip(".,;:!?\"'()")) for word in words]
        if all(one is not None for one in seen) and sum(one is False for one in seen) > len(words) / 2:
            self._told = True
            log.warning("%r is hardly in the language that %s translates from", " ".join(words)[:60], self.model.name)


@dataclass(frozen=True, slots=True)
class _Task:
    """A request and the parts that it was cut into."""

    request: Request
    parts: Sequence[Request]
    numbers: Sequence[Sequence[int]]  # of each part's words in the request's text

    def joined(self, translated: Sequence[Translated]) -> Translated:
        """The translations of the parts as one."""
        words = [word for one in translated for word in one.words]
        sources = [
            numbers[min(at, len(numbers) - 1)]
            for numbers, one in zip(self.numbers, translated, strict=True)
            for at in (one.sources or [0] * len(one.words))
        ]
        score = sum(one.score for one in translated) / max(1, len(translated))
        if not self.parts:
            words, sources = list(self.request.prefix), [0] * len(self.request.prefix)
        return Translated(tuple(words), score, tuple(sources))


def cleaned(word: str) -> str:
    """A word without control characters and what else nobody sees, but for joiners, which some scripts need."""
    if word.isascii() and word.isprintable():
        return word
    return "".join(
        one for one in word if unicodedata.category(one) not in ("Cc", "Cf", "Cs", "Co", "Cn") or one in "\u200c\u200d"
    )


def cuts(words: Sequence[str], is_too_long: Callable[[Sequence[str]], bool]) -> list[tuple[int, int]]:
    """The stretches, [begin, end), that ``words`` are cut into: one where it is not too long."""
    if not words:
        return []
    if not is_too_long(words):
        return [(0, len(words))]
    spans, begin = [], 0
    while begin < len(words):
        end = _end(words, begin)
        while end - begin > 1 and is_too_long(words[begin:end]):
            end = begin + (end - begin) // 2
        spans.append((begin, end))
        begin = end
    return spans


def _end(words: Sequence[str], begin: int) -> int:
    """Where the stretch from ``begin`` on ends: with its sentence, or before it is too long, at a clause or a joint."""
    last = min(len(words), begin + MOST_WORDS)
    ends = [at + 1 for at in range(begin, last) if ends_sentence(words[at])]
    if ends or last == len(words):
        return ends[0] if ends else last
    half = range(begin + MOST_WORDS // 2, last)
    clauses = [at for at in half if ends_clause(words[at - 1])] or [at for at in half if words[at].lower() in JOINTS]
    return clauses[-1] if clauses else last


def repeats(words: Sequence[str], *, allowed: Sequence[str] = ()) -> bool:
    """Whether a phrase of up to PHRASE words comes TIMES in a row or more, and more often than one in ``allowed``."""
    return _longest_run(words) >= max(TIMES, _longest_run(allowed) + 1)


def _longest_run(words: Sequence[str]) -> int:
    """How many times in a row the most repeated phrase comes."""
    plain = [re.sub(r"\W", "", word).lower() or word for word in words]
    longest = 1 if plain else 0
    for length in range(1, min(PHRASE, len(plain) // 2) + 1):
        same = 0  # words in a row that are those ``length`` before
        for at in range(length, len(plain)):
            same = same + 1 if plain[at] == plain[at - length] else 0
            longest = max(longest, 1 + same // length)
    return longest


def _is_good(part: Request, found: Translated, literals: dict[int, str]) -> bool:
    """Whether a translation holds all that it has to, and says something, once."""
    source = part.text.split()
    says = any(any(one.isalnum() for one in word) for word in found.words)
    asked = any(any(one.isalnum() for one in word) for word in source)
    if says < asked or (source and not found.words) or repeats(found.words, allowed=source):
        return False
    return not missing(list(literals.values()), " ".join(found.words))


def _between(count: int, literals: dict[int, str]) -> list[tuple[int, int]]:
    """Every literal by itself, and the stretches between them."""
    edges = sorted({0, count, *literals, *(number + 1 for number in literals)})
    return [(begin, end) for begin, end in pairwise(edges) if end > begin]
