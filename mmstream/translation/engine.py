"""What every translator looks like from outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from mmstream.core import MmstreamError


class TranslationError(MmstreamError):
    """A language, a model or a text that cannot be translated."""


@dataclass(frozen=True, slots=True)
class Request:
    """A sentence, or as much of one as has been heard, to be translated."""

    text: str  # words with single spaces between them; written without spaces where the language is
    target: str  # BCP 47
    prefix: tuple[str, ...] = ()  # words that the translation is to begin with: they have been promised
    context: tuple[str, ...] = ()  # sentences before it, the newest last; an engine without context leaves it out


@dataclass(frozen=True, slots=True)
class Translated:
    """A translation. Its words are what stands between spaces; in a language without spaces, the model's pieces."""

    words: tuple[str, ...]  # the prefix of its request comes first, unchanged
    score: float  # mean log-probability of its tokens; 0 where the engine gives none
    sources: tuple[int, ...] | None = None  # for each word, the number of the source word it attends to most


class Engine(Protocol):
    """A translator that is loaded. One thread at a time."""

    def translate(self, requests: Sequence[Request], source: str) -> list[Translated]:
        """The translations of ``requests`` out of the language ``source`` (BCP 47), in one batch where that can be.

        One answer does not depend on what else is asked.

        Raises:
            TranslationError: it does not translate between these languages.
        """
