"""Translators by name: which model serves a pair of languages, and loading it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mmstream.registry import CATALOGUE, ModelError, absent, find, is_path, pulled_names
from mmstream.registry.catalogue import TRANSLATE, known
from mmstream.spelling import did_you_mean
from mmstream.translation.copying import Copying
from mmstream.translation.ctranslate import CTranslate
from mmstream.translation.engine import Engine, TranslationError
from mmstream.translation.faithful import Faithful
from mmstream.translation.families import NLLB, Family, family_of, opened
from mmstream.translation.languages import checked, listed, primary
from mmstream.translation.languages import name as language_name

AUTO = "auto"
TASK = "translation"


@dataclass(frozen=True, slots=True)
class Found:
    """A model on this machine, not loaded, and what it translates."""

    name: str
    folder: Path
    family: Family
    only: tuple[str, str] | None = None  # the pair that its name stands for, where several names share a folder

    def pairs(self) -> Sequence[tuple[str, str]] | None:
        """The pairs of languages that it translates; None: any of those that its family knows."""
        pairs = self.family.pairs()
        return pairs if pairs is None or self.only is None else [pair for pair in pairs if pair == self.only]

    def has(self, source: str, target: str) -> bool:
        """Whether it translates ``source`` into ``target``."""
        pairs = self.pairs()
        if pairs is None:
            return self.family.knows(source) and self.family.knows(target)
        return (primary(source), primary(target)) in pairs


def load(model: str, source: str, targets: Sequence[str]) -> Mapping[str, Engine]:
    """A translator for each target; those that one model serves share it. The source itself is copied.

    Raises:
        TranslationError: no such language or model, or none that translates ``source`` into all ``targets``.
        ModelError: it is not on this machine, or damaged.
    """
    found = _found(model, source, targets)
    engines: dict[Path, Engine] = {}
    for one in found.values():
        if one.folder not in engines:
            engines[one.folder] = Faithful(CTranslate(one.folder, one.name, family=one.family))
    return {target: engines[found[target].folder] if target in found else Copying() for target in targets}


def check(model: str, source: str, targets: Sequence[str]) -> None:
    """The faults that ``load`` would have, without loading anything large."""
    _found(model, source, targets)


def chosen(model: str, source: str, targets: Sequence[str]) -> dict[str, tuple[str, Path]]:
    """The name and the folder of the model for each target but the source; ``auto``: the first that has the pair.

    Raises:
        TranslationError: no such language or model, or none that translates ``source`` into all ``targets``.
        ModelError: it is not on this machine, or damaged.
    """
    return {target: (one.name, one.folder) for target, one in _found(model, source, targets).items()}


def available() -> list[Found]:
    """The translators on this machine, in the order in which ``auto`` tries them; damaged ones are passed over."""
    names = [one.name for one in CATALOGUE.values() if one.task == TASK]
    found: list[Found] = []
    families: dict[Path, Family] = {}
    for name in [*names, *(name for name in pulled_names() if name not in CATALOGUE)]:
        try:
            one = _on_this_machine(name, families)
        except (ModelError, TranslationError):
            continue
        if one is not None and not _is_restricted(one):
            found.append(one)
            families[one.folder] = one.family
    return found


def targets_from(source: str, model: str = AUTO) -> list[str]:
    """The languages that a model, or ``auto`` any of those here, translates ``source`` into.

    Those of models that take any pair of a hundred languages are not listed.

    Raises:
        TranslationError: there is no such model.
        ModelError: it is not on this machine, or damaged.
    """
    return _targets(available() if model == AUTO else [found_as(model)], source)


def found_as(model: str) -> Found:
    """The model of that name, or the one in a folder.

    Raises:
        TranslationError: there is no such model, or none in the folder; with names that are near.
        ModelError: it is not on this machine, or damaged.
    """
    entry = known(model)
    if entry is None and model not in pulled_names():
        if is_path(model):
            folder = Path(model).expanduser()
            return Found(folder.resolve().name, folder, opened(folder, folder.resolve().name))
        names = [AUTO, *(one.name for one in CATALOGUE.values() if one.task == TASK), *pulled_names()]
        near = did_you_mean(model, names, "there are")
        raise TranslationError(f"there is no translator {model!r}{near}; or write a folder as a path: ./{model}")
    if entry is not None and entry.task != TASK:
        raise TranslationError(f"model {model!r} is for {entry.task}, not for translation")
    found = _on_this_machine(model, {})
    if found is not None:
        return found
    if entry is None:
        raise TranslationError(f"model {model!r} is for recognition, not for translation")
    raise ModelError(absent(model, entry))


def _found(model: str, source: str, targets: Sequence[str]) -> dict[str, Found]:
    """The model for each target but the source."""
    others = [target for target in targets if primary(checked(target)) != primary(checked(source))]
    if model == AUTO:
        there = available() if others else []
        return {target: _best(there, source, target) for target in others}
    found = found_as(model)
    for target in others:
        if not found.has(source, target):
            raise TranslationError(_without_pair(found, source, target))
    return dict.fromkeys(others, found)


def _on_this_machine(name: str, families: Mapping[Path, Family]) -> Found | None:
    """A translator of the catalogue or the store; ``families`` are open already."""
    model = find(name)
    if model is None or model.path is None or model.use != TRANSLATE:
        return None
    entry = known(name)
    family = families.get(model.path) or opened(model.path, name)
    if entry is None or entry.comes != "package":
        return Found(name, model.path, family)
    source, _, target = entry.languages.partition("-")
    return Found(name, model.path, family, (source, target))


def _best(there: Sequence[Found], source: str, target: str) -> Found:
    for one in there:
        if one.has(source, target):
            return one
    targets = _targets(there, source)
    said = f"it can be translated into {listed(targets)}" if targets else f"there is {_named(_pairs(there))}"
    raise TranslationError(
        f"no model on this machine translates {_called(source)} into {_called(target)}; {said}; others come with "
        "mmstream models pull"
    )


def _without_pair(found: Found, source: str, target: str) -> str:
    if found.pairs() is None:
        lacking = target if found.family.knows(source) else source
        return f"model {found.name!r} does not know {_called(lacking)}"
    return (
        f"model {found.name!r} does not translate {_called(source)} into {_called(target)}; it translates "
        f"{_named(_pairs([found]))}"
    )


def _pairs(there: Sequence[Found]) -> list[tuple[str, str]]:
    return list(dict.fromkeys(pair for one in there for pair in one.pairs() or ()))


def _targets(there: Sequence[Found], source: str) -> list[str]:
    return [target for origin, target in _pairs(there) if origin == primary(source)]


def _named(pairs: Sequence[tuple[str, str]]) -> str:
    """Pairs for people: ``en into de, fr``."""
    into: dict[str, list[str]] = {}
    for source, target in pairs:
        into.setdefault(source, []).append(target)
    return "; ".join(f"{one} into {', '.join(targets)}" for one, targets in into.items()) or "none"


def _called(code: str) -> str:
    return f"{language_name(code)} ({code})"


def _is_restricted(found: Found) -> bool:
    """Whether its licence forbids commerce: nobody gets such a model without asking for it by name."""
    entry = known(found.name)
    return "NC" in entry.licence if entry is not None else family_of(found.folder) == NLLB
