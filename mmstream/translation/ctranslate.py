"""Translators that CTranslate2 runs: Opus-MT, M2M-100, NLLB, and the one that is trained here."""

from __future__ import annotations

from collections.abc import Sequence
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
ALTERNATIVES = 4  # ways to go on behind a prefix that are looked at for one that begins a word
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
        found: dict[int, Translated] = {}
        for forced in (False, True):  # a beam does not go with a search behind a prefix
            rows = [row for row, one in enumerate(requests) if bool(one.prefix) is forced]
            if rows:
                made = self._call([requests[row] for row in rows], source, decoding or self.decoding, forced=forced)
                found.update(zip(rows, made, strict=True))
        return [found[row] for row in range(len(requests))]

    def _call(self, requests: Sequence[Request], source: str, decoding: Decoding, *, forced: bool) -> list[Translated]:
        for request in requests:
            self.check_pair(source, request.target)
        asked = [self._asked(request, source) for request in requests]
        search = (
            {"beam_size": 1, "num_hypotheses": ALTERNATIVES, "return_alternatives": True}
            if forced
            else {"beam_size": decoding.beam}
        )
        results = self._model.translate_batch(
            [list(one.source.tokens) for one in asked],
            target_prefix=[[*one.start, *(piece for pieces in one.prefix for piece in pieces)] for one in asked],
            max_batch_size=AT_ONCE, max_input_length=LONGEST + 6, max_decoding_length=max(one.longest for one in asked),
            no_repeat_ngram_size=decoding.no_repeat, repetition_penalty=decoding.penalty,
            return_attention=True, return_scores=True, disable_unk=True, **search,
        )  # fmt: skip
        return [self._read(one, result) for one, result in zip(asked, results, strict=True)]

    def _asked(self, request: Request, source: str) -> _Asked:
        return _Asked(
            request,
            self.family.source(request.text, source, request.target),
            self.family.start(request.target),
            self.family.prefix(request.prefix, request.target) if request.prefix else [],
        )

    def _read(self, asked: _Asked, result: Any) -> Translated:
        """A result as words, each with the source word that its pieces attend to most."""
        spaced = primary(asked.request.target) not in UNSPACED_LANGUAGES
        begin = len(asked.start) + sum(map(len, asked.prefix))
        best, skipped = _going_on(result.hypotheses, begin) if asked.prefix and spaced else (0, 0)
        tokens: list[str] = result.hypotheses[best][: asked.longest]
        attention = result.attention[best]
        words = list(asked.request.prefix)  # it stands as it was given, whatever its pieces look like put together
        sources = _of_prefix(attention, asked) if words else []
        for first, past in _words(tokens, begin + skipped, spaced=spaced):
            text = self.family.text(tokens[first:past])
            if text:
                words.append(text)
                sources.append(_attended(attention[first:past], asked.source))
        return Translated(tuple(words), float(result.scores[best]), tuple(sources))


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request in the model's terms."""

    request: Request
    source: Source
    start: list[str]
    prefix: list[list[str]]

    @property
    def longest(self) -> int:
        """The most tokens that its translation may have: one that runs in circles is stopped there."""
        given = len(self.start) + sum(map(len, self.prefix))
        return given + min(MOST_TOKENS, 2 * len(self.source.tokens) + 10)


def _going_on(hypotheses: Sequence[Sequence[str]], forced: int) -> tuple[int, int]:
    """The best hypothesis that begins a new word behind ``forced`` tokens, or ends there. Where none does: the first,
    and how many of its tokens to leave out so that no promised word grows.
    """
    for number, tokens in enumerate(hypotheses):
        if len(tokens) <= forced or tokens[forced].startswith(WORD):
            return number, 0
    rest = hypotheses[0][forced:]
    return 0, next((at for at, token in enumerate(rest) if token.startswith(WORD)), len(rest))


def _words(tokens: Sequence[str], first: int, *, spaced: bool) -> list[tuple[int, int]]:
    """Where each word begins and ends; without spaces, each token is one."""
    begins = [at for at in range(first, len(tokens)) if not spaced or at == first or tokens[at].startswith(WORD)]
    return list(zip(begins, [*begins[1:], len(tokens)], strict=True))


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
