"""What captions can be translated into on this server, and what of that a client asks for."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmstream.core import MmstreamError
from mmstream.recipe import Recipe
from mmstream.server.refusal import Refusal
from mmstream.translation import models
from mmstream.translation.engine import TranslationError
from mmstream.translation.languages import checked, checked_list, name

AUTO = "auto"
NOTHING = "none"  # what --translate says of a server that does not
ENGLISH = "en"  # what speech is taken for whose language is not known beforehand


class UnknownTarget(Refusal):
    """Nobody here translates into that language."""

    def __init__(self, message: str) -> None:
        super().__init__("unknown_target", message, 400, 4400, param="translate")


@dataclass(frozen=True)
class Offer:
    """The languages that a server translates into, and the translator that does. Without any, nobody translates."""

    targets: tuple[str, ...] = ()  # BCP 47, in normal form
    translator: str = AUTO  # of ``mmstream.translation.models``

    def describe(self) -> str:
        """For people."""
        return ", ".join(name(target) for target in self.targets) or NOTHING

    def out_of(self, spoken: str | None) -> tuple[str, ...]:
        """The targets that there are for speech in that language; None: it is not known yet."""
        return tuple(target for target in self.targets if self._translates(spoken, target))

    def asked(self, wanted: Sequence[str], spoken: str | None) -> tuple[str, ...]:
        """The targets that a client names, each once, in its order.

        Raises:
            UnknownTarget: one of them is not there.
        """
        there = self.out_of(spoken)
        return tuple(dict.fromkeys(_found(one, there) for one in wanted))

    def check(self, spoken: Sequence[str | None]) -> None:
        """``spoken``: the languages of the models that are served.

        Raises:
            TranslationError: one of the targets is for none of them.
            ModelError: there is no such translator.
        """
        for target in self.targets:
            if not any(self._translates(language, target) for language in spoken):
                models.check(self.translator, spoken[0] or ENGLISH, [target])

    def _translates(self, spoken: str | None, target: str) -> bool:
        if spoken is None and target == ENGLISH:  # of all languages that the translator knows
            return True
        return _translates(self.translator, spoken or ENGLISH, target)


NO_OFFER = Offer()


def offer(
    languages: str | None,
    translator: str,
    pipeline: Path | None = None,
    sets: Sequence[str] = (),
    allow: Sequence[str] = (),
) -> Offer:
    """What ``--translate`` and ``--translator`` say; without them what the pipeline file says, or the translator knows.

    Raises:
        TranslationError: what stands there is no language, or nobody says which of very many.
        ModelError: there is no such translator.
        MmstreamError: the pipeline file has mistakes.
    """
    if languages is not None and languages.strip().lower() == NOTHING:
        return NO_OFFER
    file = Recipe(pipeline, sets=sets, allow=allow)
    if translator == AUTO and file.translator is not None:
        translator = file.translator
    if languages is not None:
        return Offer(tuple(checked_list(languages)), translator)
    if file.languages:
        return Offer(tuple(checked(one) for one in file.languages), translator)
    known = models.targets_from(ENGLISH, translator)
    if translator != AUTO and not known:
        raise TranslationError(f"{translator} translates into many languages: say into which, as in --translate de,fr")
    return Offer(tuple(known), translator)


def _found(wanted: str, there: Sequence[str]) -> str:
    try:
        tag = checked(wanted)
    except TranslationError as error:
        raise UnknownTarget(f"translate: {error}") from error
    for known in (tag, tag.partition("-")[0]):
        if known in there:
            return known
    if not there:
        raise UnknownTarget("this server translates nothing of what this model hears")
    raise UnknownTarget(f"there is no translation into {tag!r} here; there are {', '.join(there)}")


@functools.cache
def _translates(translator: str, source: str, target: str) -> bool:
    try:
        models.check(translator, source, [target])
    except MmstreamError:
        return False
    return True
