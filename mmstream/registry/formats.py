"""Models as files in a folder: which belong to one of each kind, and whether all are there."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from mmstream.core import MmstreamError
from mmstream.registry.catalogue import TRANSLATE, WHISPER
from mmstream.registry.store import ModelError

WHISPER_FILES = ("config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*")
# Without tokenizer.json faster-whisper would fetch one from the hub; without the others CTranslate2 loads nothing.
WHISPER_NEEDS = ("config.json", "model.bin", "tokenizer.json", "vocabulary.*")
TRANSLATOR_FILES = (
    "config.json", "model.bin", "model.json", "*vocabulary.*", "*.spm", "*.model", "tokenizer_config.json",
    "words.txt.gz", "MODEL_CARD.md",
)  # fmt: skip
_TRANSLATOR_NEEDS = {  # by a file that no recogniser has
    "pieces.model": ("model.bin", "model.json"),
    "source.spm": ("model.bin", "target.spm", "*vocabulary.*"),
    "sentencepiece.bpe.model": ("model.bin", "*vocabulary.*"),
}


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of model."""

    use: str  # the operator that loads it
    files: tuple[str, ...]  # patterns of the names of what belongs to it
    missing: Callable[[Path], list[str]]  # what a folder lacks to be one
    check: Callable[[Path, str], None]  # raises a ModelError where a folder holds no such model under that name

    def copy(self, source: Path, target: Path, name: str) -> None:
        """Copy the files of a model that is to be called ``name``, and no others.

        Raises:
            ModelError: ``source`` holds no such model.
        """
        self.check(source, name)
        for path in sorted(source.iterdir()):
            if path.is_file() and any(fnmatch(path.name, pattern) for pattern in self.files):
                shutil.copyfile(path, target / path.name)


def check_whisper(folder: Path, name: str = "") -> None:
    """See that a folder holds a Whisper model in CTranslate2's format.

    Raises:
        ModelError: saying what is missing.
    """
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise ModelError(f"{folder}: {what}; a model is a folder with {', '.join(WHISPER_NEEDS)}")
    missing = missing_of_whisper(folder)
    if missing:
        raise ModelError(f"{folder}: not a Whisper model in CTranslate2's format: {', '.join(missing)} missing")


def missing_of_whisper(folder: Path) -> list[str]:
    """What a folder lacks to be a Whisper model in CTranslate2's format."""
    return _missing(folder, WHISPER_NEEDS)


def check_translator(folder: Path, name: str) -> None:
    """See that a folder holds a translator in CTranslate2's format, and all of it.

    Raises:
        ModelError: saying what is missing or wrong.
    """
    from mmstream.translation.families import opened

    try:
        opened(folder, name)
    except MmstreamError as fault:
        raise ModelError(str(fault)) from fault


def missing_of_translator(folder: Path) -> list[str]:
    """What a folder lacks to be a translator in CTranslate2's format."""
    for file, needs in _TRANSLATOR_NEEDS.items():
        if (folder / file).is_file():
            return _missing(folder, needs)
    return [*_missing(folder, ("model.bin",)), "source.spm or sentencepiece.bpe.model"]


def is_translator(folder: Path) -> bool:
    """Whether a folder looks like a translator, whole or not."""
    return any((folder / file).is_file() for file in _TRANSLATOR_NEEDS)


def of_folder(folder: Path) -> Format:
    """The format of what a folder seems to hold."""
    return FORMATS[TRANSLATE if is_translator(folder) else WHISPER]


def of_use(use: str) -> Format:
    """The format of models that the operator ``use`` loads."""
    return FORMATS[use]


FORMATS = {
    WHISPER: Format(WHISPER, WHISPER_FILES, missing_of_whisper, check_whisper),
    TRANSLATE: Format(TRANSLATE, TRANSLATOR_FILES, missing_of_translator, check_translator),
}


def _missing(folder: Path, patterns: Sequence[str]) -> list[str]:
    return [pattern for pattern in patterns if not any(path.is_file() for path in folder.glob(pattern))]
