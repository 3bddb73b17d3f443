"""Word and character error rate of a whole corpus, with its uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmstream.core import MmstreamError
from mmstream.evaluation.normalise import normalise

ROUNDS = 2000  # of the bootstrap
SEED = 0


@dataclass(frozen=True)
class ErrorRates:
    """Rates are fractions of the reference, and above 1 where more is wrong than was said."""

    wer: float
    wer_ci: tuple[float, float]  # 95%, by bootstrap over utterances
    cer: float
    words: int  # of the references
    utterances: int


def error_rates(references: Sequence[str], hypotheses: Sequence[str]) -> ErrorRates:
    """How far ``hypotheses`` are from ``references``, one pair per utterance, both normalised here.

    Errors (substitutions, deletions, insertions) are summed over all utterances and divided by the words of all
    references; an utterance without reference words adds only its insertions. MmstreamError where no reference
    has a word, because no rate exists then.
    """
    import jiwer

    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references but {len(hypotheses)} hypotheses")
    references, hypotheses = ([normalise(text) for text in texts] for texts in (references, hypotheses))
    words = np.array([len(text.split()) for text in references])
    if words.sum() == 0:
        raise MmstreamError("the references hold no words: there is no word error rate")
    spoken = jiwer.process_words(references, hypotheses)
    errors = np.array([_errors(chunks) for chunks in spoken.alignments])
    return ErrorRates(
        wer=float(errors.sum() / words.sum()),
        wer_ci=_bootstrap(errors, words),
        cer=float(jiwer.cer(references, hypotheses)),
        words=int(words.sum()),
        utterances=len(references),
    )


def _errors(chunks: Sequence[Any]) -> int:
    """Substitutions, deletions and insertions of one utterance."""
    return sum(
        max(chunk.ref_end_idx - chunk.ref_start_idx, chunk.hyp_end_idx - chunk.hyp_start_idx)
        for chunk in chunks
        if chunk.type != "equal"
    )


def _bootstrap(errors: NDArray[np.int_], words: NDArray[np.int_]) -> tuple[float, float]:
    """The middle 95% of the rate over corpora of the same size, drawn from the utterances with replacement."""
    draw = np.random.default_rng(SEED)
    rates = []
    for _ in range(ROUNDS):
        drawn = draw.integers(len(words), size=len(words))
        if (total := words[drawn].sum()) > 0:
            rates.append(errors[drawn].sum() / total)
    low, high = np.percentile(rates, [2.5, 97.5])
    return float(low), float(high)
