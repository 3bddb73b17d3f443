"""Translators and captions for tests: what they say can be foretold."""

import contextlib
from dataclasses import dataclass, field

import pytest

from mmstream.core import Packet
from mmstream.media import Caption, Word
from mmstream.server import translations as offered
from mmstream.translation import models
from mmstream.translation.engine import Translated, TranslationError
from operators.translation import translate


@dataclass
class Shouting:
    """An engine that "translates" word for word, into capitals with the target before them, and ends every sentence."""

    attends: bool = True
    asked: list = field(default_factory=list)  # (source, requests) of each call

    def translate(self, requests, source):
        self.asked.append((source, list(requests)))
        return [self._one(request) for request in requests]

    def _one(self, request):
        said = [f"{request.target}:{word.upper()}" for word in request.text.split()]
        words = [*request.prefix, *said[len(request.prefix) :]]
        if words and not words[-1].endswith("."):
            words[-1] += "."
        return Translated(tuple(words), -0.5, tuple(range(len(words))) if self.attends else None)


def words_of(text, start=0.0, confidence=None, video=0.0):
    """A word every half second."""
    return tuple(
        Word(one, start + at / 2, start + at / 2 + 0.4, confidence, video) for at, one in enumerate(text.split())
    )


def caption(stable="", unstable="", index=0, *, final=False, language="en", start=0.0, confidence=None, session="test"):
    """A packet with a caption: words from ``start`` on, one every half second."""
    count = len(stable.split())
    data = Caption(
        index, words_of(stable, start, confidence), words_of(unstable, start + count / 2), final, language
    )  # fmt: skip
    end = data.words[-1].end if data.words else start
    return Packet(session, start, end, data, 1000.0 + end)


@contextlib.contextmanager
def shouted(targets):
    """Meanwhile, in this process, every translator shouts English into ``targets``, and does nothing else."""

    def check(model, source, wanted):
        if source != "en" or not set(wanted) <= set(targets):
            raise TranslationError(f"{model} translates en into {', '.join(targets)}")

    engine = Shouting()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "check", check)
        patch.setattr(translate, "load", lambda model, source, wanted: dict.fromkeys(wanted, engine))
        offered._translates.cache_clear()
        yield engine
        offered._translates.cache_clear()
