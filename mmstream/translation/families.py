"""The kinds of model that CTranslate2 runs here, and how each wants its text: pieces, and tokens of languages."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mmstream.media import UNSPACED_LANGUAGES
from mmstream.translation import words as trained_words
from mmstream.translation.engine import TranslationError
from mmstream.translation.languages import flores, primary, read
from mmstream.translation.variants import APOSTROPHES, PLACEHOLDERS

if TYPE_CHECKING:
    from sentencepiece import SentencePieceProcessor

EMBEDDED, MARIAN, M2M100, NLLB = "embedded", "Opus-MT", "M2M-100", "NLLB"
WORD = "▁"  # how a piece that begins a word begins
END = "</s>"
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

    def prefix(self, words: Sequence[str], target: str) -> list[list[str]]:
        """The pieces of each word that a target begins with; those of all together where it has no spaces."""

    def text(self, pieces: Sequence[str]) -> str:
        """Pieces of a word of a target as text."""

    def count(self, words: Sequence[str]) -> int:
        """How many pieces words of a source have."""

    def is_strange(self, word: str) -> bool:
        """Whether a word has characters that the model does not know."""

    def seen(self, word: str) -> bool | None:
        """Whether the model was trained on that word of a source; None where nobody knows."""


class _SentencePieces:
    """What all of them share: pieces of words by SentencePiece."""

    placeholders: tuple[str, ...] = ()
    _special: frozenset[str] = frozenset()  # tokens that are no text

    def __init__(self, source: Path, target: Path | None = None) -> None:
        self._source = _opened(source)
        self._target = self._source if target is None else _opened(target)

    def pairs(self) -> Sequence[tuple[str, str]] | None:
        return None

    def start(self, target: str) -> list[str]:
        return []

    def prefix(self, words: Sequence[str], target: str) -> list[list[str]]:
        unspaced = primary(target) in UNSPACED_LANGUAGES
        found: list[list[str]] = self._target.encode(["".join(words)] if unspaced else list(words), out_type=str)
        return found

    def text(self, pieces: Sequence[str]) -> str:
        told = [piece for piece in pieces if piece not in self._special]
        return "".join(str(self._target.decode_pieces(told)).replace(WORD, " ").split())

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

    def __init__(self, folder: Path, description: Mapping[str, Any]) -> None:
        _check_files(folder, description)
        super().__init__(folder / "pieces.model")
        try:
            self._tokens = {str(target): str(token) for target, token in description["language_tokens"].items()}
            self._from = str(description["source"])
        except (KeyError, AttributeError) as fault:
            raise TranslationError(f"{folder / 'model.json'}: does not say what it translates: {fault}") from fault
        self._seen = _words_of(folder / trained_words.FILE)

    def pairs(self) -> Sequence[tuple[str, str]]:
        return [(self._from, target) for target in self._tokens]

    def knows(self, language: str) -> bool:
        return primary(language) in {self._from, *self._tokens}

    def source(self, text: str, source: str, target: str) -> Source:
        return self._pieces(text, before=[self._tokens[primary(target)]])

    def seen(self, word: str) -> bool | None:
        return None if self._seen is None else word.lower().translate(APOSTROPHES) in self._seen


class Marian(_SentencePieces):
    """Opus-MT (Tiedemann and Thottingal, EAMT 2020): one pair, or several targets named by ``>>fra<<``."""

    def __init__(self, folder: Path, vocabulary: Sequence[str], name: str) -> None:
        super().__init__(folder / "source.spm", folder / "target.spm")
        self._ends = () if _config(folder).get("add_source_eos") else (END,)
        self._targets: dict[str, str] = {}  # the token that asks for a language
        for token in vocabulary:
            if re.fullmatch(r">>\w+<<", token) and (target := read(token[2:-2])):
                self._targets.setdefault(target, token)
        self._special = frozenset(self._targets.values())
        self._pair = _pair_of(folder, name, one_target=not self._targets)

    def pairs(self) -> Sequence[tuple[str, str]]:
        if self._targets:
            return [(self._pair[0], target) for target in self._targets]
        return [self._pair]

    def knows(self, language: str) -> bool:
        return any(primary(language) in pair for pair in self.pairs())

    def source(self, text: str, source: str, target: str) -> Source:
        before = [self._targets[primary(target)]] if self._targets else []
        return self._pieces(text, before=before, behind=self._ends)


class M2m100(_SentencePieces):
    """M2M-100: a token for each of a hundred languages, in front of source and target."""

    def __init__(self, folder: Path, vocabulary: Sequence[str]) -> None:
        super().__init__(folder / "sentencepiece.bpe.model")
        self._special = frozenset(one for one in vocabulary if re.fullmatch(r"__\w+__", one))
        self._languages = {one[2:-2] for one in self._special}

    def knows(self, language: str) -> bool:
        return self._named(language) in self._languages

    def source(self, text: str, source: str, target: str) -> Source:
        return self._pieces(text, before=[f"__{self._named(source)}__"])

    def start(self, target: str) -> list[str]:
        return [f"__{self._named(target)}__"]

    def _named(self, language: str) -> str:
        code = primary(language)
        return "no" if code == "nb" else code


class Nllb(_SentencePieces):
    """NLLB: as M2M-100, with the codes of FLORES-200."""

    def __init__(self, folder: Path, vocabulary: Sequence[str]) -> None:
        super().__init__(folder / "sentencepiece.bpe.model")
        self._special = frozenset(one for one in vocabulary if re.fullmatch(r"[a-z]{3}_[A-Z][a-z]{3}", one))

    def knows(self, language: str) -> bool:
        return flores(language) in self._special

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
            return path.read_text("utf-8", errors="replace").split("\n")
    raise TranslationError(f"{folder}: not a CTranslate2 model: shared_vocabulary.json missing")


def _pair_of(folder: Path, name: str, *, one_target: bool) -> tuple[str, str]:
    """The languages of an Opus-MT model: its tokenizer's, else those in its name or its folder's.

    Raises:
        TranslationError: none of them says.
    """
    path = folder / "tokenizer_config.json"
    told = _json(path) if path.is_file() else {}
    source, target = read(str(told.get("source_lang", ""))), read(str(told.get("target_lang", "")))
    if source and (target or not one_target):
        return source, target or ""
    for text in (name, folder.name):
        parts = text.replace("_", "-").split("-")
        for before, behind in reversed(list(pairwise(parts))):
            source, target = read(before), read(behind)
            if source and (target or (behind.isupper() and not one_target)):
                return source, target or ""
    raise TranslationError(f"{folder}: an Opus-MT model is named after its languages: opus-mt-en-de")


def _check_files(folder: Path, description: Mapping[str, Any]) -> None:
    """Compare the files of an exported model with the checksums in its description.

    Raises:
        TranslationError: naming the first that is missing or wrong.
    """
    files = description.get("files")
    if not isinstance(files, dict):
        raise TranslationError(f"{folder / 'model.json'}: names no files; write it again with mmstream export")
    for name, wanted in files.items():
        path = folder / Path(name).name
        try:
            found = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as fault:
            raise TranslationError(f"{path}: cannot be read: {fault.strerror}") from fault
        if found != wanted:
            raise TranslationError(f"{path} has the wrong checksum (sha256 {found[:12]}... instead of {wanted:.12}...)")


def _words_of(path: Path) -> frozenset[str] | None:
    """The words that the model was trained on; None where nobody wrote them down."""
    if not path.is_file():
        return None
    try:
        return trained_words.read(path)
    except (OSError, EOFError, ValueError) as fault:
        raise TranslationError(f"{path}: cannot be read: {fault}") from fault


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
