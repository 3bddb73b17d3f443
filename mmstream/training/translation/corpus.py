"""Sentence pairs as tokens, made once and kept beside the run.

Each pair is stored in every variant that training may draw; a draw is then a choice of numbers.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mmstream.core import MmstreamError
from mmstream.nets.translation import MOST_TOKENS
from mmstream.training.translation import pieces
from mmstream.translation.pairs import Pair
from mmstream.translation.variants import bare, protected, spoken

Tokens = npt.NDArray[np.uint16]
SOURCES = ("written", "spoken", "bare", "protected", "protected_spoken")
TARGETS = ("written", "protected")
MODEL = "pieces.model"
TOKENS = "tokens.npz"


@dataclass(frozen=True, slots=True)
class Sentences:
    """Rows of tokens, one behind the other."""

    tokens: Tokens
    starts: npt.NDArray[np.int64]  # (rows + 1,)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> Tokens:
        return self.tokens[self.starts[row] : self.starts[row + 1]]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        return np.diff(self.starts)


@dataclass(frozen=True, slots=True)
class Corpus:
    """All pairs of all languages. A variant that a pair has not is an empty row."""

    languages: tuple[str, ...]
    language: npt.NDArray[np.uint8]  # (pairs,): which of ``languages``
    sources: Mapping[str, Sentences]  # by variant; without language and end
    targets: Mapping[str, Sentences]
    model: bytes  # of the pieces

    def __len__(self) -> int:
        return len(self.language)


def check_apart(train: Mapping[str, Sequence[Pair]], dev: Mapping[str, Sequence[Pair]]) -> None:
    """See that no dev sentence is in training, in any language or spelling of it.

    Raises:
        MmstreamError: naming one that is.
    """
    known = {bare(text) for pairs in train.values() for pair in pairs for text in pair}
    for name, pairs in dev.items():
        for pair in pairs:
            for text in pair:
                if bare(text) in known and bare(text):
                    raise MmstreamError(f"dev set {name}: {text!r} is in training too, so a figure would say nothing")


def open_corpus(train: Mapping[str, Sequence[Pair]], vocabulary: int, folder: Path) -> Corpus:
    """The corpus of ``train`` (by target language), from ``folder`` where it was made before.

    Raises:
        MmstreamError: no such vocabulary can be made; the folder cannot be written.
    """
    key = _key(train, vocabulary)
    with contextlib.suppress(OSError, KeyError, ValueError):
        stored = np.load(folder / TOKENS)
        if bytes(stored["key"]) == key:
            return _unpacked(tuple(train), stored, (folder / MODEL).read_bytes())
    model = pieces.learn(_texts(train), vocabulary, list(train))
    made = _tokenised(train, model)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MODEL).write_bytes(model)
        partial = folder / f".{os.getpid()}.{TOKENS}"
        np.savez(partial, allow_pickle=False, key=np.frombuffer(key, np.uint8), **made)
        partial.replace(folder / TOKENS)
    except OSError as fault:
        raise MmstreamError(f"{fault.filename or folder}: cannot be written: {fault.strerror or fault}") from fault
    return _unpacked(tuple(train), made, model)


def sources_of(run: Path) -> set[str]:
    """The sources that a run was trained on, as they are written.

    Raises:
        MmstreamError: its corpus is not there, or damaged.
    """
    try:
        stored = np.load(run / TOKENS)
        rows = Sentences(stored["source.written.tokens"], stored["source.written.starts"])
        processor = pieces.opened((run / MODEL).read_bytes())
    except (OSError, KeyError, ValueError) as fault:
        raise MmstreamError(f"{run / TOKENS}: cannot be read: {fault}; mmstream train makes it again") from fault
    return set(processor.decode([rows[row].tolist() for row in range(len(rows))]))


def _texts(train: Mapping[str, Sequence[Pair]]) -> Iterator[str]:
    """What the vocabulary is made of: every source once as written, some as spoken; every target."""
    seen: set[str] = set()
    for pairs in train.values():
        for source, target in pairs:
            if source not in seen:
                seen.add(source)
                yield source
                if len(seen) % 3 == 0:
                    yield spoken(source)
            yield target


def _tokenised(train: Mapping[str, Sequence[Pair]], model: bytes) -> dict[str, npt.NDArray[np.generic]]:
    processor = pieces.opened(model)
    pairs = [pair for found in train.values() for pair in found]
    swapped = [protected(*pair) or ("", "") for pair in pairs]
    written = [source for source, _ in pairs]
    texts = {
        "source.written": written,
        "source.spoken": [spoken(one) for one in written],
        "source.bare": [bare(one) for one in written],
        "source.protected": [source for source, _ in swapped],
        "source.protected_spoken": [spoken(source) for source, _ in swapped],
        "target.written": [target for _, target in pairs],
        "target.protected": [target for _, target in swapped],
    }
    languages = np.repeat(np.arange(len(train), dtype=np.uint8), [len(found) for found in train.values()])
    made: dict[str, npt.NDArray[np.generic]] = {"language": languages}
    for name, sentences in texts.items():
        rows = [row[: MOST_TOKENS - 2] for row in processor.encode(sentences)]
        made[f"{name}.tokens"] = np.fromiter((one for row in rows for one in row), np.uint16)
        made[f"{name}.starts"] = np.cumsum([0, *(len(row) for row in rows)])
    return made


def _unpacked(languages: tuple[str, ...], stored: Mapping[str, npt.NDArray[np.generic]], model: bytes) -> Corpus:
    def sentences(name: str) -> Sentences:
        return Sentences(stored[f"{name}.tokens"].astype(np.uint16), stored[f"{name}.starts"].astype(np.int64))

    return Corpus(
        languages,
        stored["language"].astype(np.uint8),
        {name: sentences(f"source.{name}") for name in SOURCES},
        {name: sentences(f"target.{name}") for name in TARGETS},
        model,
    )


def _key(train: Mapping[str, Sequence[Pair]], vocabulary: int) -> bytes:
    """Of the texts and of what is made of them: another key, another cache."""
    digest = hashlib.sha256(f"1 {vocabulary} {SOURCES} {TARGETS}".encode())
    for language, pairs in train.items():
        digest.update(language.encode())
        for pair in pairs:
            digest.update("\t".join(pair).encode())
    return digest.digest()
