"""Translators that CTranslate2 runs: Opus-MT, M2M-100, NLLB, and the one that is trained here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from mmstream.media import UNSPACED_LANGUAGES
from mmstream.translation.engine import Request, Translated, TranslationError
from mmstream.translation.families import WORD, Family, Source, opened
from mmstream.translation.languages import listed, name, primary

Device = Literal["auto", "cpu", "cuda"]

LONGEST = 250  # tokens of a source: longer ones are cut before they come here
# ways to go on behind a prefix, looked at for one that begins a word; CTranslate2 lets none of them end there
OTHERS = {"beam_size": 1, "num_hypotheses": 4, "return_alternatives": True}
MOST_TOKENS = 256  # of a target, beyond its prefix
AT_ONCE = 32  # sentences in one call of the model


@dataclass(frozen=True, slots=True)
class Decoding:
    """How CTranslate2 is to look for a translation."""

    beam: int = 2  # hypotheses; 1: greedy
    no_repeat: int = 0  # n-grams of this length come once at most; 0: any
    penalty: float = 1.0  # of tokens that came before


class CTranslate:
    """A loaded model. Beside the interface of an engine it takes a ``Decoding`` for texts that went wrong."""

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        family: Family | None = None,
        device: Device = "auto",
        threads: int = 1,
        beam: int = 2,
    ) -> None:
        """``family``: where that is open already. ``threads``: cores for one call.

        Raises:
            TranslationError: it is no translator, or CTranslate2 cannot load it.
        """
        import ctranslate2

        self.name = name
        self.family: Family = opened(folder, name) if family is None else family
        self.decoding = Decoding(beam)
        try:
            self._model = ctranslate2.Translator(
                str(folder), device=device, compute_type="auto", inter_threads=1, intra_threads=threads
            )
        except (RuntimeError, ValueError) as fault:
            said = " ".join(str(fault).split())
            raise TranslationError(f"{folder}: CTranslate2 cannot load it: {said}") from fault

    def check_pair(self, source: str, target: str) -> None:
        """See that it translates between these languages.

        Raises:
            TranslationError: it does not; with those that it does.
        """
        pairs = self.family.pairs()
        if pairs is None:
            for one in (source, target):
                if not self.family.knows(one):
                    raise TranslationError(f"model {self.name!r} does not know {name(one)} ({one})")
        elif (primary(source), primary(target)) not in pairs:
            there = "; ".join(f"{one} into {listed([to for at, to in pairs if at == one])}" for one, _ in pairs[:1])
            raise TranslationError(f"model {self.name!r} does not translate {source} into {target}; it knows {there}")

    def translate(self, requests: Sequence[Request], source: str, decoding: Decoding | None = None) -> list[Translated]:
        """As an engine does. Longer texts than LONGEST tokens lose their end."""
        for target in dict.fromkeys(request.target for request in requests):
            self.check_pair(source, target)
        asked = [self._asked(request, source) for request in requests]
        how = decoding or self.decoding
        found = [best for best, *_ in self._search(asked, how, {"beam_size": how.beam})]
        grown = [row for row, one in enumerate(asked) if found[row].grows(one)]
        alternatives = self._search([asked[row] for row in grown], how, OTHERS)
        for row, others in zip(grown, alternatives, strict=True):
            found[row] = next((one for one in others if not one.grows(asked[row])), found[row])
        return [self._read(one, hypothesis) for one, hypothesis in zip(asked, found, strict=True)]

    def _search(
        self, asked: Sequence[_Asked], decoding: Decoding, search: Mapping[str, Any]
    ) -> list[list[_Hypothesis]]:
        """Hypotheses for each, the best first. What may be longer goes by itself: no answer depends on another."""
        calls: dict[int, list[int]] = {}
        for row, one in enumerate(asked):
            calls.setdefault(one.longest, []).append(row)
        found: list[list[_Hypothesis]] = [[] for _ in asked]
        for longest, rows in calls.items():
            results = self._model.translate_batch(
                [list(asked[row].source.tokens) for row in rows],
                target_prefix=[asked[row].given for row in rows],
                max_batch_size=AT_ONCE, max_input_length=LONGEST + 6, max_decoding_length=longest,
                no_repeat_ngram_size=decoding.no_repeat, repetition_penalty=decoding.penalty,
                return_attention=True, return_scores=True, disable_unk=True, **search,
            )  # fmt: skip
            for row, result in zip(rows, results, strict=True):
                found[row] = list(map(_Hypothesis, result.hypotheses, result.attention, result.scores))
        return found

    def _asked(self, request: Request, source: str) -> _Asked:
        return _Asked(
            request,
            self.family.source(request.text, source, request.target),
            self.family.start(request.target),
            self.family.prefix(request.prefix, request.target) if request.prefix else [],
        )

    def _read(self, asked: _Asked, found: _Hypothesis) -> Translated:
        """A hypothesis as words, each with the source word that its pieces attend to most."""
        words = list(asked.request.prefix)  # it stands as it was given, whatever its pieces look like put together
        sources = _of_prefix(found.attention, asked) if words else []
        for first, past in _words(found.tokens, found.following(asked), spaced=asked.spaced):
            text = self.family.text(found.tokens[first:past])
            if text:
                words.append(text)
                sources.append(_attended(found.attention[first:past], asked.source))
        return Translated(tuple(words), found.score, tuple(sources))


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request in the model's terms."""

    request: Request
    source: Source
    start: list[str]
    prefix: list[list[str]]

    @property
    def given(self) -> list[str]:
        """The tokens that its translation begins with."""
        return [*self.start, *(piece for pieces in self.prefix for piece in pieces)]

    @property
    def spaced(self) -> bool:
        """Whether its translation has spaces between words."""
        return primary(self.request.target) not in UNSPACED_LANGUAGES

    @property
    def longest(self) -> int:
        """The most tokens that its translation may have, a power of two: one that runs in circles is stopped there."""
        return int(2 ** math.ceil(math.log2(len(self.given) + min(MOST_TOKENS, 2 * len(self.source.tokens) + 10))))


@dataclass(frozen=True, slots=True)
class _Hypothesis:
    """A translation in the model's terms."""

    tokens: list[str]
    attention: list[list[float]]  # of each token, to those of the source
    score: float

    def grows(self, asked: _Asked) -> bool:
        """Whether it would make a promised word longer, and says more behind it."""
        return len(asked.given) < self.following(asked) < len(self.tokens)

    def following(self, asked: _Asked) -> int:
        """Where the first word begins that is not of the prefix: pieces before it would make a promised word longer."""
        begin = len(asked.given)
        if not asked.prefix or not asked.spaced:
            return begin
        return next((at for at in range(begin, len(self.tokens)) if self.tokens[at].startswith(WORD)), len(self.tokens))


def _words(tokens: Sequence[str], first: int, *, spaced: bool) -> list[tuple[int, int]]:
    """Where each word begins and ends; without spaces, each token is one."""
    begins = [at for at in range(first, len(tokens)) if not spaced or at == first or tokens[at].startswith(WORD)]
    return list(pairwise([*begins, len(tokens)]))


def _of_prefix(attention: Sequence[Sequence[float]], asked: _Asked) -> list[int]:
    """The source word for each word that was promised."""
    count, at = len(asked.request.prefix), len(asked.start)
    rows: list[Sequence[Sequence[float]]] = []
    if len(asked.prefix) == count:
        for pieces in asked.prefix:
            rows.append(attention[at : at + len(pieces)])
            at += len(pieces)
    else:  # pieces of all together: each word has about as many
        many = sum(map(len, asked.prefix))
        edges = [at + number * many // count for number in range(count + 1)]
        rows = [attention[first : max(past, first + 1)] for first, past in pairwise(edges)]
    return [_attended(one, asked.source) for one in rows]


def _attended(rows: Sequence[Sequence[float]], source: Source) -> int:
    """The source word to which the pieces of a word attend most."""
    weights: dict[int, float] = {}
    for row in rows:
        for weight, word in zip(row, source.words, strict=False):
            if word >= 0:
                weights[word] = weights.get(word, 0.0) + weight
    return max(weights, key=lambda word: weights[word], default=0)
