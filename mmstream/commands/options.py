"""Command-line options that several commands take, so that they read the same everywhere."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from mmstream.core import MmstreamError
from mmstream.executors import ExecutorName
from mmstream.recipe import Recipe
from mmstream.registry import CATALOGUE, Model, resolve
from mmstream.registry.catalogue import ENGLISH, MANY, WHISPER
from mmstream.translation.engine import TranslationError
from mmstream.translation.languages import checked, checked_list, primary
from mmstream.translation.languages import name as language_name
from mmstream.translation.models import AUTO, chosen

ModelOption = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="auto (the best on this machine), sphinx, avsr (also reads lips), whisper-base.en, ..., or a folder with "
        "a CTranslate2 model or with weights of `mmstream export`.",
    ),
]
Language = Annotated[
    str | None, typer.Option(help="Language spoken, such as en or de, for a model that knows several.")
]
Translate = Annotated[
    str | None,
    typer.Option("--translate", metavar="LANGUAGES", help="Also translate: into de, or into de,fr,es at once."),
]
Translator = Annotated[
    str,
    typer.Option(
        "--translator",
        metavar="MODEL",
        help="auto (what ships, or else what is on this machine), mt-en-de, ..., a folder with a CTranslate2 model, or "
        "whisper: the recogniser itself, into English.",
    ),
]
OnlyOnCamera = Annotated[
    bool, typer.Option("--only-on-camera", help="Leave out voices that are not those of the person on camera.")
]
Trace = Annotated[
    Path | None,
    typer.Option("--trace", help="Folder for what each node does with each packet; see `mmstream trace`."),
]
ExecutorOption = Annotated[ExecutorName, typer.Option("--executor", help="Threads in this process, or actors on Ray.")]
Pipeline = Annotated[
    Path | None,
    typer.Option("--pipeline", help="Pipeline file to start from; by default the one that ships with mmstream."),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NODE.ARG=VALUE", help="Change an argument of a node; may be given several times."),
]
Allow = Annotated[
    list[str] | None,
    typer.Option("--allow", metavar="MODULE", help="Let the file use operators from this module too."),
]
WHISPERS = "whisper"  # the translator that is Whisper's own task

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object as the last line of standard output.")]


def recogniser(name: str, language: str | None) -> Model:
    """The model of that name, told the language where it knows several.

    Raises:
        MmstreamError: it is not on this machine, or does not know the language.
    """
    model = resolve(name, language)
    entry = CATALOGUE.get(model.name)
    if language is None:
        return model
    if entry is None or entry.languages == "many":
        return model.with_arguments(language=language)
    if language.lower().partition("-")[0] != entry.languages:
        raise MmstreamError(
            f"--language {language}: model {model.name!r} knows {entry.languages!r} only; see mmstream models list"
        )
    return model


@dataclass(frozen=True)
class Translators:
    """What is asked for with --translate."""

    languages: Sequence[str]
    models: Mapping[str, str]  # language -> name of its translator
    arguments: Mapping[str, Any]  # of the operator that translates
    by_sound: bool = False  # by the recogniser, into English and nothing else

    def put_into(self, recipe: Recipe, *, watched: bool) -> None:
        """Let a pipeline translate so.

        Raises:
            MmstreamError: its recogniser cannot.
        """
        if self.by_sound:
            recipe.translate_sound(watched=watched)
        else:
            recipe.translate_into(self.languages, self.arguments, watched=watched)

    def describe(self) -> str:
        """In one line: ``de by mt-en-de, fr by mt-en-fr``."""
        return ", ".join(f"{language} by {model}" for language, model in self.models.items())


def languages_in(text: str) -> list[str]:
    """The languages of --translate, once each.

    Raises:
        MmstreamError: one of them is unknown, or there is none.
    """
    try:
        return checked_list(text)
    except TranslationError as error:
        raise MmstreamError(f"--translate {text}: {error}") from error


def translators(text: str | None, translator: str, model: Model, language: str | None) -> Translators | None:
    """What --translate asks for of speech in ``language``, as ``model`` recognises it; None: no translation.

    Raises:
        MmstreamError: there is no such language or translator, or it is the language that is spoken.
    """
    if text is None:
        if translator != AUTO:
            raise MmstreamError(f"--translator {translator}: also say into what, such as --translate de")
        return None
    languages = languages_in(text)
    entry = CATALOGUE.get(model.name)
    spoken = language or (entry.languages if entry is not None and entry.languages != MANY else None)
    if spoken is not None and primary(spoken) in map(primary, languages):
        raise MmstreamError(
            f"--translate {text}: {model.name!r} recognises {language_name(spoken)} ({spoken}) and writes it as it is; "
            "leave that language out"
        )
    source = checked(spoken or ENGLISH)
    by_sound = _by_sound(languages, translator, model, source if spoken else None)
    others = [one for one in languages if primary(one) != (ENGLISH if by_sound else primary(source))]
    if by_sound and others:
        raise MmstreamError(
            f"--translate {text}: {model.name!r} itself translates into English, nobody beside it into {others[0]}: "
            "ask for one at a time"
        )
    found = {} if by_sound else chosen(translator, source, others)
    models = {ENGLISH: model.name} if by_sound else {target: name for target, (name, _) in found.items()}
    arguments = {"model": translator, **({} if spoken is None else {"source": source})}
    return Translators(languages, models, arguments, by_sound)


def _by_sound(languages: Sequence[str], translator: str, model: Model, spoken: str | None) -> bool:
    """Whether the recogniser itself is to say in English what it hears: where it is asked to, or nobody else can.

    Raises:
        MmstreamError: it is asked to, and cannot.
    """
    entry = CATALOGUE.get(model.name)
    able = model.use == WHISPER and (entry is None or entry.languages == MANY)
    if translator == WHISPERS:
        if not able:
            raise MmstreamError(f"--translator {translator}: model {model.name!r} is no Whisper of many languages")
        return True
    if not able or translator != AUTO or ENGLISH not in map(primary, languages):
        return False
    if spoken is None:
        return True
    try:
        chosen(translator, spoken, [ENGLISH])
    except MmstreamError:
        return True
    return False


def print_json(value: Any) -> None:
    """One line on standard output.

    Raises:
        MmstreamError: it cannot be written.
    """
    try:
        sys.stdout.write(json.dumps(value) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as fault:
        # Otherwise the interpreter tries once more when it ends, and complains.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise MmstreamError(f"standard output: cannot be written: {fault.strerror or fault}") from fault
