"""The models that a server offers: by name, with the languages they know, and the graphs that run them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from mmstream import registry
from mmstream.graph import Graph
from mmstream.media import Faces
from mmstream.pipeline.classes import find as find_class
from mmstream.recipe import Recipe, SinkNode
from mmstream.registry.catalogue import AVSR, ENGLISH, MANY
from mmstream.server.refusal import Refusal
from mmstream.server.translations import NO_OFFER, Offer

Kind = Literal["live", "file"]
Task = Literal["transcribe", "translate"]

AUTO = "auto"
CAPTIONS = SinkNode("outgoing", "operators.sinks:Outgoing", {})
SIGHTS = (
    SinkNode("sights", "operators.video:Sights", {}),
    SinkNode("outgoing_sights", "operators.sinks:OutgoingSights", {}),
)


class UnknownModel(Refusal):
    """No such model is served."""

    def __init__(self, name: str, served: Sequence[str]) -> None:
        message = f"there is no model {name!r} here; there are {', '.join([AUTO, *served])}"
        super().__init__("unknown_model", message, 404, 4404)


class UnknownLanguage(Refusal):
    """The model does not know the language, or cannot do with it what is asked."""

    def __init__(self, message: str) -> None:
        super().__init__("unknown_language", message, 400, 4400)


@dataclass(frozen=True)
class Model:
    """A model that is served, and what of it is asked for."""

    name: str
    languages: str  # the one it knows, or "many"
    recogniser: registry.Model
    language: str | None = None  # spoken; None: the one it knows, or each utterance's own
    task: Task = "transcribe"
    targets: tuple[str, ...] = ()  # translated into
    offer: Offer = NO_OFFER  # of translations

    @property
    def key(self) -> tuple[str, str | None, Task, bool]:
        """What decides the graph. One translates for all who want it, each into languages of its own."""
        return self.name, self.language, self.task, bool(self.targets)

    @property
    def into(self) -> tuple[str, ...]:
        """The languages that its captions can be translated into."""
        return self.offer.out_of(self.spoken)

    @property
    def spoken(self) -> str | None:
        """The language of its captions where that is known beforehand."""
        return self.language if self.languages == MANY else self.languages

    @property
    def translates(self) -> bool:
        """Whether it can give English for other languages."""
        return self.languages == MANY and "task" in inspect.signature(find_class(self.recogniser.use)).parameters

    def asked_for(self, language: str | None, task: Task = "transcribe", translate: Sequence[str] = ()) -> Model:
        """The same model, told what is spoken and what is wanted.

        Raises:
            UnknownLanguage: it cannot do that.
            UnknownTarget: nobody translates that into one of the languages of ``translate``.
        """
        if task == "translate" and not self.translates and self.languages != ENGLISH:
            raise UnknownLanguage(f"model {self.name!r} does not translate")
        if language is not None and not self.knows(language):
            raise UnknownLanguage(f"model {self.name!r} knows {self.languages!r} only, not {language!r}")
        asked = self
        if self.languages == MANY:  # what English is said is English already
            asked = replace(self, language=None if language is None else _primary(language), task=task)
        return replace(asked, targets=asked.offer.asked(translate, asked.spoken)) if translate else asked

    def knows(self, language: str) -> bool:
        return self.languages == MANY or _primary(language) == self.languages


def offered(wanted: Sequence[str | Model], offer: Offer = NO_OFFER) -> dict[str, Model]:
    """The models, by name or as they are, the default first, and ``offer`` of translations with each.

    Raises:
        ModelError: one is not on this machine.
    """
    models = {}
    for name in wanted:
        if isinstance(name, Model):
            models[name.name] = replace(name, offer=offer)
            continue
        found = registry.resolve(name)
        entry = registry.CATALOGUE.get(found.name)
        languages = entry.languages if entry is not None else ENGLISH if found.use == AVSR else MANY
        models[found.name] = Model(found.name, languages, found, offer=offer)
    return models


def choose(
    models: Mapping[str, Model],
    name: str,
    language: str | None,
    task: Task = "transcribe",
    translate: Sequence[str] = (),
) -> Model:
    """The model of that name; ``auto``: the first, or the first that knows the language.

    Raises:
        UnknownModel: there is none of that name.
        UnknownLanguage: it, or all of them, cannot do what is asked.
        UnknownTarget: what is heard cannot be translated into that.
    """
    if name == AUTO:
        first = next(iter(models.values()))
        able = (one for one in models.values() if language is None or one.knows(language))
        return next(able, first).asked_for(language, task, translate)
    if name not in models:
        raise UnknownModel(name, list(models))
    return models[name].asked_for(language, task, translate)


def graph_for(
    model: Model, kind: Kind, pipeline: Path | None, sets: Sequence[str], allow: Sequence[str], workers: int
) -> tuple[Graph, str]:
    """The checked graph that serves a model, and the name of its source.

    Raises:
        MmstreamError: the pipeline file has mistakes, or is not for this.
    """
    recipe = Recipe(pipeline, sets=sets, allow=allow)
    source, live = recipe.source, kind == "live"
    recogniser = model.recogniser
    if model.languages == MANY:
        recogniser = recogniser.with_arguments(language=model.language)
        if model.task != "transcribe":
            recogniser = recogniser.with_arguments(task=model.task)
    recipe.recognise_with(recogniser, watched=live)
    recipe.listen_to(f"operators.sources:{'Incoming' if live else 'Upload'}", {}, live=live)
    recipe.keep_here()
    looks = recipe.has_camera and (live or "video" in recogniser.media)
    if looks:
        recipe.look_at_source()
    if model.targets:
        arguments = {"model": model.offer.translator, "source": model.spoken, "per_session": True}
        recipe.translate_into(model.into, arguments, watched=live)
    else:
        recipe.leave_untranslated()
    recipe.write_to([CAPTIONS])
    if looks and live:
        recipe.also_show(Faces, SIGHTS)
    if workers > 1:
        recipe.replicate(workers)
    return recipe.graph(), source


def _primary(language: str) -> str:
    return language.lower().partition("-")[0]
