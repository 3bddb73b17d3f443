"""Batches of pairs of about equal length, drawn anew each epoch.

An epoch is a function of the seed and its number, so a run that goes on draws what it would have drawn. Sentences are
so short that padding would be most of a batch of mixed ones: pairs are sorted by length, cut into batches, and the
batches shuffled; one step takes several, so that it sees several lengths. Batches come in few shapes, because oneDNN
makes machine code for each new shape of a matrix: with a new shape in each batch that took a quarter of the time, and
gigabytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmstream.nets.translation import BEGIN, END, MOST_TOKENS, PADDING
from mmstream.training.translation.config import Mix
from mmstream.training.translation.corpus import SOURCES, Corpus

LANGUAGES = 4  # the token of the first language: behind padding, unknown, begin and end
NONE = -1
WIDTHS = (6, 8, 10, 12, 14, 17, 20, 24, 30, 40, 56, 80, 128, MOST_TOKENS)  # of batches: see the top
LONGEST_JOINED = 64  # tokens of either side of two pairs as one

Numbers = npt.NDArray[np.int64]


class Batch(NamedTuple):
    """Tokens of some pairs, padded to the longest."""

    source: Tensor  # (pair, token): the language, the sentence, END
    target: Tensor  # (pair, token): BEGIN, the sentence
    wanted: Tensor  # (pair, token): the sentence, END

    @property
    def tokens(self) -> int:
        return int((self.wanted != PADDING).sum())


@dataclass(frozen=True, slots=True)
class Shaped:
    """Which pairs are a batch, and how large it is; it may lack some rows."""

    pairs: Numbers
    rows: int
    source: int  # tokens
    target: int


@dataclass(frozen=True, slots=True)
class Epoch:
    """One drawing of the corpus."""

    variant: Numbers  # (pairs,): which of SOURCES
    second: Numbers  # (pairs,): the pair that is joined to it, or NONE
    batches: list[Shaped]  # in the order in which they are served


def draw(corpus: Corpus, mix: Mix, seed: int, epoch: int) -> Epoch:
    """What epoch number ``epoch`` serves."""
    rng = np.random.default_rng([seed, epoch])
    variant = _variants(corpus, mix, rng)
    second = _seconds(corpus, mix, variant, rng)
    sources, targets = _lengths(corpus, variant, second)
    return Epoch(variant, second, _cut(sources, targets, mix.tokens, rng))


def served(corpus: Corpus, mix: Mix, seed: int, epoch: int, at: int) -> Iterator[tuple[list[Batch], int, int]]:
    """For each step from batch ``at`` of ``epoch`` on: its batches, and the epoch and place of the step after it."""
    while True:
        drawn = draw(corpus, mix, seed, epoch)
        while at < len(drawn.batches):
            rows = drawn.batches[at : at + mix.batches]
            at += mix.batches
            ended = at >= len(drawn.batches)
            yield [collate(corpus, drawn, one) for one in rows], epoch + ended, 0 if ended else at
        epoch, at = epoch + 1, 0


def collate(corpus: Corpus, drawn: Epoch, shaped: Shaped) -> Batch:
    """The batch that ``shaped`` says."""
    sources: list[list[int]] = []
    targets: list[list[int]] = []
    for row in shaped.pairs.tolist():
        name = SOURCES[drawn.variant[row]]
        other = "protected" if name.startswith("protected") else "written"
        source, target = corpus.sources[name][row], corpus.targets[other][row]
        second = int(drawn.second[row])
        if second != NONE:
            source = np.concatenate([source, corpus.sources[name][second]])
            target = np.concatenate([target, corpus.targets[other][second]])
        sources.append([LANGUAGES + int(corpus.language[row]), *source.tolist(), END])
        targets.append([BEGIN, *target.tolist(), END])
    missing: list[list[int]] = [[]] * (shaped.rows - len(sources))
    outputs = padded([*targets, *missing], shaped.target + 1)
    inputs = outputs[:, :-1].clone()
    inputs[inputs == END] = PADDING  # of shorter sentences; nothing is wanted there
    return Batch(padded([*sources, *missing], shaped.source), inputs, outputs[:, 1:].clone())


def padded(rows: list[list[int]], width: int = 0) -> Tensor:
    """(row, width), or as wide as the longest."""
    width = width or max(map(len, rows))
    return torch.tensor([row + [PADDING] * (width - len(row)) for row in rows])


def _variants(corpus: Corpus, mix: Mix, rng: np.random.Generator) -> Numbers:
    chances = [mix.spoken_chance, mix.bare_chance, mix.protected_chance / 2, mix.protected_chance / 2]
    variant = np.asarray(rng.choice(len(SOURCES), len(corpus), p=[1 - sum(chances), *chances]), np.int64)
    for number, name in enumerate(SOURCES):
        lacking = (variant == number) & (corpus.sources[name].lengths == 0)
        variant[lacking] = 1 if name == "protected_spoken" else 0
    return variant


def _seconds(corpus: Corpus, mix: Mix, variant: Numbers, rng: np.random.Generator) -> Numbers:
    """Pairs to be joined get another one of the same language that has their variant and is not too long."""
    second = np.full(len(corpus), NONE, np.int64)
    if not mix.join_chance:
        return second
    mine = np.flatnonzero((rng.random(len(corpus)) < mix.join_chance) & (variant < SOURCES.index("protected")))
    first = np.searchsorted(corpus.language, corpus.language[mine], "left")
    last = np.searchsorted(corpus.language, corpus.language[mine], "right")
    other = np.asarray(rng.integers(first, last), np.int64)
    has = np.choose(variant[mine], [corpus.sources[name].lengths[other] for name in SOURCES[:3]]) > 0
    fits = (corpus.targets["written"].lengths[mine] + corpus.targets["written"].lengths[other]) < LONGEST_JOINED
    fits &= (corpus.sources["written"].lengths[mine] + corpus.sources["written"].lengths[other]) < LONGEST_JOINED
    second[mine[has & fits]] = other[has & fits]
    return second


def _lengths(corpus: Corpus, variant: Numbers, second: Numbers) -> tuple[Numbers, Numbers]:
    """Tokens of each pair's source and target, the special ones included."""
    by_variant = np.stack([corpus.sources[name].lengths for name in SOURCES])
    protected = variant >= SOURCES.index("protected")
    written = corpus.targets["written"].lengths
    joined = second != NONE
    sources = by_variant[variant, np.arange(len(corpus))] + 2
    targets = np.where(protected, corpus.targets["protected"].lengths, written) + 1
    sources[joined] += by_variant[variant[joined], second[joined]]
    targets[joined] += written[second[joined]]
    assert int(max(sources.max(), targets.max())) <= MOST_TOKENS
    return sources, targets


def _cut(sources: Numbers, targets: Numbers, tokens: int, rng: np.random.Generator) -> list[Shaped]:
    """All pairs in batches of the shapes of ``WIDTHS``: neither side is more than one width narrower than the other."""
    ours, theirs = np.searchsorted(WIDTHS, sources), np.searchsorted(WIDTHS, targets)
    ours, theirs = np.maximum(ours, theirs - 1), np.maximum(theirs, ours - 1)
    shape = ours * len(WIDTHS) + theirs
    order = np.lexsort((rng.random(len(shape)), shape))
    batches = []
    for same in np.split(order, np.flatnonzero(np.diff(shape[order])) + 1):
        source, target = WIDTHS[ours[same[0]]], WIDTHS[theirs[same[0]]]
        rows = max(1, tokens // max(source, target))
        batches += [Shaped(same[at : at + rows], rows, source, target) for at in range(0, len(same), rows)]
    return [batches[at] for at in rng.permutation(len(batches))]
