"""How good translations are: BLEU and chrF by sacrebleu, and how many are empty or run in circles."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mmstream.core import MmstreamError
from mmstream.media import UNSPACED_LANGUAGES
from mmstream.translation.checks import repeats
from mmstream.translation.engine import Engine, Request
from mmstream.translation.languages import primary
from mmstream.translation.pairs import Pair

AT_ONCE = 64  # sentences
TOKENISERS = {"ja": "ja-mecab", "ko": "ko-mecab", "zh": "zh"}  # of sacrebleu's BLEU; 13a for all others


@dataclass(frozen=True, slots=True)
class Score:
    """A corpus-level figure, 0..100, and sacrebleu's signature: how it was computed."""

    score: float
    signature: str


@dataclass(frozen=True, slots=True)
class Quality:
    """What was found of a set of translations. ``repeated``: a phrase comes three times in a row, in no source."""

    sentences: int
    bleu: Score
    chrf: Score
    empty: int
    repeated: int
    seconds: float  # wall-clock, of all translating

    def to_json(self) -> dict[str, Any]:
        """Scores with two digits, so that runs can be compared."""
        scores = {
            name: {**asdict(found), "score": round(found.score, 2)}
            for name, found in (("bleu", self.bleu), ("chrf", self.chrf))
        }
        rest = {"sentences": self.sentences, "empty": self.empty, "repeated": self.repeated}
        return {**scores, **rest, "seconds": round(self.seconds, 2)}


@dataclass(frozen=True, slots=True)
class Translations:
    """Sentence pairs with what an engine made of their sources."""

    pairs: Sequence[Pair]
    texts: Sequence[str]
    seconds: float  # wall-clock

    def quality(self, target: str) -> Quality:
        """Raises MmstreamError: sacrebleu lacks what it needs for the language."""
        references = [reference for _, reference in self.pairs]
        bleu, chrf = scores(self.texts, references, target)
        circles = sum(
            repeats(text.split(), allowed=source.split())
            for (source, _), text in zip(self.pairs, self.texts, strict=True)
        )
        empty = sum(not text.strip() for text in self.texts)
        return Quality(len(self.pairs), bleu, chrf, empty, circles, self.seconds)


def translated(
    engine: Engine, pairs: Sequence[Pair], source: str, target: str, *,
    spelt: Callable[[str], str] = str, told: Callable[[int], None] = lambda _: None,
) -> Translations:  # fmt: skip
    """The sources of ``pairs``, ``spelt`` otherwise where that is asked, in ``target``. ``told`` of each that is done.

    Raises:
        TranslationError: the engine does not translate between these languages.
    """
    texts: list[str] = []
    began = time.perf_counter()
    for at in range(0, len(pairs), AT_ONCE):
        requests = [Request(spelt(sentence), target) for sentence, _ in pairs[at : at + AT_ONCE]]
        texts += [running_text(one.words, target) for one in engine.translate(requests, source)]
        told(len(requests))
    return Translations(pairs, texts, time.perf_counter() - began)


def running_text(words: Sequence[str], language: str) -> str:
    """Words as a text in ``language``."""
    return ("" if primary(language) in UNSPACED_LANGUAGES else " ").join(words)


def scores(texts: Sequence[str], references: Sequence[str], target: str) -> tuple[Score, Score]:
    """BLEU (Papineni et al., ACL 2002; Post, WMT 2018) and chrF (Popović, WMT 2015) of a corpus, one reference each.

    Raises:
        MmstreamError: sacrebleu is not installed, or lacks a tokeniser.
    """
    try:
        from sacrebleu.metrics.bleu import BLEU
        from sacrebleu.metrics.chrf import CHRF
    except ImportError as fault:
        raise MmstreamError("BLEU needs the package sacrebleu: run python -m pip install sacrebleu") from fault
    found = []
    try:
        for metric in (BLEU(tokenize=TOKENISERS.get(primary(target), "13a")), CHRF()):
            score = metric.corpus_score(list(texts), [list(references)]).score
            found.append(Score(float(score), str(metric.get_signature())))
    except (ImportError, RuntimeError) as fault:
        raise MmstreamError(f"BLEU for {target}: {' '.join(str(fault).split())}") from fault
    return found[0], found[1]
