"""Translators that CTranslate2 runs: Opus-MT, M2M-100, NLLB, and the one that is trained here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mmstream.media import UNSPACED_LANGUAGES
from mmstream.translation.engine import Request, Translated, TranslationError
from mmstream.translation.families import WORD, Family, Source, opened
from mmstream.translation.languages import listed, name, primary

Device = Literal["auto", "cpu", "cuda"]

LONGEST = 250  # tokens of a source: longer ones are cut before they come here
ALTERNATIVES = 4  # ways to go on behind a prefix that are looked at for one that begins a word
AT_ONCE = 32  # sentences in one call of the model


@dataclass(frozen=True, slots=True)
class Decoding:
    """How CTranslate2 is to look for a translation."""

    beam: int = 2  # hypotheses; 1: greedy
    no_repeat: int = 0  # n-grams of this length come once at most; 0: any
    penalty: float = 1.0  # of tokens that came before


class CTranslate:
    """A loaded model. Beside the interface of an engine it takes a ``Decoding`` for texts that went wrong."""

    def __init__(self, folder: Path, name: str, *, device: Device = "auto", threads: int = 1, beam: int = 2) -> None:
        """``threads``: cores for one call.

        Raises:
            TranslationError: it is no translator, or CTranslate2 cannot load it.
        """
        import ctranslate2

        self.name = name
        self.family: Family = opened(folder, name)
        self.decoding = Decoding(beam)
        try:
            self._model = ctranslate2.Translator(
                str(folder), device=device, compute_type="default", inter_threads=1, intra_threads=threads
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
        sources = [self.family.source(one.text, source, one.target) for one in requests]
        starts = [self.family.start(one.target) for one in requests]
        prefixes = [self.family.prefix(one.prefix, one.target) for one in requests]
        search = (
            {"beam_size": 1, "num_hypotheses": ALTERNATIVES, "return_alternatives": True}
            if forced
            else {"beam_size": decoding.beam}
        )
        longest = max(2 * len(one.tokens) + len(prefix) + 10 for one, prefix in zip(sources, prefixes, strict=True))
        results = self._model.translate_batch(
            [list(one.tokens) for one in sources],
            target_prefix=[[*start, *prefix] for start, prefix in zip(starts, prefixes, strict=True)],
            max_batch_size=AT_ONCE, max_input_length=LONGEST + 6, max_decoding_length=min(256, longest),
            no_repeat_ngram_size=decoding.no_repeat, repetition_penalty=decoding.penalty,
            return_attention=True, return_scores=True, disable_unk=True, **search,
        )  # fmt: skip
        return [
            self._read(request, one, len(start), len(prefix), result)
            for request, one, start, prefix, result in zip(requests, sources, starts, prefixes, results, strict=True)
        ]

    def _read(self, request: Request, source: Source, started: int, forced: int, result: Any) -> Translated:
        """A result as words, each with the source word that its pieces attend to most."""
        spaced = primary(request.target) not in UNSPACED_LANGUAGES
        best, skipped = _going_on(result.hypotheses, started + forced) if forced and spaced else (0, 0)
        tokens: list[str] = result.hypotheses[best]
        attention = result.attention[best]
        words: list[str] = []
        sources: list[int] = []
        for first, past in _words(tokens, started, spaced=spaced):
            if started + forced <= first < started + forced + skipped:
                continue
            text = self.family.text(tokens[first:past])
            if text:
                words.append(text)
                sources.append(_attended(attention[first:past], source))
        kept = len(request.prefix)
        if forced:  # what was promised stands as it was given, whatever its pieces look like when put together
            inside = sum(first < started + forced for first, _ in _words(tokens, started, spaced=spaced))
            words[:inside] = request.prefix
            sources[:inside] = [*sources[:inside], *[0] * kept][:kept]
        return Translated(tuple(words), float(result.scores[best]), tuple(sources))


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


def _attended(rows: Sequence[Sequence[float]], source: Source) -> int:
    """The source word to which the pieces of a word attend most."""
    weights: dict[int, float] = {}
    for row in rows:
        for weight, word in zip(row, source.words, strict=False):
            if word >= 0:
                weights[word] = weights.get(word, 0.0) + weight
    return max(weights, key=lambda word: weights[word], default=0)
