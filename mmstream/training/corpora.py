"""The corpora of a run: what its config names, cached and opened, and what feeds training from them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mmstream.nets.vocabulary import Vocabulary
from mmstream.training import cache
from mmstream.training.batches import Feeder
from mmstream.training.cache import Wanted
from mmstream.training.config import Config, DevSet, TrainingSet
from mmstream.training.config_file import named
from mmstream.training.corpus import Corpus
from mmstream.training.pieces import learned_pieces
from mmstream.training.sound import Noises

MOST_CLASSES = 1000  # words with a class of their own in the auxiliary target: the most frequent ones

Advance = Callable[[str, int, int], None]  # corpus, clips done, clips in all


@dataclass(frozen=True, slots=True)
class Corpora:
    """Everything that a run reads, by name."""

    train: dict[str, Corpus]
    dev: dict[str, Corpus]
    noise: tuple[Corpus, ...] = ()


def open_corpora(
    config: Config, folder: Path, *, processes: int = 1, advance: Advance = lambda name, done, total: None,
    warn: Callable[[str], None] = lambda line: None,
) -> Corpora:  # fmt: skip
    """The corpora that ``config`` names, each made below ``folder`` where it is not there yet.

    Raises:
        MmstreamError: a manifest or its media cannot be used.
    """

    def opened(wanted: Wanted) -> Corpus:
        def tell(done: int, total: int) -> None:
            advance(wanted.name, done, total)

        return cache.cached(wanted, folder, processes=processes, advance=tell, warn=warn)

    def listed(sets: Sequence[TrainingSet | DevSet]) -> dict[str, Corpus]:
        return {name: opened(_wanted(name, one, config)) for name, one in zip(named(sets), sets, strict=True)}

    data = config.data
    noise: tuple[Corpus, ...] = ()
    if data.noise is not None:
        entries = cache.recordings(data.noise.folder, data.noise.select)
        noise = (opened(Wanted("noise", "noise", entries, video=False, skip_unreadable=False, characters="")),)
    return Corpora(listed(data.train), listed(data.dev), noise)


def _wanted(name: str, one: TrainingSet | DevSet, config: Config) -> Wanted:
    entries = cache.selected(one.manifest, one.select, one.limit)
    (label,) = named([replace(one, name="")])  # sets of the same clips share one cache, whatever they are called
    return Wanted(name, label, entries, one.kind == "audio-visual", one.skip_unreadable, config.net.characters)


def classes_of(corpora: Corpora) -> dict[str, int]:
    """A class for each word whose times are known, from 1 on; class 0 is silence."""
    count = Counter(word.text for corpus in corpora.train.values() for clip in corpus.clips for word in clip.words)
    return {word: k for k, word in enumerate(sorted(word for word, _ in count.most_common(MOST_CLASSES)), start=1)}


def pieces_of(config: Config, corpora: Corpora) -> tuple[str, ...]:
    """The tokens besides characters: whole words of the sets that ask for it, and pieces learnt from the others."""
    whole: dict[str, None] = {}
    others: list[str] = []
    for one, corpus in zip(config.data.train, corpora.train.values(), strict=True):
        if one.whole_words:
            whole |= dict.fromkeys(sorted({f"{word} " for clip in corpus.clips for word in clip.text.split()}))
        else:
            others += [clip.text for clip in corpus.clips]
    return tuple(whole | dict.fromkeys(learned_pieces(others, config.data.pieces)))


def feeders(config: Config, corpora: Corpora, vocabulary: Vocabulary, classes: dict[str, int]) -> dict[str, Feeder]:
    """What serves each training set."""
    voices = list(corpora.train.values()) if config.data.babble else []
    faces = [corpus for corpus in corpora.train.values() if corpus.has_video]
    found = {}
    for k, (name, one) in enumerate(zip(named(config.data.train), config.data.train, strict=True)):
        noises = Noises(corpora.noise, voices, one.mix.sound)
        seed = 1000 * config.run.seed + k
        found[name] = Feeder(
            corpora.train[name], one.mix, vocabulary, classes=classes, noises=noises, faces=faces, seed=seed
        )
    return found
