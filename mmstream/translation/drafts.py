"""A translation that is being checked and mended, and the stretches that it is put together of in the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from mmstream.translation.checks import lost
from mmstream.translation.engine import Request, Translated
from mmstream.translation.punctuation import CLOSING, SENTENCE_ENDS, ends_sentence


@dataclass(slots=True)
class Stretch:
    """A literal, or what stands between two of them."""

    begin: int  # the first of its words in the source
    is_literal: bool
    words: list[str]  # of the source, or of its translation
    sources: list[int]

    def become(self, found: Translated) -> None:
        """Take a translation, without a mark that ends a sentence which the source does not end."""
        last = found.words[-1].rstrip(CLOSING)
        words = list(found.words)
        if not ends_sentence(self.words[-1]) and last.rstrip("".join(SENTENCE_ENDS)):
            words[-1] = last.rstrip("".join(SENTENCE_ENDS))
        self.words = words
        self.sources = [self.begin + at for at in found.sources or [0] * len(words)]


@dataclass(slots=True)
class Draft:
    """A translation as it stands."""

    part: Request
    literals: Mapping[int, str]  # by number of the source word
    found: Translated = field(init=False)  # at first the source as it is
    stretches: list[Stretch] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.found = Translated(self.part.prefix, 0.0, (0,) * len(self.part.prefix))
        self.cut()
        self.assemble()

    @property
    def says_more(self) -> bool:
        """Whether there is anything to translate beside literals."""
        words = enumerate(self.part.text.split())
        return any(one.isalnum() for at, word in words if at not in self.literals for one in word)

    @property
    def lost(self) -> dict[int, str]:
        """The literals that are not there."""
        return lost(self.literals, self.found.words)

    def cut(self) -> list[Stretch]:
        """Cut the source at its literals; gives what stands between them."""
        words = self.part.text.split()
        edges = sorted({0, len(words), *self.literals, *(number + 1 for number in self.literals)})
        self.stretches = [
            Stretch(begin, begin in self.literals, words[begin:end], list(range(begin, end)))
            for begin, end in pairwise(edges)
        ]
        return [stretch for stretch in self.stretches if not stretch.is_literal]

    def assemble(self) -> None:
        """Put the stretches together. What was promised comes first, then what it does not cover."""
        words = [word for stretch in self.stretches for word in stretch.words]
        sources = [at for stretch in self.stretches for at in stretch.sources]
        kept = self.part.prefix
        if tuple(words[: len(kept)]) != kept:
            covered = list((self.found.sources or [0] * len(kept))[: len(kept)])
            last = max(covered, default=-1)
            lacking = lost({at: one for at, one in self.literals.items() if at <= last}, kept)
            rest = [(word, at) for word, at in zip(words, sources, strict=True) if at > last or at in lacking]
            words, sources = [*kept, *(word for word, _ in rest)], [*covered, *(at for _, at in rest)]
        self.found = Translated(tuple(words), self.found.score, tuple(sources))


@dataclass(frozen=True, slots=True)
class Task:
    """A request and the parts that it was cut into."""

    request: Request
    parts: list[Request]
    numbers: Sequence[Sequence[int]]  # of each part's words in the request's text

    def joined(self, translated: Sequence[Translated]) -> Translated:
        """The translations of the parts as one."""
        if not self.parts:
            prefix = self.request.prefix
            return Translated(prefix, 0.0, (0,) * len(prefix))
        words = [word for one in translated for word in one.words]
        sources = [
            numbers[min(at, len(numbers) - 1)]
            for numbers, one in zip(self.numbers, translated, strict=True)
            for at in one.sources or [0] * len(one.words)
        ]
        return Translated(tuple(words), sum(one.score for one in translated) / len(translated), tuple(sources))
