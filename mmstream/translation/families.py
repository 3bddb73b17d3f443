"""The kinds of model that CTranslate2 runs here, and how each wants its text: pieces, and tokens of languages."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mmstream.media import UNSPACED_LANGUAGES
from mmstream.translation.engine import TranslationError
from mmstream.translation.languages import flores, primary
from mmstream.translation.variants import PLACEHOLDERS

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

EMBEDDED, MARIAN, M2M100, NLLB = "embedded", "Opus-MT", "M2M-100", "NLLB"
WORD = "▁"  # how a piece that begins a word begins
END = "</s>"
WORDS = "words.txt.gz"  # of the embedded model: those that it was trained on, in lower case
NEEDS = {
    EMBEDDED: ("model.bin", "model.json", "pieces.model"),
    MARIAN: ("model.bin", "source.spm", "target.spm"),
    M2M100: ("model.bin", "sentencepiece.bpe.model"),
    NLLB: ("model.bin", "sentencepiece.bpe.model"),
}


@dataclass(frozen=True, slots=True)
class Source:
    """A text as tokens, and the number of the word that each is a piece of; -1 for those that are no part of it."""

    tokens: tuple[str, ...]
    words: tuple[int, ...]


class Family(Protocol):
    """One kind of model, loaded from a folder."""

    placeholders: tuple[str, ...]  # that it copies from source to target, once each

    def pairs(self) -> Sequence[tuple[str, str]] | None:
        """The pairs of languages that it translates; None: any of those it ``knows``."""

    def knows(self, language: str) -> bool:
        """Whether it has that language, BCP 47."""

    def source(self, text: str, source: str, target: str) -> Source:
        """``text`` in the language ``source`` as the model takes it."""

    def start(self, target: str) -> list[str]:
        """The tokens that a target begins with."""

    def prefix(self, words: Sequence[str], target: str) -> list[str]:
        """The pieces of words that a target begins with."""

    def text(self, pieces: Sequence[str]) -> str:
        """Pieces of a target as text."""

    def count(self, words: Sequence[str]) -> int:
        """How many pieces words of a source have."""

    def is_strange(self, word: str) -> bool:
        """Whether a word has characters that the model does not know."""

    def seen(self, word: str) -> bool | None:
        """Whether the model was trained on that word of a source; None where nobody knows."""


class _SentencePieces:
    """What all of them share: pieces of words by SentencePiece."""

    placeholders: tuple[str, ...] = ()

    def __init__(self, source: Path, target: Path | None = None) -> None:
        self._source = _opened(source)
        self._target = self._source if target is None else _opened(target)

    def pairs(self) -> Sequence[tuple[str, str]] | None:
        return None

    def start(self, target: str) -> list[str]:
        return []

    def prefix(self, words: Sequence[str], target: str) -> list[str]:
        if primary(target) in UNSPACED_LANGUAGES:
            return list(self._target.encode("".join(words), out_type=str))
        return [piece for pieces in self._target.encode(list(words), out_type=str) for piece in pieces]

    def text(self, pieces: Sequence[str]) -> str:
        return str(self._target.decode_pieces(list(pieces))).strip()

    def count(self, words: Sequence[str]) -> int:
        return sum(len(pieces) for pieces in self._source.encode(list(words)))

    def is_strange(self, word: str) -> bool:
        return self._source.unk_id() in self._source.encode(word)

    def seen(self, word: str) -> bool | None:
        return None

    def _pieces(self, text: str, before: Sequence[str] = (), behind: Sequence[str] = (END,)) -> Source:
        tokens, words = list(before), [-1] * len(before)
        for number, pieces in enumerate(self._source.encode(text.split(), out_type=str)):
            tokens += pieces
            words += [number] * len(pieces)
        return Source((*tokens, *behind), (*words, *[-1] * len(behind)))


class Embedded(_SentencePieces):
    """What ``mmstream export`` makes of a trained translator: several targets, the first token says which."""

    placeholders = PLACEHOLDERS

    def __init__(self, folder: Path, description: dict[str, Any]) -> None:
        super().__init__(folder / "pieces.model")
        self._tokens: dict[str, str] = description["language_tokens"]
        self._from = str(description["source"])
        path = folder / WORDS
        self._seen = frozenset(gzip.decompress(path.read_bytes()).decode().split()) if path.is_file() else None

    def pairs(self) -> Sequence[tuple[str, str]]:
        return [(self._from, target) for target in self._tokens]

    def knows(self, language: str) -> bool:
        return primary(language) in {self._from, *self._tokens}

    def source(self, text: str, source: str, target: str) -> Source:
        return self._pieces(text, before=[self._tokens[primary(target)]])

    def seen(self, word: str) -> bool | None:
        return None if self._seen is None else word.lower() in self._seen


class Marian(_SentencePieces):
    """Opus-MT (Tiedemann and Thottingal, EAMT 2020): one pair, or several targets named by ``>>fra<<``."""

    def __init__(self, folder: Path, vocabulary: Sequence[str], name: str) -> None:
        super().__init__(folder / "source.spm", folder / "target.spm")
        self._ends = () if _config(folder).get("add_source_eos") else (END,)
        self._targets = [one[2:-2] for one in vocabulary if re.fullmatch(r">>\w+<<", one)]
        self._pair = _pair_of(folder, name)

    def pairs(self) -> Sequence[tuple[str, str]]:
        if self._targets:
            return [(self._pair[0], target) for target in self._targets]
        return [self._pair]

    def knows(self, language: str) -> bool:
        return any(primary(language) in pair for pair in self.pairs())

    def source(self, text: str, source: str, target: str) -> Source:
        before = [f">>{primary(target)}<<"] if self._targets else []
        return self._pieces(text, before=before, behind=self._ends)


class M2m100(_SentencePieces):
    """M2M-100: a token for each of a hundred languages, in front of source and target."""

    def __init__(self, folder: Path, vocabulary: Sequence[str]) -> None:
        super().__init__(folder / "sentencepiece.bpe.model")
        self._languages = {one[2:-2] for one in vocabulary if re.fullmatch(r"__\w+__", one)}

    def knows(self, language: str) -> bool:
        return primary(language) in self._languages

    def source(self, text: str, source: str, target: str) -> Source:
        return self._pieces(text, before=[f"__{primary(source)}__"])

    def start(self, target: str) -> list[str]:
        return [f"__{primary(target)}__"]


class Nllb(_SentencePieces):
    """NLLB: as M2M-100, with the codes of FLORES-200."""

    def __init__(self, folder: Path, vocabulary: Sequence[str]) -> None:
        super().__init__(folder / "sentencepiece.bpe.model")
        self._languages = {one for one in vocabulary if re.fullmatch(r"[a-z]{3}_[A-Z][a-z]{3}", one)}

    def knows(self, language: str) -> bool:
        return flores(language) in self._languages

    def source(self, text: str, source: str, target: str) -> Source:
        return self._pieces(text, before=[flores(source) or ""])

    def start(self, target: str) -> list[str]:
        return [flores(target) or ""]


def family_of(folder: Path, vocabulary: Sequence[str] | None = None) -> str:
    """Which kind of model a folder holds.

    Raises:
        TranslationError: it holds none of them, or not the whole of one.
    """
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise TranslationError(f"{folder}: {what}; a translator is a folder with a CTranslate2 model")
    if (folder / "model.json").is_file() and _json(folder / "model.json").get("kind") == "translation":
        found = EMBEDDED
    elif (folder / "source.spm").is_file():
        found = MARIAN
    elif (folder / "sentencepiece.bpe.model").is_file():
        words = vocabulary_of(folder) if vocabulary is None else vocabulary
        found = M2M100 if any(re.fullmatch(r"__\w+__", word) for word in words) else NLLB
    else:
        kinds = "; ".join(f"{kind} has {', '.join(files)}" for kind, files in NEEDS.items() if kind != NLLB)
        raise TranslationError(f"{folder}: not a translator in CTranslate2's format: {kinds}")
    missing = [file for file in NEEDS[found] if not (folder / file).is_file()]
    if missing:
        raise TranslationError(f"{folder}: not a whole {found} model: {', '.join(missing)} missing")
    return found


def opened(folder: Path, name: str) -> Family:
    """What a folder's model wants. ``name`` says the pair of an Opus-MT model: ``opus-mt-en-de``.

    Raises:
        TranslationError: it is no model of a kind that is known, or its files are damaged.
    """
    kind = family_of(folder)
    if kind == EMBEDDED:
        return Embedded(folder, _json(folder / "model.json"))
    vocabulary = vocabulary_of(folder)
    if kind == MARIAN:
        return Marian(folder, vocabulary, name)
    return (M2m100 if kind == M2M100 else Nllb)(folder, vocabulary)


def vocabulary_of(folder: Path) -> list[str]:
    """The tokens of a CTranslate2 model's sources.

    Raises:
        TranslationError: there is no such file, or it is damaged.
    """
    for name in ("shared_vocabulary", "source_vocabulary"):
        path = folder / f"{name}.json"
        if path.is_file():
            return [str(one) for one in _parsed(path)]
        if (path := folder / f"{name}.txt").is_file():
            return path.read_text("utf-8").split("\n")
    raise TranslationError(f"{folder}: not a CTranslate2 model: shared_vocabulary.json missing")


def _pair_of(folder: Path, name: str) -> tuple[str, str]:
    """The languages of an Opus-MT model: its tokenizer's, else those in its name."""
    path = folder / "tokenizer_config.json"
    told = _json(path) if path.is_file() else {}
    if isinstance(told.get("source_lang"), str) and isinstance(told.get("target_lang"), str):
        return told["source_lang"], told["target_lang"]
    named = re.search(r"(?:^|-)([a-z]{2,3})-([a-zA-Z]{2,}|[a-z]{2,3})(?:-|$)", name.removeprefix("opus-mt"))
    if named is None:
        raise TranslationError(f"{folder}: an Opus-MT model's folder is named after its languages: opus-mt-en-de")
    return named[1], named[2]


def _config(folder: Path) -> dict[str, Any]:
    return _json(folder / "config.json") if (folder / "config.json").is_file() else {}


def _json(path: Path) -> dict[str, Any]:
    found = _parsed(path)
    if not isinstance(found, dict):
        raise TranslationError(f"{path}: holds no object")
    return found


def _parsed(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as fault:
        raise TranslationError(f"{path}: cannot be read: {fault}") from fault


def _opened(path: Path) -> SentencePieceProcessor:
    from sentencepiece import SentencePieceProcessor

    try:
        return SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as fault:
        raise TranslationError(f"{path}: is no SentencePiece model: {' '.join(str(fault).split())}") from fault
